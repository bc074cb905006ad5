"""The proposer that asks a language model: it looks agents up, then answers with calls and data flow. Whatever it says is only a proposal.

ReAct (Yao et al. 2023, "ReAct: Synergizing Reasoning and Acting in Language Models"), bounded on all sides: a time, a number
of answers, bytes, one repair round, no look-up twice. Pure but for the server that is passed in.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from . import prompt
from .answer_parse import BadAnswer, LookUp, Parsed, parse
from .chat import Budget, Chat, Message, Reply, Server, TooLong
from .library import Library
from .proposal import Proposal, Request

TIME_S, CALLS, BYTES = 30.0, 6, 1 << 20
TIME_S_MAX = 3_600.0
TOKENS = 1_000
"""Of one answer: a plan of a dozen calls with arguments."""
SHOWN, SHOWN_LEAST = 40, 5
LOOP = 3
"""More calls than this of which half or more are repeated: the model loops."""
ECHO_MAX = 4_000
"""Characters of a bad answer that the model gets to see again."""
RESULT_MAX = 4_000


class LLMProposer:
    """Raises RuntimeError with one line when there is no plan within `time_s`, `calls` answers of the model and `bytes_max` of them."""

    name = "llm"

    def __init__(
        self,
        server: Server,
        *,
        rank: prompt.Rank = prompt.by_words,
        time_s: float = TIME_S,
        calls: int = CALLS,
        bytes_max: int = BYTES,
        tokens: int = TOKENS,
        shown: int = SHOWN,
    ) -> None:
        self.chat = Chat(server)
        self._rank, self._time_s, self._calls, self._bytes = rank, time_s, calls, bytes_max
        self._tokens, self._shown = tokens, shown
        self._last: tuple[Request, str] | None = None

    def propose(self, request: Request, library: Library, complaint: str = "") -> Proposal:
        budget = Budget(self.chat.server.now() + self._time_s, self._calls, self._bytes)
        last = self._last[1] if complaint and self._last and self._last[0] == request else ""
        shown, tokens = self._shown, self._tokens
        while True:
            try:
                talk = _Talk(request, library, complaint, last, self._rank, shown)
                proposal, said = talk.hold(self.chat, tokens, budget)
            except TooLong as error:  # fewer agents and a shorter answer
                if shown <= SHOWN_LEAST:
                    raise RuntimeError(f"the planning model's context is too short for any library: {error}") from None
                shown, tokens = max(SHOWN_LEAST, min(shown, len(library.agents)) // 2), max(200, tokens // 2)
            else:
                self._last = request, said
                return proposal


class _Talk:
    """One conversation, from the job to a plan."""

    def __init__(self, request: Request, library: Library, complaint: str, last: str, rank: prompt.Rank, shown: int) -> None:
        self.request, self.library, self.rank = request, library, rank
        self.names = dict.fromkeys(prompt.shown(request, library, rank, shown))
        """Agents that the model has been told of: all that its answer may name."""
        self.messages: list[Message] = [{"role": "system", "content": prompt.system(library, list(self.names))}]
        if last:
            self._say("user", prompt.job(request))
            self._say("assistant", last)
            self._say("user", prompt.complained(complaint))
        else:
            self._say("user", prompt.job(request, complaint))
        self.looked: set[tuple[str, str]] = set()
        self.may_look, self.repaired, self.tool_results = True, False, False
        self.partial: Proposal | None = None
        """What was there of an answer that was cut off: better than nothing."""

    def hold(self, chat: Chat, tokens: int, budget: Budget) -> tuple[Proposal, str]:
        """The proposal, and the answer that it was read from. Raises RuntimeError, TooLong."""
        while True:
            if budget.calls <= 1:
                self.may_look = False
            try:
                reply = self._ask(chat, tokens, budget)
            except (RuntimeError, TooLong):
                if self.partial is not None:
                    return self.partial, ""
                raise
            try:
                if reply.tools and "{" not in reply.text:  # models say a few words with their tool calls
                    self._tools(reply)
                    continue
                parsed = self._parsed(reply)
                done = self._done(parsed, reply)
            except BadAnswer as error:
                if self.repaired or budget.calls < 1:
                    if self.partial is not None:
                        return self.partial, ""
                    raise RuntimeError(f"the planning model gave no plan: {error}") from None
                self.repaired = True
                self._say("assistant", reply.text[:ECHO_MAX] or "(nothing)")
                self._say("user", f"That was no plan: {error}.")
            else:
                if done:
                    return parsed.proposal, reply.text[:ECHO_MAX]

    def _ask(self, chat: Chat, tokens: int, budget: Budget) -> Reply:
        hidden = len(self.names) < len(self.library.agents)
        schema = prompt.schema(list(self.names), look_up=self.may_look and hidden)
        return chat.ask(self.messages, schema, prompt.TOOLS if self.may_look or self.tool_results else (), tokens, budget, self.may_look)

    def _parsed(self, reply: Reply) -> Parsed:
        try:
            return parse(reply.text, self.request, self.library)
        except BadAnswer:
            if reply.cut:
                raise BadAnswer("the answer was cut off before its first call; answer with a short thought and no empty lines") from None
            raise

    def _done(self, parsed: Parsed, reply: Reply) -> bool:
        """Whether this is the plan. Raises BadAnswer for one that was cut off, and for look-ups where none are left."""
        if parsed.look_ups and not parsed.proposal.calls:
            if not self.may_look:
                raise BadAnswer("you have looked up enough; answer with the plan in 'calls' now")
            self._say("assistant", reply.text[:ECHO_MAX])
            self._say("user", "\n\n".join(self._look(one) for one in parsed.look_ups))
            return False
        if parsed.whole or _loops(parsed.proposal):
            return True
        if parsed.proposal.calls:
            self.partial = parsed.proposal
        raise BadAnswer("the answer was cut off before its end; answer again with a short thought and no more calls than the job needs")

    def _tools(self, reply: Reply) -> None:
        """Answers tool calls in the protocol's own way."""
        if not self.may_look:
            raise BadAnswer("it looks agents up again instead of giving the plan in 'calls'")
        calls, self.tool_results = reply.tools[:8], True
        said = [{"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments}} for c in calls]
        self.messages.append({"role": "assistant", "content": None, "tool_calls": said})
        for call in calls:
            try:
                given = json.loads(call.arguments)
            except (ValueError, RecursionError):
                given = None
            words = given.values() if isinstance(given, Mapping) else [given]
            text = next((w for w in words if isinstance(w, str)), "")
            self.messages.append({"role": "tool", "tool_call_id": call.id, "content": self._look(LookUp(call.name, text))})

    def _look(self, one: LookUp) -> str:
        """A look-up's result. Asking the same thing again ends the looking up."""
        key = (one.tool, one.text.strip().lower())
        if key in self.looked:
            self.may_look = False
            return "You have asked that already. Answer with the plan now."
        self.looked.add(key)
        text, names = prompt.use(one.tool, one.text, self.library, self.rank)
        self.names |= dict.fromkeys(names)
        return text[:RESULT_MAX]

    def _say(self, role: str, text: Any) -> None:
        self.messages.append({"role": role, "content": text})


def _loops(proposal: Proposal) -> bool:
    """Whether a model said the same calls over and over until it was stopped: asked again, it would do so again. The compiler merges them."""
    said = [repr((c.agent, sorted(c.inputs.items()), sorted(c.args.items(), key=str))) for c in proposal.calls]
    return len(said) > LOOP and len(set(said)) <= len(said) / 2


def from_environ(environ: Mapping[str, str], rank: prompt.Rank = prompt.by_words) -> LLMProposer | None:
    """By MURAKKAB_PLANNER_URL, _MODEL and _KEY, each falling back to MURAKKAB_LLM_…; None when no URL is set.

    MURAKKAB_PLANNER_TIME_S: seconds for one proposal, for slow models. Raises RuntimeError for settings that are none.

    The key of one server is never sent to another: with a planner's URL of its own, only the planner's key counts.
    """
    variable = next((f"MURAKKAB_{who}_URL" for who in ("PLANNER", "LLM") if environ.get(f"MURAKKAB_{who}_URL")), "")
    if not variable:
        return None
    from ..agents.chat_server import ChatServer

    url, own = environ[variable], environ.get("MURAKKAB_PLANNER_URL", "")
    shared = not own or own == environ.get("MURAKKAB_LLM_URL")
    key, model = (
        environ.get(f"MURAKKAB_PLANNER_{what}") or (environ.get(f"MURAKKAB_LLM_{what}", "") if shared else "") for what in ("KEY", "MODEL")
    )
    said = environ.get("MURAKKAB_PLANNER_TIME_S") or str(TIME_S)
    try:
        time_s = float(said)
    except ValueError:
        time_s = 0.0
    if not 0 < time_s <= TIME_S_MAX:
        raise RuntimeError(f"MURAKKAB_PLANNER_TIME_S is '{said[:40]}'; it should be seconds, more than 0 and at most {TIME_S_MAX:g}")
    return LLMProposer(ChatServer(url, key, model, variable=variable), rank=rank, time_s=time_s)
