"""What travels inside messages: plain values without a subject. `messages.py` says who sends them, and gives them all by name."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

Id = Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,80}$(?!\\n)")]
Index = tuple[int, ...]
"""Which element of a stage a task is: () for a whole job, (i,) for input i, (i, j) for part j of input i."""
How = Literal["measured", "modelled", "simulated"]


class ArtifactRef(Struct, frozen=True):
    """Bytes in the artifact store, by content: lower-case hex SHA-256, size in bytes, media type."""

    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    size: int
    media_type: str


class Input(Struct, frozen=True):
    """One input of a job. `name` is for people; the bytes are `media`."""

    name: Annotated[str, Meta(max_length=500)]
    media: ArtifactRef
    units: dict[str, float] = field(default_factory=dict)
    """How much of it there is, where the client could tell: {"video_s": 29.7}, {"audio_s": …}, {"texts": …}. Estimates rest on it, nothing else."""


class Edge(Struct, frozen=True):
    """Where a stage's parameter comes from: `stage` names an earlier stage; empty means the job's inputs."""

    param: str
    stage: str = ""
    type: str = ""
    """The type of what flows along it, when a planner has made the edge."""


class Stage(Struct, frozen=True):
    """One agent call in the workflow. `depth` is the length of its tasks' indexes: 0 once a job, 1 per input, 2 per part of it, and so on."""

    name: Id
    agent: str
    edges: tuple[Edge, ...] = ()
    depth: Annotated[int, Meta(ge=0, le=4)] = 0
    many: bool = False
    """One task gives a list; stages one deeper map over its elements."""
    args: dict[str, Any] = field(default_factory=dict)
    given: dict[str, Any] = field(default_factory=dict)
    """Inputs whose values are known at plan time, besides those that come along edges."""
    observe: bool = False
    """The planner is to see the results of this stage, and may extend the workflow then."""
    call: str = ""
    """The concrete call with its arguments, as code would say it; shown to people, never executed or parsed."""


class Workflow(Struct, frozen=True):
    """The logical DAG, in topological order. `answer` names the stages whose outputs are the job's answer, best first."""

    stages: tuple[Stage, ...]
    answer: tuple[str, ...]
    kind: str = ""
    """A short name of the shape, for people."""
    rest: str = ""
    """What the job still asks for once the observed stages are done, in words."""
    proposer: str = ""
    """Who proposed it: offline, llm, cache, or the user."""
    repairs: tuple[str, ...] = ()
    """What the planner mended in the proposal, one line each."""


class Estimate(Struct, frozen=True):
    """What something is expected to take: seconds from start to end, dollars, watt-hours, and its quality, 0..1. Modelled."""

    time_s: float = 0.0
    cost_usd: float = 0.0
    energy_wh: float = 0.0
    quality: float = 1.0


class Choice(Struct, frozen=True):
    """What the optimizer chose for one stage: time, cost, energy and quality are of one task; `total` is of them all."""

    stage: Id
    implementation: str
    hardware: str
    time_s: float
    cost_usd: float
    energy_wh: float
    quality: float
    warm: bool = False
    timeout_s: float = 120.0
    why: str = ""
    tasks: float = 1.0
    """How many are expected."""
    units: dict[str, float] = field(default_factory=dict)
    """Work expected over all tasks: {"audio_s": 59.5}."""
    width: int = 1
    """Instances that it counts on."""
    slots: int = 0
    """Calls at a time in one instance; 0: as the implementation says."""
    power_w: float | None = None
    """The cap of the device, where it has one that is chosen."""
    args: dict[str, Any] = field(default_factory=dict)
    """Arguments that the optimizer set (paths, parts); they are in the workflow's stage too."""
    start_s: float = 0.0
    """When its first task is expected to start, from the start of the run; and its last to end."""
    end_s: float = 0.0
    load_s: float = 0.0
    """Of loading, when it is cold."""
    total: Estimate | None = None
    """All tasks with loading; its time is `end_s - start_s`."""
    how: str = "prior"
    """What the estimate rests on: measured, estimate (carried over from other hardware), published, or prior."""


class RunnerUp(Struct, frozen=True):
    """A plan that lost: in what it differs, what it would take, why it lost, and what would have to change for it to win."""

    changes: tuple[str, ...]
    estimate: Estimate
    lost: str = ""
    wins_if: str = ""


class Plan(Struct, frozen=True):
    """A workflow with a choice for every stage. Estimates are of the whole job, modelled from profiles."""

    workflow: Workflow
    choices: tuple[Choice, ...]
    time_s: float = 0.0
    cost_usd: float = 0.0
    energy_wh: float = 0.0
    quality: float = 1.0
    critical: tuple[str, ...] = ()
    """The stages that its time is made of, first to last."""
    goal: str = ""
    """The first goal, of which `bound` and `gap` speak."""
    bound: float | None = None
    """No plan can be better than this by the first goal, in its unit; None where nothing was to be chosen."""
    gap: float | None = None
    """How far the plan is from that: 0 is optimal, 0.02 is 2 %."""
    search: str = ""
    """How it was found, for people."""
    runners_up: tuple[RunnerUp, ...] = ()
    """Where it was asked to explain; likewise the frontier: the plans that no other beats in time, cost and energy at once."""
    frontier: tuple[RunnerUp, ...] = ()


