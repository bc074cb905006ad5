"""What is wrong with a submission, before anybody plans it. Pure; the conductor refuses with this text."""

from __future__ import annotations

from ..bus.messages import SubmitJob
from ..optimizer.goals import AXIS, BadGoal, goals
from .axes import BadWorkflow, shapes

GOALS = tuple(AXIS)
DESCRIPTION_MAX = 8_000
"""Characters; a job in words is a paragraph, and it goes through embedding and language models whole."""
INPUTS_MAX = 1_000
TASKS_MAX = 50
STAGES_MAX = 1_000


def refusal(job: SubmitJob) -> str:
    """One line that says what is wrong and what would be right; empty when nothing is."""
    try:
        goals(job.constraints)
    except BadGoal as error:
        return str(error)
    if problem := _bounds(job):
        return problem
    if len(job.inputs) > INPUTS_MAX:
        return f"{len(job.inputs)} inputs: at most {INPUTS_MAX} fit into one job"
    if len(job.description) > DESCRIPTION_MAX:
        return f"the description has {len(job.description)} characters: at most {DESCRIPTION_MAX} are read; give long material as an input"
    if job.workflow is not None:
        if len(job.workflow.stages) > STAGES_MAX:
            return f"the given workflow has {len(job.workflow.stages)} stages: at most {STAGES_MAX} are taken"
        try:
            shapes(job.workflow)
        except BadWorkflow as error:
            return f"the given workflow cannot run: {error}"
        return "" if job.workflow.stages else "the given workflow has no stages"
    if not job.description.strip():
        return 'the description is empty: say what you want in words, for example "List objects shown/mentioned in the videos"'
    if len(job.tasks) > TASKS_MAX:
        return f"{len(job.tasks)} hints: at most {TASKS_MAX} are read"
    for task in job.tasks:
        if not task.strip() or len(task) > DESCRIPTION_MAX:
            return f"hint '{task[:60]}' is empty or longer than {DESCRIPTION_MAX} characters"
    return ""


def _bounds(job: SubmitJob) -> str:
    bounds = (("deadline_s", job.deadline_s), ("budget_usd", job.budget_usd), ("energy_budget_wh", job.energy_budget_wh))
    for name, value in bounds:
        if value is not None and not 0 < value < 1e9:
            return f"{name}={value:g} is not a positive number"
    if job.quality_floor is not None and not 0 <= job.quality_floor <= 1:
        return f"quality_floor={job.quality_floor:g} is not between 0 and 1"
    return ""
