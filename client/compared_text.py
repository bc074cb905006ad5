"""Estimated beside actual as a table for people, and what was changed of the plan on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TextIO

from . import amounts
from .compared import Comparison, Pair, StagePair
from .history import Change


def print_stages(stages: Sequence[StagePair], out: TextIO) -> None:
    """One line a stage; nothing where nothing has run."""
    if not stages:
        return
    wide = min(24, max(5, *(len(s.stage) for s in stages)))
    three = "".join(f"  {word:^26}" for word in ("time", "energy", "cost")).rstrip()
    print(f"\n{'':<{wide}} {'':>7}{three}", file=out)
    print(f"{'stage':<{wide}} {'tasks':>7}{'  estimate   actual    error' * 3}    CPU s", file=out)
    for s in stages:
        cells = "".join(
            _cells(p, say) for p, say in ((s.time_s, amounts.seconds), (s.energy_wh, amounts.energy), (s.cost_usd, amounts.usd))
        )
        moved = "  (moved while it ran)" if s.moved else ""
        print(f"{_fit(s.stage, wide):<{wide}} {_tasks(s.tasks):>7}{cells} {s.cpu_s:>8.2f}{moved}", file=out)


def print_whole(made: Comparison | None, out: TextIO) -> None:
    """The whole job, in one line or two."""
    if made is None:
        return
    said = [
        f"{name} {say(p.estimate)}, was {say(p.actual or 0.0)} ({amounts.error(p.error)})"
        for name, p, say in (
            ("time", made.time_s, amounts.seconds),
            ("energy", made.energy_wh, amounts.energy),
            ("cost", made.cost_usd, amounts.usd),
        )
        if p.estimate is not None
    ]
    if not said:
        return
    print(f"estimate {'; '.join(said)}", file=out)
    load = made.loading
    if load.cost_usd > 0 or load.energy_wh > 0:
        more = f"{amounts.energy(load.energy_wh)} and {amounts.usd(load.cost_usd)}"
        print(f"         besides {more} for models that load or idle, which a run's figures leave out", file=out)


def print_changes(changes: Iterable[Change], out: TextIO) -> None:
    """Why and when the plan was made again."""
    for change in changes:
        print(f"changed  at t={change.at_s:.2f} s because {change.why or 'it was stale'}", file=out)
        for line in change.stages or ("nothing that had not started was better done in another way",):
            print(f"           {line}", file=out)


def _cells(p: Pair, say: Callable[[float], str]) -> str:
    estimate, actual = ("–" if v is None else say(v) for v in (p.estimate, p.actual))
    return f" {estimate:>9} {actual:>9} {amounts.error(p.error):>8}"


def _tasks(p: Pair) -> str:
    """How many there were, and how many had been expected where that is another number."""
    return f"{p.actual:.0f}" if p.estimate is None or round(p.estimate) == p.actual else f"{p.actual:.0f}/{amounts.count(p.estimate)}"


def _fit(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
