"""Published figures of other planners on the sets of planning.py, in percent: only what was read in the source that is named."""

from __future__ import annotations

from typing import NamedTuple


class Published(NamedTuple):
    """`node` and `edge` as TaskBench defines n-F1 and e-F1; or `other`, a figure that `metric` names."""

    who: str
    node: float | None = None
    edge: float | None = None
    other: float | None = None
    metric: str = ""


_TASKBENCH = "microsoft/JARVIS, taskbench/README.md, leaderboard (arXiv 2311.18760), on its own choice of rows"
_LISTING = "wizwand.com listing of arXiv 2405.19119 (the paper's own table was not at hand): other rows than here"
_WORF_RUN = (
    "a third party's run of the published program (PolarSnowLeopard/WorFBench, eval_result/), all-mpnet-base-v2, START and END count "
    "as nodes; the paper (arXiv 2410.07869) says in its abstract that GPT-4's f1_chain and f1_graph are about 15 apart; its table: not found"
)
_NESTFUL = "arXiv 2409.03797v3, abstract, on the later release of 1,861 rows, not on these rows; figures for the first release, which is here: not found"

PUBLISHED: dict[str, tuple[str, tuple[Published, ...]]] = {
    "multimedia": (
        _TASKBENCH,
        (
            Published("gpt-4", 90.90, 69.27),
            Published("claude-2", 80.94, 53.01),
            Published("text-davinci-003", 73.97, 45.81),
            Published("gpt-3.5-turbo", 72.83, 44.02),
            Published("codellama-13b", 62.78, 24.61),
            Published("vicuna-13b-v1.5", 60.61, 14.78),
            Published("llama-2-13b-chat", 43.87, 1.63),
            Published("llama-2-7b-chat", 26.47, 0.91),
        ),
    ),
    "huggingface": (
        _TASKBENCH,
        (
            Published("gpt-4", 81.54, 54.70),
            Published("claude-2", 79.00, 43.51),
            Published("gpt-3.5-turbo", 69.49, 33.36),
            Published("text-davinci-003", 59.38, 29.37),
            Published("codellama-13b", 53.16, 14.64),
            Published("vicuna-13b-v1.5", 50.82, 7.28),
            Published("llama-2-13b-chat", 48.47, 7.30),
            Published("llama-2-7b-chat", 27.30, 0.74),
        ),
    ),
    "taskbench": ("of the two together: not found; see multimedia and huggingface", ()),
    "requests-dailylifeapis": (
        _TASKBENCH + "; there is no gold for it here",
        (
            Published("gpt-4", 96.91, 80.53),
            Published("gpt-3.5-turbo", 85.37, 60.67),
            Published("codellama-13b", 87.73, 63.16),
            Published("llama-2-7b-chat", 30.17, 4.27),
        ),
    ),
    "ultratool": (_LISTING, (Published("best listed, method not named", other=72.81, metric="n-F1, mean of rows"),)),
    "tmdb": (_LISTING, (Published("best listed, method not named", other=82.63, metric="n-F1, mean of rows"),)),
    "worfbench-toolbench": (_WORF_RUN, (Published("gpt-3.5-turbo", other=78.75, metric="f1_graph"),)),
    "worfbench-toolalpaca": (_WORF_RUN, (Published("gpt-3.5-turbo", other=69.62, metric="f1_graph"),)),
    "worfbench-lumos": (_WORF_RUN, (Published("gpt-3.5-turbo", other=69.81, metric="f1_graph"),)),
    "worfbench-wikihow": (_WORF_RUN, (Published("gpt-3.5-turbo", other=42.72, metric="f1_graph"),)),
    "nestful-executable": (_NESTFUL, (Published("GPT-4o", other=28.0, metric="whole sequence right"),)),
    "nestful-glaive": (_NESTFUL, (Published("GPT-4o", other=28.0, metric="whole sequence right"),)),
    "nestful-sgd": (_NESTFUL, (Published("GPT-4o", other=28.0, metric="whole sequence right"),)),
}
"""Set to the source and its rows."""


def line(name: str) -> str:
    """What is known of a set, in one line; it says so when nothing is."""
    if name not in PUBLISHED:
        return "published: not found"
    source, rows = PUBLISHED[name]
    if not rows:
        return f"published: {source}"
    return f"published: {', '.join(_figures(p) for p in rows)} [{source}]"


def _figures(p: Published) -> str:
    """n-F1/e-F1, or the one other figure with its name."""
    if not p.metric:
        return f"{p.who} {p.node:.1f}/{p.edge:.1f}"
    return f"{p.who} {p.other:.1f} ({p.metric})"
