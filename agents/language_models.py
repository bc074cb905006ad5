"""The rows of language models: every engine of `llm.py` behind one agent."""

from __future__ import annotations

from .spec import Implementation


def language_models(agent: str, entry: str, work_s: float) -> tuple[Implementation, ...]:
    """The engines of `llm.py` behind one agent. `work_s` is that of the small offline model."""
    return (
        Implementation(
            "smollm2-135m/ctranslate2/int8",
            agent,
            entry,
            ("ctranslate2", "gguf", "tokenizers"),
            "smollm2-135m",
            options={"engine": "ctranslate2"},
            memory_mb=300,
            quality=0.3,
            work_s=work_s,
            load_s=1.0,
        ),
        Implementation(
            "openai-compatible",
            agent,
            entry,
            variable="MURAKKAB_LLM_URL",
            options={"engine": "openai"},
            slots=8,
            quality=0.7,
            work_s=0.1,
            load_s=0.2,
        ),
        Implementation(
            "vllm",
            agent,
            entry,
            ("vllm", "gguf", "tokenizers", "safetensors"),
            variable="MURAKKAB_VLLM_MODEL",
            runs_on=("cpu", "gpu"),
            options={"engine": "vllm"},
            slots=8,
            memory_mb=3500,
            threads=2,
            quality=0.6,
            work_s=3.4,
            load_s=35.0,
            timeout_s=600.0,
            spawns=True,
        ),
        Implementation(
            "llama.cpp-server",
            agent,
            entry,
            variable="MURAKKAB_LLAMACPP_PYTHON",
            options={"engine": "llama.cpp"},
            memory_mb=600,
            threads=2,
            quality=0.3,
            work_s=work_s,
            load_s=4.0,
            timeout_s=300.0,
            spawns=True,
        ),
    )
