"""A plan for people, as a database explains one: the tree of stages, totals and bound, the plans that lost, the frontier."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import TextIO

from ..bus.messages import Choice, Estimate, Plan, Stage
from . import amounts
from .explain_points import estimate_of, points
from .explain_tree import rows

WIDTH = 120
HOW = {
    "measured": "measured: profiled or run here",
    "estimate": "estimate: carried over from other hardware by catalogue",
    "published": "published: somebody else's figures",
    "prior": "prior: the library's row, nothing measured yet",
}
HEAD = f"{'tasks':>6} {'time':>9} {'from–to':>13} {'cost':>9} {'energy':>9} {'quality':>7}  rests on"
NUMBERS = len(HEAD)
HEAD_PLANS = f"{'time':>9} {'cost':>9} {'energy':>9} {'quality':>7}"


def show(plan: Plan, planning_s: float, out: TextIO, wanted: str = "", width: int = WIDTH) -> None:
    """All of it. `wanted` are goals and bounds in words; `width` is the columns that there are."""
    for line in lines(plan, planning_s, wanted, width):
        print(line.rstrip(), file=out)


def lines(plan: Plan, planning_s: float, wanted: str = "", width: int = WIDTH) -> list[str]:
    flow = plan.workflow
    by = f", proposed by the {flow.proposer} planner" if flow.proposer else ""
    made = [
        f"workflow {flow.kind or 'as given'}: {len(flow.stages)} stage{'s' * (len(flow.stages) != 1)}{by}, planned in {amounts.seconds(planning_s)}"
    ]
    made += _item("goals", wanted, width) if wanted else []
    made += ["", *_tree(plan, width), ""]
    if flow.rest:
        made += _item("then", f"{flow.rest}   (planned when what is observed is known)", width)
    for n, line in enumerate(flow.repairs):
        made += _item("" if n else "mended", line, width)
    made += _totals(plan, width, "(within " in wanted)
    made += _runners_up(plan, width)
    return made + _frontier(plan, width)


# --- the tree -----------------------------------------------------------------------------------------------------------------


def _tree(plan: Plan, width: int) -> list[str]:
    flow = plan.workflow
    stages = {s.name: s for s in flow.stages}
    chosen = {c.stage: c for c in plan.choices}
    drawn = rows(flow)
    room = max(20, width - NUMBERS - 1)
    wide = min(room, max([5, *(len(_name(r.head, stages[r.stage])) for r in drawn if not r.again)]))
    made = [f"{'stage':<{wide}} {HEAD}"]
    for row in drawn:
        stage = stages[row.stage]
        if row.again:
            made.append(f"{row.head}{row.stage}  (stands above)")
            continue
        choice, name = chosen.get(row.stage), _name(row.head, stage)
        numbers = _numbers(choice) if choice is not None else "nothing is chosen for it"
        made += [f"{name:<{wide}} {numbers}"] if len(name) <= wide else [name, f"{_cut(row.below, wide):<{wide}} {numbers}"]
        for text in _details(stage, choice, plan, width - len(row.below) - 1):
            made += _wrapped(text, f"{row.below} ", width)
    return made


def _name(head: str, stage: Stage) -> str:
    return f"{head}{stage.name}"


def _numbers(choice: Choice) -> str:
    total = _total(choice)
    times = amounts.span(choice.start_s, choice.end_s) if choice.end_s > 0 else "–"
    return (
        f"{amounts.count(choice.tasks):>6} {amounts.seconds(total.time_s):>9} {times:>13} {amounts.usd(total.cost_usd):>9} "
        f"{amounts.energy(total.energy_wh):>9} {amounts.quality(choice.quality):>7}  {choice.how}"
    )


def _total(choice: Choice) -> Estimate:
    """Of all its tasks; of one, where a plan says no more."""
    return choice.total or Estimate(choice.time_s, choice.cost_usd, choice.energy_wh, choice.quality)


def _details(stage: Stage, choice: Choice | None, plan: Plan, room: int) -> Iterable[str]:
    if choice is not None:
        yield _way(choice)
    marks = {
        "the answer": stage.name in plan.workflow.answer,
        "observed": stage.observe,
        "gives a collection": stage.many,
        "on the critical path": stage.name in plan.critical,
    }
    said = ", ".join(mark for mark, on in marks.items() if on)
    call = f"{stage.name} = {stage.call or stage.agent}"
    if said and len(call) + len(said) + 6 <= room:
        yield f"{call}    # {said}"
    else:
        yield call
        if said:
            yield f"# {said}"
    if choice is not None and choice.why:
        yield choice.why


def _way(choice: Choice) -> str:
    """What was chosen, where, how wide, with which arguments; and the work that it is."""
    parts = [f"{choice.implementation} on {choice.hardware}"]
    parts.append("warm" if choice.warm else f"cold: {amounts.seconds(choice.load_s)} to load" if choice.load_s > 0 else "cold")
    instances = "1 instance" if choice.width == 1 else f"{choice.width} instances"
    parts.append(f"{instances} × {choice.slots} calls at a time" if choice.slots else instances)
    if choice.power_w is not None:
        parts.append(f"capped at {choice.power_w:g} W")
    parts += [f"{name}={value}" for name, value in choice.args.items()]
    work = ", ".join(f"{amounts.count(v)} {u}" for u, v in choice.units.items() if v)
    each = f"; {amounts.seconds(choice.time_s)} a task" if choice.total is not None and choice.time_s > 0 else ""
    return ", ".join(parts) + each + (f"; {work}" if work else "")


# --- the whole ----------------------------------------------------------------------------------------------------------------


def _totals(plan: Plan, width: int, tolerant: bool) -> list[str]:
    e = estimate_of(plan)
    made = _item("estimate", f"{_said(e)}, all modelled", width)
    if plan.critical:
        made += _item("critical", " → ".join(plan.critical), width)
    given = "; as much as the goals' tolerance may be given up on purpose, for what is better otherwise" if tolerant and _open(plan) else ""
    made += _item("bound", bound(plan) + given, width)
    if plan.search:
        made += _item("search", plan.search, width)
    used = [HOW[how] for how in HOW if any(c.how == how for c in plan.choices)]
    return made + _item("rests on", "; ".join(used), width) if used else made


def bound(plan: Plan) -> str:
    """How far the plan may be from the best one, in words."""
    if plan.bound is None:
        return "nothing was to be chosen, so nothing can be better"
    word, value, least, side = {
        "MIN_LATENCY": ("time", amounts.seconds(plan.time_s), amounts.seconds(plan.bound), "below"),
        "MIN_ENERGY": ("energy", amounts.energy(plan.energy_wh), amounts.energy(plan.bound), "below"),
        "MAX_QUALITY": ("quality", amounts.quality(plan.quality), amounts.quality(plan.bound), "above"),
    }.get(plan.goal, ("cost", amounts.usd(plan.cost_usd, 3), amounts.usd(plan.bound, 3), "below"))
    gap = f"gap {amounts.part(plan.gap or 0.0)}" if _open(plan) else "gap 0, it is optimal"
    return f"{word} {value}, no plan here can be {side} {least}: {gap}"


def _open(plan: Plan) -> bool:
    """Whether a better plan may exist, beyond what rounding does."""
    return (plan.gap or 0.0) >= 5e-6


def _said(e: Estimate) -> str:
    return f"{amounts.seconds(e.time_s)}, {amounts.usd(e.cost_usd)}, {amounts.energy(e.energy_wh)}, quality {amounts.quality(e.quality)}"


def _runners_up(plan: Plan, width: int) -> list[str]:
    if not plan.runners_up:
        return []
    made = ["", f"{'runners-up':<12}{HEAD_PLANS}"]
    for n, rival in enumerate(plan.runners_up[:3]):
        made.append(f"{f'  {n + 1}.':<12}{_plan_numbers(rival.estimate)}")
        made += [line for change in rival.changes or ("the same choices",) for line in _wrapped(change, "     ", width)]
        made += _wrapped(f"lost{'' if rival.lost.startswith('by ') else ':'} {rival.lost}", "     ", width) if rival.lost else []
        made += _wrapped(wins(rival.wins_if), "     ", width) if rival.wins_if else []
    return made


def wins(wins_if: str) -> str:
    return f"would not win: {wins_if.removeprefix('nothing:').strip()}" if wins_if.startswith("nothing:") else f"wins if {wins_if}"


def _frontier(plan: Plan, width: int) -> list[str]:
    found = points(plan)
    if not found:
        return []
    made = ["", f"{'frontier':<12}{HEAD_PLANS}  (unbeaten in time, cost and energy at once)"]
    for point in found:
        star = "  *" if point.words else ""
        row = f"{star:<12}{_plan_numbers(point.estimate)}  "
        text = [*([point.words] if point.words else []), *point.changes]
        room, indent = max(width, len(row) + 24), " " * len(row)
        made += textwrap.wrap("; ".join(text), room, initial_indent=row, subsequent_indent=indent, break_on_hyphens=False) or [row]
    return made


def _plan_numbers(e: Estimate) -> str:
    return f"{amounts.seconds(e.time_s):>9} {amounts.usd(e.cost_usd):>9} {amounts.energy(e.energy_wh):>9} {amounts.quality(e.quality):>7}"


# --- lines --------------------------------------------------------------------------------------------------------------------


def _item(name: str, text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, initial_indent=f"{name:<9}", subsequent_indent=" " * 9, break_on_hyphens=False)


def _wrapped(text: str, indent: str, width: int) -> list[str]:
    """Indented, and further lines a little more; a width that the branches have eaten up is not minded."""
    first: Sequence[str] = textwrap.wrap(
        text, max(width, len(indent) + 40), initial_indent=indent, subsequent_indent=f"{indent}  ", break_on_hyphens=False
    )
    return list(first)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