class Use(Struct, frozen=True):
    """What one task used, as its worker saw it."""

    start: float
    end: float
    cpu_s: float = 0.0
    energy_wh: float = 0.0
    energy_how: How = "modelled"
    cost_usd: float = 0.0
    cold_s: float = 0.0
    """How long the task waited for its instance to load."""
    units: dict[str, float] = field(default_factory=dict)
    """The work that it was, as the model counted it: {"audio_s": 9.8}, {"tokens_in": 80, "tokens_out": 24}."""


class Figure(Struct, frozen=True):
    """A number and how it was obtained."""

    value: float
    how: How


class StageState(Struct, frozen=True):
    """How far a stage is. `total` is None while the width is not known yet."""

    stage: str
    agent: str
    implementation: str = ""
    hardware: str = ""
    done: int = 0
    released: int = 0
    total: int | None = None


class TaskRecord(Struct, frozen=True):
    """One task that counted, as results and traces show it."""

    stage: str
    index: Index
    attempt: int
    host: str
    instance: str
    use: Use


class StageReport(Struct, frozen=True):
    """What a stage took. `start_s` and `end_s` are seconds from the job's submission."""

    stage: str
    agent: str
    implementation: str
    hardware: str
    tasks: int
    start_s: float
    end_s: float
    energy_wh: float
    cost_usd: float
    cpu_s: float = 0.0
    attempts: int = 0
    busy_s: float = 0.0
    """Seconds of its tasks from start to end, summed."""
    units: dict[str, float] = field(default_factory=dict)
    """Work over all tasks, as in `Use`."""
    elements: int = 0
    """What its tasks gave together, for a stage with `many`."""
    moved: bool = False
    """Some of its tasks ran on what had been chosen before: its figures are of both, and nothing is to be learnt from them."""


class Device(Struct, frozen=True):
    """One device of a host. `busy` is 0..1, None when nobody can tell; `power_w` likewise."""

    name: str
    kind: str
    memory_mb: int
    memory_used_mb: int
    busy: float | None = None
    power_w: float | None = None
    id: str = ""
    """Its own name on the host; "" for the host's cores."""
    declared: bool = False
    """Said by the host's owner, and seen by no driver: for tests, and for accelerators that we cannot read."""


class Instance(Struct, frozen=True):
    """A loaded (or loading) implementation on one device of one host."""

    id: str
    agent: str
    implementation: str
    hardware: str
    state: Literal["loading", "warm", "asleep", "draining", "failed", "quarantined"]
    slots: int
    busy: int = 0
    memory_mb: int = 0
    pid: int = 0
    error: str = ""
    failures: int = 0
    """In a row."""
    since: float = 0.0
    """When it came into this state."""
    load_s: float = 0.0
    """What its last load took; 0 before the first."""
    device: str = ""
    """The accelerator that it is on."""
    load: dict[str, float] = field(default_factory=dict)
    """What its server says that it has to do: requests `running` and `waiting`, share of its `cache` in use; empty where there is none."""


class Offer(Struct, frozen=True):
    """An implementation that a host can run, if asked."""

    agent: str
    implementation: str
    hardware: str


class Desired(Struct, frozen=True):
    """One instance that a host shall have; `id` stays the same while it shall live."""

    id: Id
    agent: str
    implementation: str
    hardware: str
    slots: int = 0
    """Calls at a time; 0: as the implementation says."""
    power_w: float | None = None
    """The cap that its device shall run under; None leaves it as it is."""
    device: str = ""
    """The accelerator that it shall be on, by its id; "" leaves it to the host."""
    cores: tuple[int, ...] = ()
    """CPU cores that it may run on; () for any."""
    memory_mb: int = 0
    """It is ended when it takes more; 0 leaves it to the host."""
    asleep: bool = False
    """Loaded, but its device's memory given back, where the server can do that."""


class PoolForecast(Struct, frozen=True):
    """What the cluster manager expects of one pool. Quantiles are of 10, 50 and 90 %, in seconds from the message's time.

    `start_s` is when the next known stage needs it (running jobs), empty when none will; `arrival_s` when a job that is not there yet
    will, empty when nothing is known of any.
    """

    agent: str
    implementation: str
    hardware: str
    warm: int = 0
    loading: int = 0
    wanted: int = 0
    tasks: int = 0
    """Open tasks of running jobs, ready or not."""
    ready: int = 0
    work_s: float = 0.0
    """Of those tasks, on one slot."""
    load_s: float = 0.0
    start_s: tuple[float, ...] = ()
    arrival_s: tuple[float, ...] = ()
    why: str = ""
    """Why so many are wanted, for people."""


