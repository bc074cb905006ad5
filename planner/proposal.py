"""What a proposer is asked and what it answers: agent calls and their data flow, before anybody has checked them.

A proposal is data, whoever wrote it: it may name agents that do not exist, leave parameters open, or be nonsense.
`compile.py` makes it a verified workflow, or says clearly why it cannot.
"""

from __future__ import annotations

from typing import Any, Protocol

from msgspec import Struct

from .library import Library

FROM_INPUTS = ""
"""As a source: the job's inputs."""


class Given(Struct, frozen=True):
    """One input of the job as a planner sees it: what the user called it, and its type."""

    name: str
    type: str
    value: Any = None
    """The input as it travels to tasks; None where nothing will run."""


class Request(Struct, frozen=True):
    """A job in words: the description, hints (one a step, may be none) and inputs."""

    description: str
    tasks: tuple[str, ...] = ()
    inputs: tuple[Given, ...] = ()
    by_value: bool = False
    """The inputs are given to stages as values, each to a stage of its own, instead of stages mapping over them."""
    known: dict[str, Any] = {}
    """Type name to a value that is there already and need not be made again: what an earlier job has left behind for all inputs."""


class Call(Struct, frozen=True):
    """One agent call that somebody proposes."""

    id: str
    agent: str
    inputs: dict[str, str] = {}
    """Parameter to the id of the call whose output it takes (FROM_INPUTS: the job's inputs). What is left out is found by types."""
    args: dict[str, Any] = {}
    """Argument name to value; also values of parameters that may be literal (`Take.literal`)."""
    after: tuple[str, ...] = ()
    """Calls that the words put before this one: a preference for where open parameters come from, never an edge by itself."""
    observe: bool = False
    """The planner wants to see the result before it goes on."""


class Proposal(Struct, frozen=True):
    """Calls in the order in which the words name them. `answer`: ids whose outputs are the job's answer; empty: all that nobody takes."""

    calls: tuple[Call, ...]
    answer: tuple[str, ...] = ()
    rest: str = ""
    """What the job asks for beyond these calls, in words: planned when the observed stages are done."""
    why: str = ""
    """For people."""


class Proposer(Protocol):
    """May be slow and may fail: RuntimeError with one line."""

    name: str

    def propose(self, request: Request, library: Library, complaint: str = "") -> Proposal:
        """`complaint` is what was wrong with this proposer's last answer to the same request."""
