"""Plans made again while their jobs run: for what has not started, when hosts, prices or profiles are not what they were.

What makes this safe. A choice is in the log (`Replanned`) before anything follows from it, and it is taken only for stages that at
that moment have not started: none of their tasks has been released, by us or perhaps by who wrote the log before us. So every
release that was ever stored agrees with the choices that were in the log then. Who takes a log over closes it first (`TakenOver`), so that
a choice of the one before, still on its way, cannot follow the releases of the one after.

One exception: a stage that has started, and whose pool no living host serves any more. What is done of it stays done; each of its
tasks that may be in the dead pool's queue becomes another attempt (`Retried`, so its release is no duplicate of the old one), and
goes where the new choice says. A result that still comes from the old pool counts as late results do: once, whichever is first.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from msgspec.structs import replace

from ..bus.messages import Choice, MakePlan, Message, Plan, PlanMade, PlanRefused, Replanned, Retried
from .core import Command, Send, Wake, Write
from .jobs import ORPHANED, Job
from .planning import NOTE_MAX, Planning, plan_question
from .run import Task

AGAIN_EVERY_S = 1.0
"""A job's plan is made again at most so often."""
ANSWER_S = 10.0
"""A question that is not answered within this is taken as lost, and asked again when its turn comes; until then the plan stays."""
ASKED_MAX = 16
"""Questions on their way at a time; the others wait for an answer, so that thousands of jobs ask as fast as the optimizer answers."""
LOST_AGAIN_S = 5.0
HOST_SILENT_S = 10.0
"""Not heard of for so long, a host counts as gone; and not before having listened for so long."""


