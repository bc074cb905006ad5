"""Talking to a chat server of which nothing is known but that it speaks the OpenAI protocol. Pure: the server itself is passed in.

Servers differ in what they take: tools, a JSON schema (and how it is said), the name of a limit. Everything is asked for
at first; what a server refuses is left out from then on (`Dialect`), so that each refusal is seen once.

Seen: vLLM answers 400 to tools unless it was started for them; llama-cpp-python's server refuses `json_schema` and takes
{"type": "json_object", "schema": ...}; hosted models of the reasoning kind refuse `max_tokens` and a temperature.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from msgspec import Struct

from ..agents.chat_server import Answer

FORMATS = ("json_schema", "json_object with schema", "json_object", "")
"""How the form of an answer is asked for, best first; the last only in words."""
REFUSED = (400, 404, 405, 413, 415, 422, 500, 501)
"""Answers that may be about something that was asked for. 500: some servers fail on what they do not know."""
BUSY = (429, 503)
WAIT_S = 1.0
"""Before a busy server is asked again, when it does not say how long."""
_LONG = ("context length", "context window", "context size", "too long", "too many tokens", "exceeds the available", "maximum length")
_FORM = ("response_format", "json_schema", "json_object", "schema", "grammar", "guided", "structured")

Message = dict[str, Any]


class TooLong(Exception):
    """The server's context is too short for what was said."""


class Server(Protocol):
    """What `agents/chat_server.py` does: the clock and the network."""

    def now(self) -> float: ...
    def wait(self, seconds: float) -> None: ...
    def chat(self, body: dict[str, Any], until: float, bytes_max: int) -> Answer: ...


class ToolCall(Struct, frozen=True):
    """A planning tool that the model wants to use; `arguments` is JSON as the model wrote it, so maybe none."""

    id: str
    name: str
    arguments: str


class Reply(Struct, frozen=True):
    """What the model said; `cut` when it was still speaking at its limit."""

    text: str
    tools: tuple[ToolCall, ...] = ()
    cut: bool = False


@dataclass(slots=True)
class Budget:
    """What is left for one proposal: a time on the server's clock, answers of the model, bytes of all answers."""

    until: float
    calls: int
    bytes: int


@dataclass(slots=True)
class Dialect:
    """What one server takes, as far as its refusals have told."""

    format: int = 0
    tools: bool = True
    system: bool = True
    limit: str = "max_tokens"
    plain: set[str] = field(default_factory=lambda: {"temperature", "seed"})

    def body(
        self, messages: Sequence[Message], schema: Mapping[str, Any], tools: Sequence[Mapping[str, Any]], tokens: int, may_use: bool = True
    ) -> dict[str, Any]:
        """A request as this server takes it. `tools` are OpenAI tool objects; none are sent where they are refused."""
        body: dict[str, Any] = {"messages": list(messages) if self.system else _without_system(messages), self.limit: tokens}
        body |= dict.fromkeys(sorted(self.plain), 0)
        if self.tools and tools:  # a conversation with results of tools must name them, also when no more are wanted
            body |= {"tools": list(tools), "tool_choice": "auto" if may_use else "none"}
        match FORMATS[self.format]:
            case "json_schema":
                body["response_format"] = {"type": "json_schema", "json_schema": {"name": "plan", "schema": schema}}
            case "json_object with schema":
                body["response_format"] = {"type": "json_object", "schema": schema}
            case "json_object":
                body["response_format"] = {"type": "json_object"}
        return body

    def adapt(self, status: int, reason: str, asked: Mapping[str, Any]) -> bool:
        """Leaves out what a refusal speaks of; False when it speaks of nothing that can be left out. Raises TooLong."""
        said = reason.lower()
        if status == 413 or any(word in said for word in _LONG):
            raise TooLong(reason)
        if self.limit == "max_tokens" and "max_completion_tokens" in said:
            self.limit = "max_completion_tokens"
            return True
        for name in sorted(self.plain):
            if name in said:
                self.plain.remove(name)
                return True
        if self.system and "system" in said and "role" in said:
            self.system = False
            return True
        if "tools" in asked and ("tool" in said or "function" in said):
            self.tools = False
            return True
        if "response_format" in asked and any(word in said for word in _FORM):
            self.format += 1
            return True
        if status in (400, 422) and "model" not in said:  # it does not say what is wrong: the rarest wish goes first
            if "tools" in asked:
                self.tools = False
                return True
            if "response_format" in asked:
                self.format += 1
                return True
        return False


class Chat:
    """One server and what is known of it. Raises RuntimeError with one line; TooLong."""

    def __init__(self, server: Server) -> None:
        self.server, self.dialect = server, Dialect()

    def ask(
        self,
        messages: Sequence[Message],
        schema: Mapping[str, Any],
        tools: Sequence[Mapping[str, Any]],
        tokens: int,
        budget: Budget,
        may_use: bool = True,
    ) -> Reply:
        """One answer of the model. Refusals cost no call of the budget: there are few, and each makes the next request simpler."""
        if budget.calls < 1:
            raise RuntimeError("the planning model used up its calls without giving a plan")
        budget.calls -= 1
        while True:
            body = self.dialect.body(messages, schema, tools, tokens, may_use)
            answer = self.server.chat(body, budget.until, budget.bytes)
            budget.bytes -= answer.bytes
            if answer.status == 200:
                return _reply(answer.body or {})
            if answer.status in BUSY:
                self._wait(answer, budget)
            elif answer.status not in REFUSED or not self.dialect.adapt(answer.status, answer.reason, body):
                hint = " (is the key right?)" if answer.status in (401, 403) else ""
                raise RuntimeError(f"the planning model's server answered {answer.status}: {answer.reason}{hint}")

    def _wait(self, answer: Answer, budget: Budget) -> None:
        """Each wait costs a call, so that a server that is always busy ends the planning."""
        pause_s = WAIT_S if answer.retry_after_s is None else answer.retry_after_s
        left_s = budget.until - self.server.now()
        if pause_s >= left_s or budget.calls < 1:
            asks = "" if answer.retry_after_s is None else f" and asks to wait {pause_s:g} s"
            raise RuntimeError(
                f"the planning model's server is busy ({answer.status}: {answer.reason}){asks}; {max(0.0, left_s):.3g} s are left"
            )
        budget.calls -= 1
        self.server.wait(pause_s)


def _reply(body: Mapping[str, Any]) -> Reply:
    """`choices[0]` of an answer, whatever the types of its parts."""
    try:
        choice = body["choices"][0]
        message = choice["message"]
        content, wanted = message.get("content"), message.get("tool_calls")
    except (LookupError, TypeError, AttributeError):
        raise RuntimeError("the planning model's server answered without choices[0].message") from None
    if isinstance(content, list):  # parts, as some servers give
        content = "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    calls = tuple(call for n, said in enumerate(wanted if isinstance(wanted, list) else ()) if (call := _tool_call(said, n)))
    return Reply(content if isinstance(content, str) else "", calls, choice.get("finish_reason") == "length")


def _tool_call(said: Any, number: int) -> ToolCall | None:
    function = said.get("function") if isinstance(said, dict) else None
    if not isinstance(function, dict):
        return None
    return ToolCall(
        str(said.get("id") or f"call-{number}")[:80], str(function.get("name"))[:80], str(function.get("arguments") or "")[:2000]
    )


def _without_system(messages: Sequence[Message]) -> list[Message]:
    """The system's words before the user's first."""
    first, second, *rest = messages
    return [{"role": "user", "content": f"{first['content']}\n\n{second['content']}"}, *rest]
