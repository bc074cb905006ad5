"""All profiles: the best that is known of a pool, and what finished tasks add to it. Pure.

A class on another market is the same machine, so a profile is stored for the class alone. Of a pool that has none of its own, the best
of its implementation's others is carried over (`transfer.py`): those of the same kind of device first, the library's row among them, then
as they came about.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from ..agents.spec import Implementation
from ..bus.values import Line, Profile, StageReport
from .hardware import known, split
from .learning import learnt
from .profile_file import wrong_with
from .transfer import transfer

Key = tuple[str, str, str]

DRIFT_LOW, DRIFT_HIGH = 0.7, 1.4
DRIFT_SAMPLES = 10
RANK = {"prior": 0, "published": 1, "estimate": 2, "measured": 3}


class BadProfile(ValueError):
    """A profile that no plan may rest on: which field, and what would be right."""


def checked(profile: Profile) -> Profile:
    """The profile itself. Raises BadProfile for NaN, infinite or negative values, quality outside 0..1, no drift, missing names."""
    problem = wrong_with(profile)
    if not problem and profile.drift <= 0:
        problem = f"drift is {profile.drift}: it must be over 0"
    if problem:
        raise BadProfile(f"profile of {profile.implementation or '?'} for {profile.agent or '?'} on {profile.hardware or '?'}: {problem}")
    return profile


def has_drifted(profile: Profile) -> bool:
    """Whether enough tasks took another time than its lines say."""
    return profile.samples >= DRIFT_SAMPLES and not DRIFT_LOW <= profile.drift <= DRIFT_HIGH


class Profiles:
    """`library` may be replaced; a profile of a row that it lacks stays known."""

    def __init__(self, library: Mapping[tuple[str, str], Implementation], given: Iterable[Profile] = ()) -> None:
        self.library = library
        self._known: dict[Key, Profile] = {}
        self._bills: dict[tuple[str, str], Profile] = {}
        """What of the given ones bills by work or limits calls: its owner's words of today, whatever was kept with older ones."""
        for profile in given:
            if profile.usd is not None or profile.rate_per_s is not None:
                self._bills[(profile.agent, profile.implementation)] = profile
            self.put(profile)

    def copy(self) -> Profiles:
        """One that later learning does not touch."""
        twin = Profiles(self.library)
        twin._known, twin._bills = dict(self._known), self._bills
        return twin

    def put(self, profile: Profile) -> None:
        """In place of what was known of the pool. Raises BadProfile."""
        base = split(checked(profile).hardware)[0]
        stored = profile if profile.hardware == base else replace(profile, hardware=base)
        if (bill := self._bills.get((profile.agent, profile.implementation))) is not None:
            stored = replace(stored, usd=bill.usd, rate_per_s=bill.rate_per_s)
        self._known[(profile.agent, profile.implementation, base)] = stored

    def known(self, like: Profile) -> Profile | None:
        """What is stored for the same pool."""
        found = self._known.get((like.agent, like.implementation, split(like.hardware)[0]))
        return found if found is None or found.hardware == like.hardware else replace(found, hardware=like.hardware)

    def all(self) -> tuple[Profile, ...]:
        """What is stored, in a fixed order."""
        return tuple(self._known[key] for key in sorted(self._known))

    def get(self, agent: str, implementation: str, hardware: str) -> Profile:
        """The best that is known. KeyError for a row that neither the library nor anybody's profile has."""
        row, base = self.library.get((agent, implementation)), split(hardware)[0]
        found = self._best(agent, implementation, base, row)
        if found is None:
            raise KeyError(f"the library has no implementation '{implementation}' of {agent}, and nobody has measured one")
        if row is not None and found.how == "published":
            found = _completed(found, row)
        if split(found.hardware)[0] != base:
            found = transfer(found, hardware, known(split(found.hardware)[0]), known(base))
        return found if found.hardware == hardware else replace(found, hardware=hardware)

    def learn(self, report: StageReport, at: float) -> Profile | None:
        """What a stage took refines the profile of its pool, which is given back; None when it says nothing. `at` is the time now."""
        if (report.agent, report.implementation) not in self.library:
            return None
        base = split(report.hardware)[0]
        after = learnt(self.get(report.agent, report.implementation, base), report, at)
        if after is not None:
            self.put(after)
        return after

    def drifted(self) -> tuple[Profile, ...]:
        """Those that are no longer what their lines say."""
        return tuple(p for p in self.all() if has_drifted(p))

    def _best(self, agent: str, implementation: str, base: str, row: Implementation | None) -> Profile | None:
        own = self._known.get((agent, implementation, base))
        if own is not None and own.how != "published":
            return own

        def rank(p: Profile) -> tuple[bool, int, float, str]:
            return _on_gpu(p.hardware) == _on_gpu(base), RANK[p.how], p.at, p.hardware

        others = [p for (a, n, _), p in self._known.items() if (a, n) == (agent, implementation) and p is not own]
        others += [prior(row)] if row is not None else []
        best = max(others, key=rank, default=None)
        if own is not None and (best is None or rank(best)[0] is False or best.how in ("published", "prior")):
            return own  # somebody else's figures for this very class say more than a guess from another kind of device
        return best


def _completed(published: Profile, row: Implementation) -> Profile:
    """With what publications of speeds do not say, from the library's row."""
    own = prior(row)
    rated = bool(published.quality_how)
    return replace(
        published,
        load_s=published.load_s or own.load_s,
        load_cpu_s=published.load_cpu_s or own.load_cpu_s,
        memory_mb=published.memory_mb or own.memory_mb,
        quality=published.quality if rated else own.quality,
        quality_how=published.quality_how if rated else own.quality_how,
    )


def _on_gpu(hardware: str) -> bool:
    """Whatever is not a CPU has a device that does the work."""
    return split(hardware)[0] != "cpu"


def prior(row: Implementation) -> Profile:
    """What the library's row says of itself, on its own hardware."""
    line = Line(row.work_s)
    return Profile(
        row.agent,
        row.name,
        row.hardware,
        source="the library's row",
        cpu=line,
        time=line,
        load_s=row.load_s,
        load_cpu_s=row.load_s,
        memory_mb=float(row.memory_mb),
        quality=row.quality,
        quality_how=row.quality_how or "assumed",
    )
