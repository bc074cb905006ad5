"""From words to tasks that run, and on from what was observed: what the conductor asks planner and optimizer, and what it does with
their answers.

Three rules keep a workflow that grows safe. What the planner is shown is in the log before; so workflows of one job with the same
number of stages are the same one. An answer names that number (`seen`); for another workflow than today's it is not taken. One
observation is asked about at a time, and its answer is in the log (`Extended`) before anything follows from it.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..bus.messages import (
    Extended,
    Lowered,
    MakePlan,
    MakeWorkflow,
    Message,
    Observed,
    Plan,
    PlanMade,
    Planned,
    PlanRefused,
    SubmitJob,
    Workflow,
    WorkflowExtended,
    WorkflowMade,
    WorkflowRefused,
)
from ..planner.axes import BadWorkflow, shapes
from ..planner.request import STAGES_MAX
from .core import Command, Send, Wake, Write
from .jobs import OBSERVE_MAX, Job
from .running import Running

ASK_AGAIN_S = 2.0
ASK_FIRST_S = 0.2
ASKS_SOON = 25
ASKS_MAX = 900
"""Half an hour of asking for a plan that no host can run; then the job fails with the reason."""


NOTE_MAX = 300
"""Characters of what the planner says of an observation; a log record has to hold it beside the plan, which fitted into a message."""


class Planning(Running):
    """A job's way to its plan, and to its longer ones."""

    def _ask(self, job: Job, now: float) -> Iterator[Command]:
        """Asks the planner or the optimizer, and again later; an answer that comes twice is ignored."""
        job.asks += 1
        shown = job.name if job.asking == "observing" else ""
        yield Send(question(job, now), after_records=shown, trace=job.submit.traceparent)
        # whoever has just been started may not listen yet: soon again at first, then seldom
        yield Wake(ASK_FIRST_S if job.asks <= ASKS_SOON else ASK_AGAIN_S, ask_key(job))

    def _planned(self, msg: Message, now: float) -> Iterator[Command]:
        job = self.state.jobs.get(getattr(msg, "job", ""))
        if job is None:
            return
        match msg:
            case WorkflowMade(workflow=workflow) if job.asking == "planning":
                job.phase, job.workflow, job.asks = "optimizing", workflow, 0
                yield Write(job.tenant, job.name, Lowered(workflow, now))
                yield from self._ask(job, now)
            case WorkflowRefused(error=error, stage="") if job.asking == "planning":
                yield from self._end(job, "failed", error, now)
            case PlanMade(plan=plan) if job.asking == "optimizing":
                yield from self._begin(job, plan, now)
            case WorkflowRefused(error=error, stage=stage) if job.asking == "observing" and stage == job.observing:
                yield from self._end(job, "failed", error, now)
            case WorkflowExtended(stage=stage) if job.asking == "observing" and stage == job.observing:
                yield from self._extend(job, msg, now)
            case PlanMade(plan=plan) if job.asking == "extending" and plan.workflow == job.extension:
                yield from self._grow(job, plan, now)
            case PlanRefused() if job.asking in ("optimizing", "extending"):
                yield from self._unplanned(job, msg, now)

    def _begin(self, job: Job, plan: Plan, now: float) -> Iterator[Command]:
        yield Write(job.tenant, job.name, Planned(plan, now))
        job.note = ""
        for task in job.begin(plan, now):
            self._enqueue(job, task)
        yield from self._progress(job)
        if job.submit.explain:
            yield from self._end(job, "done", "", now)
            return
        yield from self._release(now)
        yield from self._go_on(job, now)

    def _unplanned(self, job: Job, msg: PlanRefused, now: float) -> Iterator[Command]:
        asked = job.extension or job.workflow
        if msg.seen and asked is not None and msg.seen != len(asked.stages):  # a late word about the workflow before
            return
        job.note = msg.error
        if not msg.wait or job.asks > ASKS_MAX:
            yield from self._end(job, "failed", msg.error, now, infeasible=not msg.wait and job.run is None)
        else:
            yield from self._progress(job)

    # --- observation ----------------------------------------------------------------------------------------------------------

    def _go_on(self, job: Job, now: float) -> Iterator[Command]:
        """Shows the planner what it wanted to see, and ends the job when nothing is left."""
        if job.over:
            yield from self._end(job, "done", "", now)
        elif not job.asking and (stage := job.to_observe()):
            job.observing, job.asks = stage, 0
            yield from self._ask(job, now)

    def _extend(self, job: Job, msg: WorkflowExtended, now: float) -> Iterator[Command]:
        assert job.run is not None
        if not msg.stages:
            yield from self._grow(job, None, now, msg.note)
            return
        if msg.seen and msg.seen != len(job.run.stages):  # late, for the workflow before; today's has been asked about
            return
        try:
            job.extension = extended(job, msg)
        except BadWorkflow as error:
            yield from self._end(job, "failed", f"after stage {msg.stage}, the planner's next step cannot run: {error}", now)
            return
        job.extension_note, job.asks = msg.note, 0
        yield from self._ask(job, now)

    def _grow(self, job: Job, plan: Plan | None, now: float, note: str = "") -> Iterator[Command]:
        stage, note = job.observing, " ".join((note or job.extension_note).split())[:NOTE_MAX]
        if plan is not None:  # the question was asked with the choices of then, and some may have been made anew since
            plan = job.with_choices(plan)
        yield Write(job.tenant, job.name, Extended(stage, plan, now, note))
        job.note = ""
        for task in job.extend(stage, plan, note):
            self._enqueue(job, task)
        yield from self._progress(job)
        yield from self._release(now)
        yield from self._go_on(job, now)


