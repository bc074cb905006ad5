"""The optimizer: which implementation, on what, how wide, how many paths, for every stage; steered to warm models by what the hosts
say, and by profiles that every finished job refines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import log2
from typing import Any, ClassVar
from zlib import crc32

import msgspec

from ..agents.spec import Agent, Implementation
from ..bus.messages import (
    HostHeartbeat,
    JobResult,
    LibraryOffered,
    MakePlan,
    Message,
    Plan,
    PlanMade,
    PlanRefused,
    PlansStale,
    Profile,
    ProfileKept,
    SensitivityKept,
    Workload,
    WorkloadKept,
)
from ..bus.subjects import pool, token
from ..clustermgr.suspects import plausible
from ..optimizer.fleet import STRANDED_S, Fleet, HostView, view
from ..optimizer.goals import BadGoal
from ..optimizer.hardware import hardware_of, joined
from ..optimizer.hops import Hops
from ..optimizer.make import Infeasible, NoOffer, World, make_plan
from ..optimizer.prices import Prices
from ..optimizer.profiles import BadProfile, Profiles
from ..optimizer.running import Running
from ..optimizer.stale import Watch
from ..optimizer.workloads import Workloads
from ..planner.shelf import Shelf
from .core import ActorBug, Command, Do, Errand, Event, Heard, Outcome, Replayed, Resumed, Send, Wake, Woke

HOST_SILENT_S = 10.0
SWEEP_EVERY_S = 5.0
KEEP_EVERY_S = 5.0
"""A profile that changes with every job is said this often at most."""
INLINE_STAGES = 12
"""A search over more stages than this is done beside the actor, which stays responsive."""
CACHE_MAX = 1_000


class Optimize(Errand, frozen=True):
    """Make a plan; the outcome is a Plan, or NoOffer, Infeasible or BadGoal as a refusal."""

    ask: MakePlan
    world: World
    before: Plan | None = None
    """The plan of a job that runs."""


class Refusal(msgspec.Struct, frozen=True):
    """Why there is no plan."""

    error: str
    wait: bool


def optimized(errand: Optimize) -> Plan | Refusal:
    """What the errand comes to; it runs anywhere."""
    try:
        return make_plan(errand.world, errand.ask, before=errand.before)
    except NoOffer as error:
        return Refusal(str(error), True)
    except (Infeasible, BadGoal) as error:
        return Refusal(str(error), False)


class Optimizer:
    role: ClassVar[str] = "optimizer"
    hears: ClassVar[tuple[type[Message], ...]] = (MakePlan, HostHeartbeat, JobResult, LibraryOffered, ProfileKept, SensitivityKept)
    replays: ClassVar[tuple[type[Message], ...]] = (LibraryOffered, ProfileKept, WorkloadKept, SensitivityKept)
    works: ClassVar[tuple[type[Message], ...]] = ()

    def __init__(
        self,
        agents: Mapping[str, Agent],
        library: Mapping[tuple[str, str], Implementation],
        prices: Prices,
        given: Iterable[Profile] = (),
    ) -> None:
        self.shelf = Shelf(agents, library)
        self.prices = prices
        self.profiles = Profiles(library, given)
        self.workloads = Workloads(agents)
        self.hops = Hops()
        self.hosts: dict[str, tuple[float, HostHeartbeat]] = {}
        self.views: dict[str, HostView] = {}
        self.unused: dict[tuple[str, str], float] = {}
        """(host, hardware class) to since when nothing has been loaded on its devices."""
        self.running = Running()
        self.watch = Watch()
        self.epoch = 0
        """Grows whenever the same question may get another answer."""
        self.cache: dict[tuple[Any, ...], Plan] = {}
        self.unsaid: dict[str, Message] = {}
        self.saying = False

    def on(self, event: Event, now: float) -> Iterable[Command]:
        return list(self._on(event, now))

    def _on(self, event: Event, now: float) -> Iterable[Command]:
        match event:
            case Heard(msg=HostHeartbeat() as beat):
                return self._beat(plausible(beat, now), now)
            case Heard(msg=MakePlan() as msg):
                return self._asked(msg, now)
            case Outcome(errand=Optimize(ask=ask), value=value, error=error):
                return [self._answer(ask, value if not error else Refusal(f"the search failed: {error}", False), now)]
            case Heard(msg=JobResult() as msg):
                return self._ended(msg, now)
            case Heard(msg=LibraryOffered() as msg) | Replayed(msg=LibraryOffered() as msg):
                if self.shelf.offered(msg):
                    self.profiles.library, self.workloads.agents = self.shelf.implementations, self.shelf.library.agents
                    self.epoch += 1
            case Heard(msg=ProfileKept(profile=profile)) | Replayed(msg=ProfileKept(profile=profile)):
                return self._told(profile, now)
            case Replayed(msg=WorkloadKept(workload=workload)):
                self.workloads.put(workload)
                self.epoch += 1
            case Heard(msg=SensitivityKept() as msg) | Replayed(msg=SensitivityKept() as msg):
                self.workloads.sensed(msg.agent, msg.sensitivity)
                self.epoch += 1
            case Outcome(errand=errand, error=error) if isinstance(made := getattr(errand, "msg", None), PlanMade):
                return [Send(PlanRefused(job=made.job, error=error, seen=len(made.plan.workflow.stages)))]
            case Woke(key="keep"):
                return self._keep()
            case Resumed() | Woke():
                return self._sweep(event, now)
        return ()

    # --- what there is --------------------------------------------------------------------------------------------------------

    def _beat(self, beat: HostHeartbeat, now: float) -> Iterator[Command]:
        why = self.watch.beat(beat, now)
        if beat.leaving:
            self._drop(beat.host)
        else:
            self.hosts[beat.host] = (now, beat)
            self._look(beat, now)
        if why:
            yield Send(PlansStale(why=why, at=now))

    def _look(self, beat: HostHeartbeat, now: float) -> None:
        usable = self.shelf.usable(beat)
        classes = {d.name: joined(hardware_of(d.name), beat.market) for d in beat.devices if d.kind == "gpu"}
        used = {i.hardware for i in beat.instances}
        for hardware in set(classes.values()):
            key = (beat.host, hardware)
            if hardware in used:
                self.unused.pop(key, None)
            else:
                self.unused.setdefault(key, now)
        idle = {h for (host, h), since in self.unused.items() if host == beat.host and now - since >= STRANDED_S}
        seen = view(usable, classes, idle)
        if self.views.get(beat.host) != seen:
            self.views[beat.host] = seen
            self.epoch += 1

    def _drop(self, host: str) -> None:
        self.hosts.pop(host, None)
        if self.views.pop(host, None) is not None:
            self.epoch += 1
        self.unused = {key: since for key, since in self.unused.items() if key[0] != host}

    def _sweep(self, event: Event, now: float) -> Iterator[Command]:
        for host in [h for h, (at, _) in self.hosts.items() if now - at >= HOST_SILENT_S]:
            why = self.watch.gone(host, now)
            self._drop(host)
            if why:
                yield Send(PlansStale(why=why, at=now))
        self.running.forget(now)
        if not isinstance(event, Resumed) or not self.hosts:
            yield Wake(SWEEP_EVERY_S, "sweep")

    # --- plans ----------------------------------------------------------------------------------------------------------------

    def _asked(self, ask: MakePlan, now: float) -> Iterator[Command]:
        busy = self.running.busy(now, ask.job)
        key = self._cache_key(ask, busy)
        if not ask.again and (known := self.cache.get(key)) is not None:
            yield self._answer(ask, known, now)
            return
        rows, agents = self.shelf.implementations, self.shelf.library.agents
        fleet = Fleet(tuple(self.views[h] for h in sorted(self.views)), busy)
        world = World(agents, rows, fleet, self.profiles, self.workloads, self.prices, self.hops)
        has = self.running.jobs.get(ask.job) if ask.again else None
        errand = Optimize(ask, world, has.plan if has is not None else None)
        if len(ask.workflow.stages) <= INLINE_STAGES:
            yield self._answer(ask, optimized(errand), now, key)
        else:
            frozen = msgspec.structs.replace(world, profiles=self.profiles.copy(), workloads=self.workloads.copy())
            yield Do(msgspec.structs.replace(errand, world=frozen))

    def _cache_key(self, ask: MakePlan, busy: Mapping[str, tuple[int, float]]) -> tuple[Any, ...]:
        """The same for jobs that differ in nothing that matters; how busy the fleet is counts by its order of magnitude."""
        load = tuple((h, int(log2(n + 1)), int(log2(s + 1))) for h, (n, s) in sorted(busy.items()))
        question = msgspec.json.encode(msgspec.structs.replace(ask, job="", spent_s=0.0 if ask.deadline_s is None else ask.spent_s))
        return (self.epoch, load, question)

    def _answer(self, ask: MakePlan, made: object, now: float, key: tuple[Any, ...] | None = None) -> Send:
        if not isinstance(made, Plan):
            refusal = made if isinstance(made, Refusal) else Refusal(f"the search gave {type(made).__name__}", False)
            return Send(PlanRefused(job=ask.job, error=refusal.error, wait=refusal.wait, seen=len(ask.workflow.stages)))
        if key is not None and not ask.again:
            while len(self.cache) >= CACHE_MAX:
                del self.cache[next(iter(self.cache))]
            self.cache[key] = made
        if not ask.explain:
            self.running.planned(ask, made, now)
        return Send(PlanMade(job=ask.job, plan=made, explain=ask.explain, again=ask.again))

    # --- what jobs taught -----------------------------------------------------------------------------------------------------

    def _ended(self, msg: JobResult, now: float) -> Iterator[Command]:
        planned = self.running.ended(msg.job)
        self.hops = self.hops.learnt(msg)
        flow = {s.name: s for s in msg.plan.workflow.stages} if msg.plan is not None else {}
        for report in msg.stages:
            if report.moved:  # its tasks ran in several pools
                continue
            if (report.agent, report.implementation) in self.shelf.implementations:
                before = self.profiles.get(report.agent, report.implementation, report.hardware)
                if (learnt := self.profiles.learn(report, now)) is not None:
                    self._changed(_moved(before, learnt, report.tasks, report.units))
                    self._say(ProfileKept(pool=pool(learnt.agent, learnt.implementation, learnt.hardware), profile=learnt))
                    if why := self.watch.profile(learnt):
                        yield Send(PlansStale(why=why, at=now))
            if (stage := flow.get(report.stage)) is None:
                continue
            known = planned.ask.units if planned is not None and msg.status == "done" else {}
            for load in self.workloads.learn(stage, report, known):
                self._say(WorkloadKept(key=_key(load), workload=load))
        if self.unsaid and not self.saying:
            self.saying = True
            yield Wake(KEEP_EVERY_S, "keep")

    def _changed(self, part: float) -> None:
        if part > 0.02:
            self.epoch += 1

    def _say(self, msg: ProfileKept | WorkloadKept) -> None:
        """The newest of each, a moment later."""
        self.unsaid[msg.pool if isinstance(msg, ProfileKept) else f"/{msg.key}"] = msg

    def _keep(self) -> list[Command]:
        said, self.unsaid, self.saying = list(self.unsaid.values()), {}, False
        return [Send(msg) for msg in said]

    def _told(self, profile: Profile, now: float) -> Iterable[Command]:
        """By our predecessor, by ourselves, or by somebody who measured."""
        known = self.profiles.known(profile)
        if known is not None and (known == profile or known.at > profile.at):
            return ()
        try:
            self.profiles.put(profile)
        except BadProfile:
            return ()  # whoever measured it was told; a bad one on the bus must not end the optimizer
        self.epoch += 1
        why = self.watch.profile(profile)
        return [Send(PlansStale(why=why, at=now))] if why else ()

    def check(self) -> None:
        if any(p.drift <= 0 or p.load_s < 0 for p in self.profiles.all()):
            raise ActorBug("a profile is negative")
        if self.views.keys() != self.hosts.keys():
            raise ActorBug(f"hosts and their views differ: {sorted(self.views.keys() ^ self.hosts.keys())}")


def _moved(before: Profile, after: Profile, tasks: int, units: Mapping[str, float]) -> float:
    """By what part the estimate of such tasks has changed."""
    a, b = (p.cpu.at(tasks, dict(units)) * p.drift for p in (before, after))
    return abs(b - a) / max(a, b, 1e-4)


def _key(load: Workload) -> str:
    return token(load.agent)[:60] + (f"-{crc32(load.args.encode()):08x}" if load.args else "")
