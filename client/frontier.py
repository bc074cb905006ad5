"""The picture of a plan that was explained: the frontier, the timeline that is expected, and what lost, as one HTML file without scripts.

Nothing is loaded from anywhere, and every text is escaped, so the file can be mailed and opened offline (as that of a run, `gantt.py`).
"""

from __future__ import annotations

import math

from ..bus.messages import Choice, Estimate, JobResult, Plan
from . import amounts
from .explain_points import points
from .explain_text import bound, wins
from .explain_tree import rows
from .frontier_plot import HEAT, Mark, Scale, plot
from .gantt import text
from .gantt_style import COLOURS, style

ROWS_MAX = 200
ROW, BAR = 34, 20
HEATS = (("#2166ac", "#67a9cf", "#c9b458", "#ef8a62", "#b2182b"), ("#4393c3", "#92c5de", "#e6d27a", "#f4a582", "#e0525f"))
"""Of energy, on light and on dark: blue is little, red is much; told apart by those who do not see red and green too."""
STYLE = """
.dots{width:100%;height:auto;max-height:70vh;overflow:visible}
.dot{fill-opacity:.75;stroke:var(--ink);stroke-width:.8}.dot:hover,.rival:hover{fill-opacity:1}
.chosen{stroke-width:2.8}
.rival{fill-opacity:.35;stroke:var(--ink);stroke-width:1.2;stroke-dasharray:4 3}
.said{fill:var(--ink)}.path{stroke:var(--ink);stroke-width:1.6}
.legend .chosen,.legend .dot,.legend .rival{border-radius:9px;border:1px solid var(--ink);background:none}
.legend .chosen{border-width:2.8px}.legend .rival{border-style:dashed}.legend .heat i{margin-right:0;border-radius:0}
td.w{white-space:normal;text-align:left;min-width:220px;overflow-wrap:anywhere}
"""


def frontier_html(result: JobResult, wanted: str = "") -> str:
    """One self-contained HTML page about a plan. `wanted` are goals and bounds in words. The result must have a plan."""
    plan = result.plan
    assert plan is not None
    parts = [_header(result, plan, wanted), _plans(plan), _timeline(plan), _rivals(plan), _reasons(plan)]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none';style-src 'unsafe-inline'\">"
        f"<title>Murakkab plan {text(result.job)}</title><style>{style()}{_heat()}{STYLE}</style></head><body><main>{''.join(parts)}</main></body></html>\n"
    )


def _header(result: JobResult, plan: Plan, wanted: str) -> str:
    cards = "".join(
        f'<div class="card"><span>{name}</span><b>{text(value)}</b><span>{text(below)}</span></div>'
        for name, value, below in (
            ("Time", amounts.seconds(plan.time_s), f"planned in {amounts.seconds(result.planning_s)}"),
            ("Cost", amounts.usd(plan.cost_usd), "modelled"),
            ("Energy", amounts.energy(plan.energy_wh), "modelled"),
            ("Quality", amounts.quality(plan.quality), "0 to 1, product of the stages"),
            ("Gap", "–" if plan.gap is None else amounts.part(plan.gap), plan.goal or "no goal"),
        )
    )
    kind = f" · {text(plan.workflow.kind)}" if plan.workflow.kind else ""
    return (
        f'<header><div class="top"><h1>Plan of job {text(result.job)}</h1><span class="soft">tenant {text(result.tenant)}{kind}; nothing has '
        f'run</span></div><p class="soft">{text(wanted)}</p><p class="soft">{text(bound(plan))}'
        f'{f" · {text(plan.search)}" if plan.search else ""}</p><div class="cards">{cards}</div></header>'
    )


def _heat() -> str:
    light, dark = ("".join(f".w{n}{{fill:{c};background:{c}}}" for n, c in enumerate(row)) for row in HEATS)
    return f"{light}@media(prefers-color-scheme:dark){{{dark}}}"


