"""Whose job is planned and started next: quotas, turns between tenants, and how many may be under way. Base of the conductor.

A job is stored and accepted first, and waits then until it is started: planned, optimized, run. What waits costs nobody anything but
its memory; so however many jobs one tenant submits, the planner, the optimizer and the pools have only so much of it at a time, and
another tenant's job stands behind no more than that.

It is work-conserving but for this: a tenant with ENOUGH jobs under way gets another one when none of its tasks waits for a slot. Of a
tenant's own jobs the first submitted starts first, whatever pools they will need, which nobody knows before they are planned.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ..agents.spec import Implementation
from ..bus.messages import Choice, Ended, LibraryOffered, Plan, PlanRefused, SubmitJob, TenantsState, TenantState
from ..planner.shelf import Shelf
from .core import ActorBug, Command, Send
from .jobs import Job
from .replanning import Replanning
from .run import Task
from .shares import Need, Shares
from .tenants import Tenant

PLANNING_MAX = 32
"""Jobs of all tenants that planner and optimizer may have at a time; enough for language models to answer many at once."""
PLANNING_EACH = 4
"""Of one tenant, while others have jobs too: what another one's job stands behind."""
STUCK_MAX = 64
"""Jobs of a tenant that no host can run just now, and that ask again and again; its next ones wait."""
ENOUGH = 64
"""With so many jobs under way, a tenant whose tasks wait for slots gains nothing by more of them."""
WAITING_MAX = 100_000
"""Of a tenant without a quota; some 600 MB of memory."""
ACTIVE_S = 60.0
"""A tenant whose last job ended so long ago is still expected back."""
STATES_MAX = 200
"""Tenants that are told of at a time, those with something to tell first."""

Row = tuple[str, str]
"""(agent, implementation)"""


@dataclass(slots=True)
class Line:
    """The jobs of one tenant. `running` has all that were started and have not ended, `planning` and `stuck` some of them."""

    waiting: OrderedDict[str, None] = field(default_factory=OrderedDict)
    running: dict[str, None] = field(default_factory=dict)
    planning: dict[str, None] = field(default_factory=dict)
    stuck: dict[str, None] = field(default_factory=dict)
    refused: int = 0
    started: deque[float] = field(default_factory=lambda: deque(maxlen=50))
    """When jobs were started lately."""
    turn: int = 0
    active_at: float = 0.0
    why: str = ""
    """Why the first of its waiting jobs waits."""


