"""The order of types: what may stand where something else is asked for. Pure.

A type is a name. `Value` is above all others. The names and their order come from the classes of `agents/types.py`
(a subclass may stand for its base), from installed packages, and from what hosts bring along (`Lattice.with_types`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property

TOP = "Value"
"""Every type is a `Value`."""


class BadLattice(ValueError):
    """The order of types is none: which types stand above each other."""


class Lattice:
    """`above` says for each type which types are directly above it; a type that is not there has only `Value` above it."""

    def __init__(self, above: Mapping[str, Iterable[str]]) -> None:
        self.above = {name: tuple(bases) for name, bases in above.items()}
        for name in self.above:
            if any(name in self._all(base) or name == base for base in self.above[name]):
                raise BadLattice(f"type '{name}' stands above itself")

    def is_a(self, name: str, other: str) -> bool:
        """Whether a value of type `name` may stand where `other` is asked for."""
        return name == other or other == TOP or other in self._up.get(name, frozenset())

    def join(self, one: str, other: str) -> str:
        """The nearest type that both may stand for; of several, the first by distance, then by name."""
        if self.is_a(one, other):
            return other
        levels = [one]
        while levels:
            common = sorted(t for t in levels if self.is_a(other, t))
            if common:
                return common[0]
            levels = [base for t in levels for base in self.above.get(t, ())]
        return TOP

    def with_types(self, above: Mapping[str, Iterable[str]]) -> Lattice:
        """This order and more; what is said of a type here first stays. Raises BadLattice."""
        return Lattice({**{k: tuple(v) for k, v in above.items()}, **self.above})

    @cached_property
    def _up(self) -> dict[str, frozenset[str]]:
        return {name: frozenset(self._all(name)) for name in self.above}

    def _all(self, name: str) -> set[str]:
        found: set[str] = set()
        todo = list(self.above.get(name, ()))
        while todo:
            base = todo.pop()
            if base not in found:
                found.add(base)
                todo += self.above.get(base, ())
        return found


def of_classes(classes: Iterable[type]) -> Lattice:
    """The order of Python classes by inheritance; only the given classes are types."""
    known = {c.__name__: c for c in classes}
    return Lattice(
        {
            name: tuple(base.__name__ for base in c.__bases__ if base.__name__ in known and base is known[base.__name__])
            for name, c in known.items()
        }
    )
