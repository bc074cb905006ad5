"""Every message there is. Read this file first: it is the whole story of a job.

One class a message; its docstring says what happened, then who says it -> to whom, and why they care. `subject` is the
template that `subjects.py` fills from the fields of the same names. JSON on the wire, tagged by `type`. Within `v1`
fields are only added, with defaults; unknown fields are skipped, unknown tags go to the dead letters.

Times are seconds since the Unix epoch unless a field's name or docstring says otherwise; energies are watt-hours (`_wh`),
money is US dollars (`_usd`).
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from msgspec import Struct, field

from .values import ArtifactRef as ArtifactRef
from .values import Choice as Choice
from .values import Decision as Decision
from .values import Desired as Desired
from .values import Device as Device
from .values import Edge as Edge
from .values import Estimate as Estimate
from .values import Figure as Figure
from .values import ForecastError as ForecastError
from .values import How as How
from .values import Id as Id
from .values import Index as Index
from .values import Input as Input
from .values import Instance as Instance
from .values import JobKind as JobKind
from .values import Line as Line
from .values import Offer as Offer
from .values import Plan as Plan
from .values import PoolForecast as PoolForecast
from .values import PoolSeconds as PoolSeconds
from .values import Profile as Profile
from .values import RunnerUp as RunnerUp
from .values import Stage as Stage
from .values import StageReport as StageReport
from .values import StageState as StageState
from .values import TaskRecord as TaskRecord
from .values import TenantState as TenantState
from .values import Use as Use
from .values import Workflow as Workflow
from .values import Workload as Workload


class Message(Struct, frozen=True, tag_field="type", omit_defaults=True):
    """What all messages share: a subject template, and the stream that keeps the message, if one does."""

    subject: ClassVar[str] = ""
    stream: ClassVar[str] = ""


# --- a job: client -> conductor, conductor -> client ------------------------------------------------------------------


class SubmitJob(Message, frozen=True, tag="submit_job"):
    """A tenant wants something done; answered by JobAccepted or JobRefused.  client -> conductor (starts the job)

    The client chooses `job`, so that asking again after a lost answer starts nothing twice; empty lets the conductor choose.
    """

    subject: ClassVar[str] = "mk.v1.jobs.{tenant}.submit"
    tenant: Id
    description: str
    inputs: tuple[Input, ...] = ()
    tasks: tuple[str, ...] = ()
    """Hints, one a step, in words."""
    constraints: tuple[str, ...] = ("MIN_COST",)
    """First matters most: MIN_COST, MIN_LATENCY, MIN_ENERGY, MAX_QUALITY; with a tolerance of its own as in "MIN_COST:0.1", so that plans
    within a tenth of the cheapest count as equal and the next goal decides."""
    job: str = ""
    workflow: Workflow | None = None
    """A ready workflow, for those who know exactly what they want; skips the planner's search."""
    deadline_s: float | None = None
    """Seconds from submission; later the job fails."""
    quality_floor: float | None = None
    budget_usd: float | None = None
    energy_budget_wh: float | None = None
    explain: bool = False
    """Plan it and stop: the result has the plan, and nothing has run."""
    traceparent: str = ""
    """Filled by the shell from the header of the same name."""


class JobAccepted(Message, frozen=True, tag="job_accepted"):
    """The job is stored and will be finished, whatever dies.  conductor -> client (as the reply)"""

    tenant: Id
    job: Id


class JobRefused(Message, frozen=True, tag="job_refused"):
    """The job cannot be: what is wrong, where, and what would be right.  conductor -> client (as the reply)"""

    error: str


class CancelJob(Message, frozen=True, tag="cancel_job"):
    """Stop a job; answered by JobAccepted, or JobRefused if there is no such job running.  client -> conductor"""

    subject: ClassVar[str] = "mk.v1.jobs.{tenant}.cancel"
    tenant: Id
    job: Id


class ListJobs(Message, frozen=True, tag="list_jobs"):
    """Which jobs of mine are running? Answered by JobList.  client, observer -> conductor"""

    subject: ClassVar[str] = "mk.v1.jobs.{tenant}.list"
    tenant: Id


class JobProgress(Message, frozen=True, tag="job_progress"):
    """How far a job is; lossy, at most a few a second.  conductor -> client (shows it), clustermgr (pre-scales on it)"""

    subject: ClassVar[str] = "mk.v1.job.{tenant}.{job}.progress"
    tenant: Id
    job: Id
    phase: Literal["planning", "optimizing", "running", "done", "failed", "cancelled"]
    stages: tuple[StageState, ...] = ()
    note: str = ""


