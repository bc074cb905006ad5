"""Which agents a text may speak of: evidence for each (clause, agent) pair, and rankings by it. Same text, same answer.

Evidence is of three kinds: sentence embeddings (clause against what the agent does and its name), words in common
(weighted by how rare they are in this library), and types (what the clause says goes in and what comes out).
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..agents.spec import Agent
from .clauses import kind_of
from .embed import Embedder, best
from .fitted import WEIGHTS
from .lattice import TOP
from .library import Library
from .words import GROUP, STOP, alike, content, stemmed, tokens

FEATURES = ("cos", "cos_sentence", "cos_name", "name_share", "name_sum", "doc_sum", "alias", "out", "in", "not_out", "not_in", "near")
LOOK = stemmed("search")
ALIAS_MAX = 4
"""Words of the longest alias that is looked for."""
SENTENCES_MAX = 6
DOC_MAX = 600
"""Characters of a description that are compared."""
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_INTO_WORDS = "to into as onto create creates creating generate generates generating make making produce get obtain provide want need"
_INTO = frozenset(_INTO_WORDS.split())
_FROM_WORDS = "from of in using based given with on this that these those by for about within provided between"
_FROM = frozenset(_FROM_WORDS.split())
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
        self._doc_stems = [
            list(dict.fromkeys(content(f"{n} {_doc(a)} {' '.join(a.words)}"))) for n, a in zip(names, self.agents, strict=True)
        ]
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
        self._aliases: dict[tuple[str, ...], list[int]] = {}
        for i, agent in enumerate(self.agents):
            for words in {tuple(stemmed(t) for t in tokens(w)) for w in agent.words}:
                self._aliases.setdefault(words, []).append(i)
        self.looks = np.array([any(alike(s, LOOK) >= 0.6 or alike(s, "queri") >= 0.6 for s in stems) for stems in self._name_stems], bool)
        """Whether an agent only looks for something, by its name."""
        self._types()

    def same_thing(self, one: int, other: int) -> float:
        """How much the names of two agents speak of the same thing: the weight of their common words, verbs of looking left out."""
        common = [s for s in self._name_stems[one] if s in self._name_stems[other] and alike(s, LOOK) < 0.6]
        return float(sum(self._idf[self._vocabulary[s]] for s in common))

    def _types(self) -> None:
        """Which words name which type, where the library has types that say something."""
        import numpy as np

        used = {a.gives for a in self.agents} | {t.type for a in self.agents for t in a.takes.values()}
        self.kinds = sorted(t for t in used if t != TOP and t.lower() not in ("any", "object", ""))
        if len(self.kinds) < 2:
            self.kinds = []
        self._kind_stems = {k: set(content(k)) for k in self.kinds}
        is_a, n = self.library.types.is_a, len(self.agents)
        takes = [[t.type for t in a.takes.values()] for a in self.agents]
        none = np.zeros(n, np.float32)
        self._takes = {k: np.array([any(is_a(k, t) for t in ts) for ts in takes], np.float32) for k in self.kinds}
        self._takes_hard = {
            k: np.array([any(is_a(k, t) and not self.wordy(t) for t in ts) for ts in takes], np.float32) for k in self.kinds
        }
        self._gives = {k: np.array([is_a(a.gives, k) for a in self.agents], np.float32) for k in self.kinds}
        self.flows = np.stack([self._takes.get(a.gives, none) for a in self.agents]) if n else np.zeros((0, 0), np.float32)
        """Whether what one agent gives may go into another; nowhere in a library without types."""
        self.upstream = _closure(self.flows)
        """Whether what one agent gives reaches another, through others or not."""
        self.needy = np.array([bool(self.kinds) and any(not self.wordy(t) for t in ts) for ts in takes], np.float32)
        """Whether an agent takes something that words alone cannot be."""

    def is_a(self, name: str, other: str) -> bool:
        return self.library.types.is_a(name, other)

    def wordy(self, kind: str) -> bool:
        """Whether the words of a request can themselves be a value of this type."""
        return "text" in content(kind)

    def takes_any(self, kinds: Iterable[str], hard: bool = False) -> Any:
        """float32 (agents): whether an agent takes one of these types; `hard` leaves out parameters that words can be."""
        return self._any(self._takes_hard if hard else self._takes, kinds)

    def gives_any(self, kinds: Iterable[str]) -> Any:
        """float32 (agents): whether an agent's result may stand for one of these types."""
        return self._any(self._gives, kinds)

    def _any(self, table: Mapping[str, Any], kinds: Iterable[str]) -> Any:
        import numpy as np

        rows = [table[k] for k in kinds if k in table]
        return np.max(rows, axis=0) if rows else np.zeros(len(self.agents), np.float32)

    # --- words -----------------------------------------------------------------------------------------------------------

    def _row(self, stem: str) -> Any:
        import numpy as np

        row = self._alike.get(stem)
        if row is None:
            row = (
                np.fromiter((alike(stem, s) for s in self._vocabulary), np.float32, len(self._vocabulary))
                if self._vocabulary
                else np.zeros(1, np.float32)
            )
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
            for agent, words in self.aliases(text).items():
                row[agent, 6] = 1 - math.exp(-sum(len(w) for w in words))
            if self.kinds:
                self._type_features(row, text)
        return out

    def _type_features(self, row: Any, text: str) -> None:
        into, source, near = self.mentions(text)
        gives, eats = self.gives_any(into), self.takes_any(source)
        row[:, 7], row[:, 8] = gives, eats
        row[:, 9], row[:, 10] = bool(into) * (1 - gives), bool(source) * (1 - eats)
        row[:, 11] = self.takes_any(near)

    def aliases(self, text: str) -> dict[int, set[tuple[str, ...]]]:
        """Agents whose own `words` occur in a text, with those words as stems."""
        stems = [stemmed(t) for t in tokens(text)[:400]]
        found: dict[int, set[tuple[str, ...]]] = {}
        for at in range(len(stems)):
            for end in range(at + 1, min(at + ALIAS_MAX, len(stems)) + 1):
                for agent in self._aliases.get(tuple(stems[at:end]), ()):
                    found.setdefault(agent, set()).add(tuple(stems[at:end]))
        return found


def _closure(flows: Any) -> Any:
    """Which agents reach which along `flows`, by doubling: after k rounds all paths of up to 2^k steps."""
    import numpy as np

    reach = flows > 0
    for _ in range(max(1, len(flows)).bit_length()):
        more = reach | ((reach.astype(np.float32) @ reach.astype(np.float32)) > 0)
        if (more == reach).all():
            break
        reach = more
    return reach


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
    import numpy as np

    index = index_of(library, embedder)
    weights = WEIGHTS[embedder.name]["typed" if index.kinds else "untyped"]["first"]
    scores = index.features([text])[0] @ np.array([weights[f] for f in FEATURES], np.float32)
    return sorted(((a.name, float(s)) for a, s in zip(index.agents, scores, strict=True)), key=lambda r: (-r[1], r[0]))


def nearest(text: str, library: Library, n: int = 3, embedder: Embedder | None = None) -> list[str]:
    """Names of the agents that are nearest to a text, best first."""
    return [name for name, _ in rank(text, library, embedder or best())[:n]] if library.agents else []
