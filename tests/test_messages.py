"""What the bus promises: every message is documented, tagged, addressed, kept readable for ever, and nothing hostile gets through."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_type_hints

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from murakkab.bus import roles
from murakkab.bus.messages import (
    AnyMessage,
    ArtifactRef,
    Choice,
    Counted,
    Edge,
    Ended,
    Extended,
    Id,
    Input,
    JobLog,
    JobProgress,
    ListJobs,
    Lowered,
    Message,
    Plan,
    Planned,
    Replanned,
    Retried,
    Stage,
    SubmitJob,
    Submitted,
    TakenOver,
    TaskDone,
    TaskFailed,
    TaskReady,
    TaskResults,
    Use,
    Workflow,
)
from murakkab.bus.streams import STREAMS
from murakkab.bus.subjects import BadSubject, subject_of, wildcard
from murakkab.bus.wire import BadMessage, decode, encode

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "golden"
MESSAGES: tuple[type[Message], ...] = get_args(AnyMessage)
ADDRESSED = tuple(m for m in MESSAGES if m.subject)


def tag(kind: type[Message]) -> str:
    return str(kind.__struct_config__.tag)


def _docs() -> ModuleType:
    """scripts/docs, which knows who says and hears what."""
    loader = SourceFileLoader("murakkab_scripts_docs", str(ROOT / "scripts" / "docs"))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module


DOCS = _docs()
HEARD: dict[str, set[str]] = DOCS.heard_by()
SAID: dict[str, set[str]] = DOCS.said_by()


# --- each message ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MESSAGES)
def test_a_message_says_what_happened_and_who_tells_whom(kind: type[Message]) -> None:
    assert "->" in (inspect.getdoc(kind) or "").splitlines()[0]


def test_tags_and_subjects_are_unique() -> None:
    assert len({tag(m) for m in MESSAGES}) == len(MESSAGES)
    assert len({m.subject for m in ADDRESSED}) == len(ADDRESSED)
    assert len({re.sub(r"\{\w+\}", "*", m.subject) for m in ADDRESSED}) == len(ADDRESSED)
    for kind in MESSAGES:  # JobAccepted -> job_accepted: a reader of the wire finds the class
        assert tag(kind) == re.sub(r"(?<=.)([A-Z])", r"_\1", kind.__name__).lower()


@pytest.mark.parametrize("kind", ADDRESSED)
def test_a_subject_is_made_of_ids(kind: type[Message]) -> None:
    assert kind.subject.startswith("mk.v1.")
    hints = get_type_hints(kind, include_extras=True)
    for name in re.findall(r"\{(\w+)\}", kind.subject):
        assert hints[name] == Id, f"{kind.__name__}.{name} is in a subject and is no Id"


def test_streams_are_those_that_exist_and_keep_what_they_should() -> None:
    specs = {s.name: s for s in STREAMS}
    for kind in ADDRESSED:
        keepers = [s.name for s in STREAMS if any(covers(pattern, wildcard(kind)) for pattern in s.subjects)]
        assert keepers == ([kind.stream] if kind.stream else []), kind.__name__
    assert {m.stream for m in ADDRESSED if m.stream} == specs.keys()


@pytest.mark.parametrize("bad", ["", "a.b", "a b", "*", ">", "a\n", "é", "x" * 201])
def test_nothing_but_an_id_gets_into_a_subject(bad: str) -> None:
    with pytest.raises(BadSubject):
        subject_of(ListJobs(tenant=bad))


def test_wildcards() -> None:
    assert wildcard(JobProgress) == "mk.v1.job.*.*.progress"
    assert wildcard(JobProgress, tenant="t", job="j") == subject_of(JobProgress(tenant="t", job="j", phase="done"))


# --- for ever -------------------------------------------------------------------------------------------------------------------


def test_the_schema_is_the_golden_one() -> None:
    """A change here is a change of the public contract. Fields may only be added, and need defaults.

    If that is what you did: run scripts/docs, look at the difference, and commit both.
    """
    golden = json.loads((GOLDEN / "messages.schema.json").read_text())
    assert json.loads(DOCS.schema()) == golden, "the messages have changed: if only fields with defaults were added, run scripts/docs"


def test_the_pages_made_by_scripts_docs_are_current() -> None:
    done = subprocess.run([sys.executable, ROOT / "scripts" / "docs", "--check"], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_there_is_a_golden_sample_of_every_message() -> None:
    assert {p.stem for p in GOLDEN.glob("*.json")} - {"messages.schema"} == {tag(m) for m in MESSAGES}


def lost(before: Any, after: Any, at: str = "") -> list[str]:
    """Where `after` says otherwise than `before`; fields that joined later are no loss."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [x for k, v in before.items() for x in ([f"{at}.{k}"] if k not in after else lost(v, after[k], f"{at}.{k}"))]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [x for i, (b, a) in enumerate(zip(before, after, strict=True)) for x in lost(b, a, f"{at}[{i}]")]
    return [] if before == after else [at]


