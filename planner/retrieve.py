"""Which agents a text may speak of: evidence for each (clause, agent) pair, and rankings by it. Same text, same answer.

Evidence is of three kinds: sentence embeddings (clause against what the agent does and its name), words in common
(weighted by how rare they are in this library), and types (what the clause says goes in and what comes out).
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from ..agents.spec import Agent
from .clauses import kind_of
from .embed import Embedder
from .lattice import TOP
from .library import Library
from .words import GROUP, STOP, alike, content, stemmed, tokens

FEATURES = ("cos", "cos_sentence", "cos_name", "name_share", "name_sum", "doc_sum", "alias", "out", "in", "not_out", "not_in", "near")
SENTENCES_MAX = 6
DOC_MAX = 600
"""Characters of a description that are compared."""
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_INTO = frozenset(["to", "into", "as", "onto", "create", "creates", "creating", "generate", "generates", "generating", "make", "making", "produce", "get", "obtain", "provide", "want", "need"])
_FROM = frozenset(["from", "of", "in", "using", "based", "given", "with", "on", "this", "that", "these", "those", "by", "for", "about", "within", "provided", "between"])
_PIECE = re.compile(r"[^\s,;:()\[\]\"“”…]+")


class Index:
    """A library's agents, prepared once: vectors of their descriptions, their words, their types."""

    def __init__(self, library: Library, embedder: Embedder) -> None:
        import numpy as np

        self.library, self.embedder = library, embedder
        self.agents: list[Agent] = list(library.agents.values())
        texts: list[str] = []
        self._parts: list[tuple[int, int]] = []
        names = [" ".join(tokens(a.name)) for a in self.agents]
        for agent, name in zip(self.agents, names, strict=True):
            doc = _doc(agent)
            first = len(texts)
            texts += [f"{name}: {doc}"[:DOC_MAX], *[s for s in _SENTENCE.split(doc) if s][:SENTENCES_MAX]]
            self._parts.append((first, len(texts)))
        vectors = embedder.embed([*texts, *names])
        self._docs, self._names = vectors[: len(texts)], vectors[len(texts) :]
        self._name_stems = [list(dict.fromkeys(content(n))) for n in names]
        self._doc_stems = [list(dict.fromkeys(content(f"{n} {_doc(a)} {' '.join(a.words)}"))) for n, a in zip(names, self.agents, strict=True)]
        counts: dict[str, int] = {}
        for stems in self._doc_stems:
            for s in stems:
                counts[s] = counts.get(s, 0) + 1
        self._vocabulary = {s: i for i, s in enumerate(counts)}
        n = max(2, len(self.agents))
        self._idf = np.array([math.log(1 + n / c) / math.log(1 + n) for c in counts.values()] or [0.0], np.float32)
        size = (len(self.agents), len(self._idf))
        self._in_name, self._in_doc = np.zeros(size, bool), np.zeros(size, bool)
        for i, (name_stems, doc_stems) in enumerate(zip(self._name_stems, self._doc_stems, strict=True)):
            self._in_name[i, [self._vocabulary[s] for s in name_stems]] = True
            self._in_doc[i, [self._vocabulary[s] for s in doc_stems]] = True
        self._alike: OrderedDict[str, Any] = OrderedDict()
        self._types()

    def _types(self) -> None:
        """Which words name which type, where the library has types that say something."""
        used = {a.gives for a in self.agents} | {t.type for a in self.agents for t in a.takes.values()}
        self.kinds = sorted(t for t in used if t != TOP and t.lower() not in ("any", "object", ""))
        if len(self.kinds) < 2:
            self.kinds = []
        self._kind_stems = {k: {s for s in content(k)} for k in self.kinds}

    # --- words -----------------------------------------------------------------------------------------------------------

    def _row(self, stem: str) -> Any:
        import numpy as np

        row = self._alike.get(stem)
        if row is None:
            row = np.fromiter((alike(stem, s) for s in self._vocabulary), np.float32, len(self._vocabulary)) if self._vocabulary else np.zeros(1, np.float32)
            self._alike[stem] = row
            if len(self._alike) > 4000:
                self._alike.popitem(last=False)
        return row

    # --- types -----------------------------------------------------------------------------------------------------------

    def mentions(self, text: str) -> tuple[set[str], set[str], set[str]]:
        """Types that a clause names as what comes out, as what goes in, and neither."""
        into: set[str] = set()
        source: set[str] = set()
        near: set[str] = set()
        current = near
        for piece in _PIECE.findall(text):
            word = piece.lower().strip(".'!?")
            if word in _INTO:
                current = into
            elif word in _FROM:
                current = source
            else:
                for kind in self.kinds_of(word):
                    current.add(kind)
        return into, source, near

    def kinds_of(self, word: str) -> list[str]:
        """The types that a word may name."""
        of_file = kind_of(word)
        found = []
        parts = [stemmed(t) for t in tokens(of_file or word) if t not in STOP]
        for kind, stems in self._kind_stems.items():
            if any(p in stems or any(GROUP.get(p, frozenset()) & GROUP.get(s, frozenset()) for s in stems) for p in parts):
                found.append(kind)
        return found

    # --- evidence --------------------------------------------------------------------------------------------------------

    def features(self, texts: Sequence[str]) -> Any:
        """float32 (texts, agents, FEATURES)."""
        import numpy as np

        out = np.zeros((len(texts), len(self.agents), len(FEATURES)), np.float32)
        if not texts or not self.agents:
            return out
        vectors = self.embedder.embed(list(texts))
        docs, names = vectors @ self._docs.T, vectors @ self._names.T
        for i, (first, last) in enumerate(self._parts):
            out[:, i, 0] = docs[:, first]
            out[:, i, 1] = docs[:, first:last].max(axis=1)
        out[:, :, 2] = names
        name_idf = (self._in_name * self._idf).sum(1) + 1e-6
        for row, text in zip(out, texts, strict=True):
            stems = list(dict.fromkeys(content(text)))[:60]
            if stems:
                sims = np.stack([self._row(s) for s in stems])
                best_of = sims.max(0) * self._idf
                named = (self._in_name * best_of).sum(1)
                row[:, 3] = named / name_idf
                row[:, 4] = 1 - np.exp(-named)
                # each word of the clause counts once, by its best match in the agent's words
                weighted = sims * self._idf
                hits = np.stack([np.where(self._in_doc, w, 0).max(1) for w in weighted])
                row[:, 5] = 1 - np.exp(-hits.sum(0))
            lower = f" {' '.join(tokens(text))} "
            for i, agent in enumerate(self.agents):
                if agent.words:
                    row[i, 6] = 1 - math.exp(-sum(len(w.split()) for w in agent.words if f" {' '.join(tokens(w))} " in lower))
            if self.kinds:
                self._type_features(row, text)
        return out

    def _type_features(self, row: Any, text: str) -> None:
        into, source, near = self.mentions(text)
        is_a = self.library.types.is_a
        for i, agent in enumerate(self.agents):
            takes = [t.type for t in agent.takes.values()]
            gives = {k for k in into if is_a(agent.gives, k)}
            eats = {k for k in source if any(is_a(k, t) for t in takes)}
            row[i, 7] = bool(gives)
            row[i, 8] = bool(eats)
            row[i, 9] = bool(into) and not gives
            row[i, 10] = bool(source) and not eats
            row[i, 11] = bool(near) and any(is_a(k, t) for k in near for t in takes)


