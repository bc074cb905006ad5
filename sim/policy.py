"""A planner of which everybody knows what it will say: after an observation, the numbers that were observed decide. Pure.

The ledger knows the policy too, and holds every log of such a job against it. Everything else the real planner answers. This one
takes its time, for one question less and for the next one more: answers overtake each other, and come to a conductor that
never asked, or asks about a longer workflow by now.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count, pairwise
from math import prod
from typing import Any

from msgspec.structs import replace

from ..actors.core import Command, Event, Heard, Send, Wake, Woke
from ..actors.planner import Planner
from ..bus.messages import Edge, Observed, Stage, Workflow, WorkflowExtended
from ..planner.axes import shapes

RULE = "go on as the numbers say"
"""`Workflow.rest` of jobs under this policy."""
DELAYS_S = (5.0, 12.0, 20.0, 30.0)


class PolicyPlanner(Planner):
    """The real one, but for observations of jobs under the policy."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.asked: dict[str, Observed] = {}
        self.serial = count()

    def on(self, event: Event, now: float) -> Iterable[Command]:
        match event:
            case Heard(msg=Observed(workflow=Workflow(rest=rest)) as msg) if rest == RULE:
                n = next(self.serial)
                self.asked[f"policy:{n}"] = msg
                return [Wake(DELAYS_S[n % len(DELAYS_S)], f"policy:{n}")]
            case Woke(key=key) if key in self.asked:
                return [Send(next_of(self.asked.pop(key)))]
        return super().on(event, now)


def next_of(seen: Observed) -> WorkflowExtended:
    """What comes after an observation. New stages are named by how many there were, as nobody should, so that two answers to
    one workflow do not fit together."""
    values = list(_numbers(seen.results))
    total = int(sum((n + 1) * v for n, v in enumerate(values))) + len(values)
    before = seen.workflow.stages
    depth = len(shapes(seen.workflow)[seen.stage].out)
    new: tuple[Stage, ...] = ()

    def named(n: int, *sources: str, depth: int = 0, observe: bool = False) -> Stage:
        edges = tuple(Edge(f"p{i}", s) for i, s in enumerate(dict.fromkeys(sources)))
        return Stage(f"x{len(before) + n}", "Sleep", edges, depth, args={"ms": (total * 7 + n * 13) % 97}, observe=observe)

    names = [f"x{len(before) + n}" for n in range(3)]
    match total % 6:
        case 1:  # along a collection that is there, as deep as it goes, and together again
            new = (named(0, seen.stage, depth=min(depth, 3)), named(1, names[0], observe=total % 4 == 1))
        case 2:
            new = tuple(named(n, s, observe=n == 2) for n, (s, _) in enumerate(pairwise((seen.stage, *names))))
        case 3:
            spread = Stage(names[0], "Spread", (Edge("p0", seen.stage),), 0, True, {"n": total % 4}, observe=total % 9 == 3)
            new = (spread, named(1, names[0], depth=1), named(2, names[1], observe=True))
        case 4:  # side by side; the second is there to be looked at while the first one still runs
            first = named(0, seen.stage, observe=True)
            new = (replace(first, args={"ms": 4_000 + total % 97}), named(1, seen.stage, observe=True))
        case 5:  # of old results too
            new = (named(0, seen.stage, before[0].name, before[-1].name, observe=total % 2 == 1),)
    keeps = not new or total % 5 == 0
    return WorkflowExtended(
        job=seen.job,
        stage=seen.stage,
        stages=new,
        answer=() if keeps else (*seen.workflow.answer[-2:], new[-1].name),
        note=f"{seen.stage} adds up to {total}",
        seen=len(before),
    )


def answer_of(workflow: Workflow) -> list[Any]:
    """What a job of Sleep and Spread stages without inputs must answer, from its arguments alone."""
    stages = {s.name: s for s in workflow.stages}
    shape = shapes(workflow)
    answer: list[Any] = []
    for name in workflow.answer:
        args = stages[name].args
        one: Any = [{"value": float(i)} for i in range(args["n"])] if stages[name].many else {"value": float(args.get("ms", 0))}
        answer += [one] * prod(stages[axis].args["n"] for axis in shape[name].axes)
    return answer


def _numbers(results: Iterable[Any]) -> Iterator[float]:
    for result in results:
        if isinstance(result, list | tuple):
            yield from _numbers(result)
        else:
            yield result["value"]
