"""Whether plans that run were made for another fleet, or by other profiles, than there are now. Pure.

What counts: hosts that come, go, or are revoked; what they offer, how many cores they have, what they cost; pools that begin to
fail, and work again; profiles whose estimates have moved. What does not: what is warm or loading, how busy a host is. These follow
from our own plans, and to plan again for each of them would only make the plans chase themselves.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from ..bus.messages import HostHeartbeat, Profile
from .fleet import Key
from .learning import LEARNT

SAY_EVERY_S = 2.0
"""What comes sooner is said together."""
SETTLE_S = 3.0
"""After the first host is heard the others follow; they are one piece of news."""
DRIFT = 1.25
"""A profile that is off by this factor from what was said last is worth another look at the plans; likewise a price."""
CORES = 0.2
"""Likewise a host whose cores differ by this part."""
QUALITY = 0.05
REASONS_MAX = 4
"""In one message; of more, their number is said."""


class Seen(Struct, frozen=True):
    """Of a host, all that plans depend on."""

    offers: frozenset[Key]
    market: str
    cores: int
    usd_per_hour: float | None
    revoked: bool
    ill: frozenset[Key]
    """Pools that failed when they were tried last."""


class Watch:
    """`beat`, `gone` and `profile` return why running plans are stale, or nothing; a reason that comes too soon is given later."""

    def __init__(self) -> None:
        self.hosts: dict[str, Seen] = {}
        self.profiles: dict[Key, Profile] = {}
        """As they were when something was said of them last; before that as they were first seen, without drift."""
        self.reasons: dict[str, None] = {}
        self.now = 0.0
        self.say_at: float | None = None

    def beat(self, beat: HostHeartbeat, now: float) -> str:
        if beat.leaving:
            return self.gone(beat.host, now, "leaves")
        known = self.hosts.get(beat.host)
        seen = self.hosts[beat.host] = _seen(beat, known)
        if known is None:
            self._note(f"{beat.host} is there" + ("" if seen.market == "on-demand" else f" ({seen.market})"))
        else:
            for reason in _changes(beat.host, known, seen):
                self._note(reason)
            if not _much(known.cores, seen.cores, CORES) and not _moved(known.usd_per_hour, seen.usd_per_hour):
                # many small steps are a large one
                self.hosts[beat.host] = replace(seen, cores=known.cores, usd_per_hour=known.usd_per_hour)
        return self._say(now)

    def gone(self, host: str, now: float, how: str = "is silent") -> str:
        if self.hosts.pop(host, None) is not None:
            self._note(f"{host} {how}")
        return self._say(now)

    def profile(self, profile: Profile) -> str:
        key = (profile.agent, profile.implementation, profile.hardware)
        known, name = self.profiles.get(key), f"{profile.implementation} on {profile.hardware}"
        before = 1.0 if known is None else known.drift
        if profile.drift > 0 and _moved(before, profile.drift):
            self._note(f"{name} takes {profile.drift:.2f} times its profile")
            known = profile
        elif known is not None and (
            (known.how != profile.how and not profile.source.startswith(LEARNT)) or abs(known.quality - profile.quality) > QUALITY
        ):
            self._note(f"{name} has another profile ({profile.how})")
            known = profile
        self.profiles[key] = known if known is not None else replace(profile, drift=1.0)
        return self._say(self.now)

    def _note(self, reason: str) -> None:
        self.reasons[reason] = None

    def _say(self, now: float) -> str:
        self.now = max(self.now, now)
        if self.say_at is None:
            self.say_at = now + SETTLE_S
        if not self.reasons or now < self.say_at:
            return ""
        said, self.reasons, self.say_at = list(self.reasons), {}, now + SAY_EVERY_S
        more = len(said) - REASONS_MAX
        return "; ".join([*said[:REASONS_MAX], *([f"and {more} more"] if more > 0 else [])])


def _seen(beat: HostHeartbeat, known: Seen | None) -> Seen:
    """A pool is ill from its failure until it works; what it is while it is tried once more is not known."""
    state: dict[Key, set[str]] = {}
    for i in beat.instances:
        state.setdefault((i.agent, i.implementation, i.hardware), set()).add(i.state)
    ill = {key for key, states in state.items() if "failed" in states and "warm" not in states}
    if known is not None:
        ill |= {key for key in known.ill if key in state and "warm" not in state[key]}
    return Seen(
        offers=frozenset((o.agent, o.implementation, o.hardware) for o in beat.offers),
        market=beat.market,
        cores=beat.cores,
        usd_per_hour=beat.usd_per_hour,
        revoked=beat.revoked_at is not None,
        ill=frozenset(ill),
    )


def _changes(host: str, known: Seen, seen: Seen) -> list[str]:
    found = []
    if seen.revoked != known.revoked:
        found.append(f"{host} is revoked" if seen.revoked else f"{host} stays after all")
    if seen.market != known.market:
        found.append(f"{host} is {seen.market} now")
    for keys, what in (
        (seen.offers - known.offers, f"{host} offers %s"),
        (known.offers - seen.offers, f"{host} no longer offers %s"),
        (seen.ill - known.ill, f"%s fails on {host}"),
        (known.ill - seen.ill, f"%s no longer fails on {host}"),
    ):
        if keys:
            found.append(what % _names(keys))
    if _much(known.cores, seen.cores, CORES):
        found.append(f"{host} has {seen.cores} cores instead of {known.cores}")
    if _moved(known.usd_per_hour, seen.usd_per_hour):
        found.append(f"{host} has another price")
    return found


def _names(keys: frozenset[Key]) -> str:
    names = sorted({f"{name} on {hardware}" for _, name, hardware in keys})
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _much(before: int, after: int, part: float) -> bool:
    return abs(after - before) > part * max(before, 1)


def _moved(before: float | None, after: float | None) -> bool:
    if before is None or after is None:
        return before is not after
    low, high = sorted((before, after))
    return high > low * DRIFT if low > 0 else high > low
