"""What the library says of an agent (an interface) and of an implementation (a way to do it)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field


class Take(Struct, frozen=True):
    """One input of an agent: a type name; `many` gathers a whole collection into one task."""

    type: str
    many: bool = False
    optional: bool = False
    eager: bool = False
    """Optional, but made whenever something is there that it can be made from."""
    literal: bool = False
    """May also be a value that the job's words give, as an argument; then it needs no producer."""


class Agent(Struct, frozen=True):
    """An interface with a typed signature. `many` says that one task gives a collection: later stages map over it."""

    name: str
    summary: str
    takes: Mapping[str, Take]
    gives: str
    many: bool = False
    args: Mapping[str, Any] = {}
    """JSON Schema of its arguments, an object (`schema.py` makes it from a msgspec class); empty: it takes none."""
    words: tuple[str, ...] = ()
    """Words of a job's text that speak of this agent, besides those of its name and descriptions."""
    description: str = ""
    """What it does in full, for planners and people; the summary where there is no more to say."""
    keeps: bool = False
    """It does something lasting (fills an index, say): it joins every workflow that gives what it takes, and stays if nobody takes its output."""
    only_asked: bool = False
    """It joins a workflow only when somebody names it, never because its output would fit: what it does beyond that is unknown."""
    answers: bool = False
    """It answers a question about what is in the inputs."""
    seeks: bool = False
    """It finds where to look further: when a job says what to do then, the planner sees its result before it goes on."""
    presents: bool = False
    """It makes one readable whole of parts: where a job asks for such parts only, it is added and gives the answer."""
    noun: str = ""
    """What a stage of it is called in workflows; made from its name when empty."""
    parts: tuple[str, ...] = ()
    """The agents that cut one of its tasks into chunks, and that join what the chunks gave: (splitter, joiner); empty: it cannot be split."""
    levers: Mapping[str, tuple[int, ...]] = {}
    """Arguments that an optimizer may set, where nobody else has, to values worth trying; how many attempts, say."""
    lever_quality: Mapping[str, str] = {}
    """Whose quality follows from the lever: agent to "vote" or "any" (`optimizer/paths.py`)."""


class Implementation(Struct, frozen=True):
    """One way to do what an agent promises."""

    name: str
    agent: str
    entry: str
    """`module:Class` of the model, imported only inside an instance."""
    modules: tuple[str, ...] = ()
    """Python modules that must be there."""
    weights: str = ""
    """A key of `weights.WEIGHTS` that must be found."""
    variable: str = ""
    """An environment variable that must be set, for what cannot be found by itself (a server's address)."""
    options: Mapping[str, Any] = field(default_factory=dict)
    hardware: str = "cpu"
    runs_on: tuple[str, ...] = ()
    """Kinds of device that it can run on, "cpu" and "gpu"; empty: `hardware` alone."""
    slots: int = 1
    memory_mb: int = 200
    threads: int = 1
    compute_share: float = 0.0
    """What an instance takes of an accelerator's compute while it works, 0..1: those of one device never come to more than all of it. 0 for
    unknown: then memory alone says how many share a device."""
    quality: float = 0.5
    """0..1 on the agent's own benchmark; `quality_how` says which. Compared only between implementations of one agent; a tool that
    does exactly what it says (cutting out sound, listing facts) has 1."""
    quality_how: str = "assumed"
    work_s: float = 1.0
    """Busy CPU-seconds a task, a prior from one measured run of the sample job; refined from every task that runs."""
    load_s: float = 1.0
    """Seconds from process start to ready, likewise."""
    only_args: Mapping[str, tuple[Any, ...]] = {}
    """Where it cannot do every value of an argument, those that it can ({"language": ("", "en")}): a stage that says another goes elsewhere."""
    spawns: bool = False
    """Its model runs servers of its own, whose CPU time counts too."""
    timeout_s: float = 120.0
    """A task that takes longer hangs: its instance is ended and the task tried again."""

    def cannot(self, args: Mapping[str, Any]) -> str:
        """The first of a stage's arguments that is beyond it, as `name=value`; empty when it can do them all."""
        beyond = (name for name, values in self.only_args.items() if name in args and args[name] not in values)
        return next((f"{name}={args[name]}" for name in beyond), "")
