"""The style and the script of the picture's page: no frame, no fetch, nothing that any text of a job can reach."""

from __future__ import annotations

COLOURS = (
    ("#2563a8", "#8ab8f0"),
    ("#a34a00", "#f2aa6b"),
    ("#1c7547", "#79d3a2"),
    ("#7d3c98", "#d3a4ea"),
    ("#a8324a", "#f59aac"),
    ("#0b6f75", "#6fd0d4"),
    ("#6f5b00", "#dcc65a"),
    ("#4a4fc4", "#b0b3ff"),
    ("#8e1f63", "#f09ad0"),
    ("#55606b", "#b6c2cc"),
)
"""(on light, on dark) for each agent: white text on the first and black text on the second pass WCAG AA."""


def style() -> str:
    light = "".join(f"--c{i}:{pair[0]};" for i, pair in enumerate(COLOURS))
    dark = "".join(f"--c{i}:{pair[1]};" for i, pair in enumerate(COLOURS))
    rules = "".join(f".c{i}{{fill:var(--c{i});background:var(--c{i})}}" for i in range(len(COLOURS)))
    return f":root{{{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}{rules}{CSS}"


CSS = """
:root{color-scheme:light dark;--bg:#fff;--panel:#f6f8fa;--ink:#1b222b;--soft:#57616d;--line:#d5dbe1;--grid:#e6eaee;--on:#fff;--good:#1c7547;--bad:#b3261e;--area:#2563a8}
@media(prefers-color-scheme:dark){:root{--bg:#11161d;--panel:#1a212b;--ink:#e7ecf2;--soft:#a3afbd;--line:#344050;--grid:#263140;--on:#0b0f14;--good:#79d3a2;--bad:#ff9a93;--area:#8ab8f0}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:14px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",sans-serif}
main{max-width:1320px;margin:0 auto;padding:20px 20px 40px}
h1{font-size:20px;margin:0;overflow-wrap:anywhere}h2{font-size:15px;margin:28px 0 8px}
p{margin:4px 0}.soft,small{color:var(--soft);font-size:12.5px}
.top{display:flex;gap:10px;align-items:center;flex-wrap:wrap}
.pill{border:1.5px solid;border-radius:99px;padding:1px 10px;font-weight:600;font-size:13px}.done{color:var(--good)}.failed,.cancelled{color:var(--bad)}
.error{border-left:3px solid var(--bad);padding:6px 10px;background:var(--panel);overflow-wrap:anywhere;white-space:pre-line}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:10px;margin:16px 0 0}
.card{background:var(--panel);border:1px solid var(--line);border-radius:8px;padding:9px 12px}
.card b{display:block;font-size:19px;font-variant-numeric:tabular-nums}.card span{color:var(--soft);font-size:12.5px}
.scroll{overflow-x:auto;border:1px solid var(--line);border-radius:8px}
.plot{display:grid;grid-template-columns:230px minmax(680px,1fr);padding-right:14px}
.names{position:sticky;left:0;z-index:1;background:var(--bg);border-right:1px solid var(--line)}
.name{padding:0 10px;display:flex;flex-direction:column;justify-content:center;border-bottom:1px solid var(--grid)}
.name>*{overflow:hidden;text-overflow:ellipsis;white-space:nowrap;line-height:1.3}
.name b{font-size:12.5px;font-weight:600}.name small{font-size:11px}
svg{display:block;overflow:visible;width:100%}svg svg{overflow:hidden}
.grid{stroke:var(--grid);stroke-width:1}.edge{stroke:var(--line)}
text{font:11px system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",sans-serif;fill:var(--soft)}
.b{stroke:var(--bg);stroke-width:.6}.b:hover{stroke:var(--ink);stroke-width:1.6}.in text{fill:var(--on);font-size:10.5px;pointer-events:none}.in{pointer-events:none}
.plan{fill:var(--soft)}.cold{fill:url(#hatch);stroke:var(--soft);stroke-width:.7}.mix{fill:var(--soft);background:var(--soft)}
.hatch{stroke:var(--soft);stroke-width:2.2}
.area{fill:var(--area);fill-opacity:.3;stroke:var(--area);stroke-width:1.3;vector-effect:non-scaling-stroke}.share{fill-opacity:.8}
.limit{stroke:var(--bad);stroke-dasharray:5 4;stroke-width:1}
.legend{display:flex;flex-wrap:wrap;gap:4px 16px;margin:8px 0;font-size:12.5px}.legend i{display:inline-block;width:12px;height:12px;border-radius:2px;margin-right:6px;vertical-align:-1px}
.legend .stripes{background:repeating-linear-gradient(45deg,var(--soft) 0 2px,transparent 2px 5px);border:1px solid var(--soft)}
.legend .planning{background:var(--soft)}
table{border-collapse:collapse;width:100%;font-size:13px;font-variant-numeric:tabular-nums}
th,td{padding:5px 9px;text-align:right;border-bottom:1px solid var(--grid);white-space:nowrap}
th{color:var(--soft);font-weight:600;font-size:12px}thead tr:last-child th{border-bottom:1px solid var(--line)}
td:first-child,th:first-child,.l{text-align:left}.pair{text-align:center;border-left:1px solid var(--grid)}td.e,th.e{border-left:1px solid var(--grid);color:var(--soft)}
tbody th{color:var(--ink);font-size:13px;position:sticky;left:0;background:var(--bg)}tbody tr:last-child>*{border-bottom:0}
td.l{max-width:290px;overflow:hidden;text-overflow:ellipsis}
details{margin-top:8px}summary{cursor:pointer}details li{margin:3px 0;overflow-wrap:anywhere}
#tip{position:fixed;z-index:9;max-width:min(340px,92vw);background:var(--ink);color:var(--bg);padding:7px 10px;border-radius:6px;font-size:12.5px;white-space:pre-line;overflow-wrap:anywhere;pointer-events:none;left:0;top:0}
#tip[hidden]{display:none}
@media(max-width:640px){main{padding:14px 10px 30px}.plot{grid-template-columns:118px minmax(680px,1fr)}.name{padding:0 6px}.cards{grid-template-columns:1fr 1fr}th,td{padding:5px 7px}}
@media print{.scroll{overflow:visible}}
"""

SCRIPT = """
(() => {
  const tip = document.getElementById("tip");
  const show = e => {
    const hit = e.target.closest && e.target.closest("[data-t]");
    tip.hidden = !hit;
    if (!hit) return;
    tip.textContent = hit.getAttribute("data-t");
    const box = tip.getBoundingClientRect();
    const x = Math.min(e.clientX + 14, innerWidth - box.width - 8);
    const y = e.clientY + 18 + box.height > innerHeight ? e.clientY - box.height - 12 : e.clientY + 18;
    tip.style.transform = `translate(${Math.max(8, x)}px,${Math.max(8, y)}px)`;
  };
  addEventListener("pointermove", show);
  addEventListener("pointerdown", show);
  addEventListener("scroll", () => { tip.hidden = true; }, true);
})();
"""