class JobList(Message, frozen=True, tag="job_list"):
    """The running jobs of a tenant.  conductor -> client, observer (as the reply)"""

    jobs: tuple[JobProgress, ...]
    more: int = 0
    """How many others there are; those that run are listed before those that wait."""


class JobResult(Message, frozen=True, tag="job_result"):
    """The one end of a job.  conductor -> client (the answer), optimizer (learns)"""

    subject: ClassVar[str] = "mk.v1.job.{tenant}.{job}.result"
    stream: ClassVar[str] = "JOBS"
    tenant: Id
    job: Id
    status: Literal["done", "failed", "cancelled"]
    answer: tuple[Any, ...] = ()
    error: str = ""
    plan: Plan | None = None
    stages: tuple[StageReport, ...] = ()
    time_s: float = 0.0
    planning_s: float = 0.0
    energy_wh: Figure = Figure(0.0, "modelled")
    cost_usd: Figure = Figure(0.0, "modelled")
    infeasible: bool = False
    """It failed before anything ran, since its bounds cannot be met."""
    note: str = ""
    """What the planner says of an observation that it went on from, for people."""


# --- planning: conductor -> planner -> conductor -> optimizer -> conductor ----------------------------------------------


class MakeWorkflow(Message, frozen=True, tag="make_workflow"):
    """A job needs its DAG; asked again until answered.  conductor -> planner"""

    subject: ClassVar[str] = "mk.v1.plan.make"
    tenant: Id
    job: Id
    description: str
    inputs: tuple[Input, ...] = ()
    tasks: tuple[str, ...] = ()
    workflow: Workflow | None = None


class WorkflowMade(Message, frozen=True, tag="workflow_made"):
    """The DAG of a job, verified.  planner -> conductor (which has it optimized)"""

    subject: ClassVar[str] = "mk.v1.plan.made"
    job: Id
    workflow: Workflow
    took_s: float = 0.0


class WorkflowRefused(Message, frozen=True, tag="workflow_refused"):
    """No DAG can do this job: what is missing and what is nearest.  planner -> conductor (which fails the job)"""

    subject: ClassVar[str] = "mk.v1.plan.refused"
    job: Id
    error: str
    stage: str = ""
    """The observed one, when it is about what was to come after an observation."""


class Observed(Message, frozen=True, tag="observed"):
    """A stage that was to be looked at is done; asked again until answered.  conductor -> planner (goes on from what was found)"""

    subject: ClassVar[str] = "mk.v1.plan.observe"
    tenant: Id
    job: Id
    description: str
    workflow: Workflow
    """As far as it has been planned."""
    stage: Id
    results: tuple[Any, ...]
    """The outputs of the stage's tasks in the order of their indexes."""
    inputs: tuple[Input, ...] = ()
    tasks: tuple[str, ...] = ()
    steps_left: int = 0
    """How often the planner may still extend this job, this time counted."""


class WorkflowExtended(Message, frozen=True, tag="workflow_extended"):
    """What comes after an observation; no stages: nothing more.  planner -> conductor (has it optimized, and runs it)"""

    subject: ClassVar[str] = "mk.v1.plan.extended"
    job: Id
    stage: Id
    """The observed one."""
    stages: tuple[Stage, ...] = ()
    """New ones, in topological order; they may take from any stage there is."""
    answer: tuple[str, ...] = ()
    """The answer from now on; empty leaves it as it was."""
    note: str = ""
    """What was found and why it goes on so, for people."""
    seen: int = 0
    """How many stages the workflow had that these are for; 0 if that does not matter. For one that has grown since, they are not taken."""


class MakePlan(Message, frozen=True, tag="make_plan"):
    """A workflow needs its choices; asked again until answered.  conductor -> optimizer"""

    subject: ClassVar[str] = "mk.v1.optimize.make"
    job: Id
    workflow: Workflow
    inputs: int
    constraints: tuple[str, ...]
    deadline_s: float | None = None
    quality_floor: float | None = None
    budget_usd: float | None = None
    energy_budget_wh: float | None = None
    units: dict[str, float] = field(default_factory=dict)
    """How much there is of all inputs together, where all of them say."""
    spent_s: float = 0.0
    """Of the deadline, when this is asked."""
    again: bool = False
    """The job runs: what has not started may be chosen anew."""
    explain: bool = False
    """Nothing will run; so nothing needs to be warm for it."""
    chosen: tuple[Choice, ...] = ()
    """Of stages that have been planned before and may be running: these stay."""


