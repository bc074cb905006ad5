"""One reasoning path: a language model thinks aloud, and the number that it ends with is taken down."""

from __future__ import annotations

from .interface import BadInput, Call
from .llm import make_engine
from .maths_numbers import final_answer, plain
from .media import number
from .types_maths import ReasonedAnswer, ReasoningPath

SYSTEM = "You solve maths problems. Think step by step, one short line a step. The last line is #### and the final number."
TOKENS = 256
TOKENS_MAX = 4096
TEMPERATURE = 0.7
"""Of the paths that draw their words, as in Wang et al., "Self-Consistency Improves Chain of Thought Reasoning" (2022), section 3.1."""


class MathReasoner:
    """`engine` is a name of `llm.make_engine`. Path 0 takes the likeliest words; path n draws them with the seed n."""

    def __init__(self, engine: str) -> None:
        self._engine = make_engine(engine)

    def load(self) -> None:
        self._engine.load()

    def close(self) -> None:
        self._engine.close()

    async def run_async(self, call: Call) -> ReasonedAnswer:
        path = call.take("path", ReasoningPath)
        max_tokens = call.arg("max_tokens", TOKENS)
        if not 1 <= max_tokens <= TOKENS_MAX:
            raise BadInput(f"max_tokens={max_tokens} is not between 1 and {TOKENS_MAX}")
        temperature = number(call, "temperature", TEMPERATURE, 0, 2) if path.number else 0.0
        text = await self._engine.chat(SYSTEM, prompt(path), max_tokens, temperature=temperature, seed=path.number)
        value = final_answer(text)
        return ReasonedAnswer(path, text, "" if value is None else plain(value))


def prompt(path: ReasoningPath) -> str:
    """What the model reads: the question and nothing else; never the known answer, nor which path it is."""
    return f"{path.problem.question}\n\nThink step by step, then write #### and the final number."
