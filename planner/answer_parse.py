"""What a language model answered, as a proposal or as look-ups. Pure. Whatever the text, the result is data, or BadAnswer.

Field names and shapes that models use instead of ours are understood; what cannot be is left out. Names of agents stay as
they were said: `resolve.py` knows what is meant.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from .library import Library
from .loose_json import values
from .proposal import FROM_INPUTS, Call, Proposal, Request
from .resolve import CALLS_MAX

TEXT_MAX = 64_000
"""Characters of an answer that are read: a plan of 200 calls is half of that."""
LOOK_UPS_MAX = 8
WORD_MAX, WORDS_MAX, VALUE_MAX, ITEMS_MAX = 80, 500, 4_000, 64
INPUTS_WORD = "inputs"
"""What models say for FROM_INPUTS."""
_CALLS = ("calls", "steps", "plan", "tool_calls", "tasks", "nodes", "stages", "workflow")
_AGENT = ("agent", "tool", "agent_name", "name", "task", "function", "action")
_INPUTS = ("inputs", "input", "takes", "data")
_ARGS = ("args", "arguments", "parameters", "params")
_THOUGHT = re.compile(r"<think>.*?</think>", re.S)
_AROUND = re.compile(r"^[\s$<{(\[\"'`@#]+|(?:\.(?:output|outputs|result|value)\w*|\[\d*\])?[\s>})\]\"'`]*$")


class BadAnswer(Exception):
    """The text holds no plan: what was wrong with it and what would be right, in one line."""


class LookUp(Struct, frozen=True):
    """A planning tool that the model asks for inside its answer."""

    tool: str
    text: str


class Parsed(Struct, frozen=True):
    """`whole` is False when the text ended too early: then the proposal is what was there of it."""

    proposal: Proposal
    look_ups: tuple[LookUp, ...] = ()
    whole: bool = True


def parse(text: str, request: Request, library: Library) -> Parsed:
    """The last whole plan of a text, else the last one that was cut off. Raises BadAnswer."""
    long = len(text) > TEXT_MAX
    found = [(plan, whole) for value, whole in values(_THOUGHT.sub("", text[:TEXT_MAX])) if (plan := _plan(value)) is not None]
    if not found:
        if not text.strip():
            raise BadAnswer("the answer was empty; answer with one JSON object that has the field 'calls'")
        raise BadAnswer("the answer held no JSON object with a list 'calls'" + (f" in its first {TEXT_MAX} characters" if long else ""))
    best = max(range(len(found)), key=lambda n: (bool(_calls(found[n][0]) or found[n][0].get("look_up")), found[n][1], n))
    plan, whole = found[best]
    said = _calls(plan)
    if len(said) > CALLS_MAX:
        raise BadAnswer(f"the answer has {len(said)} calls: at most {CALLS_MAX} make sense for one job")
    return Parsed(_proposal(plan, said, request, library), _look_ups(plan.get("look_up")), whole and not (long and not said))


def _plan(value: Any) -> dict[str, Any] | None:
    """The object that holds the calls, or None when this is no plan."""
    if isinstance(value, list):
        return {"calls": value} if any(isinstance(v, dict) and _agent(v) for v in value) else None
    if not isinstance(value, dict):
        return None
    if any(isinstance(value.get(k), list) or (k == "calls" and isinstance(value.get(k), dict)) for k in _CALLS) or value.get("look_up"):
        return value
    for key in (*_CALLS, "answer", "response", "result"):
        if isinstance(value.get(key), dict) and (inner := _plan(value[key])) is not None:
            return inner
    return {"calls": [value]} if isinstance(value.get("agent"), str) else None


def _calls(plan: Mapping[str, Any]) -> list[Any]:
    for key in _CALLS:
        said = plan.get(key)
        if isinstance(said, dict) and key == "calls":  # by id
            return [{"id": k, **v} for k, v in said.items() if isinstance(v, dict)]
        if isinstance(said, list) and (said or key == "calls"):
            return said
    return []


def _proposal(plan: Mapping[str, Any], said: Iterable[Any], request: Request, library: Library) -> Proposal:
    rows: list[tuple[str, str, Mapping[str, Any]]] = []
    for row in said:
        call = {"agent": row} if isinstance(row, str) else row
        agent = _agent(call)
        if agent:
            rows.append((_word(call.get("id")) or f"c{len(rows) + 1}", agent, call))
    names = _Names(rows, request)
    calls = tuple(_call(name, agent, call, names, library) for name, agent, call in rows)
    answer = [names.call(a) for a in _list(plan.get("answer"))]
    return Proposal(
        calls, tuple(dict.fromkeys(a for a in answer if a)), _text(plan.get("rest")), _text(plan.get("thought") or plan.get("why"))
    )


def _call(name: str, said: str, call: Mapping[str, Any], names: _Names, library: Library) -> Call:
    agent = library.agents.get(said)
    takes = agent.takes if agent else {}
    function = call.get("function")
    given = _first(call, _ARGS)
    if given is None and isinstance(function, dict):
        given = _first(function, _ARGS)
    args = _named(given, ("value",))
    inputs: dict[str, str] = {}
    after = [names.call(a) for a in _list(call.get("after"))]
    said_inputs = _first(call, _INPUTS)
    for param, source in _named(said_inputs, ("from", "source", "call", "value")).items():
        found = names.source(source)
        if found is not None:
            inputs[param] = found
        elif param in takes and takes[param].literal:
            args.setdefault(param, source)
        elif isinstance(source, str):
            inputs[param] = source[:WORD_MAX]  # `resolve.py` says that it is no call
    if isinstance(said_inputs, list | str):  # calls without parameters: where it comes from, found by types
        after += [names.call(a) for a in _list(said_inputs)]
    for param in [p for p in args if p in takes]:
        found = names.source(args[param])
        if found is not None and (found != FROM_INPUTS or not takes[param].literal):
            inputs.setdefault(param, found)
            del args[param]
    return Call(name, said, inputs, args, tuple(dict.fromkeys(a for a in after if a and a != name)), call.get("observe") is True)


class _Names:
    """What a source that somebody wrote can mean: a call's id, an agent that was called before, the job's inputs."""

    def __init__(self, rows: Sequence[tuple[str, str, Any]], request: Request) -> None:
        self._ids = {name for name, _, _ in rows}
        self._agents: dict[str, str] = {agent: name for name, agent, _ in reversed(rows)}
        self._inputs = {INPUTS_WORD, "input", "job", *(given.name for given in request.inputs)}

    def call(self, said: Any) -> str:
        """The id of a call, or nothing."""
        word = _word(said)
        bare = _AROUND.sub("", word)
        if word in self._ids or bare in self._ids:
            return word if word in self._ids else bare
        return self._agents.get(bare, "")

    def source(self, said: Any) -> str | None:
        """A call's id, FROM_INPUTS, or None."""
        if isinstance(said, list) and said:
            return self.source(said[0])
        if isinstance(said, dict):
            return self.source(_first(said, ("from", "source", "call", "id")))
        if found := self.call(said):
            return found
        word = _word(said)
        return FROM_INPUTS if word in self._inputs or _AROUND.sub("", word).lower() in ("inputs", "input") else None


