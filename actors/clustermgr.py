"""The cluster manager: how many instances of what on which host, and when. It hears plans and DAG progress, so models are
being loaded while earlier stages still run, and are gone when nothing will need them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar

from msgspec.structs import replace

from ..agents.library import Implementation
from ..bus.messages import (
    ClusterLearnt,
    ClusterOutlook,
    Decision,
    Desired,
    DesiredInstances,
    HostHeartbeat,
    JobProgress,
    JobResult,
    LibraryOffered,
    Message,
    PlanMade,
    PoolForecast,
)
from ..clustermgr.forecast import Key
from ..clustermgr.policy import Policy, look_ahead
from ..clustermgr.ratios import QUANTILES, quantile
from ..clustermgr.scaling import Scaled, scale
from ..clustermgr.state import Cluster, Host, Pool, Target
from ..clustermgr.suspects import Suspects
from ..clustermgr.view import View
from ..optimizer.prices import Prices
from ..planner.shelf import Shelf
from .core import ActorBug, Command, Event, Heard, Note, Replayed, Resumed, Send, Wake, Woke

HOST_SILENT_S = 10.0
LOOK_EVERY_S = 2.0
DECIDE_EVERY_S = 0.1
"""News that comes faster than this is decided on together; only a pool that nobody needed before is decided on at once."""
DECIDE_PER_JOB_S = 0.001
"""A decision looks at every job: with thousands of them, fewer decisions are made, so that it never takes more than a part of a core."""
BLIND_S = 30.0
"""Jobs run and nothing has been heard of any of them for so long: what is warm stays, since nobody knows what they need."""
DECISIONS_KEPT = 10
KEEP_EVERY_S = 10.0
"""What was learnt is stored for the next start at most this often."""


class ClusterManager:
    role: ClassVar[str] = "clustermgr"
    hears: ClassVar[tuple[type[Message], ...]] = (PlanMade, JobProgress, JobResult, HostHeartbeat, LibraryOffered)
    replays: ClassVar[tuple[type[Message], ...]] = (DesiredInstances, LibraryOffered, ClusterLearnt)
    works: ClassVar[tuple[type[Message], ...]] = ()

    def __init__(
        self,
        library: Mapping[tuple[str, str], Implementation],
        prices: Prices | None = None,
        policy: Policy | None = None,
        wait_usd_per_s: float | None = None,
    ) -> None:
        self.shelf = Shelf(implementations=library)
        self.policy = policy or look_ahead()
        self.view = View(prices or Prices({}))
        if wait_usd_per_s is not None:
            self.view.wait_usd_per_s = wait_usd_per_s
        self.hosts: dict[str, tuple[float, HostHeartbeat]] = {}
        self.silent: dict[str, None] = {}
        self.suspects = Suspects()
        self.wanted: dict[str, DesiredInstances] = {}
        self.last: deque[Decision] = deque(maxlen=DECISIONS_KEPT)
        self.pools: dict[Key, Pool] = {}
        self.targets: dict[Key, Target] = {}
        self.unmet: tuple[Decision, ...] = ()
        self.seen: dict[str, tuple[HostHeartbeat, Host]] = {}
        """Hosts with what was worked out of them, and the heartbeats that they are of."""
        self.learnt = ClusterLearnt()
        self.kept_at = 0.0
        self.decided_at = 0.0
        self.due_at = 0.0
        """When the next decision has been asked for; 0: none has."""
        self.asked = 0
        """How often one has been."""

    def on(self, event: Event, now: float) -> Iterable[Command]:
        match event:
            case Heard(msg=HostHeartbeat() as beat):
                return self._beat(beat, now)
            case Heard(msg=PlanMade() as msg):
                return self._decide(now) if self.view.plan(msg, now) else self._decide_soon(now)
            case Heard(msg=JobProgress() as msg):
                self.view.progress(msg, now)
                return self._decide_soon(now)
            case Heard(msg=JobResult(job=job)):
                self.view.end(job, now)
                return self._decide_soon(now)
            case Woke(key=key) if key.startswith("decide"):
                if key != f"decide-{self.asked}":  # a sooner one was asked for since; each that is heard asks for another
                    return ()
                self.due_at = 0.0
                return self._decide(now)
            case Heard(msg=LibraryOffered() as msg):
                if not self.shelf.offered(msg):
                    return ()
                self.seen.clear()  # what a host's offers mean may have changed
                return self._decide_soon(now)
            case Replayed(msg=LibraryOffered() as msg):
                self.shelf.offered(msg)
            case Replayed(msg=ClusterLearnt() as msg):
                self.learnt = msg
                self.view.remember(msg)
            case Replayed(msg=DesiredInstances() as msg):
                self.wanted[msg.host] = msg
                for d in msg.instances:  # a restart is no reason to unload anything
                    self.view.needed_at.setdefault((d.agent, d.implementation, d.hardware), now)
            case Resumed() | Woke():
                if isinstance(event, Resumed) and self.hosts:
                    return ()
                return self._look(now)
        return ()

    # --- hosts ----------------------------------------------------------------------------------------------------------------

    def _beat(self, said: HostHeartbeat, now: float) -> Iterator[Command]:
        beat, faults = self.suspects.check(said, now)
        yield from map(Note, faults)
        if beat is None:
            return
        self.view.beat(beat, now)
        if beat.leaving:
            self.suspects.forget(beat.host)
            yield from self._leave(beat.host, now)
            return
        fresh = beat.host not in self.hosts
        before = None if fresh else self.hosts[beat.host][1]
        self.hosts[beat.host] = (now, beat)
        self._see(beat.host)  # now, one by one, and not thousands of them when something is to be decided
        self.silent.pop(beat.host, None)
        yield from self._catch_up(beat, now)
        if fresh:
            yield from self._decide(now, say_again=beat.host)
        elif before is None or _shape(before) != _shape(beat):
            yield from self._decide_soon(now)

    def _catch_up(self, beat: HostHeartbeat, now: float) -> Iterator[Command]:
        """A host may know a version of our predecessor that was stored only after we had replayed the table; it would ignore ours."""
        wants = self.wanted.get(beat.host) or DesiredInstances(host=beat.host, version=0)
        if beat.version > wants.version:
            self.wanted[beat.host] = replace(
                wants, version=_version(beat.version, now), reasons=("the host knew a newer version",), decisions=()
            )
            yield Send(self.wanted[beat.host])

    def _leave(self, host: str, now: float) -> Iterator[Command]:
        """A host that leaves in good order shall have nothing when it comes back; one that crashed shall have it all again."""
        self.hosts.pop(host, None)
        wants = self.wanted.get(host)
        if wants is not None and wants.instances:
            self.wanted[host] = DesiredInstances(host=host, version=_version(wants.version, now), reasons=("the host left",))
            yield Send(self.wanted[host])
        yield from self._decide_soon(now)

    def _look(self, now: float) -> Iterator[Command]:
        lost = [h for h, (at, _) in self.hosts.items() if now - at >= HOST_SILENT_S]
        for host in lost:
            del self.hosts[host]
            self.silent[host] = None  # lost; what it shall have stays said, and holds when it comes back
        self.view.forget_silent(now)
        yield from self._decide(now) if lost else self._decide_soon(now)
        yield from self._remind()
        yield Send(self._outlook(now))
        if now - self.kept_at >= KEEP_EVERY_S:
            self.kept_at, learnt = now, self.view.learnt()
            if learnt != self.learnt:
                self.learnt = learnt
                yield Send(learnt)
        yield Wake(LOOK_EVERY_S, "look")

    def _remind(self) -> Iterator[Command]:
        """What a host shall have is said again while its heartbeats do not show it; news may be lost."""
        for host, (_, beat) in self.hosts.items():
            wants = self.wanted.get(host)
            if wants is not None and _ids(wants.instances) != {i.id for i in beat.instances if i.state != "draining"}:
                yield Send(wants)

    # --- decisions ------------------------------------------------------------------------------------------------------------

    def _decide_soon(self, now: float) -> Iterator[Command]:
        """At once, or a moment after the last time; a decision looks at all jobs, so hundreds of them must not cause one each."""
        every_s = DECIDE_EVERY_S + DECIDE_PER_JOB_S * len(self.view.jobs)
        if now - self.decided_at >= every_s:
            yield from self._decide(now)
        else:
            yield from self._wake(now, every_s)

    def _wake(self, now: float, after_s: float) -> Iterator[Command]:
        """One decision is asked for at a time, the soonest."""
        if not self.due_at or now + after_s < self.due_at - 1e-6:
            self.due_at = now + after_s
            self.asked += 1
            yield Wake(after_s, f"decide-{self.asked}")

    def _decide(self, now: float, say_again: str = "") -> Iterator[Command]:
        self.decided_at = now
        hosts = self._hosts()
        cluster = Cluster(hosts, self.shelf.implementations, now)
        self.pools = self.view.pools(hosts, self.shelf.implementations, now)
        self.targets = {key: self._target(pool, now) for key, pool in self.pools.items()}
        scaled = scale(cluster, self.pools, self.targets)
        self.unmet = scaled.unmet
        yield from self._say(scaled, now, say_again)
        look_s = 0.0 if scaled.more else min((t.look_s for t in self.targets.values()), default=float("inf"))
        if look_s < LOOK_EVERY_S:
            yield from self._wake(now, max(look_s, DECIDE_EVERY_S))

    def _hosts(self) -> list[Host]:
        """Those that live, with what was known of them before as far as it holds."""
        if len(self.seen) > len(self.hosts):
            self.seen = {name: seen for name, seen in self.seen.items() if name in self.hosts}
        return [self._see(name) for name in self.hosts]

    def _see(self, name: str) -> Host:
        beat, has, seen = self.hosts[name][1], self._has(name), self.seen.get(name)
        if seen is not None and seen[0] is beat and seen[1].has is has:
            return seen[1]
        if seen is None:
            host = Host(self.shelf.usable(beat), has)
        else:
            host = seen[1].now(seen[1].beat if seen[0] is beat else self.shelf.usable(beat), has)
        self.seen[name] = (beat, host)
        return host

    def _has(self, host: str) -> tuple[Desired, ...]:
        wants = self.wanted.get(host)
        return wants.instances if wants is not None else ()

    def _target(self, pool: Pool, now: float) -> Target:
        target = self.policy.target(pool, now)
        if target.due:
            self.view.needed_at[pool.key] = now
        blind = bool(self.view.jobs) and now - self.view.heard >= BLIND_S
        if blind and target.n < pool.have:
            text = f"{len(self.view.jobs)} jobs run and nothing was heard of them for {now - self.view.heard:.0f} s"
            target = Target(pool.have, False, "blind", text, {"silent_s": now - self.view.heard})
        if target.n >= pool.have or target.code == "surplus-held":
            if target.code == "surplus-held":
                self.view.enough_at.setdefault(pool.key, now)
            else:
                self.view.enough_at.pop(pool.key, None)
        return target

    def _say(self, scaled: Scaled, now: float, say_again: str) -> Iterator[Command]:
        for host in self.hosts:
            instances = scaled.hosts[host]
            wants = self.wanted.get(host) or DesiredInstances(host=host, version=0)
            if instances is not wants.instances and _ids(instances) != _ids(wants.instances):
                decisions = tuple(d for d in scaled.decisions if d.host == host)
                self.last.extend(decisions)
                wants = self.wanted[host] = DesiredInstances(
                    host=host,
                    version=_version(wants.version, now),
                    instances=instances,
                    reasons=tuple(text_of(d) for d in decisions),
                    decisions=decisions,
                )
                yield Send(wants)
            elif host == say_again and wants.version:
                yield Send(wants)  # a host that came back may have missed it

    # --- what is told to people -------------------------------------------------------------------------------------------------

    def _outlook(self, now: float) -> ClusterOutlook:
        states: Counter[tuple[str, str, str, str]] = Counter(
            (i.agent, i.implementation, i.hardware, i.state) for _, b in self.hosts.values() for i in b.instances
        )
        return ClusterOutlook(
            at=now,
            policy=self.policy.name,
            pools=tuple(self._forecast(pool, states, now) for _, pool in sorted(self.pools.items())),
            errors=self.view.accuracy.report(),
            decisions=tuple(self.last),
            unmet=self.unmet,
            faults=self.suspects.told(now),
            silent=tuple(self.silent),
        )

    def _forecast(self, pool: Pool, states: Counter[tuple[str, str, str, str]], now: float) -> PoolForecast:
        target = self.targets.get(pool.key)
        ahead = [n for n in pool.needs if not n.ready]
        soonest = min(ahead, key=lambda n: n.start[1], default=None)
        left = sorted(s + k.after_s for k in pool.kinds for s in k.left)
        return PoolForecast(
            *pool.key,
            warm=states[(*pool.key, "warm")],
            loading=states[(*pool.key, "loading")],
            wanted=target.n if target is not None else 0,
            tasks=sum(n.tasks for n in pool.needs),
            ready=sum(n.ready for n in pool.needs),
            work_s=sum(n.work_s for n in pool.needs),
            load_s=pool.load_s,
            start_s=tuple(max(0.0, at - now) for at in soonest.start) if soonest is not None else (),
            arrival_s=tuple(quantile(left, q) for q in QUANTILES) if left else (),
            why=target.text if target is not None else "",
        )

    def check(self) -> None:
        for host, wants in self.wanted.items():
            if len(_ids(wants.instances)) != len(wants.instances):
                raise ActorBug(f"host {host} shall have an instance twice")


def text_of(d: Decision) -> str:
    sign = {"start": "+", "release": "-", "move": "-"}.get(d.verb, "")
    return f"{sign} {d.implementation} for {d.agent}: {d.text}"


def _shape(beat: HostHeartbeat) -> object:
    """What of a heartbeat decisions depend on."""
    return (beat.offers, beat.revoked_at, tuple((i.id, i.state, i.busy > 0) for i in beat.instances))


def _ids(instances: tuple[Desired, ...]) -> set[str]:
    return {d.id for d in instances}


def _version(last: int, now: float) -> int:
    """Always newer than the last, and, being milliseconds, than what a predecessor said that was stored after its successor had
    replayed the table: two of them would otherwise count on from the same number."""
    return max(last + 1, int(now * 1000))
