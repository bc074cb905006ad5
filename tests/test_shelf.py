"""The shelf: our library and what hosts offer become one, the first stays, and nothing that a host says can break it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from murakkab.agents.spec import Agent, Implementation, Take
from murakkab.bus.messages import HostHeartbeat, LibraryOffered, Offer
from murakkab.planner.lattice import Lattice
from murakkab.planner.shelf import Shelf

OURS = [Agent("Reader", "Read a file.", {"file": Take("Document")}, "Text")]
ROWS = {("Reader", "plain"): Implementation("plain", "Reader", "m:Plain")}
TYPES = Lattice({"Media": (), "Document": ("Media",), "Text": ()})
TRANSLATOR = Agent("Translator", "Translate a text.", {"text": Take("Text")}, "Translation", args={"type": "object", "properties": {}})
DICTIONARY = Implementation("dictionary", "Translator", "translator:Dictionary", memory_mb=30)


def shelf() -> Shelf:
    return Shelf(OURS, ROWS, TYPES)


def offer(
    host: str = "h", agents: tuple[Agent, ...] = (TRANSLATOR,), rows: tuple[Implementation, ...] = (DICTIONARY,), **more: Any
) -> LibraryOffered:
    types = more.pop("types", {"Translation": ("Text",)})
    return LibraryOffered(
        host=host,
        agents=tuple(msgspec.to_builtins(a) for a in agents),
        implementations=tuple(msgspec.to_builtins(r) for r in rows),
        types=types,
    )


def test_what_a_host_brings_joins_the_library() -> None:
    it = shelf()
    before = it.library
    assert it.offered(offer())
    assert it.library is not before
    assert it.library.agents == {"Reader": OURS[0], "Translator": TRANSLATOR}
    assert it.library.types.is_a("Translation", "Text")
    assert [a.name for a in it.library.producers("Text")] == ["Reader", "Translator"]
    assert it.implementations[("Translator", "dictionary")] == DICTIONARY
    assert not it.problems
    assert before.agents.keys() == {"Reader"}, "who holds the old library may go on with it"


def test_the_fingerprint_changes_with_the_library_and_with_nothing_else() -> None:
    it = shelf()
    empty = it.library.fingerprint
    it.offered(offer())
    full = it.library.fingerprint
    held = it.library
    assert full != empty
    assert not it.offered(offer()), "the same again changes nothing"
    assert not it.offered(offer("other")), "another host with the same rows changes nothing"
    assert it.offered(offer("other", rows=(msgspec.structs.replace(DICTIONARY, name="second"),)))
    assert it.library is held, "implementations are no part of what plans depend on"
    assert it.library.fingerprint == full


def test_an_empty_offer_of_a_host_that_never_had_any_changes_nothing() -> None:
    it = shelf()
    held = it.library
    assert not it.offered(LibraryOffered(host="h"))
    assert it.library is held


def test_what_a_host_says_anew_replaces_what_it_said() -> None:
    it = shelf()
    it.offered(offer())
    assert it.offered(LibraryOffered(host="h"))
    assert it.library.agents.keys() == {"Reader"}
    assert it.implementations == ROWS
    assert it.library.fingerprint == shelf().library.fingerprint


def test_of_two_hosts_the_first_stays_and_the_other_is_named() -> None:
    it = shelf()
    other = msgspec.structs.replace(TRANSLATOR, gives="Text")
    it.offered(offer("first"))
    assert it.offered(offer("second", agents=(other,), rows=(msgspec.structs.replace(DICTIONARY, memory_mb=99),)))
    assert it.library.agents["Translator"] == TRANSLATOR
    assert it.implementations[("Translator", "dictionary")].memory_mb == 30
    assert len(it.problems) == 2
    assert all(p.startswith("host second: ") and "stays" in p for p in it.problems)
    it.offered(LibraryOffered(host="first"))
    assert it.library.agents["Translator"] == other, "once the first brings it no more, the second does"
    assert not it.problems


def test_what_a_host_understands_differently_is_not_run_there() -> None:
    it = shelf()
    it.offered(offer("first"))
    it.offered(offer("second", agents=(msgspec.structs.replace(TRANSLATOR, takes={}),)))
    offers = (Offer("Translator", "dictionary", "cpu"), Offer("Reader", "plain", "cpu"))
    assert it.usable(HostHeartbeat(host="first", at=0.0, offers=offers)).offers == offers
    assert it.usable(HostHeartbeat(host="second", at=0.0, offers=offers)).offers == offers[1:]


def test_other_words_for_the_same_interface_are_no_conflict() -> None:
    it = shelf()
    it.offered(offer("first"))
    it.offered(offer("second", agents=(msgspec.structs.replace(TRANSLATOR, summary="Say it in French.", words=("french",)),)))
    assert not it.problems
    assert it.library.agents["Translator"] == TRANSLATOR


def test_ours_stay_whatever_a_host_says() -> None:
    it = shelf()
    mine = Agent("Reader", "Read aloud.", {"file": Take("Media")}, "Text")
    it.offered(offer(agents=(mine,), rows=(Implementation("plain", "Reader", "m:Other"),)))
    assert it.library.agents["Reader"] == OURS[0]
    assert it.implementations == ROWS
    assert len(it.problems) == 2


@pytest.mark.parametrize(
    ("said", "says"),
    [
        (offer(types={"Text": ("Media",), "Translation": ("Text",)}), "type Text stands below Media there, and below nothing here"),
        (offer(types={"Translation": ("Other",), "Other": ("Translation",)}), "stands above itself"),
        (offer(types={}), "it gives Translation, a type that nobody has declared"),
        (LibraryOffered(host="h", agents=({"name": 7},)), "a row that is no Agent"),
        (LibraryOffered(host="h", implementations=({"name": "x"},)), "a row that is no Implementation"),
        (offer(agents=(), rows=(Implementation("x", "Reader", "os.system('boo')"),)), "is not module:Class"),
        (offer(agents=(), rows=(Implementation("x", "Reader", "m:C", quality=7.0),)), "quality 7 is not between 0 and 1"),
        (offer(agents=(), rows=(Implementation("x", "Reader", "m:C", slots=0),)), "slots are 0"),
        (offer(agents=(Agent(" ", "", {}, "Text"),)), "is no name"),
        (offer(agents=(Agent("A", "", {}, "Text", args={"type": "array"}),)), "not the JSON Schema of an object"),
    ],
)
def test_what_cannot_be_is_left_out_and_said(said: LibraryOffered, says: str) -> None:
    it = shelf()
    it.offered(said)
    assert any(says in p for p in it.problems), it.problems
    assert all(p.startswith("host h: ") and "\n" not in p for p in it.problems)
    assert it.library.agents["Reader"] == OURS[0]
    it.offered(offer("good"))
    assert "Translator" in it.library.agents, "the rest goes on"


def test_agents_that_speak_of_a_contradicted_type_are_left_out() -> None:
    it = shelf()
    wrong = Agent("Wrong", "", {"text": Take("Text")}, "Document")
    it.offered(offer(agents=(wrong, TRANSLATOR), types={"Document": (), "Translation": ("Text",)}))
    assert it.library.agents.keys() == {"Reader", "Translator"}
    assert it.library.types.is_a("Document", "Media")


def test_who_does_not_plan_needs_no_types() -> None:
    it = Shelf(implementations=ROWS)
    it.offered(offer())
    assert not it.problems
    assert it.implementations.keys() == {("Reader", "plain"), ("Translator", "dictionary")}


NAMES = st.sampled_from(["A", "B", "Reader", "Text", "Media", "", "x" * 200, "a\nb"])
TREES = st.dictionaries(NAMES, st.lists(NAMES, max_size=2).map(tuple), max_size=4)
AGENTS = st.builds(lambda n, t, g: msgspec.to_builtins(Agent(n, "", {"p": Take(t)}, g)), NAMES, NAMES, NAMES) | st.dictionaries(
    st.sampled_from(["name", "takes", "gives", "args"]), NAMES | st.integers() | st.none()
)
WAYS = st.builds(lambda n, a, q: msgspec.to_builtins(Implementation(n, a, "m:C", quality=q)), NAMES, NAMES, st.floats(-1, 2))
OFFERS = st.builds(
    lambda host, agents, rows, types: LibraryOffered(host=host, agents=tuple(agents), implementations=tuple(rows), types=types),
    st.sampled_from(["h1", "h2", "h3"]),
    st.lists(AGENTS, max_size=3),
    st.lists(WAYS, max_size=3),
    TREES,
)


@given(st.lists(OFFERS, max_size=6))
def test_whatever_hosts_say_the_library_stays_one(said: list[LibraryOffered]) -> None:
    it = shelf()
    for msg in said:
        before = (it.library.fingerprint, it.implementations)
        changed = it.offered(msg)
        assert changed or before == (it.library.fingerprint, it.implementations)
        assert not it.offered(msg)
    assert it.library.agents["Reader"] == OURS[0]
    assert it.implementations[("Reader", "plain")] == ROWS[("Reader", "plain")]
    for agent in it.library.agents.values():
        assert {agent.gives, *(t.type for t in agent.takes.values())} <= it.library.types.above.keys()
    assert all(it.library.types.above[name] == TYPES.above[name] for name in TYPES.above)
    latest = {msg.host: msg for msg in said}
    again = shelf()
    for host in dict.fromkeys(msg.host for msg in said):
        again.offered(latest[host])
    first_said = list(dict.fromkeys(m.host for m in said))
    if list(it._said) == first_said:
        assert again.library.fingerprint == it.library.fingerprint, "only the newest of each host counts"
