"""Text as input, and what can be done with any text."""

from __future__ import annotations

from . import args_text as args
from .language_models import language_models
from .schema import args_schema
from .spec import Agent, Implementation, Take

AGENTS: tuple[Agent, ...] = (
    Agent(
        "DocumentReader",
        "Read the text of a document: a whole file, its lines or its paragraphs.",
        {"document": Take("Document")},
        "Text",
        many=True,
        args=args_schema(args.DocumentReaderArgs),
        noun="texts",
        words=("document", "documents", "paragraph", "paragraphs", "text file", "json lines"),
        description="Read a file of text in UTF-8 (plain, Markdown, JSON, JSON lines) and give its texts: one for each line of a .jsonl or "
        ".ndjson file, one for any other file, or as the argument per says.",
    ),
    Agent(
        "TextSummarizer",
        "Summarize a text in one or two sentences.",
        {"text": Take("Text", literal=True)},
        "Text",
        args=args_schema(args.TextSummarizerArgs),
        noun="summary",
        words=("summarize", "summary", "shorten", "abstract", "gist", "condense"),
    ),
    Agent(
        "TranscriptText",
        "Give the words said in a video or sound file as one text.",
        {"transcripts": Take("Transcript", many=True)},
        "Text",
        noun="words",
        words=("words said", "plain transcript", "text of the talk", "speech as text"),
    ),
)


IMPLEMENTATIONS: tuple[Implementation, ...] = (
    Implementation(
        "utf8-reader", "DocumentReader", "murakkab.agents.documents:DocumentReader", memory_mb=40, quality=1.0, work_s=0.002, load_s=0.1
    ),
    *language_models("TextSummarizer", "murakkab.agents.text_summarize:TextSummarizer", work_s=1.0),
    Implementation(
        "joined", "TranscriptText", "murakkab.agents.text_summarize:TranscriptText", memory_mb=60, quality=1.0, work_s=0.001, load_s=0.15
    ),
)
