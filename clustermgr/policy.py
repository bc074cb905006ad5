"""The scaling policies by name: the one that looks ahead, and those to compare it with. Pure.

MURAKKAB_SCALING names one: `look-ahead` (the default), `always-on`, `reactive` (looks every 30 s, cools down for 300 s) or
`reactive:POLL,COOLDOWN` with other seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Protocol

from . import lookahead
from .forecast import Key
from .reactive import Reactive, always_on
from .state import Pool, Target

WAIT_USD_PER_HOUR = 3.6
"""What an hour of a job's waiting is worth, unless MURAKKAB_WAIT_USD_PER_HOUR says otherwise: a tenth of a cent a second."""


def wait_usd_per_s(environ: Mapping[str, str]) -> float:
    """Raises ValueError."""
    text = environ.get("MURAKKAB_WAIT_USD_PER_HOUR", "") or str(WAIT_USD_PER_HOUR)
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not (isfinite(value) and value >= 0):
        raise ValueError(f"MURAKKAB_WAIT_USD_PER_HOUR is '{text}', and must be a finite number of dollars, zero or more")
    return value / 3600


class Policy(Protocol):
    name: str

    def target(self, pool: Pool, now: float) -> Target: ...


@dataclass(slots=True)
class _LookAhead:
    name: str = "look-ahead"

    def target(self, pool: Pool, now: float) -> Target:
        return lookahead.target(pool, now)


@dataclass(slots=True)
class _AlwaysOn:
    name: str = "always-on"

    def target(self, pool: Pool, now: float) -> Target:
        return always_on(pool)


@dataclass(slots=True)
class _Polling:
    """Looks at a pool only every so often, and stays with what it decided until then."""

    rule: Reactive
    name: str = ""
    last: dict[Key, tuple[float, Target]] = field(default_factory=dict)
    first: float | None = None

    def target(self, pool: Pool, now: float) -> Target:
        if self.first is None:
            self.first = now
        tick = self.first + (now - self.first) // self.rule.poll_s * self.rule.poll_s
        known = self.last.get(pool.key)
        if known is None and tick < now:  # a pool that appears between two looks is seen at the next
            known = self.last[pool.key] = (tick, Target(pool.have, False, "not-looked", "not looked at yet"))
        if known is None or known[0] < tick:
            known = self.last[pool.key] = (tick, self.rule.target(pool))
        return known[1]


def look_ahead() -> Policy:
    return _LookAhead()


def policy(text: str) -> Policy:
    """Raises ValueError with what would be right."""
    name, _, rest = text.strip().partition(":")
    match name:
        case "" | "look-ahead" if not rest:
            return _LookAhead()
        case "always-on" if not rest:
            return _AlwaysOn()
        case "reactive":
            rule = Reactive()
            if rest:
                try:
                    poll_s, cooldown_s = (float(part) for part in rest.split(","))
                except ValueError:
                    raise ValueError(f"'{text}': reactive takes two numbers of seconds, as in reactive:30,300") from None
                if not (0 < poll_s < float("inf") and cooldown_s >= 0 and isfinite(cooldown_s)):
                    raise ValueError(f"'{text}': the poll must be above 0 s and the cooldown not below 0 s")
                rule = Reactive(poll_s, cooldown_s)
            return _Polling(rule, f"reactive:{rule.poll_s:g},{rule.cooldown_s:g}")
    raise ValueError(f"'{text}' is no scaling policy: look-ahead, always-on, reactive or reactive:POLL,COOLDOWN")
