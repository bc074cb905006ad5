"""A text into clauses, each small enough to speak of one agent. Pure; linear in the length of the text."""

from __future__ import annotations

import re
from enum import Enum

from msgspec import Struct

_EDGES = " \t.,!?…:-'\""
CLAUSES_MAX = 60
"""Clauses that are read; what comes after them is not planned from."""
CLAUSE_MAX = 400
"""Characters of a clause that are read."""
PARTS_MAX = 6
TEXT_MAX = 8_000

_URL = re.compile(r"\b(?:https?://|www\.)[^\s'\"<>)\],;]*[^\s'\"<>)\],;.:!?]", re.I)
_DOUBLE = re.compile(r"[\"“”«»]([^\"“”«»]{1,4000})[\"“”«»]")
_OPENS = re.compile(r"(?<![\w'])[‘'](?=\S)")
_CLOSES = re.compile(r"(?<=\S)['’](?![\w'])")
_FILE = re.compile(r"^[^\s]{1,80}\.[A-Za-z][A-Za-z0-9]{1,4}$")
_BRACKET = re.compile(r"[(\[{]([^()\[\]{}]{0,300})[)\]}]")
_STEPS = re.compile(r"\b(steps?|tasks?|things?|do the following|actions?|operations?|please|following order)\W*$", re.I)
_LITERAL_HEAD = re.compile(
    r"\b(?:following|here(?:'s| is| are)|text|description|script|question|article|sentence|prompt|paragraph|message|phrase|"
    r"instructions?|content|title|passage|quote|story|input|example|words?|snippet|document|topic)\b[^:.!?\n]{0,40}$",
    re.I,
)
_SENTENCE = re.compile(r"(?<=[.!?])[\s\"')\]]+(?=\S)|\n+|;")
_THEN = (
    r"and then|and finally|and also|and lastly|and next|then|finally|lastly|afterwards?|after that|after this|next|also|"
    r"additionally|moreover|furthermore|subsequently|followed by|as well as|along with|and"
)
_SPLIT = re.compile(
    rf"\s*,\s*(?:(?:{_THEN})\b[\s,]*)?|\s+(?:{_THEN}|before|after|while|so that|so|that|which|where|but|or)\s+|\s+[/&+]\s+|\s*:\s+", re.I
)
_PARTS = re.compile(r"\s+(?=(?:from|based on|according to|using|with|by|of|in)\s+\w)", re.I)
_HAVE = re.compile(
    r"^\W*(?:(?:hello|hi|hey|so)\W+)*(?:(?:i|we)(?:'ve| (?:also |just |recently |already )?(?:have|found|got|received|provide|provided|own))|(?:i|we)'ve got|"
    r"here(?:'s| is| are)|there(?:'s| is| are)|(?:the )?user (?:has|have|provides|sends|sent|gives)|they (?:provide|have)|given|use )\b",
    re.I,
)
_POLITE = re.compile(
    r"^(?:\W*\b(?:hello|hi|hey|please|kindly|also|then|next|finally|lastly|first|firstly|secondly|thirdly|after (?:that|this)|afterwards|once it's \w+|"
    r"(?:can|could|would|will) you|help me(?: to)?|i am looking (?:for|to)|i'm looking (?:for|to)|"
    r"(?:i|we|the user|user|they)(?:'d| would| also| really| just| wish| will)* (?:like|love|want|wants|need|needs|wish|prefer)s?(?: (?:you|it|them|the system|help))?(?: to| with)?(?: have| get| be)?|"
    r"(?:i|we) (?:would|should|must|have to|am trying to|want)|i'd(?: like)?(?: to)?|it's|use|perhaps)\b[\s,:]*)+",
    re.I,
)
_NOUNS = re.compile(r"^(?:an?|the|some|my|another|two|three|several|white|one|also)\b|^\S+\.\w{2,4}$|^(?:URL)$", re.I)
"""How a piece begins that only goes on naming things."""
_WANT = re.compile(r"\b(?:want|need|like|help|please|wish|would|should|how|can you|could you|to be)\b", re.I)
_ASKS = re.compile(
    r"^\W*(?:(?:and|so|but|then)\W+)?(?:what|who|whom|whose|which|when|where|why|how|does|do|did|is|are|was|were|has|have)\b(?!\s+about\b)",
    re.I,
)
_KINDS = {
    **dict.fromkeys(["jpg", "jpeg", "png", "gif", "bmp", "tif", "tiff", "webp", "svg", "heic"], "image"),
    **dict.fromkeys(["wav", "mp3", "flac", "ogg", "aac", "m4a", "wma", "aiff"], "audio"),
    **dict.fromkeys(["mp4", "avi", "mov", "mkv", "webm", "flv", "wmv", "mpg", "mpeg", "m4v"], "video"),
    **dict.fromkeys(["txt", "md", "doc", "docx", "pdf", "rtf", "csv", "json", "html", "htm"], "text"),
}
"""What a file's name says of its content."""


