"""What the conductor asks of the planner and the optimizer for a job, and whether an extension of its workflow can run. Pure."""

from __future__ import annotations

from ..bus.messages import MakePlan, MakeWorkflow, Message, Observed, Workflow, WorkflowExtended
from ..planner.axes import BadWorkflow, shapes
from ..planner.request import STAGES_MAX
from .jobs import OBSERVE_MAX, Job


def question(job: Job) -> Message:
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
                steps_left=OBSERVE_MAX - len(job.observed),
            )
    workflow = job.extension or job.workflow
    assert workflow is not None
    return MakePlan(
        job=job.name,
        workflow=workflow,
        inputs=len(submit.inputs),
        constraints=submit.constraints,
        deadline_s=submit.deadline_s,
        quality_floor=submit.quality_floor,
        budget_usd=submit.budget_usd,
        explain=submit.explain,
        chosen=job.run.plan.choices if job.run is not None else (),
    )


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
