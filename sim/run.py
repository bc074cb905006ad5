"""Run the simulator: `python -m murakkab.sim.run --seed N [--scenario S] [--trace]`; exit status 1 on a broken promise.

First with faults, every promise checked after every event; then without, and all that was accepted must finish in time.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from random import Random

from msgspec import Struct

from ..bus.link import TASK_FAILED
from .faults import Faults, calm, swarm
from .ledger import Broken, Ledger
from .scenarios import SCENARIOS, Scenario, draw
from .story import Story
from .world import ACTORS, MOVING, Makers, World

FINISH_S = 4_000.0
"""Virtual seconds after the last fault in which everything accepted must end. The longest way that is allowed there: a job
whose longest task (15 minutes) is given up twice, with the grace of each, behind instances that were failing."""
EVENTS_MAX = 2_000_000


class Report(Struct):
    """What one seed came to. `error` is empty when every promise held."""

    seed: int
    scenario: str
    error: str = ""
    virtual_s: float = 0.0
    events: int = 0
    kills: int = 0
    tasks: int = 0
    digest: str = ""
    ends: dict[str, str] = {}
    counts: dict[str, int] = {}
    faults: Faults | None = None

    @property
    def command(self) -> str:
        return f"python -m murakkab.sim.run --seed {self.seed} --scenario {self.scenario} --trace"


def simulate(
    seed: int, scenario: str | Scenario = "swarm", *, makers: Makers | None = None, told: Callable[[str], None] | None = None
) -> Report:
    """One run; the seed and the scenario decide everything. `makers` replaces actor classes (tests do)."""
    rules = SCENARIOS[scenario] if isinstance(scenario, str) else scenario
    dice = Random(seed)
    drawn = rules.faults or (swarm(dice) if rules.chaos else Faults())
    faults = copy(drawn)  # it ends in the middle of the run
    story = Story(told)
    ledger = Ledger(rules.early_release, rules.late_results)
    asks = draw(rules, dice)
    world = World(
        dice,
        faults,
        asks,
        dice.randint(*rules.hosts),
        ledger,
        story,
        {**ACTORS, **(MOVING if rules.moving else {}), **(makers or {})},
        rules,
    )
    with _listening(world):
        try:
            _play(world, rules, dice)
        finally:
            world.end()
    return Report(
        seed,
        scenario if isinstance(scenario, str) else "?",
        str(world.broken) if world.broken else "",
        world.clock.now,
        world.events,
        world.kills,
        ledger.counts.get("Counted", 0),
        story.digest,
        {name: k.result.status for name, k in ledger.jobs.items() if k.result},
        dict(sorted(ledger.counts.items())),
        drawn,
    )


class _Errors(logging.Handler):
    """What goes wrong beside the actors is only logged, and would be silence here."""

    def __init__(self, world: World) -> None:
        super().__init__(logging.ERROR)
        self.world = world

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg == TASK_FAILED and self.world.broken is None:
            self.world.break_(Broken(record.getMessage()))


@contextmanager
def _listening(world: World) -> Iterator[None]:
    """Logs go nowhere but to `_Errors`."""
    log = logging.getLogger("murakkab")
    level, propagate, handler = log.level, log.propagate, _Errors(world)
    log.setLevel(logging.ERROR)
    log.propagate = False
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.propagate = propagate
        log.setLevel(level)


def _play(world: World, rules: Scenario, dice: Random) -> None:
    world.begin()
    asked = sum(len(a) for a in world.asks)
    last_ask = max((a.at_s for asks in world.asks for a in asks), default=0.0)
    ends_at = max(last_ask, dice.uniform(*rules.chaos_s)) if rules.chaos else 0.0
    while world.clock.now < ends_at and world.step():
        pass
    world.chaos = False
    calm(world.faults)
    world.story.note("!", "the faults are over")
    finish_by = world.clock.now + FINISH_S

    def open_jobs() -> bool:
        return len(world.heard) + len(world.refused) < asked or bool(world.ledger.unfinished())

    while open_jobs() and world.clock.now < finish_by and world.events < EVENTS_MAX and world.step():
        pass
    if world.broken is None and open_jobs():
        world.break_(
            Broken(f"not finished {world.clock.now - finish_by + FINISH_S:.0f} s after the last fault: {world.ledger.unfinished()}")
        )
    if world.broken is None and dice.random() < rules.late_restart:
        _restart_late(world)


def _restart_late(world: World) -> None:
    """The conductor starts once more when the streams have forgotten the ids of what it said."""
    until = world.clock.now + 700.0
    while world.clock.now < until and world.step():
        pass
    world.kill("conductor")
    world.start("conductor")
    until = world.clock.now + 5.0
    while world.clock.now < until and world.step():
        pass


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m murakkab.sim.run", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seed", type=int, default=1, help="the first seed (1)")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds to run, one after the other (1)")
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), default="swarm")
    parser.add_argument("--trace", action="store_true", help="print the story: virtual time, process, event, commands")
    parser.add_argument("--keep-going", action="store_true", help="run the other seeds after one that failed")
    args = parser.parse_args(argv)
    failed = 0
    began = time.perf_counter()
    for seed in range(args.seed, args.seed + args.seeds):
        report = simulate(seed, args.scenario, told=print if args.trace else None)
        if report.error:
            failed += 1
            print(f"seed {seed}: BROKEN after {report.virtual_s:.3f} virtual s: {report.error}\n  again: {report.command}")
            if not args.keep_going:
                break
        elif args.seeds == 1:
            print(
                f"seed {seed}: all promises held for {report.virtual_s:.1f} virtual s: {report.events} events, {report.kills} kills, "
                f"{report.tasks} tasks counted, jobs {report.ends or 'none'}"
            )
    if args.seeds > 1:
        print(f"{args.seeds} seeds, {failed} failed, {time.perf_counter() - began:.1f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
