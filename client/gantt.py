"""The picture of a job: who ran where and when, what it took, and what was promised, as one HTML file that needs nothing else.

The form follows Figure 3 of the Murakkab paper: bars over time per executor, utilization below. Nothing is loaded from anywhere, and
every text is escaped, so the file can be mailed and opened offline.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence

from ..bus.messages import Choice, Figure, HostHeartbeat, JobResult, StageReport, TaskRecord
from .gantt_layout import TIME_MAX_S, Bar, Lane, Layout, Task, lay_out, over_time
from .gantt_style import COLOURS, SCRIPT, style

ROW, LANE_MIN, PAD, AXIS = 20, 40, 5, 26
"""Heights in CSS pixels: a row of bars, the least lane, its padding, the time axis."""
BINS, AREA = 240, 64
HOSTS_MAX, SHARES_MAX = 12, 40
UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def text(value: object) -> str:
    """Any value as text inside HTML or inside a quoted attribute."""
    return html.escape(UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", str(value)), quote=True)


def digits(value: float, unit: str) -> str:
    """Three digits and a unit, with a prefix where the number is small: `12.3 mWh`, `1.50 s`."""
    if not math.isfinite(value):
        return f"? {unit}"
    for factor, prefix in ((1.0, ""), (1e3, "m"), (1e6, "µ")):
        if abs(value) * factor >= 1 or (value == 0 and not prefix) or prefix == "µ":
            scaled = value * factor
            places = 0 if abs(scaled) >= 100 or value == 0 else 1 if abs(scaled) >= 10 else 2
            return f"{scaled:,.{places}f} {prefix}{unit}"
    raise AssertionError("the last prefix takes all")


def seconds(value: float) -> str:
    if not math.isfinite(value) or abs(value) < 120:
        return digits(value, "s")
    minutes, rest = divmod(round(abs(value)), 60)
    sign = "−" if value < 0 else ""
    return f"{sign}{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{sign}{minutes} min {rest:02} s"


def usd(value: float) -> str:
    if not math.isfinite(value):
        return "$?"
    return f"${value:,.2f}" if abs(value) >= 1 or value == 0 else f"${value:.3g}" if abs(value) >= 1e-4 else f"{value * 1e6:.3g} µ$"


def agents_of(result: JobResult) -> dict[str, str]:
    """Stage to agent, as far as the plan or the reports tell."""
    named = {report.stage: report.agent for report in result.stages}
    if result.plan is not None:
        named |= {stage.name: stage.agent for stage in result.plan.workflow.stages}
    return named


class Page:
    """What the parts of one page share: the job, its layout, and the colour of each agent."""

    def __init__(self, result: JobResult, layout: Layout, hosts: Sequence[HostHeartbeat]) -> None:
        self.result, self.layout = result, layout
        self.agents = agents_of(result)
        order = dict.fromkeys([*self.agents.values(), *(self.agent(task.record.stage) for task in layout.tasks)])
        self.colours = {agent: i % len(COLOURS) for i, agent in enumerate(order)}
        self.cores = {host.host: host.cores for host in hosts}
        self.runs = {i.id: i.implementation for host in hosts for i in host.instances}
        choices = result.plan.choices if result.plan is not None else ()
        self.choices: dict[str, Choice] = {choice.stage: choice for choice in choices}
        self.reports: dict[str, StageReport] = {report.stage: report for report in result.stages}

    def agent(self, stage: str) -> str:
        return self.agents.get(stage, stage)

    def implementation(self, lane: Lane) -> str:
        if lane.instance in self.runs:
            return self.runs[lane.instance]
        stage = lane.bars[0].tasks[0].record.stage
        known: StageReport | Choice | None = self.reports.get(stage) or self.choices.get(stage)
        return known.implementation if known is not None else self.agent(stage)

    # --- the header ---------------------------------------------------------------------------------------------------

    def header(self) -> str:
        result, plan = self.result, self.result.plan
        retries = sum(max(0, task.record.attempt - 1) for task in self.layout.tasks)
        tasks = f"{len(self.layout.tasks):,}"
        hosts = len({t.record.host for t in self.layout.tasks})

        def card(name: str, value: str, below: str) -> str:
            return f'<div class="card"><span>{name}</span><b>{text(value)}</b><span>{text(below)}</span></div>'

        def promised(figure: Figure, estimate: str) -> str:
            return f"{figure.how}{f'; planned {estimate}' if plan is not None else ''}"

        cards = [
            card(
                "Time",
                seconds(result.time_s),
                f"planning {seconds(result.planning_s)}{f'; planned {seconds(plan.time_s)}' if plan is not None else ''}",
            ),
            card("Energy", digits(result.energy_wh.value, "Wh"), promised(result.energy_wh, digits(plan.energy_wh, "Wh") if plan else "")),
            card("Cost", usd(result.cost_usd.value), promised(result.cost_usd, usd(plan.cost_usd) if plan else "")),
            card("Tasks", tasks, f"{retries:,} retried" if retries else "none retried"),
            card(
                "CPU",
                seconds(_sum(self.layout.tasks, "cpu_s")),
                f"used on {hosts} host{'s' * (hosts != 1)}",
            ),
        ]
        kind = f" · {text(plan.workflow.kind)}" if plan is not None and plan.workflow.kind else ""
        error = f'<p class="error">{text(result.error)}</p>' if result.error else ""
        return (
            f'<header><div class="top"><h1>Job {text(result.job)}</h1><span class="pill {text(result.status)}">{text(result.status)}</span>'
            f'<span class="soft">tenant {text(result.tenant)}{kind}</span></div>{error}<div class="cards">{"".join(cards)}</div></header>'
        )

    def table(self) -> str:
        """The stages: what the plan promised for one task beside what one task took on average."""
        stages = list(dict.fromkeys([*self.choices, *self.reports]))
        if not stages:
            return ""
        rows = []
        for stage in stages:
            choice, report = self.choices.get(stage), self.reports.get(stage)
            known: StageReport | Choice = report or self.choices[stage]
            mine = [t.end_s - t.start_s for t in self.layout.tasks if t.record.stage == stage]
            count = report.tasks if report is not None else 0
            cells = [
                f'<th scope="row">{text(stage)}</th><td class="l">{text(self.agent(stage))}</td>',
                f'<td class="l" data-t="{text(known.implementation)}">{text(known.implementation)} <small>{text(known.hardware)}</small></td>',
                f"<td>{count:,}</td><td>{max(0, report.attempts - count) if report is not None else 0}</td>",
                f"<td>{text(seconds(report.start_s))} – {text(seconds(report.end_s))}</td>" if report is not None else "<td>not run</td>",
            ]
            took = digits(math.fsum(mine) / len(mine), "s") if mine else "–"
            used = digits(report.energy_wh / count, "Wh") if report is not None and count else "–"
            paid = usd(report.cost_usd / count) if report is not None and count else "–"
            promises = (digits(choice.time_s, "s"), digits(choice.energy_wh, "Wh"), usd(choice.cost_usd)) if choice else ("–",) * 3
            cells += [f'<td class="e">{text(a)}</td><td>{text(b)}</td>' for a, b in zip(promises, (took, used, paid), strict=True)]
            rows.append(f"<tr>{''.join(cells)}</tr>")
        why = "".join(f"<li><b>{text(c.stage)}</b>: {text(c.why)}</li>" for c in self.choices.values() if c.why)
        reasons = f"<details><summary>Why these choices</summary><ul>{why}</ul></details>" if why else ""
        heads = "".join(f'<th class="{css}">{name}</th>' for name, css in (("Stage", ""), ("Agent", "l"), ("Implementation", "l")))
        pairs = '<th class="e">estimate</th><th>actual</th>' * 3
        return (
            '<h2>Stages: promised and taken</h2><div class="scroll"><table><thead>'
            '<tr><th colspan="6"></th><th colspan="2" class="pair">Time a task</th><th colspan="2" class="pair">Energy a task</th>'
            '<th colspan="2" class="pair">Cost a task</th></tr>'
            f"<tr>{heads}<th>Tasks</th><th>Retries</th><th>From – to</th>{pairs}</tr></thead>"
            f"<tbody>{''.join(rows)}</tbody></table></div>"
            f'<p class="soft">Estimates are modelled from profiles; actuals are means over the tasks that counted.</p>{reasons}'
        )

    # --- the plot -----------------------------------------------------------------------------------------------------

    def at(self, time_s: float) -> str:
        return f"{self.layout.percent(time_s):.3f}%"

    def rect(self, start_s: float, end_s: float, y: int, height: int, css: str, tip: str) -> str:
        """A bar at least 0.12 % wide that never leaves the plot."""
        left, right = self.layout.percent(start_s), self.layout.percent(end_s)
        width = max(0.12, right - left)
        left = min(left, 100 - width)
        return f'<rect class="{css}" x="{left:.3f}%" y="{y}" width="{width:.3f}%" height="{height}" rx="2" data-t="{text(tip)}"/>'

    def bar(self, bar: Bar, y: int) -> str:
        top, height = y + bar.row * ROW, ROW - 2
        css = f"b c{self.colours[self.agent(bar.stage)]}" if bar.stage else "b mix"
        drawn = self.rect(bar.start_s, bar.end_s, top, height, css, self.tip(bar))
        width = self.layout.percent(bar.end_s) - self.layout.percent(bar.start_s)
        room = int((width * 6.8 - 6) / 5.6)  # characters, in the narrowest plot of 680 pixels
        label = bar.stage if len(bar.tasks) == 1 else f"{bar.stage} ×{len(bar.tasks)}"
        if bar.stage and room >= min(6, len(label)):
            short = label if len(label) <= room else label[: room - 1] + "…"
            drawn += (
                f'<svg class="in" x="{self.at(bar.start_s)}" y="{top}" width="{width:.3f}%" height="{height}">'
                f'<text x="4" y="{height - 5}">{text(short)}</text></svg>'
            )
        return drawn

    def tip(self, bar: Bar) -> str:
        if len(bar.tasks) > 1:
            stages = ", ".join(sorted({task.record.stage for task in bar.tasks}))
            return (
                f"{len(bar.tasks)} tasks of {stages}\n{seconds(bar.start_s)} to {seconds(bar.end_s)}\n"
                f"CPU {seconds(_sum(bar.tasks, 'cpu_s'))}, energy {digits(_sum(bar.tasks, 'energy_wh'), 'Wh')}, "
                f"cost {usd(_sum(bar.tasks, 'cost_usd'))}\ntoo thin to be drawn one by one"
            )
        (task,) = bar.tasks
        record, use = task.record, task.record.use
        index = "".join(f"[{i}]" for i in record.index)
        agent = self.agent(record.stage)
        lines = [
            f"{record.stage}{index}" + (f" · {agent}" if agent != record.stage else ""),
            f"attempt {record.attempt} on {record.host} / {record.instance}",
            f"{seconds(task.end_s - task.start_s)}, from {seconds(task.start_s)} to {seconds(task.end_s)}",
            f"CPU {seconds(use.cpu_s)}",
            f"energy {digits(use.energy_wh, 'Wh')} ({use.energy_how})",
            f"cost {usd(use.cost_usd)}",
        ]
        return "\n".join([*lines, f"waited {seconds(use.cold_s)} for a cold start"] if use.cold_s > 0 else lines)

    def ticks(self) -> list[float]:
        span = self.layout.end_s - self.layout.start_s
        step = 10.0 ** math.floor(math.log10(span / 5))
        step *= next(m for m in (1, 2, 5, 10) if span / (step * m) <= 8)
        first = math.ceil(self.layout.start_s / step)
        return [i * step for i in range(first, math.floor(self.layout.end_s / step) + 1)]

    def frame(self, names: list[tuple[int, str, str]], inner: str, height: int, label: str) -> str:
        """The two columns of a plot: names at the left, which stay when the plot is scrolled, and time to the right with its axis."""
        ticks, marks = self.ticks(), ""
        step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
        for tick in ticks:
            place = self.layout.percent(tick)
            anchor = "end" if place > 97 else "start" if place < 2 else "middle"
            marks += f'<line class="grid" x1="{place:.3f}%" x2="{place:.3f}%" y1="0" y2="{height}"/>'
            shown = f"{tick:,.{max(0, -math.floor(math.log10(step)))}f}"
            marks += f'<text x="{place:.3f}%" y="{height + 16}" text-anchor="{anchor}">{shown} s</text>'
        rows = "".join(
            f'<div class="name" style="height:{h}px" data-t="{text(title)}{"&#10;" if below else ""}{text(below)}"><b>{text(title)}</b>'
            f"{f'<small>{text(below)}</small>' if below else ''}</div>"
            for h, title, below in names
        )
        foot = f'<div class="name" style="height:{AXIS}px"><small>seconds from submission</small></div>'
        return (
            f'<div class="scroll"><div class="plot"><div class="names">{rows}{foot}</div>'
            f'<svg height="{height + AXIS}" role="img" aria-label="{text(label)}">{marks}{inner}'
            f'<line class="grid edge" x1="0" x2="100%" y1="{height}" y2="{height}"/></svg></div></div>'
        )

    def gantt(self) -> str:
        names, drawn, y = [], [], 0
        if self.result.planning_s > 0 and math.isfinite(self.result.planning_s):
            names.append((LANE_MIN - 10, "planning", ""))
            tip = f"planning\n{seconds(self.result.planning_s)}: workflow and choices"
            drawn.append(self.rect(0.0, self.result.planning_s, PAD, ROW - 2, "b plan", tip))
            y = LANE_MIN - 10
        for lane in self.layout.lanes:
            height = max(LANE_MIN, lane.rows * ROW + 2 * PAD)
            crowd = f" · {lane.at_once} at once" if lane.at_once > lane.rows else ""
            names.append((height, self.implementation(lane), f"{lane.host} / {lane.instance}{crowd}"))
            drawn.append(f'<line class="grid" x1="0" x2="100%" y1="{y}" y2="{y}"/>')
            top = y + (height - lane.rows * ROW) // 2 + 1
            for start_s, end_s in lane.cold:
                tip = f"cold start of {lane.instance}\n{seconds(end_s - start_s)}: a task waited while it loaded"
                drawn.append(self.rect(start_s, end_s, top, ROW - 2, "cold", tip))
            drawn += [self.bar(bar, top) for bar in lane.bars]
            y += height
        hatch = '<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        hatch += '<line class="hatch" x1="0" y1="0" x2="0" y2="6"/></pattern></defs>'
        label = f"Gantt chart of {len(self.layout.tasks)} tasks on {len(self.layout.lanes)} instances"
        return f"<h2>Who ran where and when</h2>{self.legend()}{self.frame(names, hatch + ''.join(drawn), max(y, LANE_MIN), label)}{self.notes()}"

    def legend(self) -> str:
        used = dict.fromkeys(self.agent(task.record.stage) for task in self.layout.tasks)
        keys = [f'<span><i class="c{self.colours[agent]}"></i>{text(agent)}</span>' for agent in list(used)[:40]]
        if self.result.planning_s > 0:
            keys.append('<span><i class="planning"></i>planning</span>')
        if any(lane.cold for lane in self.layout.lanes):
            keys.append('<span><i class="stripes"></i>cold start: a task waited for the model to load</span>')
        if any(not bar.stage for lane in self.layout.lanes for bar in lane.bars):
            keys.append('<span><i class="mix"></i>several stages</span>')
        return f'<div class="legend">{"".join(keys)}</div>'

    def notes(self) -> str:
        """What the picture does not show, in words."""
        layout = self.layout
        said = []
        if not layout.tasks:
            said.append("No task of this job has counted.")
        if layout.merged:
            bars = sum(len(lane.bars) for lane in layout.lanes)
            said.append(f"{len(layout.tasks):,} tasks are drawn as {bars:,} bars: tasks too thin to be told apart share one.")
        if layout.lanes_hidden:
            said.append(f"{layout.lanes_hidden:,} less busy instances are not drawn.")
        if layout.unreadable:
            said.append(f"{layout.unreadable:,} tasks are left out: their times are no usable numbers.")
        return "".join(f'<p class="soft">{line}</p>' for line in said)

    # --- utilization --------------------------------------------------------------------------------------------------

    def area(self, values: Sequence[float], top: float, y: int, height: int, css: str) -> str:
        """Steps over time, scaled so that `top` is the full height."""
        steps, before = [f"M0 {height}"], 0.0
        for i, value in enumerate(values):
            level = height - min(1.0, value / top) * height
            steps.append(f"L{i} {before if i else height:.2f}L{i} {level:.2f}")
            before = level
        steps.append(f"L{len(values)} {before:.2f}L{len(values)} {height}Z")
        return (
            f'<svg x="0" y="{y}" width="100%" height="{height}" viewBox="0 0 {len(values)} {height}" preserveAspectRatio="none">'
            f'<path class="{css}" d="{"".join(steps)}"/></svg>'
        )

    def utilization(self) -> str:
        layout = self.layout
        if not layout.lanes:
            return ""
        names, drawn, y = [], [], 0
        by_host: dict[str, list[tuple[float, float, float]]] = {}
        for task in layout.tasks:
            by_host.setdefault(task.record.host, []).append((task.start_s, task.end_s, max(0.0, _sum((task,), "cpu_s"))))
        for host in sorted(by_host)[:HOSTS_MAX]:
            values = over_time(by_host[host], layout.start_s, layout.end_s, BINS)
            cores, peak = self.cores.get(host, 0), max(values)
            top = float(cores) if 0 < cores / 4 <= peak <= cores else _round_up(peak)
            names.append((AREA + 16, host, f"busy cores{f' of {cores}' if cores else ''}, peak {peak:.2g}"))
            drawn.append(f'<line class="grid" x1="0" x2="100%" y1="{y + 12}" y2="{y + 12}"/>')
            drawn.append(self.area(values, top, y + 12, AREA, "area"))
            if cores and cores <= top:
                limit = y + 12 + AREA * (1 - cores / top)
                drawn.append(f'<line class="limit" x1="0" x2="100%" y1="{limit:.1f}" y2="{limit:.1f}"/>')
            drawn.append(f'<text x="4" y="{y + 10}">{top:g} cores</text>')
            y += AREA + 16
            drawn.append(f'<line class="grid edge" x1="0" x2="100%" y1="{y}" y2="{y}"/>')
        for lane in layout.lanes[:SHARES_MAX]:
            values = over_time(((a, b, b - a) for a, b in lane.busy), layout.start_s, layout.end_s, BINS)
            share = math.fsum(b - a for a, b in lane.busy) / (layout.end_s - layout.start_s)
            names.append((LANE_MIN - 4, f"{share:.0%} · {self.implementation(lane)}", f"{lane.host} / {lane.instance}"))
            first = lane.bars[0].tasks[0].record.stage
            drawn.append(self.area(values, 1.0, y + 6, LANE_MIN - 10, f"share c{self.colours[self.agent(first)]}"))
            y += LANE_MIN - 4
            drawn.append(f'<line class="grid" x1="0" x2="100%" y1="{y}" y2="{y}"/>')
        hidden = max(0, len(by_host) - HOSTS_MAX) + max(0, len(layout.lanes) - SHARES_MAX)
        more = f" {hidden} more rows are not drawn." if hidden else ""
        width = seconds((layout.end_s - layout.start_s) / BINS)
        return (
            f"<h2>Utilization over time</h2>{self.frame(names, ''.join(drawn), y, 'Busy cores of each host and busy share of each instance')}"
            '<p class="soft">Busy cores: each task\'s CPU-seconds spread evenly over its bar. Instance rows: share of the time with at least '
            f"one task running, 0 to 100 %. Means over {text(width)} each.{more}</p>"
        )


def _sum(tasks: Sequence[Task], name: str) -> float:
    """One field of `Use` over these tasks, without what is no usable number."""
    values: list[float] = [getattr(task.record.use, name) for task in tasks]
    return math.fsum(value for value in values if abs(value) < TIME_MAX_S)


def _round_up(value: float) -> float:
    """The next of 1, 2, 5, 10, … that a scale can end at; at least a tenth."""
    if not value > 0.1:
        return 0.1
    power: float = 10.0 ** math.floor(math.log10(value))
    return next(m * power for m in (1.0, 2.0, 5.0, 10.0) if m * power >= value * 0.999)


def gantt_html(result: JobResult, tasks: Sequence[TaskRecord], submitted_at: float, hosts: Sequence[HostHeartbeat] = ()) -> str:
    """One self-contained HTML page about a finished job.

    `submitted_at` is the epoch second that all times are counted from. `hosts` may tell cores and what instances run; it may be empty.
    """
    layout = lay_out(tasks, submitted_at, max(result.time_s, result.planning_s))
    page = Page(result, layout, hosts)
    parts = [page.header(), page.gantt(), page.utilization(), page.table()]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none';style-src 'unsafe-inline';script-src 'unsafe-inline'\">"
        f"<title>Murakkab job {text(result.job)}</title><style>{style()}</style></head><body><main>{''.join(parts)}</main>"
        f'<div id="tip" role="tooltip" hidden></div><script>{SCRIPT}</script></body></html>\n'
    )
