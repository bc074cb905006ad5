"""SmolLM2-135M-Instruct in this process by CTranslate2: the language model that needs no server, GPU or network."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

from . import gguf_convert, weights
from .interface import BadInput
from .media import threads

REPETITION_PENALTY = 1.1
"""Greedy decoding of a 135M model falls into loops ("the cat is a cat is a cat"); a mild penalty ends most of them."""


class CTranslate2Engine:
    """Greedy, so deterministic for one machine and thread count. One generation at a time; the event loop stays free."""

    def __init__(self, key: str = "smollm2-135m") -> None:
        self._key = key
        self._generator: Any = None
        self._tokenizer: Any = None
        self._context = 0

    def load(self) -> None:
        gguf = weights.locate(self._key, os.environ)
        if gguf is None:
            raise RuntimeError(weights.WEIGHTS[self._key].how)
        folder = gguf_convert.converted(gguf, gguf_convert.cache_root(os.environ))
        import ctranslate2
        from tokenizers import Tokenizer

        self._generator = ctranslate2.Generator(str(folder), device="cpu", compute_type="int8", intra_threads=threads())
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        chat = json.loads((folder / "chat.json").read_text())
        self._context, self._end = chat["context"], chat["end"]
        self._generate("You answer.", "Say yes.", 1)  # the first call allocates; better here than in a task

    def close(self) -> None:
        pass  # the process ends, and nothing else was started

    async def chat(self, system: str, user: str, max_tokens: int) -> str:
        return await asyncio.to_thread(self._generate, system, user, max_tokens)

    def _generate(self, system: str, user: str, max_tokens: int) -> str:
        prompt = self._tokenizer.encode(chatml(system, user), add_special_tokens=False).tokens
        if len(prompt) + max_tokens > self._context:
            raise BadInput(f"a prompt of {len(prompt)} tokens and {max_tokens} to generate exceed the model's {self._context}")
        [result] = self._generator.generate_batch(
            [prompt],
            max_length=max_tokens,
            sampling_topk=1,
            repetition_penalty=REPETITION_PENALTY,
            include_prompt_in_result=False,
            end_token=self._end,
        )
        text: str = self._tokenizer.decode(result.sequences_ids[0])
        return text.strip()


def chatml(system: str, user: str) -> str:
    """SmolLM2's chat template for one system and one user message. Its control tokens inside the texts are made harmless."""

    def tame(text: str) -> str:
        return text.replace("<|im_start|>", "<im_start>").replace("<|im_end|>", "<im_end>").replace("<|endoftext|>", "<endoftext>")

    return f"<|im_start|>system\n{tame(system)}<|im_end|>\n<|im_start|>user\n{tame(user)}<|im_end|>\n<|im_start|>assistant\n"
