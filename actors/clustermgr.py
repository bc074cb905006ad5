"""The cluster manager: how many instances of what on which host, and when. It hears plans and DAG progress, so models are
being loaded while earlier stages still run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import ClassVar

from msgspec.structs import replace

from ..agents.library import Implementation
from ..bus.messages import Choice, Desired, DesiredInstances, HostHeartbeat, JobProgress, JobResult, LibraryOffered, Message, PlanMade
from ..clustermgr.desired import Demand, Key, desired
from ..planner.shelf import Shelf
from .core import ActorBug, Command, Event, Heard, Replayed, Resumed, Send, Wake, Woke

HOST_SILENT_S = 10.0
LOOK_EVERY_S = 2.0
DECIDE_EVERY_S = 0.1
"""News that comes faster than this is decided on together; only a pool that nobody needed before is decided on at once."""
JOB_SILENT_S = 900.0
"""A job of which nothing was heard for this long needs no models; its end may have been missed."""


@dataclass(slots=True)
class JobNeeds:
    """The pools that a job still needs: stage to (pool, open tasks)."""

    heard: float
    stages: dict[str, tuple[Key, int]] = field(default_factory=dict)
    choices: dict[str, Choice] = field(default_factory=dict)
    """By stage, as planned; of what was planned again, progress says the pool, and the rest is as usual."""


class ClusterManager:
    role: ClassVar[str] = "clustermgr"
    hears: ClassVar[tuple[type[Message], ...]] = (PlanMade, JobProgress, JobResult, HostHeartbeat, LibraryOffered)
    replays: ClassVar[tuple[type[Message], ...]] = (DesiredInstances, LibraryOffered)
    works: ClassVar[tuple[type[Message], ...]] = ()

    def __init__(self, library: Mapping[tuple[str, str], Implementation]) -> None:
        self.shelf = Shelf(implementations=library)
        self.hosts: dict[str, tuple[float, HostHeartbeat]] = {}
        self.wanted: dict[str, DesiredInstances] = {}
        self.jobs: dict[str, JobNeeds] = {}
        self.ended: dict[str, None] = {}
        self.needed_at: dict[Key, float] = {}
        self.decided_at = 0.0
        self.due = False

    def on(self, event: Event, now: float) -> Iterable[Command]:
        match event:
            case Heard(msg=HostHeartbeat() as beat):
                fresh = beat.host not in self.hosts
                if beat.leaving:
                    return self._leave(beat.host, now)
                self.hosts[beat.host] = (now, beat)
                return [*self._catch_up(beat, now), *self._decide(now, say_again=beat.host if fresh else "")]
            case Heard(msg=PlanMade(job=job, plan=plan, explain=explain, again=again)):
                if job in self.ended or explain or again:  # what is taken of a plan that was made again, its progress says
                    return ()
                chosen = {c.stage: c for c in plan.choices}
                needs = self.jobs[job] = JobNeeds(now, choices=chosen)
                for stage in plan.workflow.stages:
                    choice = chosen[stage.name]
                    needs.stages[stage.name] = ((stage.agent, choice.implementation, choice.hardware), max(1, ceil(choice.tasks)))
                fresh = any(key not in self.needed_at for key, _ in needs.stages.values())
                return self._decide(now) if fresh else self._decide_soon(now)
            case Heard(msg=JobProgress() as msg):
                return self._progress(msg, now)
            case Heard(msg=JobResult(job=job)):
                self._end(job)
                return self._decide_soon(now)
            case Woke(key="decide"):
                self.due = False
                return self._decide(now)
            case Heard(msg=LibraryOffered() as msg):
                return self._decide_soon(now) if self.shelf.offered(msg) else ()
            case Replayed(msg=LibraryOffered() as msg):
                self.shelf.offered(msg)
            case Replayed(msg=DesiredInstances() as msg):
                self.wanted[msg.host] = msg
                for d in msg.instances:  # a restart is no reason to unload anything
                    self.needed_at.setdefault((d.agent, d.implementation, d.hardware), now)
            case Resumed() | Woke():
                self.hosts = {h: (at, b) for h, (at, b) in self.hosts.items() if now - at < HOST_SILENT_S}
                self.jobs = {j: n for j, n in self.jobs.items() if now - n.heard < JOB_SILENT_S}
                return (
                    [*self._decide(now), *self._remind(), Wake(LOOK_EVERY_S, "look")]
                    if not (isinstance(event, Resumed) and self.hosts)
                    else ()
                )
        return ()

    def _catch_up(self, beat: HostHeartbeat, now: float) -> Iterator[Command]:
        """A host may know a version of our predecessor that was stored only after we had replayed the table; it would ignore ours."""
        wants = self.wanted.get(beat.host) or DesiredInstances(host=beat.host, version=0)
        if beat.version > wants.version:
            self.wanted[beat.host] = replace(wants, version=_version(beat.version, now), reasons=("the host knew a newer version",))
            yield Send(self.wanted[beat.host])

    def _leave(self, host: str, now: float) -> Iterator[Command]:
        """A host that leaves in good order shall have nothing when it comes back; one that crashed shall have it all again."""
        self.hosts.pop(host, None)
        wants = self.wanted.get(host)
        if wants is not None and wants.instances:
            self.wanted[host] = DesiredInstances(host=host, version=_version(wants.version, now), reasons=("the host left",))
            yield Send(self.wanted[host])

    def _progress(self, msg: JobProgress, now: float) -> Iterator[Command]:
        if msg.phase in ("done", "failed", "cancelled"):
            self._end(msg.job)
        elif msg.phase == "running" and msg.job not in self.ended:
            stages = {}
            for s in msg.stages:
                open_tasks = max(1, s.released) if s.total is None else s.total - s.done
                if open_tasks > 0:
                    stages[s.stage] = ((s.agent, s.implementation, s.hardware), open_tasks)
            before = self.jobs.get(msg.job)
            self.jobs[msg.job] = JobNeeds(now, stages, before.choices if before is not None else {})
        yield from self._decide_soon(now)

    def _decide_soon(self, now: float) -> Iterator[Command]:
        """At once, or a moment after the last time; a decision looks at all jobs, so hundreds of them must not cause one each."""
        if now - self.decided_at >= DECIDE_EVERY_S:
            yield from self._decide(now)
        elif not self.due:
            self.due = True
            yield Wake(DECIDE_EVERY_S, "decide")

    def _end(self, job: str) -> None:
        self.jobs.pop(job, None)
        self.ended[job] = None  # a late or repeated message of its progress must not bring it back
        while len(self.ended) > 10_000:
            del self.ended[next(iter(self.ended))]

    def _decide(self, now: float, say_again: str = "") -> Iterator[Command]:
        self.decided_at = now
        demand: dict[Key, Demand] = {}
        for needs in self.jobs.values():
            for stage, (key, tasks) in needs.stages.items():
                demand[key] = _more(demand.get(key, Demand(0, 0)), key, tasks, needs.choices.get(stage))
        for key in demand:
            self.needed_at[key] = now
        for host, (_, beat) in self.hosts.items():
            now_wants = self.wanted.get(host) or DesiredInstances(host=host, version=0)
            instances, reasons = desired(
                self.shelf.usable(beat), now_wants.instances, demand, self.needed_at, self.shelf.implementations, now
            )
            if _ids(instances) != _ids(now_wants.instances):
                now_wants = DesiredInstances(
                    host=host, version=_version(now_wants.version, now), instances=instances, reasons=tuple(reasons)
                )
                self.wanted[host] = now_wants
                yield Send(now_wants)
            elif host == say_again and now_wants.version:
                yield Send(now_wants)  # a host that came back may have missed it

    def _remind(self) -> Iterator[Command]:
        """What a host shall have is said again while its heartbeats do not show it; news may be lost."""
        for host, (_, beat) in self.hosts.items():
            wants = self.wanted.get(host)
            if wants is not None and _ids(wants.instances) != {i.id for i in beat.instances if i.state != "draining"}:
                yield Send(wants)

    def check(self) -> None:
        for host, wants in self.wanted.items():
            if len(_ids(wants.instances)) != len(wants.instances):
                raise ActorBug(f"host {host} shall have an instance twice")


def _more(before: Demand, key: Key, tasks: int, choice: Choice | None) -> Demand:
    """The demand with one more stage's, which counts on the width, slots and power of its choice where it is still that choice."""
    if choice is None or (choice.implementation, choice.hardware) != key[1:]:
        return replace(before, tasks=before.tasks + tasks, jobs=before.jobs + 1)
    return Demand(
        before.tasks + tasks,
        before.jobs + 1,
        max(before.width, choice.width),
        max(before.slots, choice.slots),
        before.power_w if choice.power_w is None else choice.power_w,
    )


def _ids(instances: tuple[Desired, ...]) -> set[str]:
    return {d.id for d in instances}


def _version(last: int, now: float) -> int:
    """Always newer than the last, and, being milliseconds, than what a predecessor said that was stored after its successor had
    replayed the table: two of them would otherwise count on from the same number."""
    return max(last + 1, int(now * 1000))