class PlanMade(Message, frozen=True, tag="plan_made"):
    """The physical plan of a job.  optimizer -> conductor (runs it), clustermgr (warms its models)"""

    subject: ClassVar[str] = "mk.v1.optimize.made"
    job: Id
    plan: Plan
    took_s: float = 0.0
    explain: bool = False
    """As in MakePlan."""
    again: bool = False
    """As in MakePlan."""
    why: str = ""
    """Of a plan that was made again: what has changed."""


class PlanRefused(Message, frozen=True, tag="plan_refused"):
    """No choice meets the bounds, or no host can run a stage.  optimizer -> conductor (fails the job, or waits if `wait`)"""

    subject: ClassVar[str] = "mk.v1.optimize.refused"
    job: Id
    error: str
    wait: bool = False
    """True while a host that can do it may still appear."""
    seen: int = 0
    """How many stages the workflow had that this is about; 0 if that does not matter."""


class PlansStale(Message, frozen=True, tag="plans_stale"):
    """Hosts, prices or profiles are not what running plans were made for.  optimizer -> conductor (asks again for what has not started)"""

    subject: ClassVar[str] = "mk.v1.optimize.stale"
    why: str
    at: float = 0.0


class ProfileKept(Message, frozen=True, tag="profile_kept"):
    """What an implementation takes on a hardware class; the newest is the profile.  optimizer, `murakkab profile` -> optimizer (plans with it), observer"""

    subject: ClassVar[str] = "mk.v1.profile.{pool}"
    stream: ClassVar[str] = "PROFILES"
    pool: Id
    profile: Profile


class WorkloadKept(Message, frozen=True, tag="workload_kept"):
    """How much work an agent's tasks are, as jobs have shown.  optimizer -> optimizer (plans with it), observer"""

    subject: ClassVar[str] = "mk.v1.workload.{key}"
    stream: ClassVar[str] = "PROFILES"
    key: Id
    workload: Workload


class SensitivityKept(Message, frozen=True, tag="sensitivity_kept"):
    """How much a job's quality follows from an agent's, as `murakkab profile --sensitivity` measured.  worker -> optimizer (plans with it), observer"""

    subject: ClassVar[str] = "mk.v1.sensitivity.{key}"
    stream: ClassVar[str] = "PROFILES"
    key: Id
    agent: str
    sensitivity: float
    """0: the answer does not change with the agent's output; 1: as much as that."""
    at: float = 0.0


# --- tasks: conductor -> worker -> conductor ----------------------------------------------------------------------------


class TaskReady(Message, frozen=True, tag="task_ready"):
    """All that a task waits for is done.  conductor -> worker (runs it once its pool has a slot)"""

    subject: ClassVar[str] = "mk.v1.task.{pool}.ready"
    stream: ClassVar[str] = "TASKS"
    pool: Id
    tenant: Id
    job: Id
    stage: Id
    index: Index
    attempt: int
    agent: str
    implementation: str
    inputs: dict[str, Any] = field(default_factory=dict)
    args: dict[str, Any] = field(default_factory=dict)
    timeout_s: float = 120.0
    inline_max: int = 1_000
    """Bytes of output that are to come back in the message; a larger one comes as `{"$artifact": …}`, a reference to its JSON."""


class TaskDone(Struct, frozen=True, tag_field="type", tag="done"):
    """A task gave `output`: one value, or a list of values for a stage with `many`."""

    job: Id
    stage: Id
    index: Index
    attempt: int
    instance: str
    output: Any
    use: Use


class TaskFailed(Struct, frozen=True, tag_field="type", tag="failed"):
    """A task failed. `bad_input` says that no retry can mend it."""

    job: Id
    stage: Id
    index: Index
    attempt: int
    instance: str
    error: str
    bad_input: bool = False


class TaskResults(Message, frozen=True, tag="task_results"):
    """What a host's tasks came to, as many as fell together.  worker -> conductor (counts each once), optimizer (profiles)"""

    subject: ClassVar[str] = "mk.v1.result.{host}"
    stream: ClassVar[str] = "RESULTS"
    host: Id
    results: tuple[TaskDone | TaskFailed, ...]


# --- the job's log: conductor -> conductor --------------------------------------------------------------------------------