class Replanning(Planning):
    """A running job's way to another plan."""

    def _stale(self, why: str, now: float) -> Iterator[Command]:
        for job in self.state.jobs.values():
            if job.run is not None and not job.submit.explain:
                self.state.stale[job.name] = why
        yield from self._ask_again(now)

    def _ask_again(self, now: float) -> Iterator[Command]:
        """Asks about the jobs whose turn it is."""
        state = self.state
        for name in [n for n, (since, _) in state.asked.items() if now - since >= ANSWER_S]:
            state.stale.setdefault(name, state.asked.pop(name)[1])
        for name, why in list(state.stale.items()):
            if len(state.asked) >= ASKED_MAX:
                break
            job = state.jobs[name]
            if name in state.asked or now - job.asked_again_at < AGAIN_EVERY_S:
                continue
            del state.stale[name]
            if ask := self._question_again(job, now):
                job.asked_again_at, state.asked[name] = now, (now, why)
                yield Send(ask, after_records=name, trace=job.submit.traceparent)
        if (state.stale or state.asked) and not state.replan_due:
            state.replan_due = True
            yield Wake(AGAIN_EVERY_S, "replan")

    def _question_again(self, job: Job, now: float) -> MakePlan | None:
        assert job.run is not None
        open_to = {*job.open_to_choice(), *self._lost(job, now)}
        if not open_to:
            return None
        chosen = tuple(c for c in job.run.plan.choices if c.stage not in open_to)
        return replace(plan_question(job, job.run.plan.workflow, now), again=True, chosen=chosen)

    def _planned(self, msg: Message, now: float) -> Iterator[Command]:
        """As `Planning`, and the answers about plans made again. Only the first answer to a question is taken."""
        match msg:
            case PlanMade(job=name, again=True):
                job, asked = self.state.jobs.get(name), self.state.asked.pop(name, None)
                if job is not None and asked is not None:
                    yield from self._take_again(job, msg.plan, msg.why or asked[1], now)
                yield from self._ask_again(now)
            case PlanRefused(job=name, seen=seen) if self._is_about_again(name, seen):
                self.state.asked.pop(name)  # the plan that it has is the best that there is
                yield from self._ask_again(now)
            case _:
                yield from super()._planned(msg, now)

    def _is_about_again(self, name: str, seen: int) -> bool:
        """A refusal does not say what it refuses: a longer workflow has more stages than the one that runs."""
        job = self.state.jobs.get(name)
        if job is None or job.run is None or name not in self.state.asked:
            return False
        return job.extension is None or seen == len(job.run.stages)

    def _take_again(self, job: Job, made: Plan, why: str, now: float) -> Iterator[Command]:
        assert job.run is not None
        if made.workflow != job.run.plan.workflow:  # it has grown since, or the optimizer wants another one
            return
        offered = {c.stage: c for c in made.choices}
        lost = self._lost(job, now)
        taken: dict[str, Choice] = {}
        for name in (*job.open_to_choice(), *lost):
            before, new = job.run.stages[name].choice, offered.get(name)
            if new is not None and (_differ_in_pool if name in lost else _differ)(before, new):
                taken[name] = replace(new, args=before.args)  # the workflow has them already
        if not taken:
            return
        plan = replace(made, choices=tuple(taken.get(c.stage, c) for c in job.run.plan.choices))
        if _size(plan) > _size(made) + NOTE_MAX:  # it has to fit into a record as the answer fitted into a message
            self.state.stale[job.name] = why
            return
        note = " ".join(why.split())[:NOTE_MAX]
        yield Write(job.tenant, job.name, Replanned(plan, now, note))
        yield from self._move(job, plan, lost & taken.keys())
        job.note = f"planned again: {note}"
        yield from self._progress(job)
        yield from self._release(now)

    def _move(self, job: Job, plan: Plan, lost: set[str]) -> Iterator[Command]:
        """Waiting tasks go to their new pools; of stages whose pool is dead, also those that are in its queue, as new attempts."""
        assert job.run is not None
        pools, waiting, again = self.state.pools, list[Task](), list[Task]()
        for choice in plan.choices:
            name = choice.stage
            if not _differ_in_pool(job.run.stages[name].choice, choice):
                continue
            pool = job.pool_of(name)
            queued = pools.take(pool, job.tenant, job.name, name)
            if name in lost:
                released = [t for t in job.released if t[0] == name]
                for task in released:
                    del job.released[task]
                    pools.done(pool, job.name, task)
                again += released
                if name in job.inherited:  # all of them may be in its queue, by whoever released them
                    again += queued
                    queued = []
                    job.inherited.discard(name)
            waiting += queued
        job.rechoose(plan)
        for task in again:
            job.retry(task, job.attempt.get(task, 1) + 1, ORPHANED)
            yield Write(job.tenant, job.name, Retried(task[0], task[1], job.attempt[task], ORPHANED))
        for task in (*again, *waiting):
            self._enqueue(job, task)

    # --- pools that nobody serves -------------------------------------------------------------------------------------------------

    def _lost(self, job: Job, now: float) -> set[str]:
        """Stages that have started and are not done, whose pool no living host serves, as far as can be known."""
        pools = self.state.pools
        if job.run is None or not pools.hosts or now - self.state.live_at < HOST_SILENT_S:
            return set()
        return {n for n, r in job.run.stages.items() if n in job.started and not r.complete and not pools.offered(job.pool_of(n))}

    def _look_for_lost(self, job: Job, now: float) -> str:
        """Nobody may have said that plans are stale, or it was not heard."""
        if not (lost := sorted(self._lost(job, now))):
            return ""
        assert job.run is not None
        choice = job.run.stages[lost[0]].choice
        note = f"stage {lost[0]}: no host serves {choice.implementation} on {choice.hardware} any more"
        if now - job.asked_again_at >= LOST_AGAIN_S and not job.submit.explain:
            self.state.stale.setdefault(job.name, note)
        return note


def _differ_in_pool(a: Choice, b: Choice) -> bool:
    return (a.implementation, a.hardware) != (b.implementation, b.hardware)


def _differ(a: Choice, b: Choice) -> bool:
    """Whether two choices do a stage in different ways; what they are estimated to take is not looked at."""
    return _differ_in_pool(a, b) or (a.width, a.slots, a.power_w) != (b.width, b.slots, b.power_w)


def _size(plan: Plan) -> int:
    return len(msgspec.json.encode(plan))
