"""What the cluster manager knows of jobs: what they need, what kinds of them come, how long stages and loads take. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from ..agents.library import Implementation
from ..bus.messages import ClusterLearnt, HostHeartbeat, JobKind, JobProgress, PlanMade, PoolSeconds
from ..optimizer.hardware import split
from ..optimizer.prices import Prices
from . import forecast
from .accuracy import Accuracy
from .arrivals import Arrivals, Stakes
from .forecast import JobView, Key, Need
from .policy import WAIT_USD_PER_HOUR
from .ratios import Ratios
from .state import Host, Pool, Regular, places

JOB_SILENT_S = 900.0
"""A job of which nothing was heard for this long needs no models; its end may have been missed."""
SWITCH_S = 10.0
"""Ending an instance and starting it again costs as much as holding it for so long, besides the load itself: what it disturbs, and the
chance that it fails. Assumed. It is what keeps demand that comes and goes faster than that from being followed up and down."""
ENDED_KEPT = 10_000
KINDS_KEPT = 200


@dataclass(slots=True)
class Kind:
    """Jobs of one shape: when they came, and what the newest of them needed: pool to (seconds after its arrival, width)."""

    arrivals: Arrivals = field(default_factory=Arrivals)
    pools: dict[Key, tuple[float, int]] = field(default_factory=dict)


@dataclass(slots=True)
class View:
    prices: Prices
    wait_usd_per_s: float = WAIT_USD_PER_HOUR / 3600
    jobs: dict[str, JobView] = field(default_factory=dict)
    kinds: dict[str, Kind] = field(default_factory=dict)
    ratios: Ratios = field(default_factory=Ratios)
    accuracy: Accuracy = field(default_factory=Accuracy)
    loads: dict[Key, float] = field(default_factory=dict)
    """Seconds that a load took, smoothed."""
    ended: dict[str, None] = field(default_factory=dict)
    heard: float = 0.0
    """When anything was last heard of any job."""
    came: dict[str, float] = field(default_factory=dict)
    """When a job was first heard of, while it is being planned."""
    needed_at: dict[Key, float] = field(default_factory=dict)
    enough_at: dict[Key, float] = field(default_factory=dict)
    """Since when fewer instances would do."""
    _loading: dict[tuple[str, str, Key], float] = field(default_factory=dict)
    """Host, instance and pool of what loads, to since when."""

    # --- news -----------------------------------------------------------------------------------------------------------------

    def plan(self, msg: PlanMade, now: float) -> bool:
        """Whether it brings a pool that no job has needed so far."""
        self.heard = now
        if msg.job in self.ended or msg.explain:
            return False
        if msg.again:
            if msg.job in self.jobs:
                forecast.again(self.jobs[msg.job], msg)
            return False
        known = msg.job in self.jobs
        job = self.jobs[msg.job] = forecast.planned(msg, now)
        fresh = any(v.key not in self.needed_at for v in job.stages.values())
        came = self.came.pop(msg.job, now)
        if not known:
            kind = self.kinds.pop(job.kind, None) or Kind()
            self.kinds[job.kind] = kind  # the newest last
            while len(self.kinds) > KINDS_KEPT:
                del self.kinds[next(iter(self.kinds))]
            kind.arrivals.came(came)
            kind.pools = {}
            for choice in msg.plan.choices:
                view = job.stages[choice.stage]
                after_s, width = kind.pools.get(view.key, (float("inf"), 1))
                kind.pools[view.key] = (min(after_s, now - came + choice.start_s), max(width, min(choice.width, view.tasks)))
        return fresh

    def progress(self, msg: JobProgress, now: float) -> None:
        self.heard = now
        if msg.phase in ("done", "failed", "cancelled"):
            self.end(msg.job, now)
        elif msg.job in self.ended:
            return  # a late or repeated message must not bring it back
        elif msg.phase == "running":
            job = self.jobs.setdefault(msg.job, JobView(now))
            before = {name: view.started for name, view in job.stages.items()}
            for name in list(forecast.progressed(job, msg, now)):
                self._ended_stage(job, name)
            for name, view in job.stages.items():
                if view.started is not None and before.get(name) is None:
                    self.accuracy.came(msg.job, name, now)
        else:
            self.came.setdefault(msg.job, now)

    def _ended_stage(self, job: JobView, name: str) -> None:
        view = job.stages[name]
        flows = any(flows and (source := job.stages.get(s)) and (source.ended or 0) > (view.started or 0) for s, flows in view.sources)
        if view.started is not None and view.ended is not None and not flows:  # else it also waited for what flowed in
            self.ratios.observe(view.key[0], view.span_s, view.ended - view.started)

    def end(self, job: str, now: float) -> None:
        self.heard = now
        self.jobs.pop(job, None)
        self.came.pop(job, None)
        self.accuracy.forget(job)
        self.ended[job] = None
        while len(self.ended) > ENDED_KEPT:
            del self.ended[next(iter(self.ended))]

    def beat(self, beat: HostHeartbeat, now: float) -> None:
        """Learns how long loads take: as the host says, else from the times at which states were seen."""
        for i in beat.instances:
            key = (i.agent, i.implementation, i.hardware)
            name = (beat.host, i.id, key)
            if i.state == "loading":
                self._loading.setdefault(name, now)
            elif (since := self._loading.pop(name, None)) is not None and i.state == "warm":
                took_s = i.load_s or now - since
                before = self.loads.get(key)
                self.loads[key] = took_s if before is None else 0.5 * before + 0.5 * took_s

    # --- across restarts ------------------------------------------------------------------------------------------------------

    def learnt(self) -> ClusterLearnt:
        kinds = (
            JobKind(name, tuple(k.arrivals.times), tuple(PoolSeconds(*key, after_s, width) for key, (after_s, width) in k.pools.items()))
            for name, k in self.kinds.items()
        )
        return ClusterLearnt(
            ratios={agent: tuple(seen) for agent, seen in self.ratios.seen.items()},
            loads=tuple(PoolSeconds(*key, took_s) for key, took_s in self.loads.items()),
            kinds=tuple(kinds),
        )

    def remember(self, msg: ClusterLearnt) -> None:
        """What a predecessor had learnt, before anything else is heard."""
        for agent, ratios in msg.ratios.items():
            for ratio in ratios:
                self.ratios.observe(agent, 1.0, ratio)
        self.loads = {(p.agent, p.implementation, p.hardware): p.time_s for p in msg.loads}
        for k in msg.kinds:
            kind = self.kinds[k.name] = Kind()
            kind.arrivals.times.extend(k.times)
            kind.pools = {(p.agent, p.implementation, p.hardware): (p.time_s, p.width) for p in k.pools}

    def forget_silent(self, now: float) -> None:
        self.jobs = {j: v for j, v in self.jobs.items() if now - v.heard < JOB_SILENT_S}
        self.came = {j: at for j, at in self.came.items() if now - at < JOB_SILENT_S}

    # --- what follows ---------------------------------------------------------------------------------------------------------

    def needs(self, hosts: Sequence[Host], library: Mapping[tuple[str, str], Implementation], now: float) -> Mapping[Key, tuple[Need, ...]]:
        """By pool. What is said of a stage for the first time is kept, to see how good it was."""
        cold = self._cold(hosts, library, now)
        found = [n for name, job in self.jobs.items() for n in forecast.needs(name, job, self.ratios, cold, now)]
        for need in found:
            if need.start[0] > now:
                self.accuracy.say(need.job, need.stage, need.key[0], need.start)
        return forecast.by_pool(found)

    def _cold(self, hosts: Sequence[Host], library: Mapping[tuple[str, str], Implementation], now: float) -> dict[Key, float]:
        """Seconds until a pool can have a warm instance, for those that have none."""
        warm = {key for h in hosts for key, states in h.states.items() if states["warm"]}
        begun: dict[Key, float] = {}
        here = {h.beat.host: h for h in hosts}
        for (host, _, key), since in self._loading.items():
            if host in here and key in here[host].states and here[host].states[key]["loading"]:
                begun[key] = min(begun.get(key, now), since)
        cold = {}
        for view in (v for job in self.jobs.values() for v in job.stages.values() if v.ended is None):
            if view.key not in warm and view.key[:2] in library:
                load_s = self.loads.get(view.key) or view.load_s or library[view.key[:2]].load_s
                cold[view.key] = max(0.0, load_s - (now - begun.get(view.key, now)))
        return cold

    def pools(self, hosts: Sequence[Host], library: Mapping[tuple[str, str], Implementation], now: float) -> dict[Key, Pool]:
        """Every pool that a job needs, that a host has, or that a kind of job that comes again and again has needed."""
        needs = self.needs(hosts, library, now)
        here = [h for h in hosts if h.beat.revoked_at is None]
        have: dict[Key, int] = {}
        for host in here:
            for key, n in host.count.items():
                have[key] = have.get(key, 0) + n
        makes: dict[Hashable, tuple[Host, int]] = {}
        for host in here:
            makes[host.make] = (host, makes.get(host.make, (host, 0))[1] + 1)
        regular = self._regular(now)
        found = {}
        for key in {**needs, **have, **regular}:
            row = library.get(key[:2])
            if row is None:
                continue
            found[key] = self._pool(key, row, makes.values(), needs.get(key, ()), have.get(key, 0), regular.get(key, ()), now)
        return found

    def _pool(
        self,
        key: Key,
        row: Implementation,
        makes: Iterable[tuple[Host, int]],
        needs: tuple[Need, ...],
        have: int,
        kinds: tuple[Regular, ...],
        now: float,
    ) -> Pool:
        able = [(h, n) for h, n in makes if key in h.offers]
        room = sum(n * places(host, row, key[2]) for host, n in able)
        on_cpu = not any(split(key[2])[0] in host.classes for host, _ in able)
        needs = tuple(n if n.work_s else replace(n, work_s=n.tasks * row.work_s) for n in needs)  # where its plan was missed
        load_s = self.loads.get(key) or max((n.load_s for n in needs), default=0.0) or row.load_s
        slots = max((n.slots for n in needs), default=0) or row.slots
        return Pool(
            key=key,
            have=have,
            places=room,
            spare=max(1, room // 2) if on_cpu and room else room,
            load_s=load_s,
            slots=slots,
            needs=needs,
            kinds=kinds,
            idle_s=now - self.needed_at.setdefault(key, now),
            surplus_s=now - self.enough_at[key] if key in self.enough_at else 0.0,
            stakes=self.stakes(key, row, load_s),
            wait_usd_per_s=self.wait_usd_per_s,
        )

    def stakes(self, key: Key, row: Implementation, load_s: float) -> Stakes:
        """Holding costs what its cores or its device cost, whether they work or not: nobody else may count on them. A load costs that
        for its time, and for `SWITCH_S` more."""
        rates = self.prices.of(key[2])
        hold = (rates.usd_per_device_hour or rates.usd_per_core_hour * row.threads) / 3600
        return Stakes(hold, (load_s + SWITCH_S) * hold, load_s * self.wait_usd_per_s)

    def _regular(self, now: float) -> dict[Key, tuple[Regular, ...]]:
        found: dict[Key, list[Regular]] = {}
        for name, kind in self.kinds.items():
            left = tuple(kind.arrivals.left(now))
            if left:
                for key, (after_s, width) in kind.pools.items():
                    found.setdefault(key, []).append(Regular(name, left, after_s, width))
        return {key: tuple(kinds) for key, kinds in found.items()}