def _look_ups(said: Any) -> tuple[LookUp, ...]:
    rows = said if isinstance(said, list) else [said]
    found = [LookUp(_word(r.get("tool")), _text(r.get("text") or r.get("query") or r.get("name"))) for r in rows if isinstance(r, dict)]
    return tuple(found[:LOOK_UPS_MAX])


def _agent(call: Any) -> str:
    """The agent that a call names, in one of the ways that models have."""
    if not isinstance(call, dict):
        return _word(call) if isinstance(call, str) else ""
    said = _first(call, _AGENT)
    return _word(_first(said, _AGENT) if isinstance(said, dict) else said)


def _first(said: Mapping[str, Any], keys: Iterable[str]) -> Any:
    return next((said[k] for k in keys if said.get(k) is not None), None)


def _named(said: Any, worth: tuple[str, ...]) -> dict[str, Any]:
    """Name to value, from an object, from a list of objects with a name and a value each, or from such an object as JSON in a string."""
    if isinstance(said, str):
        said = next((value for value, _ in values(said[:VALUE_MAX])), None)
    if isinstance(said, dict):
        return {_word(k): _value(v) for k, v in list(said.items())[:ITEMS_MAX] if _word(k) and v is not None}
    made: dict[str, Any] = {}
    for row in (said if isinstance(said, list) else [])[:ITEMS_MAX]:
        if isinstance(row, dict) and (name := _word(_first(row, ("param", "name", "parameter", "key")))):
            value = next((row[k] for k in worth if k in row), None)
            if value is not None:
                made.setdefault(name, _value(value))
    return made


def _value(said: Any) -> Any:
    return said[:VALUE_MAX] if isinstance(said, str) else said


def _list(said: Any) -> list[Any]:
    return said[:CALLS_MAX] if isinstance(said, list) else [said] if isinstance(said, str) else []


def _word(said: Any) -> str:
    """A short name in one line; numbers are names too."""
    return " ".join(str(said).split())[:WORD_MAX] if isinstance(said, str | int) and not isinstance(said, bool) else ""


def _text(said: Any) -> str:
    return " ".join(said.split())[:WORDS_MAX] if isinstance(said, str) else ""