class Submitted(Struct, frozen=True, tag_field="type", tag="submitted"):
    """First record of every job."""

    job: SubmitJob
    at: float


class Lowered(Struct, frozen=True, tag_field="type", tag="lowered"):
    """The planner's DAG is in."""

    workflow: Workflow
    at: float


class Planned(Struct, frozen=True, tag_field="type", tag="planned"):
    """The optimizer's choices are in; tasks run from here on."""

    plan: Plan
    at: float


class Replanned(Struct, frozen=True, tag_field="type", tag="replanned"):
    """What had not started is to be done in another way from here on."""

    plan: Plan
    at: float
    why: str = ""


class Extended(Struct, frozen=True, tag_field="type", tag="extended"):
    """An observation is answered: with the plan of the longer workflow, or with None when nothing more is to be done."""

    stage: Id
    plan: Plan | None
    at: float
    note: str = ""


class Counted(Struct, frozen=True, tag_field="type", tag="counted"):
    """A task's effect, once."""

    host: str
    done: TaskDone


class Retried(Struct, frozen=True, tag_field="type", tag="retried"):
    """A task's attempt is given up; the next one is `attempt`."""

    stage: Id
    index: Index
    attempt: int
    error: str


class TakenOver(Struct, frozen=True, tag_field="type", tag="taken_over"):
    """A conductor that has read the log goes on with the job from here. It closes the log to whoever wrote before: a record of theirs that is
    still on its way, another choice say, comes too late for its place and is refused."""

    at: float


class Ended(Struct, frozen=True, tag_field="type", tag="ended", omit_defaults=True):
    """Last record of every job."""

    status: Literal["done", "failed", "cancelled"]
    error: str
    at: float
    infeasible: bool = False


Record = Submitted | Lowered | Planned | Replanned | Extended | Counted | Retried | TakenOver | Ended


class JobLog(Message, frozen=True, tag="job_log"):
    """The only truth about a job: what happened to it since the last one of these.  conductor -> conductor (replays it), observer

    Written with the expected last sequence of its subject, so that a conductor that lost its job cannot write.
    """

    subject: ClassVar[str] = "mk.v1.job.{tenant}.{job}.log"
    stream: ClassVar[str] = "JOBS"
    tenant: Id
    job: Id
    records: tuple[Record, ...]


# --- placement and fleet: worker -> everybody, clustermgr -> worker -------------------------------------------------------


class HostHeartbeat(Message, frozen=True, tag="host_heartbeat"):
    """A host lives; every two seconds and at every change.  worker -> clustermgr, optimizer (warm models), conductor (slots), observer"""

    subject: ClassVar[str] = "mk.v1.host.{host}.beat"
    host: Id
    at: float
    devices: tuple[Device, ...] = ()
    instances: tuple[Instance, ...] = ()
    offers: tuple[Offer, ...] = ()
    cores: int = 1
    gpu_note: str = ""
    """Why no GPU is listed, when none is."""
    leaving: bool = False
    version: int = -1
    """Newest DesiredInstances that the host has heard; -1 for none."""
    market: Literal["on-demand", "spot", "harvest"] = "on-demand"
    """How the machine was had; harvested ones cost next to nothing and may go at any time."""
    usd_per_hour: float | None = None
    """Of the whole machine, where its owner said; None: by the catalogue."""
    revoked_at: float | None = None
    """When it will be taken away, once its owner has said so; nothing new is planned on it then."""
    run: str = ""
    """Which process says it: two workers may have been given one name."""


class DesiredInstances(Message, frozen=True, tag="desired_instances"):
    """What a host shall have loaded; the newest version wins, repeats do no harm.  clustermgr -> worker (reconciles), observer"""

    subject: ClassVar[str] = "mk.v1.host.{host}.desired"
    stream: ClassVar[str] = "FLEET"
    host: Id
    version: int
    instances: tuple[Desired, ...] = ()
    reasons: tuple[str, ...] = ()
    """Why it differs from the version before, for people."""
    decisions: tuple[Decision, ...] = ()
    """The same as data."""


class ClusterOutlook(Message, frozen=True, tag="cluster_outlook"):
    """What is expected of every pool, how good such forecasts were, and why the last changes were made.  clustermgr -> observer (status)"""

    subject: ClassVar[str] = "mk.v1.cluster.outlook"
    stream: ClassVar[str] = "FLEET"
    at: float
    policy: str
    pools: tuple[PoolForecast, ...] = ()
    errors: tuple[ForecastError, ...] = ()
    decisions: tuple[Decision, ...] = ()
    """The last ten that changed something, newest last."""
    unmet: tuple[Decision, ...] = ()
    """Demand that has no instance just now, each with the reason."""
    faults: tuple[str, ...] = ()
    """What cannot be true of what hosts say, and what is done about it."""
    silent: tuple[str, ...] = ()
    """Hosts that were lost: nothing was heard of them for too long."""