def _said(e: Estimate) -> str:
    return f"{amounts.seconds(e.time_s)}, {amounts.usd(e.cost_usd)}, {amounts.energy(e.energy_wh)}, quality {amounts.quality(e.quality)}"


def _cells(e: Estimate) -> str:
    said = (amounts.seconds(e.time_s), amounts.usd(e.cost_usd), amounts.energy(e.energy_wh), amounts.quality(e.quality))
    return "".join(f"<td>{text(cell)}</td>" for cell in said)


# --- the frontier ---------------------------------------------------------------------------------------------------------


def _plans(plan: Plan) -> str:
    found = points(plan)
    if not found:
        return '<h2>Frontier</h2><p class="soft">The plan has none: it was not asked to explain, or there was nothing to choose.</p>'
    marks = [_mark(p.estimate, "dot chosen" if p.chosen else "dot", p.words, p.words or "on the frontier", p.changes) for p in found]
    marks += [
        _mark(r.estimate, "rival", f"runner-up {n + 1}", f"runner-up {n + 1}", (*r.changes, f"lost {r.lost}"))
        for n, r in enumerate(plan.runners_up[:3])
    ]
    legend = (
        '<div class="legend"><span><i class="chosen"></i>chosen</span><span><i class="dot"></i>no plan beats it in time, cost and energy at '
        'once</span><span><i class="rival"></i>runner-up</span><span class="heat">'
        f"energy: least {''.join(f'<i class={chr(34)}w{n}{chr(34)}></i>' for n in range(HEAT))} most; larger: more</span></div>"
    )
    lines = "".join(
        f'<tr><th scope="row">{"*" if p.words else ""}</th>{_cells(p.estimate)}<td class="l">{text(p.words)}</td>'
        f'<td class="w">{text("; ".join(p.changes))}</td></tr>'
        for p in found
    )
    heads = '<th></th><th>Time</th><th>Cost</th><th>Energy</th><th>Quality</th><th class="l">Best at</th><th class="l">Differs by</th>'
    return (
        f"<h2>Frontier: cost against time</h2>{legend}{plot(marks)}"
        f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table></div>'
    )


def _mark(e: Estimate, css: str, label: str, title: str, changes: tuple[str, ...]) -> Mark:
    return Mark(e.time_s, e.cost_usd, e.energy_wh, css, label, "\n".join([title, _said(e), *changes]))


# --- the timeline ---------------------------------------------------------------------------------------------------------


def _timeline(plan: Plan) -> str:
    """Each stage from its first task's start to its last one's end, with loading before it, in the order of their starts."""
    timed = sorted((c for c in plan.choices if math.isfinite(c.end_s) and c.end_s > 0), key=lambda c: (c.start_s, c.end_s))
    if not timed:
        return ""
    shown, agents = timed[:ROWS_MAX], {s.name: s.agent for s in plan.workflow.stages}
    colours = {agent: n % len(COLOURS) for n, agent in enumerate(dict.fromkeys(agents.values()))}
    scale = Scale([0.0, *(max(c.end_s, c.load_s) for c in shown)], 0.0, 100.0)
    names, drawn = [], []
    for n, choice in enumerate(shown):
        where = f"{choice.implementation} on {choice.hardware}{f' × {choice.width}' if choice.width > 1 else ''}"
        tip = text(_tip(choice))
        names.append(
            f'<div class="name" style="height:{ROW}px" title="{tip}"><b>{text(choice.stage)}</b><small>{text(where)}</small></div>'
        )
        y = n * ROW
        drawn.append(f'<line class="grid" x1="0" x2="100%" y1="{y}" y2="{y}"/>')
        if choice.load_s > 0 and not choice.warm:
            drawn.append(
                _bar(scale, 0.0, choice.load_s, y, "cold", f"{text(choice.implementation)} loads\n{text(amounts.seconds(choice.load_s))}")
            )
        css = f"b c{colours.get(agents.get(choice.stage, ''), 0)}{' path' if choice.stage in plan.critical else ''}"
        drawn.append(_bar(scale, choice.start_s, choice.end_s, y, css, tip))
    height = len(shown) * ROW
    ticks = "".join(
        f'<line class="grid" x1="{scale.at(t):.3f}%" x2="{scale.at(t):.3f}%" y1="0" y2="{height}"/>'
        f'<text x="{scale.at(t):.3f}%" y="{height + 16}" text-anchor="{"start" if t == 0 else "middle"}">{text(f"{t:g}")} s</text>'
        for t in scale.ticks()
    )
    hatch = (
        '<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<line class="hatch" x1="0" y1="0" x2="0" y2="6"/></pattern></defs>'
    )
    legend = (
        '<div class="legend"><span><i class="stripes"></i>a model that is not there yet loads</span>'
        "<span>framed: on the critical path</span></div>"
    )
    hidden = f'<p class="soft">{len(timed) - len(shown):,} later stages are not drawn.</p>' if len(timed) > len(shown) else ""
    return (
        f'<h2>Timeline, as expected</h2>{legend}<div class="scroll"><div class="plot"><div class="names">{"".join(names)}'
        f'<div class="name" style="height:26px"><small>seconds from the start of the run</small></div></div>'
        f'<svg height="{height + 26}" role="img" aria-label="Expected start and end of {len(shown)} stages">{hatch}{ticks}{"".join(drawn)}'
        f"</svg></div></div>{hidden}"
    )


