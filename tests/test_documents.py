"""Files of text to texts, also the broken ones; a transcript's words; and summaries of any text by a real (small) model."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from murakkab.agents import catalog_text, weights
from murakkab.agents.documents import BYTES_MAX, DocumentReader, decoded, texts
from murakkab.agents.interface import BadInput, Call, Files
from murakkab.agents.text_summarize import TextSummarizer, TranscriptText, prompt
from murakkab.agents.types import Document, Scene, Segment, Text, Transcript
from murakkab.bus.messages import ArtifactRef


def read(folder: Path, data: bytes, name: str = "notes.txt", **args: Any) -> list[Text]:
    files = Files(folder)
    path = files.scratch()
    path.write_bytes(data)
    document = Document(files.keep(path, "text/plain"), name)
    return DocumentReader().run(Call({"document": msgspec.to_builtins(document)}, args, files))


def test_a_file_is_one_text(tmp_path: Path) -> None:
    assert read(tmp_path, "\ufeffHellö\r\nthere\n\nnow\n".encode()) == [Text("Hellö\nthere\n\nnow\n", "notes.txt")]
    assert read(tmp_path, b'{"a": 1}', "one.json") == [Text('{"a": 1}', "one.json")]


@pytest.mark.parametrize("name", ["rows.jsonl", "ROWS.NDJSON"])
def test_json_lines_are_a_text_each(tmp_path: Path, name: str) -> None:
    rows = [{"question": "a\u2028b?"}, {"question": "c?"}]
    data = "\n".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    found = read(tmp_path, data, name)
    assert [json.loads(text.text) for text in found] == rows
    assert [text.name for text in found] == [f"{name}, line 1", f"{name}, line 3"]
    assert len(read(tmp_path, data, name, per="whole")) == 1


def test_the_ten_rows_are_ten_texts(tmp_path: Path) -> None:
    data = (Path(__file__).parent / "data" / "gsm8k_10.jsonl").read_bytes()
    assert [json.loads(t.text) for t in read(tmp_path, data, "gsm8k.jsonl")] == [json.loads(line) for line in data.splitlines()]


def test_lines_and_paragraphs(tmp_path: Path) -> None:
    data = b"\n one\ntwo\r\n \t\r\n\n\nthree\n"
    assert [t.text for t in read(tmp_path, data, per="line")] == ["one", "two", "three"]
    assert read(tmp_path, data, per="paragraph") == [Text("one\ntwo", "notes.txt, paragraph 1"), Text("three", "notes.txt, paragraph 2")]


@pytest.mark.parametrize(
    ("data", "name", "args", "wrong"),
    [
        (b"", "a.txt", {}, "a.txt: the file is empty"),
        (b" \n\t\n", "a.txt", {}, "a.txt: the file is empty"),
        (b"\xef\xbb\xbf\n", "a.txt", {}, "a.txt: the file is empty"),
        (b"one\ntwo\xff\n", "a.txt", {}, r"a.txt: not text in UTF-8 \(byte 7, line 2\)"),
        ("caf\xe9".encode("latin-1"), "a.txt", {}, "not text in UTF-8"),
        ("hi".encode("utf-16"), "a.txt", {}, "a.txt: text in UTF-16"),
        (b"%PDF-1.7 text", "a.txt", {}, "a.txt: a PDF file; give plain text"),
        (b"\x89PNG\r\n\x1a\n", "a.png", {}, "a.png: a picture"),
        (b"PK\x03\x04rest", "a.docx", {}, "a zip archive or an office file"),
        (b"ab\0cd", "a.bin", {}, "a.bin: a binary file"),
        (b'{"a": 1}\n{"a": \n', "a.jsonl", {}, "a.jsonl, line 2: not JSON"),
        (b"[" * 100_000, "a.jsonl", {}, "a.jsonl, line 1: nested too deep"),
        (b"x" * (BYTES_MAX + 1), "a.txt", {}, f"{BYTES_MAX + 1} bytes are too many"),
        (b'"' * (BYTES_MAX - 1), "a.txt", {}, "bytes to send, at most"),
        (b"a\n" * 20_000, "long-name-" * 5, {"per": "line"}, "its 20000 texts take"),
        (b"x", "a.txt", {"per": "word"}, "per='word' is none of auto, whole, line, paragraph"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(tmp_path: Path, data: bytes, name: str, args: dict[str, str], wrong: str) -> None:
    with pytest.raises(BadInput, match=wrong) as caught:
        read(tmp_path, data, name, **args)
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=200), st.sampled_from(["a.txt", "a.jsonl"]), st.sampled_from(["auto", "whole", "line", "paragraph"]))
def test_any_bytes_are_texts_or_bad_input(data: bytes, name: str, per: str) -> None:
    try:
        found, wrong = texts(decoded(data, name), name, per), name
    except BadInput as error:
        found, wrong = [Text("x")], str(error)
    assert wrong.startswith(name)
    assert found
    assert all(text.text.strip() for text in found)


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"]), min_size=1), min_size=1))
def test_no_line_is_lost(lines: list[str]) -> None:
    data = "\r\n".join(lines).encode()
    if data[:3] != b"\xef\xbb\xbf":  # a first character that is a byte-order mark
        assert [t.text for t in texts(decoded(data, "a"), "a", "line")] == lines


# --- other text agents ----------------------------------------------------------------------------------------------------


def transcript(start_s: float, *said: str) -> Transcript:
    scene = Scene(ArtifactRef("c" * 64, 1, "video/mp4"), "talk.mp4", int(start_s), start_s, start_s + 9)
    return Transcript(tuple(Segment(start_s + n, start_s + n + 1, text) for n, text in enumerate(said)), scene)


def test_a_transcripts_words_come_in_order_of_time(tmp_path: Path) -> None:
    parts = [transcript(10, " And then ", "it ended."), transcript(0, "It began.", " "), transcript(20)]
    given_ = Call({"transcripts": msgspec.to_builtins(parts)}, {}, Files(tmp_path))
    assert TranscriptText().run(given_) == Text("It began. And then it ended.", "talk.mp4")


def test_a_long_text_is_read_in_part(tmp_path: Path) -> None:
    long = " ".join(f"Sentence number {n} speaks of the cat." for n in range(1000))
    read_ = prompt(long)
    assert "number 0 " in read_
    assert "number 9" in read_
    assert len(read_.split()) < 700


def test_the_rows_name_what_is_there() -> None:
    assert {row.agent for row in catalog_text.IMPLEMENTATIONS} == {a.name for a in catalog_text.AGENTS}


@pytest.mark.models
def test_a_summary_says_what_the_text_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if weights.locate("smollm2-135m", os.environ) is None:
        pytest.skip(weights.WEIGHTS["smollm2-135m"].how)
    monkeypatch.setenv("MURAKKAB_HOME", str(tmp_path))
    model = TextSummarizer("ctranslate2")
    model.load()

    def summary(text: str) -> str:
        given_ = Call({"text": {"text": text, "name": "n"}}, {}, Files(tmp_path / "files"))
        return asyncio.run(model.run_async(given_)).text

    assert summary(" Short enough. ") == "Short enough."
    assert summary("") == ""
    text = (
        "The old lighthouse stands on a cliff above the harbour. Every evening its keeper climbs the stairs and lights the lamp. "
        "Ships far away see the light and find their way home."
    )
    made = summary(text)
    assert made
    assert set(made.lower().split()) & {"lighthouse", "light", "keeper", "ships", "lamp"}
    model.close()
