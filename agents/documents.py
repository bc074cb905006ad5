"""Files of text to texts: plain text, Markdown, JSON, JSON lines. UTF-8 only, and never guessed."""

from __future__ import annotations

import json
import re
from pathlib import PurePath

import msgspec

from .interface import BadInput, Call
from .types import Document, Text

BYTES_MAX = 900_000
"""Of a document's texts as they travel: they are one task's result, and a message holds 1 MB."""
BY_LINE = (".jsonl", ".ndjson")
PER = ("auto", "whole", "line", "paragraph")
PARAGRAPH = re.compile(r"\n[ \t]*(?:\n[ \t]*)+")
KINDS = (
    (b"%PDF", "a PDF file"),
    (b"PK\x03\x04", "a zip archive or an office file"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"\xff\xfe", "text in UTF-16"),
    (b"\xfe\xff", "text in UTF-16"),
    (b"RIFF", "a media file"),
    (b"OggS", "a media file"),
    (b"\x1aE\xdf\xa3", "a media file"),
)


class DocumentReader:
    """One document to its texts, in order. Blank lines and paragraphs are left out; at least one text comes of it, or `BadInput`."""

    def load(self) -> None:
        pass

    def run(self, call: Call) -> list[Text]:
        document, per = call.take("document", Document), call.arg("per", "auto")
        if per not in PER:
            raise BadInput(f"per={per!r} is none of {', '.join(PER)}")
        path, name = call.files.path(document.media), document.name
        size = path.stat().st_size
        if size > BYTES_MAX:
            raise BadInput(f"{name}: {size} bytes are too many for one document, at most {BYTES_MAX}; give it in parts")
        found = texts(decoded(path.read_bytes(), name), name, per)
        travel = len(msgspec.json.encode(found))
        if travel > BYTES_MAX:
            raise BadInput(f"{name}: its {len(found)} texts take {travel} bytes to send, at most {BYTES_MAX}; give it in parts")
        return found


def decoded(data: bytes, name: str) -> str:
    """The text of a file, with plain line ends and without a byte-order mark. `BadInput` says what it is instead, and where it breaks."""
    if not data.strip():
        raise BadInput(f"{name}: the file is empty; give a file of text")
    kind = next((kind for start, kind in KINDS if data.startswith(start)), "")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        what = kind or f"not text in UTF-8 (byte {error.start}, line {line})"
        raise BadInput(f"{name}: {what}; give plain text, Markdown, JSON or JSON lines in UTF-8") from None
    if kind or "\0" in text:
        raise BadInput(f"{name}: {kind or 'a binary file'}; give plain text, Markdown, JSON or JSON lines in UTF-8")
    if not text.strip():
        raise BadInput(f"{name}: the file is empty; give a file of text")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def texts(text: str, name: str, per: str) -> list[Text]:
    """A decoded file in texts; each is named by its place in the file. JSON lines must be JSON, line by line."""
    rows = PurePath(name).suffix.lower() in BY_LINE
    if per == "line" or (per == "auto" and rows):
        # not splitlines(): inside JSON strings, other line separators than \n are only characters
        lines = [(n, line.strip()) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
        if rows:
            for n, line in lines:
                _check_json(line, f"{name}, line {n}")
        return [Text(line, f"{name}, line {n}") for n, line in lines]
    if per == "paragraph":
        parts = [part.strip() for part in PARAGRAPH.split(text)]
        return [Text(part, f"{name}, paragraph {n}") for n, part in enumerate((p for p in parts if p), 1)]
    return [Text(text, name)]


def _check_json(line: str, where: str) -> None:
    try:
        json.loads(line)
    except RecursionError:
        raise BadInput(f"{where}: nested too deep") from None
    except ValueError as error:
        raise BadInput(f"{where}: not JSON ({error}); a file of JSON lines has one JSON value a line") from None