def _doc(agent: Agent) -> str:
    text = agent.summary if not agent.description or agent.description.startswith(agent.summary) else f"{agent.summary} {agent.description}"
    return (agent.description if agent.description.startswith(agent.summary) and agent.description else text)[:DOC_MAX]


_INDEXES: OrderedDict[tuple[str, str], Index] = OrderedDict()


def index_of(library: Library, embedder: Embedder) -> Index:
    """The index of a library, made once for each embedder and fingerprint; the eight used last are kept."""
    key = (library.fingerprint, embedder.name)
    if key not in _INDEXES:
        _INDEXES[key] = Index(library, embedder)
        while len(_INDEXES) > 8:
            _INDEXES.popitem(last=False)
    _INDEXES.move_to_end(key)
    return _INDEXES[key]


def rank(text: str, library: Library, embedder: Embedder) -> list[tuple[str, float]]:
    """All agents, best first, by the evidence of one text taken whole."""
    from .fitted import WEIGHTS

    index = index_of(library, embedder)
    weights = WEIGHTS[embedder.name]
    scores = index.features([text])[0] @ [weights[f] for f in FEATURES] if index.agents else []
    return sorted(((a.name, float(s)) for a, s in zip(index.agents, scores, strict=True)), key=lambda r: (-r[1], r[0]))


def nearest(text: str, library: Library, n: int = 3) -> list[str]:
    """Names of the agents that are nearest to a text, best first."""
    return [name for name, _ in rank(text, library, best())[:n]]
