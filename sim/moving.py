"""A fleet that changes while jobs run, and an optimizer that makes the most of it: what is brought by one host alone, a machine had
cheaply that is taken away again, plans that are made again and again.

The optimizer is the real one in all that it hears and says; only what it chooses is replaced: of all that is offered, by turns. So
plans change as often as they may, and nothing depends on what the real one would prefer.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from typing import Any

from msgspec.structs import replace

from ..actors.core import Command, Event, Heard, Resumed, Send, Wake, Woke
from ..actors.optimizer import Optimizer
from ..agents.library import Implementation
from ..bus.messages import Choice, MakePlan, Plan, PlanMade, PlansStale

WHIM_EVERY_S = 2.5
AGENTS = ("Sleep", "Spread")


def rows(n: int) -> tuple[Implementation, ...]:
    """What host n brings, and nobody else."""
    return tuple(
        Implementation(f"{a.lower()}-{n}", a, f"simulated:{a}{n}", slots=4 + n, memory_mb=30, quality=1.0, work_s=0.0, load_s=0.1 + 0.4 * n)
        for a in AGENTS
    )


class ByTurns(Optimizer):
    """Chooses by turns among what is offered for every stage that is open, and says for no reason that plans are stale."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.asks: dict[str, MakePlan] = {}
        self.turn = count()
        self.whims = False

    def on(self, event: Event, now: float) -> Iterable[Command]:
        if isinstance(event, Heard) and isinstance(event.msg, MakePlan):
            self.asks[event.msg.job] = event.msg
        if isinstance(event, Woke) and event.key == "whim":
            yield Wake(WHIM_EVERY_S, "whim")
            yield Send(PlansStale(why="a whim", at=now))
            return
        for command in super().on(event, now):
            match command:
                case Send(msg=PlanMade() as made) if made.job in self.asks:
                    yield replace(command, msg=replace(made, plan=self._by_turns(made.plan, self.asks[made.job])))
                case _:
                    yield command
        if isinstance(event, Resumed) and not self.whims:
            self.whims = True
            yield Wake(WHIM_EVERY_S, "whim")

    def _by_turns(self, plan: Plan, ask: MakePlan) -> Plan:
        stays = {c.stage for c in ask.chosen}
        agent = {s.name: s.agent for s in plan.workflow.stages}
        return replace(plan, choices=tuple(c if c.stage in stays else self._other(c, agent[c.stage]) for c in plan.choices))

    def _other(self, choice: Choice, agent: str) -> Choice:
        offers = sorted(
            {(o.implementation, o.hardware) for _, b in self.hosts.values() if b.revoked_at is None for o in b.offers if o.agent == agent}
        )
        if agent not in AGENTS or not offers:
            return choice
        name, hardware = offers[next(self.turn) % len(offers)]
        return replace(choice, implementation=name, hardware=hardware)