def _bar(scale: Scale, start_s: float, end_s: float, y: int, css: str, tip: str) -> str:
    """`tip` is escaped already. At least 0.15 % wide, and never beyond the plot."""
    left, right = scale.at(max(0.0, start_s)), scale.at(max(0.0, end_s))
    width = max(0.15, right - left)
    left = min(left, 100 - width)
    top = y + (ROW - BAR) // 2
    return f'<rect class="{css}" x="{left:.3f}%" y="{top}" width="{width:.3f}%" height="{BAR}" rx="2"><title>{tip}</title></rect>'


def _tip(c: Choice) -> str:
    total = c.total or Estimate(c.time_s, c.cost_usd, c.energy_wh, c.quality)
    tasks = f"{amounts.count(c.tasks)} task{'s' if c.tasks != 1 else ''} of {amounts.seconds(c.time_s)}"
    return "\n".join(
        [
            f"{c.stage}: {c.implementation} on {c.hardware}, {'warm' if c.warm else 'cold'}",
            f"{amounts.span(c.start_s, c.end_s)}, {tasks}",
            f"{_said(total)} ({c.how})",
        ]
    )


# --- words ----------------------------------------------------------------------------------------------------------------


def _rivals(plan: Plan) -> str:
    lines = "".join(
        f'<tr><th scope="row">{n + 1}</th>{_cells(r.estimate)}<td class="w">{text("; ".join(r.changes))}</td>'
        f'<td class="w">{text(r.lost)}</td><td class="w">{text(wins(r.wins_if) if r.wins_if else "")}</td></tr>'
        for n, r in enumerate(plan.runners_up[:3])
    )
    heads = '<th></th><th>Time</th><th>Cost</th><th>Energy</th><th>Quality</th><th class="l">Differs by</th><th class="l">Lost</th>'
    table = f'<table><thead><tr>{heads}<th class="l">What would turn it</th></tr></thead><tbody>{lines}</tbody></table>'
    return f'<h2>Runners-up</h2><div class="scroll">{table}</div>' if lines else ""


def _reasons(plan: Plan) -> str:
    """In the order of the tree: the answer first."""
    chosen = {c.stage: c for c in plan.choices}
    known = [chosen[r.stage] for r in rows(plan.workflow) if not r.again and r.stage in chosen and chosen[r.stage].why]
    items = "".join(f"<li><b>{text(c.stage)}</b>: {text(c.why)}</li>" for c in known)
    return f"<details><summary>Why these choices</summary><ul>{items}</ul></details>" if items else ""
