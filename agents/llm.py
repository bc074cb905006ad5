"""What a language model is to the agents: one question, one text. Four engines can be behind it."""

from __future__ import annotations

from typing import Protocol

from .interface import CALL

ENGINES = ("ctranslate2", "openai", "vllm", "llama.cpp")


class Engine(Protocol):
    """A chat model. It keeps no conversation: each `chat` stands for itself, and many may be in flight."""

    def load(self) -> None:
        """Everything slow, once. Raises `RuntimeError` with one line when the model or server cannot be had."""

    async def chat(self, system: str, user: str, max_tokens: int, *, temperature: float = 0.0, seed: int = 0) -> str:
        """The model's answer, stripped, of at most `max_tokens` tokens. May be empty.

        Temperature 0 is the likeliest answer, and `seed` says nothing then. Above 0 the answer is drawn: another seed gives
        another draw, the same seed the same one (here always; a server may round differently under other load).

        It counts what it read and wrote (`count_tokens`) for the task that asks.

        Raises `BadInput` when the request itself is wrong (too long, say), `RuntimeError` when another try may help.
        """

    def close(self) -> None:
        """Ends what `load` has started. May be called at any time."""


def count_tokens(read: object, written: object) -> None:
    """Adds to the work of the task that this runs for; to be called where the task awaits, not in a thread. Never fails.

    `read` may be anything that a server said; what is no number is passed over.
    """
    call = CALL.get()
    if call is not None:
        for unit, amount in (("tokens_in", read), ("tokens_out", written)):
            if isinstance(amount, int | float) and not isinstance(amount, bool):
                call.count(unit, amount)


def make_engine(name: str) -> Engine:
    """The engine of this name, not yet loaded. Its file is imported only here, so that the others' libraries need not be there."""
    if name == "ctranslate2":
        from .llm_ctranslate2 import CTranslate2Engine

        return CTranslate2Engine()
    if name == "openai":
        from .llm_openai import OpenAIEngine

        return OpenAIEngine()
    if name == "vllm":
        from .llm_vllm import VLLMEngine

        return VLLMEngine()
    if name == "llama.cpp":
        from .llm_llamacpp import LlamaCppEngine

        return LlamaCppEngine()
    raise ValueError(f"no engine '{name}'; there are {', '.join(ENGINES)}")
