"""The planner: which agents, in which DAG. It asks proposers (a language model, the offline one), and verifies what they say.

Owns nothing durable: who asked asks again, and the index of processed videos comes from the bus.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from msgspec.structs import replace

from ..bus.messages import Indexed, LibraryOffered, MakeWorkflow, Message, Observed, WorkflowExtended, WorkflowMade, WorkflowRefused
from ..planner import inputs
from ..planner.cache import Key, PlanCache, key_of
from ..planner.compile import CannotPlan, compile, verify, with_calls
from ..planner.evidence import EVERYTHING, is_question, kinds_asked
from ..planner.library import Library
from ..planner.observe import Focus, extension, places, request_for
from ..planner.proposal import Proposal, Request
from ..planner.shelf import Shelf
from .core import ActorBug, Command, Do, Errand, Event, Heard, Outcome, Replayed, Send

FORGET_S = 120.0
"""A proposer that has not answered by then has died with its process or hangs; the next one that asks starts anew."""


class Propose(Errand, frozen=True):
    """Ask a proposer; the outcome is a Proposal. `complaint`: why its last one for this job was refused."""

    job: str
    by: str
    request: Request
    library: Library
    complaint: str = ""


@dataclass(slots=True)
class Pending:
    """A job that a proposer works on."""

    request: Request
    key: Key
    since: float
    left: list[str]
    """Proposers that have not been asked yet, best first."""
    refusals: list[str]
    observed: Observed | None = None
    """Set when the job runs already and is to go on from what was found at `places`."""
    places: tuple[Focus, ...] = ()
    note: str = ""


class Planner:
    role: ClassVar[str] = "planner"
    hears: ClassVar[tuple[type[Message], ...]] = (MakeWorkflow, Observed, Indexed, LibraryOffered)
    replays: ClassVar[tuple[type[Message], ...]] = (Indexed, LibraryOffered)
    works: ClassVar[tuple[type[Message], ...]] = ()

    def __init__(self, library: Library, proposers: Sequence[str] = ("offline",), patience_s: float = 0.0) -> None:
        """`patience_s`: how long after the first job nothing is refused while no host has said yet what it brings."""
        self.shelf, self.proposers = Shelf(library.agents, types=library.types), tuple(proposers)
        self.patience_s, self.first_asked, self.host_heard = patience_s, math.inf, False
        self.cache = PlanCache()
        self.pending: dict[str, Pending] = {}
        self.indexes: dict[tuple[str, str], dict[str, Any]] = {}
        """(tenant, SHA-256 of the medium) to its vector index."""

    def on(self, event: Event, now: float) -> Iterable[Command]:
        match event:
            case Heard(msg=MakeWorkflow() as msg):
                return list(self._make(msg, now))
            case Heard(msg=Observed() as msg):
                return list(self._observed(msg, now))
            case Outcome(errand=Propose() as asked, value=value, error=error):
                return list(self._proposed(asked, value, error, now))
            case Outcome(errand=errand, error=error) if isinstance(made := getattr(errand, "msg", None), WorkflowMade | WorkflowExtended):
                return [Send(WorkflowRefused(job=made.job, error=error, stage=getattr(made, "stage", "")))]
            case Heard(msg=Indexed() as msg) | Replayed(msg=Indexed() as msg):
                self.indexes[(msg.tenant, msg.media_hash)] = msg.index
            case Heard(msg=LibraryOffered() as msg) | Replayed(msg=LibraryOffered() as msg):
                self.shelf.offered(msg)
                self.host_heard = True
        return ()

    @property
    def library(self) -> Library:
        return self.shelf.library

    # --- a job -----------------------------------------------------------------------------------------------------------------

    def _make(self, msg: MakeWorkflow, now: float) -> Iterator[Command]:
        """Always leads to an answer: a workflow that can run, or a clear refusal."""
        self.first_asked = min(self.first_asked, now)
        if msg.workflow is not None:
            try:
                verify(msg.workflow, self.library)
                workflow = with_calls(msg.workflow, self.library, [i.name for i in msg.inputs])
            except CannotPlan as error:
                yield from self._refuse(msg.job, str(error), now)
            else:
                yield Send(WorkflowMade(job=msg.job, workflow=workflow))
            return
        self.pending = {job: p for job, p in self.pending.items() if now - p.since < FORGET_S}
        if msg.job in self.pending:  # the same question again, since the answer takes a while
            return
        request = self._request(msg)
        key = key_of(request, self.library.fingerprint)
        kept = self.cache.find(key)
        if kept is not None:
            try:
                yield self._made(msg.job, request, *kept, 0.0, ())
                return
            except CannotPlan:  # other inputs of the same kinds may not fit after all
                pass
        self.pending[msg.job] = Pending(request, key, now, list(self.proposers), [])
        yield from self._next(msg.job, now)

    def _observed(self, msg: Observed, now: float) -> Iterator[Command]:
        """What was found says where to look, the remaining words what to do there."""
        self.first_asked = min(self.first_asked, now)
        name = f"{msg.job}:{msg.stage}"
        if name in self.pending and now - self.pending[name].since < FORGET_S:
            return
        found, note = places(msg) if msg.workflow.rest.strip() and msg.steps_left > 0 else ([], "")
        if not found:
            yield Send(WorkflowExtended(job=msg.job, stage=msg.stage, note=note))
            return
        request = request_for(msg, found[0])
        key = key_of(request, self.library.fingerprint)
        self.pending[name] = Pending(request, key, now, list(self.proposers), [], msg, tuple(found), note)
        yield from self._next(name, now)

    def _request(self, msg: MakeWorkflow) -> Request:
        indexes = [self.indexes.get((msg.tenant, i.media.sha256)) for i in msg.inputs]
        needed = kinds_asked(msg.description) if is_question(msg.description) else EVERYTHING
        usable = [i for i in indexes if i is not None and needed <= set(i.get("kinds", ()))]
        known = {"VectorIndex": [dict(i) for i in usable]} if usable and len(usable) == len(indexes) else {}
        return Request(msg.description, msg.tasks, inputs.given(msg.inputs), known=known)

    def _next(self, job: str, now: float, complaint: str = "", again: str = "") -> Iterator[Command]:
        """Asks the next proposer, or the same one again with what was wrong."""
        waits = self.pending[job]
        by = again or (waits.left.pop(0) if waits.left else "")
        if by:
            yield Do(Propose(job, by, waits.request, self.library, complaint))
        else:
            del self.pending[job]
            error = waits.refusals[-1]
            if waits.observed is not None:
                error = f"after {waits.observed.stage}, '{waits.request.description[:80]}' cannot be planned: {error}"
            about = waits.observed
            yield from self._refuse(about.job if about else job, error, now, about.stage if about else "")

    def _refuse(self, job: str, error: str, now: float, stage: str = "") -> Iterator[Command]:
        """Says no; but not while the first host may still be about to say what it brings: who asked asks again soon."""
        if self.host_heard or now - self.first_asked >= self.patience_s:
            yield Send(WorkflowRefused(job=job, error=error, stage=stage))

    def _proposed(self, asked: Propose, proposal: object, error: str, now: float) -> Iterator[Command]:
        waits = self.pending.get(asked.job)
        if waits is None:
            return
        if error or not isinstance(proposal, Proposal):
            waits.refusals.append(f"the {asked.by} planner failed: {error}")
            yield from self._next(asked.job, now)
            return
        try:
            made = self._made(asked.job, waits.request, proposal, asked.by, now - waits.since, waits.refusals)
        except CannotPlan as refusal:
            waits.refusals.append(str(refusal))
            if asked.by != "offline" and not asked.complaint:
                yield from self._next(asked.job, now, str(refusal), asked.by)
            else:
                yield from self._next(asked.job, now)
            return
        self.cache.keep(waits.key, proposal, asked.by)
        del self.pending[asked.job]
        yield made

    def _made(self, job: str, request: Request, proposal: Proposal, by: str, took_s: float, refusals: Sequence[str]) -> Send:
        """Raises CannotPlan."""
        waits = self.pending.get(job)
        if waits is not None and waits.observed is not None:
            return Send(extension(waits.observed, waits.places, waits.note, proposal, self.library))
        compiled = compile(proposal, request, self.library)
        before = tuple(f"refused before: {r}" for r in dict.fromkeys(refusals))
        workflow = replace(compiled.workflow, proposer=by, repairs=(*before, *compiled.repairs))
        return Send(WorkflowMade(job=job, workflow=workflow, took_s=took_s))

    def check(self) -> None:
        for (_, media_hash), index in self.indexes.items():
            if index.get("media_hash") != media_hash:
                raise ActorBug(f"the index of {media_hash} is of another medium")
        if any(not set(p.left) <= set(self.proposers) for p in self.pending.values()):
            raise ActorBug("a job waits for a proposer that is not there")
