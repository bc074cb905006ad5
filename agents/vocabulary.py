"""The names of concrete things (`data/objects.txt`), found in running text: plural-aware, whole words, longest name first; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.resources import files

from msgspec import Struct

from .words import Word, spans, word_set, words

IRREGULAR = {
    "person": ["people", "persons"],
    "child": ["children"],
    "mouse": ["mice"],
    "goose": ["geese"],
    "foot": ["feet"],
    "tooth": ["teeth"],
    "ox": ["oxen"],
    "dice": ["die"],
    "leaf": ["leaves"],
    "loaf": ["loaves"],
    "calf": ["calves"],
    "wolf": ["wolves"],
    "shelf": ["shelves"],
    "knife": ["knives"],
    "scarf": ["scarves", "scarfs"],
    "hoof": ["hooves"],
    "cactus": ["cacti", "cactuses"],
}
SAME = word_set("sheep deer fish moose bison salmon trout shrimp aircraft spacecraft elk cod squid reindeer")
BEFORE_NOUN = word_set(
    """a an the this these those my your his her its our their some any no every each another one two three four five six seven eight
    nine ten many several few both of with in on at by from near under over for like about into through between behind without
    inside beside and or"""
)
BEFORE_VERB = word_set(
    """to i you he she we they it who which that can could will would shall should may might must cannot can't won't don't doesn't
    didn't do does did not never always let please everyone everybody someone somebody nobody"""
)


SURE_VERB = word_set("i we they he she will would could should must might can cannot won't can't didn't don't doesn't we'll i'll they'll")
"""Before any noun without an article these make a verb of it: "we water the roses", "they ship it"."""


class Thing(Struct, frozen=True):
    """A name of the vocabulary: its label, and whether this word needs to be seen to stand as a noun."""

    label: str
    doubtful: bool
    proper: bool
    plural: bool = False


class Naming(Struct, frozen=True):
    """A place in a text that names a thing: `first` and `last` are indexes into its words."""

    label: str
    first: int
    last: int


class Vocabulary:
    """`things` maps the words of a name (lower case, in every number) to the thing; `broader` maps a label to what it is a kind of."""

    def __init__(self, text: str) -> None:
        self.things: dict[tuple[str, ...], Thing] = {}
        self.broader: dict[str, str] = {}
        for line in text.splitlines():
            if not line.strip() or line.startswith("#"):
                continue
            kind, _, names = line.partition(":")
            for group in names.split(","):
                forms = [form.strip() for form in group.split("|")]
                label = forms[0].lstrip("~").lower()
                if kind != "-":
                    self.broader[label] = kind
                for form in forms:
                    self._add(form, label)
        self.longest = max(map(len, self.things), default=0)

    def _add(self, form: str, label: str) -> None:
        name = form.lstrip("~")
        thing = Thing(label, form.startswith("~"), name[:1].isupper())
        base = tuple(word.low for word in words(name))
        self.things[base] = thing
        for plural in plurals(base[-1]):
            self.things.setdefault((*base[:-1], plural), Thing(label, thing.doubtful, thing.proper, plural=True))

    def label(self, name: str) -> str:
        """The label that this vocabulary uses for a name ("sofa" and "couches" give "couch"); the name itself when it is unknown."""
        thing = self.things.get(tuple(word.low for word in words(name)))
        return thing.label if thing else name.lower()

    def kinds(self, label: str) -> Iterator[str]:
        """The label and everything that it is a kind of, nearest first."""
        seen: set[str] = set()
        while label and label not in seen:
            yield label
            seen.add(label)
            label = self.broader.get(label, "")

    def named(self, text: str, lenient: bool = False) -> list[Naming]:
        """Every place of a text that names a thing, in order, none overlapping; longer names win ("hot dog" is no dog).

        A doubtful word counts only where it clearly stands as a noun ("a watch", not "watch out"), and a capital inside a
        sentence is a proper name ("Apple"); `lenient` counts both all the same.
        """
        all_words = words(text)
        found: list[Naming] = []
        for start, end in spans(text):
            inside = [i for i, word in enumerate(all_words) if start <= word.start < end]
            shouted = sum(all_words[i].text[:1].isupper() for i in inside) * 2 > len(inside)
            i = 0
            while i < len(inside):
                size, thing = self._at(all_words, inside, i)
                if thing and (lenient or self._stands(thing, all_words, inside, i, size, shouted)):
                    found.append(Naming(thing.label, inside[i], inside[i + size - 1]))
                i += max(1, size)
        return found

    def _at(self, all_words: list[Word], inside: list[int], i: int) -> tuple[int, Thing | None]:
        for size in range(min(self.longest, len(inside) - i), 0, -1):
            thing = self.things.get(tuple(all_words[k].low for k in inside[i : i + size]))
            if thing:
                return size, thing
        return 0, None

    def _stands(self, thing: Thing, all_words: list[Word], inside: list[int], i: int, size: int, shouted: bool) -> bool:
        last = all_words[inside[i + size - 1]].text
        if i > 0 and not shouted and not thing.proper and last[0].isupper() and not last.isupper():
            return False
        if size > 1:
            return True
        if i > 0 and all_words[inside[i - 1]].low in SURE_VERB:
            return False
        if not thing.doubtful:
            return True
        if i + 1 < len(inside) and self._at(all_words, inside, i + 1)[1]:
            return False  # "an orange cat": an adjective, or the first half of a compound
        before = [all_words[k].low for k in inside[max(0, i - 2) : i]]
        if before and before[-1] in BEFORE_VERB:
            return False
        if thing.plural:  # "eats oranges", but not "the train leaves"
            return not before or (before[-1],) not in self.things
        if not before:
            return False
        near = before[-1] in BEFORE_NOUN
        return near or (len(before) == 2 and before[0] in BEFORE_NOUN and (before[1],) not in self.things)


def plurals(word: str) -> list[str]:
    """The plural forms of a noun; none for one that is already plural or has no other form."""
    if word in IRREGULAR:
        return IRREGULAR[word]
    if word in SAME or (word.endswith("s") and not word.endswith(("ss", "us"))):
        return []
    if word.endswith("man") and word not in ("human", "roman"):
        return [word[:-3] + "men"]
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return [word[:-1] + "ies"]
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return [word + "es"]
    return [word + "s", word + "es"] if word.endswith("o") else [word + "s"]


@cache
def vocabulary() -> Vocabulary:
    """Ours, read once."""
    return Vocabulary(files(__package__).joinpath("data/objects.txt").read_text(encoding="utf-8"))


def supported(names: Iterable[str], vocab: Vocabulary) -> Mapping[str, str]:
    """Every label that these names vouch for (a cat vouches for an animal), with the name that does."""
    found: dict[str, str] = {}
    for name in names:
        for label in vocab.kinds(vocab.label(name)):
            found.setdefault(label, name)
    return found