@pytest.mark.parametrize("kind", MESSAGES, ids=tag)
def test_what_was_ever_sent_can_still_be_read(kind: type[Message]) -> None:
    """Samples are written once, with every field set, and never again: a field that is lost or changed shows here."""
    sample = json.loads((GOLDEN / f"{tag(kind)}.json").read_text())
    msg = decode(json.dumps(sample).encode())
    assert type(msg) is kind
    assert lost(sample, msgspec.json.decode(encode(msg))) == []


@pytest.mark.parametrize("kind", MESSAGES, ids=tag)
def test_fields_of_the_future_are_skipped(kind: type[Message]) -> None:
    sample = json.loads((GOLDEN / f"{tag(kind)}.json").read_text())
    assert decode(json.dumps({"from_the_future": {"deep": [1]}, **sample, "later": None}).encode()) == decode(json.dumps(sample).encode())


# --- hostile and broken -----------------------------------------------------------------------------------------------------------

BROKEN = [
    b"",
    b"{",
    b"null",
    b"[]",
    b"{}",
    b"\xff\xfe",
    b'{"type":"no_such"}',
    b'{"type":"no\\nsuch\\nthing"}',
    b'{"type":7}',
    b'{"type":"list_jobs"}',
    b'{"type":"list_jobs","tenant":7}',
    b'{"type":"list_jobs","tenant":""}',
    b'{"type":"list_jobs","tenant":"a.b"}',
    b'{"type":"list_jobs","tenant":"a\\n"}',
    b'{"type":"list_jobs","tenant":"t"} trailing',
    b'{"type":"list_jobs","tenant":"\\ud800"}',
    b'{"type":"submit_job","tenant":"t","description":"d","deadline_s":NaN}',
    b'{"type":"submit_job","tenant":"t","description":"d","deadline_s":1e999}',
    b'{"type":"task_results","host":"h","results":[{"type":"maybe"}]}',
    b"[" * 100_000,
    b'{"type":"indexed","tenant":"t","media_hash":"m","index":' + b'{"a":' * 50_000,
    b'{"type":"indexed","tenant":"t","media_hash":"m","index":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_001,
]


@pytest.mark.parametrize("data", BROKEN, ids=lambda d: repr(d[:48]))
def test_broken_bytes_are_a_bad_message_with_a_reason_in_one_line(data: bytes) -> None:
    with pytest.raises(BadMessage) as caught:
        decode(data)
    reason = str(caught.value)
    assert reason
    assert "\n" not in reason
    assert caught.value.__cause__ is None


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    with pytest.raises(BadMessage):
        decode(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.sampled_from([tag(m) for m in MESSAGES]), st.data())
def test_samples_with_one_value_replaced_are_read_or_refused(name: str, data: st.DataObject) -> None:
    """Every place of a golden sample in turn gets any JSON; what can be read can be written again."""
    sample = json.loads((GOLDEN / f"{name}.json").read_text())
    holder, key = data.draw(st.sampled_from(list(_places(sample))))
    holder[key] = data.draw(JSON)
    msg, reason = None, ""
    try:
        msg = decode(json.dumps(sample).encode("utf-8", "surrogatepass"))
    except BadMessage as error:
        reason = str(error)
    assert "\n" not in reason
    assert reason if msg is None else decode(encode(msg)) == msg


def _places(value: Any) -> Any:
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from _places(value[key])


# --- there and back -----------------------------------------------------------------------------------------------------------------

