"""What the author of a package writes to bring agents and implementations: see docs/plugins.md.

`agent(...)` declares a new interface, `@implementation(...)` makes a `Model` class one way to do an agent. Both only note
down a row. The package names its module under the entry-point group `murakkab.plugins`; the library imports the module and
takes what it has noted (`installed.py`).
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from types import UnionType
from typing import Any, TypedDict, TypeVar, Union, Unpack, get_args, get_origin, get_type_hints

from msgspec import Struct

from .interface import AsyncModel, BadInput, Call, Files, Model
from .schema import args_schema
from .spec import Agent, Implementation, Take

__all__ = ["AsyncModel", "BadInput", "Call", "Declared", "Files", "Model", "Take", "agent", "declared", "implementation"]

C = TypeVar("C", bound=type)


class Facts(TypedDict, total=False):
    """The optional fields of `Implementation`, of the same meaning."""

    modules: tuple[str, ...]
    weights: str
    variable: str
    options: Mapping[str, Any]
    hardware: str
    runs_on: tuple[str, ...]
    slots: int
    memory_mb: int
    threads: int
    compute_share: float
    quality: float
    quality_how: str
    work_s: float
    load_s: float
    only_args: Mapping[str, tuple[Any, ...]]
    spawns: bool
    timeout_s: float


class Traits(TypedDict, total=False):
    """The optional fields of `Agent`, of the same meaning."""

    words: tuple[str, ...]
    description: str
    keeps: bool
    answers: bool
    seeks: bool
    presents: bool
    only_asked: bool
    noun: str
    parts: tuple[str, ...]
    levers: Mapping[str, tuple[int, ...]]
    lever_quality: Mapping[str, str]


class Declared(Struct, frozen=True):
    """One row that a module has noted, and the classes of the types that it speaks of."""

    module: str
    row: Agent | Implementation
    classes: tuple[type[Struct], ...] = ()


_declared: list[Declared] = []


def declared() -> tuple[Declared, ...]:
    """All that was noted in this process so far, in order."""
    return tuple(_declared)


def withdraw(count: int) -> None:
    """Forgets what was noted after the first `count`: its module did not come to its end."""
    del _declared[count:]


def agent(
    name: str,
    summary: str,
    *,
    gives: Any,
    takes: Mapping[str, Any] | type[Struct] = {},  # noqa: B006 - never changed
    args: type[Struct] | None = None,
    **traits: Unpack[Traits],
) -> Agent:
    """Declares an agent. `gives` is a Struct class, or `list[Class]` for a collection.

    `takes` maps each parameter to a Struct class, or is a Struct class whose fields say the same: `list[X]` gathers a whole
    collection, `X | None` is optional; a `Take` says what else there is to say of a type by name. `args` is a flat Struct
    class whose defaults and `Meta` become the JSON Schema. Raises TypeError for what is none of these.
    """
    hints = dict(takes) if isinstance(takes, Mapping) else get_type_hints(takes, include_extras=True)
    classes: list[type[Struct]] = []
    taken = {param: _take(f"{name}.{param}", hint, classes) for param, hint in hints.items()}
    given = _take(f"what {name} gives", gives, classes)
    if given.optional:
        raise TypeError(f"what {name} gives cannot be optional")
    row = Agent(name, summary, taken, given.type, many=given.many, args=_schema(name, args), **traits)
    _note(Declared(sys._getframe(1).f_globals.get("__name__", ""), row, tuple(_with_bases(classes))))
    return row


def implementation(*, agent: str | Agent, name: str, **facts: Unpack[Facts]) -> Callable[[C], C]:
    """Makes a class one way to do an agent; may be used more than once on a class, with other `options`.

    Raises TypeError for a class that no instance could make and run.
    """
    wanted = agent.name if isinstance(agent, Agent) else agent

    def note(cls: C) -> C:
        where = f"{cls.__module__}:{cls.__qualname__}"
        if "." in cls.__qualname__:
            raise TypeError(f"{where} is inside something else: an instance imports it by name, so put it at the top of its module")
        if not callable(getattr(cls, "load", None)) or not any(callable(getattr(cls, run, None)) for run in ("run", "run_async")):
            raise TypeError(f"{where} is no Model: it needs the methods load() and run(call), or run_async(call)")
        row = Implementation(name, wanted, where, **facts)
        try:
            inspect.signature(cls).bind(**row.options)
        except TypeError as error:
            raise TypeError(f"{where} cannot be made with options {sorted(row.options)}: {error}") from None
        _note(Declared(cls.__module__, row))
        return cls

    return note


def _note(new: Declared) -> None:
    if new not in _declared:  # a module that is imported anew says the same again
        _declared.append(new)


def _take(what: str, hint: Any, classes: list[type[Struct]]) -> Take:
    """A parameter's hint as a row has it; the classes that it names are added to `classes`."""
    if isinstance(hint, Take):
        return hint
    many = optional = False
    if get_origin(hint) in (Union, UnionType):
        parts = [part for part in get_args(hint) if part is not type(None)]
        optional = len(parts) < len(get_args(hint))
        hint = parts[0] if len(parts) == 1 else hint
    if get_origin(hint) in (list, tuple):
        many, hint = True, get_args(hint)[0]
    if not (isinstance(hint, type) and issubclass(hint, Struct)):
        raise TypeError(f"{what} is {hint!r}: give a Struct class, list[class], class | None, or a Take")
    classes.append(hint)
    return Take(hint.__name__, many=many, optional=optional)


def _schema(name: str, args: type[Struct] | None) -> dict[str, Any]:
    if args is None:
        return {}
    made = args_schema(args)
    if "$ref" in str(made):
        raise TypeError(f"the arguments of {name} are not flat: {args.__name__} holds other Structs")
    return made


def _with_bases(classes: Sequence[type[Struct]]) -> dict[type[Struct], None]:
    """Without the classes between them, two types would not be known to stand above each other."""
    return {base: None for cls in classes for base in cls.__mro__ if issubclass(base, Struct) and base is not Struct}
