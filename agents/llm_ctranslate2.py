"""SmolLM2-135M-Instruct in this process by CTranslate2: the language model that needs no server, GPU or network."""

from __future__ import annotations

import asyncio
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from . import gguf_convert, weights
from .interface import BadInput
from .llm import count_tokens
from .media import threads

REPETITION_PENALTY = 1.1
"""Greedy decoding of a 135M model falls into loops ("the cat is a cat is a cat"); a mild penalty ends most of them."""

SAMPLED_OF = 40
"""A drawn token is one of this many likeliest, as in Wang et al., "Self-Consistency Improves Chain of Thought Reasoning" (2022), section 3.1."""
SEED_MAX = 2**32 - 1


class CTranslate2Engine:
    """Deterministic for one machine and thread count, drawn answers too. One generation at a time; the event loop stays free.

    CTranslate2 looks at its seed only when a thread of a generator draws for the first time. So every drawn answer has a
    generator of its own, which takes the place of the last one (0.14 CPU-seconds, as measured, beside seconds for the answer).
    """

    def __init__(self, key: str = "smollm2-135m") -> None:
        self._key = key
        self._generator: Any = None
        self._tokenizer: Any = None
        self._context = 0
        self._folder = Path()
        self._one = ThreadPoolExecutor(1, "llm-ctranslate2")
        """Everything happens in this thread: the seed is the whole process's, a generator is replaced while nobody uses it, and
        what one has left in the memory pool of its thread is used by the next (from five threads, 820 MB instead of 240)."""

    def load(self) -> None:
        self._one.submit(self._load).result()

    def _load(self) -> None:
        gguf = weights.locate(self._key, os.environ)
        if gguf is None:
            raise RuntimeError(weights.WEIGHTS[self._key].how)
        folder = gguf_convert.converted(gguf, gguf_convert.cache_root(os.environ))
        from tokenizers import Tokenizer

        self._folder = folder
        self._renew()
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        chat = json.loads((folder / "chat.json").read_text())
        self._context, self._end = chat["context"], chat["end"]
        self._generate("You answer.", "Say yes.", 1, 0.0, 0)  # the first call allocates; better here than in a task

    def close(self) -> None:
        self._one.shutdown(wait=False, cancel_futures=True)

    async def chat(self, system: str, user: str, max_tokens: int, *, temperature: float = 0.0, seed: int = 0) -> str:
        loop = asyncio.get_running_loop()
        text, read, written = await loop.run_in_executor(self._one, self._generate, system, user, max_tokens, temperature, seed)
        count_tokens(read, written)
        return text

    def _renew(self) -> None:
        """A new generator instead of the one there may be, whose memory is free before the new one needs as much."""
        import ctranslate2

        self._generator = None
        self._generator = ctranslate2.Generator(str(self._folder), device="cpu", compute_type="int8", intra_threads=threads())

    def _generate(self, system: str, user: str, max_tokens: int, temperature: float, seed: int) -> tuple[str, int, int]:
        """The text, and how many tokens were read and written for it."""
        prompt = self._tokenizer.encode(chatml(system, user), add_special_tokens=False).tokens
        if len(prompt) + max_tokens > self._context:
            raise BadInput(f"a prompt of {len(prompt)} tokens and {max_tokens} to generate exceed the model's {self._context}")
        sampling = {"sampling_topk": SAMPLED_OF, "sampling_temperature": temperature} if temperature > 0 else {"sampling_topk": 1}
        if temperature > 0:
            import ctranslate2

            ctranslate2.set_random_seed(seed % SEED_MAX + 1)  # 0 would mean any
        if temperature > 0 or self._generator is None:
            self._renew()
        [result] = self._generator.generate_batch(
            [prompt],
            max_length=max_tokens,
            repetition_penalty=REPETITION_PENALTY,
            include_prompt_in_result=False,
            end_token=self._end,
            **sampling,
        )
        text: str = self._tokenizer.decode(result.sequences_ids[0])
        return text.strip(), len(prompt), len(result.sequences_ids[0])


def chatml(system: str, user: str) -> str:
    """SmolLM2's chat template for one system and one user message. Its control tokens inside the texts are made harmless."""

    def tame(text: str) -> str:
        return text.replace("<|im_start|>", "<im_start>").replace("<|im_end|>", "<im_end>").replace("<|endoftext|>", "<endoftext>")

    return f"<|im_start|>system\n{tame(system)}<|im_end|>\n<|im_start|>user\n{tame(user)}<|im_end|>\n<|im_start|>assistant\n"