IDS = st.from_regex(r"[A-Za-z0-9_-]{1,80}", fullmatch=True)
TEXT = st.text(max_size=50)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
INDEXES = st.lists(st.integers(0, 10_000), max_size=4).map(tuple)
ARGS = st.dictionaries(TEXT, JSON, max_size=3)
REFS = st.builds(ArtifactRef, st.from_regex(r"[0-9a-f]{64}", fullmatch=True), st.integers(0, 2**60), TEXT)
INPUTS = st.lists(st.builds(Input, TEXT, REFS), max_size=2).map(tuple)
STAGES = st.builds(
    Stage,
    IDS,
    TEXT,
    st.lists(st.builds(Edge, TEXT, TEXT), max_size=2).map(tuple),
    st.integers(0, 4),
    st.booleans(),
    ARGS,
    ARGS,
    st.booleans(),
    TEXT,
)
WORKFLOWS = st.builds(Workflow, st.lists(STAGES, max_size=3).map(tuple), st.lists(TEXT, max_size=2).map(tuple), TEXT)
SUBMITS = st.builds(
    SubmitJob, tenant=IDS, description=TEXT, inputs=INPUTS, tasks=st.lists(TEXT, max_size=2).map(tuple), workflow=st.none() | WORKFLOWS
)
USES = st.builds(Use, NUMBERS, NUMBERS, NUMBERS)
DONE = st.builds(TaskDone, IDS, IDS, INDEXES, st.integers(1, 3), TEXT, JSON, USES)
FAILED = st.builds(TaskFailed, IDS, IDS, INDEXES, st.integers(1, 3), TEXT, TEXT, st.booleans())
CHOICES = st.builds(Choice, IDS, TEXT, TEXT, NUMBERS, NUMBERS, NUMBERS, NUMBERS)
RECORDS = (
    st.builds(Submitted, SUBMITS, NUMBERS)
    | st.builds(Planned, st.builds(Plan, WORKFLOWS, st.lists(CHOICES, max_size=2).map(tuple)), NUMBERS)
    | st.builds(Lowered, WORKFLOWS, NUMBERS)
    | st.builds(Replanned, st.builds(Plan, WORKFLOWS, st.lists(CHOICES, max_size=2).map(tuple)), NUMBERS, TEXT)
    | st.builds(Extended, IDS, st.none() | st.builds(Plan, WORKFLOWS, st.lists(CHOICES, max_size=2).map(tuple)), NUMBERS, TEXT)
    | st.builds(Counted, TEXT, DONE)
    | st.builds(Retried, IDS, INDEXES, st.integers(1, 3), TEXT)
    | st.builds(TakenOver, NUMBERS)
    | st.builds(Ended, st.sampled_from(["done", "failed", "cancelled"]), TEXT, NUMBERS)
)
ANY = (
    SUBMITS
    | st.builds(
        TaskReady,
        pool=IDS,
        tenant=IDS,
        job=IDS,
        stage=IDS,
        index=INDEXES,
        attempt=st.integers(1, 3),
        agent=TEXT,
        implementation=TEXT,
        inputs=ARGS,
        args=ARGS,
    )
    | st.builds(TaskResults, host=IDS, results=st.lists(DONE | FAILED, max_size=3).map(tuple))
    | st.builds(JobLog, tenant=IDS, job=IDS, records=st.lists(RECORDS, max_size=3).map(tuple))
)


@given(ANY)
def test_there_and_back(msg: Message) -> None:
    data = encode(msg)
    assert decode(data) == msg
    assert json.loads(data)["type"] == tag(type(msg))
    assert b"\n" not in data


# --- who may, who does ----------------------------------------------------------------------------------------------------------------


def covers(pattern: str, subject: str) -> bool:
    """Whether NATS's pattern matches every subject that `subject` (which may itself have '*') stands for."""
    want, got = pattern.split("."), subject.split(".")
    for n, token in enumerate(want):
        if token == ">":
            return len(got) > n
        if n >= len(got) or token not in ("*", got[n]):
            return False
    return len(want) == len(got)


@pytest.mark.parametrize(
    ("pattern", "subject", "expected"),
    [
        ("a.*", "a.b", True),
        ("a.*", "a.*", True),
        ("a.b", "a.*", False),
        ("a.>", "a.b.c", True),
        ("a.>", "a", False),
        ("a", "a.b", False),
        ("a.b", "a", False),
        ("*.b", "a.b", True),
    ],
)
def test_matching(pattern: str, subject: str, expected: bool) -> None:
    assert covers(pattern, subject) is expected