class Admission(Replanning):
    """Jobs wait here between being accepted and being planned."""

    def __init__(self, tenants: Iterable[Tenant] = (), rows: Mapping[Row, Implementation] | None = None) -> None:
        super().__init__()
        self.shelf = Shelf(implementations=rows)
        self.lines: dict[str, Line] = {}
        self.turns = 0
        self.told: tuple[TenantState, ...] | None = None
        self.shares.know(tenants)

    @property
    def shares(self) -> Shares:
        return self.state.pools.shares

    def _line(self, tenant: str) -> Line:
        return self.lines.setdefault(tenant, Line())

    # --- submissions ------------------------------------------------------------------------------------------------------------

    def _no_room(self, msg: SubmitJob, now: float) -> str:
        """Why a tenant may not submit another job now, and when it may; empty when it may."""
        line, tenant = self._line(msg.tenant), self.shares.of(msg.tenant).tenant
        quota = WAITING_MAX if tenant.waiting_jobs is None else tenant.waiting_jobs
        if len(line.waiting) < quota or (not line.waiting and not self._why_not(msg.tenant, line)):
            return ""
        line.refused += 1
        return f"tenant {msg.tenant} has {len(line.waiting)} jobs waiting, and its quota is waiting_jobs = {quota}: try again {_when(line, now)}"

    def _queue_up(self, job: Job, now: float) -> Iterator[Command]:
        """An accepted job: it starts now, or waits and says so."""
        self._wait(job)
        self._line(job.tenant).active_at = now
        self._look_who_is_there(now)
        yield from self._admit(now)
        if job.queued and job.ended is None:
            yield Send(job.progress())

    def _wait(self, job: Job) -> None:
        line = self._line(job.tenant)
        line.waiting[job.name] = None
        job.queued, job.note = True, f"waits for its turn; {len(line.waiting) - 1} jobs of its tenant are before it"

    def _goes_on(self, job: Job) -> None:
        """After a restart: a job that runs already."""
        self._line(job.tenant).running[job.name] = None

    # --- turns ------------------------------------------------------------------------------------------------------------------

    def _release(self, now: float) -> Iterator[Command]:
        yield from super()._release(now)
        yield from self._admit(now)

    def _admit(self, now: float) -> Iterator[Command]:
        """Starts what may start: next is the tenant with the fewest jobs in planning by weight, then with the least share, then by turns."""
        while (tenant := self._next_tenant()) and self.state.live:
            line = self.lines[tenant]
            job = self.state.jobs[line.waiting.popitem(last=False)[0]]
            line.running[job.name] = line.planning[job.name] = None
            line.started.append(now)
            self.turns += 1
            line.turn, job.queued, job.note = self.turns, False, ""
            yield from self._ask(job, now)

    def _next_tenant(self) -> str:
        best: tuple[float, float, int] | None = None
        found, planning = "", 0
        for name, line in self.lines.items():
            planning += len(line.planning)
            if not line.waiting:
                continue
            line.why = self._why_not(name, line)
            if line.why:
                continue
            account = self.shares.of(name)
            key = (len(line.planning) / account.tenant.weight, account.share, line.turn)
            if best is None or key < best:
                best, found = key, name
        return found if planning < PLANNING_MAX else ""

    def _why_not(self, name: str, line: Line) -> str:
        """What a tenant's next job waits for; empty when it may start."""
        quota = self.shares.of(name).tenant.running_jobs
        if quota is not None and len(line.running) >= quota:
            return f"its quota: running_jobs = {quota}"
        if len(line.planning) >= (PLANNING_EACH if self.state.pools.crowded else PLANNING_MAX):
            return "the planning of those before"
        if len(line.stuck) >= STUCK_MAX:
            return f"hosts: {len(line.stuck)} jobs before it can be run by none"
        if len(line.running) >= ENOUGH and self.state.pools.backlog.get(name):
            return "slots: tasks of those before wait too"
        return ""

    def _look_who_is_there(self, now: float) -> None:
        there = sum(1 for line in self.lines.values() if line.running or line.waiting or now - line.active_at < ACTIVE_S)
        if self.state.pools.crowded != (there > 1):
            self.state.pools.crowded = there > 1
            self.state.pools.dirty.update(dict.fromkeys(self.state.pools.pools))

    # --- a started job ------------------------------------------------------------------------------------------------------------

    def _begin(self, job: Job, plan: Plan, now: float) -> Iterator[Command]:
        line = self._line(job.tenant)
        line.planning.pop(job.name, None)
        line.stuck.pop(job.name, None)
        if problem := self._can_never(job, plan):
            yield from self._end(job, "failed", problem, now)
        else:
            yield from super()._begin(job, plan, now)

    def _unplanned(self, job: Job, msg: PlanRefused, now: float) -> Iterator[Command]:
        yield from super()._unplanned(job, msg, now)
        line = self._line(job.tenant)
        if job.ended is None and line.planning.pop(job.name, 0) is None:
            line.stuck[job.name] = None
            yield from self._admit(now)

    def _can_never(self, job: Job, plan: Plan) -> str:
        """A task that alone is more than its tenant may use at a time would wait for ever."""
        agents = {s.name: s.agent for s in plan.workflow.stages}
        problems = (self._too_much(job.tenant, c, self._need(agents[c.stage], c)) for c in plan.choices)
        return next((p for p in problems if p), "")

    def _too_much(self, tenant: str, choice: Choice, need: Need) -> str:
        quota = self.shares.never(tenant, need)
        if not quota:
            return ""
        amount = getattr(self.shares.of(tenant).tenant, quota)
        return (
            f"stage {choice.stage}: one task of {choice.implementation} on {choice.hardware} is more than tenant {tenant} may have: "
            f"its quota is {quota} = {amount:g}"
        )

    def _close(self, job: Job, ended: Ended) -> None:
        super()._close(job, ended)
        if (line := self.lines.get(job.tenant)) is not None:
            line.waiting.pop(job.name, None)
            for jobs in (line.running, line.planning, line.stuck):
                jobs.pop(job.name, None)
            line.active_at = max(line.active_at, ended.at)

    def _need(self, agent: str, choice: Choice) -> Need:
        """An instance takes its threads, or its device, for as many tasks as it has slots."""
        row = self.shelf.implementations.get((agent, choice.implementation))
        slots = max(1, choice.slots or (row.slots if row else 1))
        on_cpu = choice.hardware.partition("-")[0] == "cpu"
        cores, devices = ((row.threads if row else 1) / slots, 0.0) if on_cpu else (0.0, 1 / slots)
        return Need(cores, devices, choice.cost_usd, choice.time_s, row is not None)

    def _need_of(self, name: str, task: Task) -> Need:
        run = self.state.jobs[name].run
        assert run is not None
        return self._need(run.stages[task[0]].stage.agent, run.stages[task[0]].choice)

    def _enqueue(self, job: Job, task: Task) -> None:
        self.state.pools.enqueue(job.pool_of(task[0]), job.tenant, job.name, task, self._need_of(job.name, task))

    def _offered(self, msg: LibraryOffered, now: float) -> Iterator[Command]:
        if self.shelf.offered(msg):
            self.state.pools.reckon(self._need_of)
            yield from self._release(now)

    # --- people -------------------------------------------------------------------------------------------------------------------

    def _look_at_tenants(self, now: float) -> Iterator[Command]:
        """Now and then: who is there, what the last hour cost, and what is said of it, if it is news."""
        self._look_who_is_there(now)
        for account in self.shares.accounts.values():
            account.spent.forget(now)
        for tenant, name, (stage, _), need in list(self.state.pools.heads()):  # planned again, or under other quotas than now
            job = self.state.jobs.get(name)
            if job is not None and job.run is not None and (problem := self._too_much(tenant, job.run.stages[stage].choice, need)):
                yield from self._end(job, "failed", problem, now)
        self.state.pools.look_again(now)
        states = tuple(self._states())
        if states != self.told:
            self.told = states
            yield Send(TenantsState(at=now, tenants=states))

    def _states(self) -> Iterator[TenantState]:
        for name in sorted(self.lines.keys() | self.shares.accounts.keys(), key=self._rank)[:STATES_MAX]:
            line, account = self._line(name), self.shares.of(name)
            held = self.state.pools.blocked.get(name, {})
            why = line.why if line.waiting else f"tasks wait for its quota: {next(iter(held.values()))}" if held else ""
            yield TenantState(
                tenant=name,
                weight=account.tenant.weight,
                share=round(account.share * account.tenant.weight, 4),
                dominant=account.dominant,
                running=len(line.running),
                planning=len(line.planning),
                waiting=len(line.waiting),
                refused=line.refused,
                tasks=account.tasks,
                tasks_waiting=self.state.pools.backlog.get(name, 0),
                cores=round(account.cores, 3),
                devices=round(account.devices, 3),
                usd_last_hour=round(account.spent.total, 6),
                quota=account.tenant.quotas,
                why=why,
            )

    def _rank(self, name: str) -> tuple[int, str]:
        line = self._line(name)
        return -len(line.running) - len(line.waiting) - line.refused, name

    def check(self) -> None:
        """Every job stands in exactly one place of its tenant's line, quotas hold, and nothing waits that may go."""
        for name, job in self.state.jobs.items():
            line = self._line(job.tenant)
            if self.state.live and (name in line.waiting, name in line.running) != (job.queued, not job.queued):
                raise ActorBug(f"job {name} of {job.tenant} is queued: {job.queued}, and its line says otherwise")
        for tenant, line in self.lines.items():
            if gone := ({*line.waiting, *line.running} - self.state.jobs.keys()) | ({*line.planning, *line.stuck} - line.running.keys()):
                raise ActorBug(f"jobs that do not run stand in the line of {tenant}: {sorted(gone)[:3]}")
            quota = self.shares.of(tenant).tenant.running_jobs
            if quota is not None and len(line.running) > quota and line.started:
                raise ActorBug(f"{len(line.running)} jobs of {tenant} run, and its quota is {quota}")
        if self.state.live and (tenant := self._next_tenant()):
            raise ActorBug(f"a job of {tenant} may start and waits")
        self.state.pools.check_quotas()
        for name, pool in self.state.pools.pools.items() if self.state.live else ():
            if self.state.pools.may_release(name):
                raise ActorBug(f"tasks of pool {name} may be released and wait: {len(pool.released)} are released")


def _when(line: Line, now: float) -> str:
    """When a place will be free, by how fast jobs were started lately."""
    if len(line.started) < 2 or now <= line.started[0]:
        return "when one of its jobs has ended"
    return f"in about {max(1.0, (now - line.started[0]) / len(line.started)):.0f} s"