class ClusterLearnt(Message, frozen=True, tag="cluster_learnt"):
    """What the cluster manager has seen so far, for its next start; at most every ten seconds.  clustermgr -> clustermgr (replays)"""

    subject: ClassVar[str] = "mk.v1.cluster.learnt"
    stream: ClassVar[str] = "FLEET"
    ratios: dict[str, tuple[float, ...]] = {}
    """Agent to the newest ratios of actual to planned seconds of its stages."""
    loads: tuple[PoolSeconds, ...] = ()
    """What loads took, smoothed."""
    kinds: tuple[JobKind, ...] = ()


class TenantsState(Message, frozen=True, tag="tenants_state"):
    """What each tenant has running and waiting, its share, and its quotas; said when it changes, at most every two seconds.  conductor -> observer (status)"""

    subject: ClassVar[str] = "mk.v1.cluster.tenants"
    stream: ClassVar[str] = "FLEET"
    at: float
    tenants: tuple[TenantState, ...] = ()
    """Those with most jobs first; 200 at most."""


class LibraryOffered(Message, frozen=True, tag="library_offered"):
    """What a host brings that is not built in.  worker -> planner (plans with it), optimizer (chooses it), clustermgr (loads it), observer

    Said when a worker starts, and now and then, since who was just starting may have missed it; the newest of a host is all it
    brings. Rows are data for planning: a worker runs only what it has installed itself.
    """

    subject: ClassVar[str] = "mk.v1.host.{host}.library"
    stream: ClassVar[str] = "FLEET"
    host: Id
    agents: tuple[dict[str, Any], ...] = ()
    """`Agent`s of agents/spec.py as they travel."""
    implementations: tuple[dict[str, Any], ...] = ()
    """`Implementation`s of agents/spec.py as they travel."""
    types: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Type name to the types directly above it."""
    packages: dict[str, str] = field(default_factory=dict)
    """Where a row came from: `agent`, or `agent/implementation`, to package and version."""
    problems: tuple[str, ...] = ()
    """What is wrong with packages on this host, for people."""


class Indexed(Message, frozen=True, tag="indexed"):
    """A video's passages are in the vector store.  conductor -> planner (questions about it need no new processing)"""

    subject: ClassVar[str] = "mk.v1.index.{tenant}.{media_hash}"
    stream: ClassVar[str] = "INDEX"
    tenant: Id
    media_hash: Id
    index: dict[str, Any]
    """A `VectorIndex` as it travels."""


class LeaseHeld(Message, frozen=True, tag="lease_held"):
    """A role of which there may be only one is held; said again and again, and expires when it is not.  conductor -> conductor (stands by)"""

    subject: ClassVar[str] = "mk.v1.lease.{role}"
    stream: ClassVar[str] = "LEASE"
    role: Id
    holder: str
    """Empty when it was given up in good order."""


# --- what went wrong --------------------------------------------------------------------------------------------------------


class DeadLetter(Message, frozen=True, tag="dead_letter"):
    """Something on the bus could not be read; it is kept with the reason.  any actor -> observer"""

    subject: ClassVar[str] = "mk.v1.dead.{role}"
    stream: ClassVar[str] = "DEAD"
    role: Id
    on: str
    """The subject that it came on."""
    reason: str
    start: str
    """Its first bytes, as text."""


AnyMessage = (
    SubmitJob
    | JobAccepted
    | JobRefused
    | CancelJob
    | ListJobs
    | JobList
    | JobProgress
    | JobResult
    | JobLog
    | MakeWorkflow
    | WorkflowMade
    | WorkflowRefused
    | Observed
    | WorkflowExtended
    | MakePlan
    | PlanMade
    | PlanRefused
    | PlansStale
    | ProfileKept
    | WorkloadKept
    | SensitivityKept
    | TaskReady
    | TaskResults
    | HostHeartbeat
    | DesiredInstances
    | ClusterOutlook
    | ClusterLearnt
    | TenantsState
    | LibraryOffered
    | Indexed
    | LeaseHeld
    | DeadLetter
)