def ask_key(job: Job) -> str:
    """The wake-up that asks again; for each question one of its own, so that the clock of an answered one stops."""
    return f"ask-{job.asking}{len(job.observed) or ''}:{job.name}"


def question(job: Job, now: float) -> Message:
    """The message that asks what the job is waiting for (`job.asking`)."""
    submit = job.submit
    match job.asking:
        case "planning":
            return MakeWorkflow(
                tenant=submit.tenant,
                job=job.name,
                description=submit.description,
                inputs=submit.inputs,
                tasks=submit.tasks,
                workflow=submit.workflow,
            )
        case "observing":
            assert job.run is not None
            run = job.run.stages[job.observing]
            return Observed(
                tenant=submit.tenant,
                job=job.name,
                description=submit.description,
                workflow=job.run.plan.workflow,
                stage=job.observing,
                results=tuple(run.output[i] for i in sorted(run.output)),
                inputs=submit.inputs,
                tasks=submit.tasks,
                steps_left=OBSERVE_MAX - job.grown,
            )
    workflow = job.extension or job.workflow
    assert workflow is not None
    return plan_question(job, workflow, now)


def plan_question(job: Job, workflow: Workflow, now: float) -> MakePlan:
    """Asks for the choices of a workflow; those that there are stay."""
    submit = job.submit
    return MakePlan(
        job=job.name,
        workflow=workflow,
        inputs=len(submit.inputs),
        units=input_units(submit),
        constraints=submit.constraints,
        deadline_s=submit.deadline_s,
        quality_floor=submit.quality_floor,
        budget_usd=submit.budget_usd,
        energy_budget_wh=submit.energy_budget_wh,
        spent_s=round(max(0.0, now - job.at), 3),
        explain=submit.explain,
        chosen=job.run.plan.choices if job.run is not None else (),
    )


def input_units(submit: SubmitJob) -> dict[str, float]:
    """How much there is of all inputs together; empty when one of them does not say, for half of it would mislead."""
    found: dict[str, float] = {}
    if all(one.units for one in submit.inputs):
        for one in submit.inputs:
            for unit, amount in one.units.items():
                found[unit] = found.get(unit, 0.0) + max(0.0, amount)
    return found


def extended(job: Job, msg: WorkflowExtended) -> Workflow:
    """The longer workflow. Raises BadWorkflow when it cannot run."""
    assert job.run is not None
    before = job.run.plan.workflow
    workflow = Workflow(
        (*before.stages, *msg.stages), msg.answer or before.answer, before.kind, before.rest, before.proposer, before.repairs
    )
    if len(workflow.stages) > STAGES_MAX:
        raise BadWorkflow(f"the workflow would have {len(workflow.stages)} stages: at most {STAGES_MAX} are taken")
    shapes(workflow)
    return workflow