class ForecastError(Struct, frozen=True):
    """How far forecasts of stages' starts were off; of one agent, or of all ("")."""

    agent: str
    n: int
    median_s: float
    """Of actual minus expected: above 0, stages start later than forecast."""
    absolute_s: float
    """Mean of the distance."""
    within: float
    """Share that fell between the forecast's 10 % and 90 %; 0.8 is right."""


class PoolSeconds(Struct, frozen=True):
    agent: str
    implementation: str
    hardware: str
    time_s: float
    width: int = 1


class JobKind(Struct, frozen=True):
    """Jobs of one shape: when the newest came, oldest first, and what the last of them needed how long after it came."""

    name: str
    times: tuple[float, ...] = ()
    pools: tuple[PoolSeconds, ...] = ()


class TenantState(Struct, frozen=True):
    """One tenant as the conductor sees it. `share` is its part of the cluster's cores or accelerators, the larger (`dominant` says which);
    the least share over `weight` is served next. It may be above 1: what is released waits in part.
    """

    tenant: str
    weight: float = 1.0
    share: float = 0.0
    dominant: str = ""
    running: int = 0
    """Jobs that were started and have not ended."""
    planning: int = 0
    """Of those, with the planner or the optimizer."""
    waiting: int = 0
    """Accepted, and not started yet."""
    refused: int = 0
    """Submissions, since the conductor started."""
    tasks: int = 0
    """Released."""
    tasks_waiting: int = 0
    """Ready, and waiting for a slot."""
    cores: float = 0.0
    """Of the released tasks; devices likewise."""
    devices: float = 0.0
    usd_last_hour: float = 0.0
    quota: dict[str, float] = field(default_factory=dict)
    why: str = ""
    """What its first waiting job waits for, or its tasks; for people."""


class Decision(Struct, frozen=True):
    """One decision about the instances of a pool on a host, and why. `code` is for programs, `text` for people, `figures` carry units."""

    at: float
    host: str
    agent: str
    implementation: str
    hardware: str
    verb: Literal["start", "keep", "release", "move", "hold", "defer", "refuse"]
    before: int
    after: int
    code: str
    text: str = ""
    figures: dict[str, float] = field(default_factory=dict)


class Line(Struct, frozen=True):
    """An amount a task: `base`, and `per` each unit of its work."""

    base: float = 0.0
    per: dict[str, float] = field(default_factory=dict)

    def at(self, tasks: float, units: dict[str, float]) -> float:
        """The amount of so many tasks with that much work together."""
        return self.base * tasks + sum(rate * units.get(unit, 0.0) for unit, rate in self.per.items())


class Profile(Struct, frozen=True):
    """What an implementation takes on a hardware class. Times are seconds, memory is MB.

    `cpu` is busy CPU-seconds a task; `time` is seconds a task of an instance that has its cores for itself. `energy` is watt-hours
    a task where a counter of the device was read; None: modelled from `cpu`. `usd` is dollars a task where somebody bills by work
    (hosted models); None: from the price of the hardware.
    """

    agent: str
    implementation: str
    hardware: str
    how: Literal["measured", "estimate", "published", "prior"] = "prior"
    """`estimate`: carried over from other hardware; `published`: somebody else's figures; `prior`: the library's row."""
    source: str = ""
    """Where from: machine and date, or the publication."""
    at: float = 0.0
    cpu: Line = Line()
    time: Line = Line()
    energy: Line | None = None
    usd: Line | None = None
    crowd: dict[int, float] = field(default_factory=dict)
    """Calls at a time in one instance to how many times as long each takes; 1 is 1."""
    rate_per_s: float | None = None
    """The most calls a second that it takes (hosted models)."""
    load_s: float = 0.0
    load_cpu_s: float = 0.0
    memory_mb: float = 0.0
    idle_w: float | None = None
    busy_w: float | None = None
    quality: float = 0.5
    quality_how: str = "assumed"
    paths: dict[int, float] = field(default_factory=dict)
    """Reasoning paths to quality, where voting or ranking was measured."""
    samples: int = 0
    spread: float = 0.0
    """Median distance of a measured time from the line, as a part of it."""
    drift: float = 1.0
    """Times of late over what the lines say; the estimate is multiplied by it."""
    outliers: int = 0
    failures: int = 0


class Workload(Struct, frozen=True):
    """How much an agent has to do: elements and work units a task, and a second of the job's input where that is known."""

    agent: str
    args: str = ""
    """Its arguments as canonical JSON; empty: whatever they are."""
    elements: float = 1.0
    """That a task of a stage with `many` gives."""
    units: dict[str, float] = field(default_factory=dict)
    """Of one task."""
    elements_per: dict[str, float] = field(default_factory=dict)
    """Of all its tasks, per unit of the job's inputs: {"video_s": 0.1}."""
    units_per: dict[str, dict[str, float]] = field(default_factory=dict)
    """Work unit to input unit to how much of it all its tasks have: {"audio_s": {"video_s": 1.0}}."""
    samples: int = 0
    sensitivity: float = 1.0
    """How much a job's quality follows from this agent's: the exponent of its quality in the product; 1 until it is measured."""