class Role(Enum):
    DO = "do"
    """Asks for something."""
    HAVE = "have"
    """Only says what there is."""


ANSWER = "answer the question"
"""What a sentence that asks something asks for."""


class Clause(Struct, frozen=True):
    """A piece of the text. `back`: it says where something comes from, so what it asks for happens before the clause in front of it."""

    text: str
    sentence: int = 0
    role: Role = Role.DO
    part: bool = False
    """A piece of the clause that stands last before it without this mark; read beside the whole."""
    back: bool = False


def mask(text: str) -> str:
    """The text without what is only quoted: files become their kind and name, addresses a word, literal text goes."""
    text = "\n".join(" ".join(line.split()) for line in text[:TEXT_MAX].splitlines())
    text = _URL.sub(" URL ", text)
    text = _DOUBLE.sub(_quoted, text)
    text = _single(text)
    text = _literal_tail(text)
    return _BRACKET.sub(_bracket, text)


def _quoted(found: re.Match[str]) -> str:
    return _shown(found.group(1).strip())


def _shown(inside: str) -> str:
    """What stays of a quotation: a name or a word or two; not a text."""
    return f" {inside} " if _FILE.match(inside) or len(inside.split()) <= 2 else " … "


def _single(text: str) -> str:
    """As _DOUBLE for single quotes, which are apostrophes too: one that opens after a space or bracket, up to the next that closes."""
    closes = [m.start() for m in _CLOSES.finditer(text)]
    out: list[str] = []
    at = n = 0
    for found in _OPENS.finditer(text):
        start = found.start()
        while n < len(closes) and closes[n] <= start + 1:
            n += 1
        if n == len(closes):
            break
        if start >= at:
            out += [text[at:start], _shown(text[start + 1 : closes[n]].strip())]
            at = closes[n] + 1
    return "".join([*out, text[at:]])


def _bracket(found: re.Match[str]) -> str:
    inside = found.group(1).strip()
    return f" {inside} " if _FILE.match(inside) or inside == "URL" else " "


def _literal_tail(text: str) -> str:
    """What follows "…the following text:" in the same paragraph is material, not a request."""
    out: list[str] = []
    for line in text.split("\n"):
        at = line.find(": ")
        while at >= 0:
            head = line[max(0, at - 80) : at]
            if _LITERAL_HEAD.search(head) and not _STEPS.search(head) and line[at + 1 :].strip(" …."):
                rest = line[at + 1 :].strip()
                if "…" not in rest[:4] and not _FILE.match(rest.split(" ")[0].rstrip(".,")):
                    line = line[:at] + " … "
                    break
            at = line.find(": ", at + 1)
        out.append(line)
    return "\n".join(out)


def kind_of(word: str) -> str:
    """image, audio, video or text for a word that looks like a file's name; else empty."""
    name, dot, ending = word.rpartition(".")
    return _KINDS.get(ending.lower().strip("'\".,;:!?)"), "") if dot and name else ""


def sentences(text: str) -> list[str]:
    return [s.strip() for s in _SENTENCE.split(mask(text)) if s.strip()]


def clauses(text: str) -> list[Clause]:
    """The clauses of a text in order, CLAUSES_MAX at most. A sentence that asks something has one more clause: ANSWER."""
    out: list[Clause] = []
    for number, sentence in enumerate(sentences(text)):
        have = False
        for piece in _SPLIT.split(sentence):
            piece = piece.strip(_EDGES)
            said = " ".join(_POLITE.sub("", piece).split())
            if not any(c.isalnum() for c in said):
                continue
            if _HAVE.match(piece) and not _WANT.search(piece):
                have = True
            elif said != " ".join(piece.split()) or not _NOUNS.match(said):
                have = False
            out.append(Clause(said[:CLAUSE_MAX], number, Role.HAVE if have else Role.DO))
        if _ASKS.match(sentence) and sentence.endswith("?"):
            out.append(Clause(ANSWER, number))
        if len(out) >= CLAUSES_MAX:
            return out[:CLAUSES_MAX]
    return out


def with_parts(whole: list[Clause]) -> list[Clause]:
    """Each clause, followed by its pieces where prepositions divide it: "a film | from the text | of the page"."""
    out: list[Clause] = []
    for clause in whole:
        out.append(clause)
        pieces = _PARTS.split(clause.text)
        if len(pieces) > 1:
            out += [Clause(p, clause.sentence, clause.role, True, n > 0) for n, p in enumerate(pieces[:PARTS_MAX])]
    return out