def _permissions() -> dict[str, dict[str, list[str]]]:
    text = re.sub(r"(?m)^\s*#.*$", "", (ROOT / "nats.conf").read_text())
    users = re.findall(r"user:\s*(\w+).*?publish:\s*\[(.*?)\].*?subscribe:\s*\[(.*?)\]", text, re.S)
    return {user: {"publish": re.findall(r'"([^"]+)"', pub), "subscribe": re.findall(r'"([^"]+)"', sub)} for user, pub, sub in users}


ALLOWED = _permissions()
PEOPLE = ("client", "observer")


def subject_for(kind: type[Message], role: str) -> str:
    """What a role says or hears: its own tenant, its own name, everybody's else."""
    fixed = {"client": {"tenant": "default"}}.get(role, {})
    return wildcard(kind, **fixed, **({"role": role} if kind.subject.endswith("{role}") else {}))


def may(role: str, what: str, subject: str) -> bool:
    return any(covers(pattern, subject) for pattern in ALLOWED[role][what])


def test_every_role_is_a_user() -> None:
    assert set(ALLOWED) == set(roles.ROLES)


@pytest.mark.parametrize("kind", MESSAGES)
def test_every_message_is_said_and_heard(kind: type[Message]) -> None:
    assert SAID[kind.__name__], "nobody says it"
    listeners = HEARD[kind.__name__] or {r for r in PEOPLE if kind.subject and may(r, "subscribe", subject_for(kind, "observer"))}
    assert listeners, "nobody hears it"


@pytest.mark.parametrize("role", DOCS.ACTORS)
def test_an_actor_may_hear_and_say_just_what_it_does(role: str) -> None:
    actor = DOCS.ACTORS[role]
    for kind in actor.hears:
        assert may(role, "subscribe", subject_for(kind, role)), f"{role} may not hear {kind.__name__}"
    for kind in (*actor.replays, *actor.works):
        assert may(role, "publish", f"$JS.API.CONSUMER.CREATE.{kind.stream}.name.{wildcard(kind)}"), f"{role} may not follow {kind.stream}"
    for kind in actor.works:
        for subject in (f"$JS.API.CONSUMER.MSG.NEXT.{kind.stream}.name", f"$JS.ACK.{kind.stream}.name.1.2.3.4.5"):
            assert may(role, "publish", subject), f"{role} may not take from {kind.stream}"
    for kind in ADDRESSED:
        says = role in SAID[kind.__name__]
        assert may(role, "publish", subject_for(kind, role)) == says, f"{role} {'says' if says else 'may say'} {kind.__name__}"


@pytest.mark.parametrize("kind", ADDRESSED)
def test_people_may_say_and_hear_just_what_they_do(kind: type[Message]) -> None:
    if "client" in HEARD[kind.__name__]:
        assert any(may(r, "subscribe", subject_for(kind, r)) for r in PEOPLE)
    assert any(may(r, "publish", subject_for(kind, r)) for r in PEOPLE) == ("client" in SAID[kind.__name__])


def test_a_worker_may_take_tasks() -> None:
    assert may("worker", "publish", "$JS.API.CONSUMER.MSG.NEXT.TASKS.pool")
    assert may("worker", "publish", "$JS.ACK.TASKS.pool.1.2.3.4.5")


def test_whoever_answers_reaches_whoever_asks_and_nobody_reads_anothers_answers() -> None:
    for role in PEOPLE:
        assert may("conductor", "publish", f"{roles.inbox(role)}.x.y")
    for role in roles.ROLES:
        assert [r for r in roles.ROLES if may(r, "subscribe", f"{roles.inbox(role)}.x")] == [role]


def test_a_tenant_reaches_nothing_of_another() -> None:
    for subject in (
        "mk.v1.jobs.other.submit",
        "$O.artifacts_other.C.x",
        "$JS.API.DIRECT.GET.JOBS.mk.v1.job.other.j.result",
        "mk.v1.task.p.ready",
    ):
        assert not may("client", "publish", subject)
    for subject in ("mk.v1.job.other.j.result", "mk.v1.host.h.beat", "mk.>", ">", "$O.artifacts_default.C.x"):
        assert not may("client", "subscribe", subject)
