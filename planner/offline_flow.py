"""From the agents that a request speaks of to calls with a data flow: order, what must be put between, and edges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from .offline_read import Reading
from .proposal import Call, Proposal, Request

UNUSED_MIN = -5.0
"""Least lead of an agent that is put in because the request names a thing that no step takes."""
BRIDGE_MIN = -1.0
"""The same between two steps of which the later takes nothing that was made before it."""

LOOK_MIN = -3.0
"""The same of one that looks for a thing before another does something with it, in a library without types."""


class Step(Struct, frozen=True):
    """An agent that a piece of the request speaks of; `lead` is by how much it beats no agent."""

    agent: int
    piece: int
    lead: float


class Flow:
    """Steps in running order. A step that is put in has the piece of the step that it is for."""

    def __init__(self, reading: Reading, steps: Sequence[Step], lead: Any) -> None:
        self.reading, self.index, self.lead = reading, reading.index, lead
        self.steps = list(steps)

    def make(self, request: Request) -> Proposal:
        if self.index.kinds:
            self._sources_first()
            self._postpone()
            self._use_stated()
            self._bridge()
        else:
            self._look_first()
        return Proposal(tuple(self._calls(request)), why=self._why())

    def _why(self) -> str:
        rows = (f'{self.index.agents[s.agent].name}: "{self.reading.pieces[s.piece].text[:60]}" ({s.lead:+.1f})' for s in self.steps)
        return "; ".join(rows)

    # --- order -------------------------------------------------------------------------------------------------------------

    def _sources_first(self) -> None:
        """A piece that says where something comes from runs before the clause that it belongs to, if its result fits there."""
        out: list[Step] = []
        for step in self.steps:
            at = len(out)
            if self.reading.pieces[step.piece].back:
                clause = self._clause(step.piece)
                while at > 0 and self._clause(out[at - 1].piece) == clause and self.index.flows[step.agent, out[at - 1].agent]:
                    at -= 1
            out.insert(at, step)
        self.steps = out

    def _clause(self, piece: int) -> int:
        while piece > 0 and self.reading.pieces[piece].part:
            piece -= 1
        return piece

    def _postpone(self) -> None:
        """A step that comes before everything it could work on runs after the last step that gives such a thing."""
        for step in list(self.steps):
            at = self.steps.index(step)
            if not self.index.needy[step.agent] or self._served(at):
                continue
            later = [i for i in range(at + 1, len(self.steps)) if self._hard(self.steps[i].agent, step.agent)]
            if later:
                self.steps.insert(later[-1], self.steps.pop(at))

    def _hard(self, one: int, other: int) -> bool:
        """Whether the result of `one` goes into a parameter of `other` that words cannot fill."""
        return bool(self.index.takes_any([self.index.agents[one].gives], hard=True)[other])

    def _served(self, at: int) -> bool:
        """Whether an earlier step or the request itself has something for this step that words cannot be."""
        agent = self.steps[at].agent
        if any(self._hard(s.agent, agent) for s in self.steps[:at]):
            return True
        return bool(self.index.takes_any([k for k in self.reading.stated if not self.index.wordy(k)], hard=True)[agent])

    # --- what must be put between --------------------------------------------------------------------------------------------

    def _use_stated(self) -> None:
        """Things that the request names and no step takes are made into what the first step can use that lacks something."""
        index, stated = self.index, self.reading.stated
        for kind in stated:
            if kind not in index.kinds or index.wordy(kind) or any(index.takes_any([kind])[s.agent] for s in self.steps):
                continue
            for at, step in enumerate(self.steps):
                given = [index.agents[s.agent].gives for s in self.steps[:at]]
                wanted = [t.type for t in index.agents[step.agent].takes.values() if not any(index.is_a(g, t.type) for g in given)]
                found = self._converter(kind, [t for t in wanted if stated.get(t, stated[kind]) == stated[kind]], UNUSED_MIN)
                if found >= 0:
                    self._put(found, at)
                    break

    def _bridge(self) -> None:
        """Between a step that takes nothing of what was made before it and the step in front, an agent that makes the one out of the other."""
        index, at = self.index, 1
        while at < len(self.steps):
            step = self.steps[at]
            if not any(index.flows[s.agent, step.agent] for s in self.steps[:at]):
                wanted = [t.type for t in index.agents[step.agent].takes.values()]
                found = self._converter(index.agents[self.steps[at - 1].agent].gives, wanted, BRIDGE_MIN)
                if found >= 0:
                    self._put(found, at)
                    at += 1
            at += 1

    def _converter(self, have: str, wanted: Sequence[str], least: float) -> int:
        """The agent with most evidence that takes nothing but `have` and words, and gives one of `wanted`; -1 when there is none."""
        index, best, found = self.index, least, -1
        used = {s.agent for s in self.steps}
        for i in (index.takes_any([have]) * index.gives_any(wanted)).nonzero()[0].tolist():
            agent = index.agents[i]
            if i in used or agent.gives == have:
                continue
            if all(t.optional or index.wordy(t.type) or index.is_a(have, t.type) for t in agent.takes.values()):
                score = float(self.lead[:, i].max())
                if score > best:
                    best, found = score, i
        return found

    def _put(self, agent: int, at: int) -> None:
        self.steps.insert(at, Step(agent, self.steps[at].piece, float(self.lead[:, agent].max())))

    def _look_first(self) -> None:
        """Where types say nothing: before something is done with a thing, it is looked for, if the library has an agent for that."""
        index = self.index
        for step in list(self.steps):
            if index.looks[step.agent] or any(index.looks[s.agent] and index.same_thing(s.agent, step.agent) for s in self.steps):
                continue
            used = {s.agent for s in self.steps}
            options = [i for i in index.looks.nonzero()[0].tolist() if i not in used and index.same_thing(i, step.agent)]
            if options:
                best = max(options, key=lambda i: (index.same_thing(i, step.agent), float(self.lead[:, i].max())))
                if self.lead[:, best].max() > LOOK_MIN:
                    self._put(best, self.steps.index(step))

    # --- edges ---------------------------------------------------------------------------------------------------------------

    def _calls(self, request: Request) -> list[Call]:
        """Each parameter takes the most recent result of its type; a second parameter only one that nobody has taken yet."""
        calls: list[Call] = []
        taken: set[str] = set()
        gives: dict[str, str] = {}
        for step in self.steps:
            agent = self.index.agents[step.agent]
            name = f"{agent.noun or agent.name}-{len(calls) + 1}"
            inputs: dict[str, str] = {}
            for param, take in agent.takes.items():
                fits = [c.id for c in reversed(calls) if self.index.is_a(gives[c.id], take.type) and c.id not in inputs.values()]
                if inputs:
                    fits = [c for c in fits if c not in taken]
                if fits:
                    inputs[param] = fits[0]
            taken |= set(inputs.values())
            # a job without inputs has its material in its words; else the open parameters are better fed from the inputs, by types
            words = [p for p, t in agent.takes.items() if t.literal and p not in inputs and not request.inputs]
            args = dict.fromkeys(words, request.description)
            calls.append(Call(name, agent.name, inputs, args, tuple(c.id for c in calls)))
            gives[name] = agent.gives
        return calls
