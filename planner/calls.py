"""The concrete call of a stage, as a reader of code expects it: `FrameExtractor(scene=scenes[i][j], num_frames=10)`. Only ever shown."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..bus.messages import Workflow
from .axes import shapes

TEXT_MAX = 60
INDEXES = "ijklmn"


def calls(workflow: Workflow, inputs: Sequence[str] = (), defaults: Mapping[str, Mapping[str, Any]] = {}) -> dict[str, str]:
    """Stage name to its call. `inputs` are what the user called them; `defaults` by agent: arguments that are not given."""
    found = shapes(workflow)
    texts = {}
    for stage in workflow.stages:
        axes = found[stage.name].axes
        parts = [f"{e.param}={_source(e.stage, found[e.stage].out if e.stage else ('',), axes, inputs)}" for e in stage.edges]
        parts += [f"{p}={_value(v)}" for p, v in stage.given.items()]
        parts += [f"{n}={_value(v)}" for n, v in {**defaults.get(stage.agent, {}), **stage.args}.items()]
        texts[stage.name] = f"{stage.agent}({', '.join(parts)})"
    return texts


def defaults(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that a JSON Schema gives by itself."""
    return {n: p["default"] for n, p in schema.get("properties", {}).items() if p.get("default") is not None and p["default"] != []}


def _source(stage: str, out: Sequence[str], axes: Sequence[str], inputs: Sequence[str]) -> str:
    name = stage or (_value(inputs[0]) if len(inputs) == 1 else "inputs")
    if not stage and len(inputs) == 1:
        return name if axes else f"[{name}]"
    return name + "".join(f"[{INDEXES[n]}]" for n in range(min(len(out), len(axes)))) + ("[:]" if len(out) > len(axes) else "")


def _value(value: Any) -> str:
    match value:
        case {"text": str(text)}:
            return _value(text)
        case {"media": _, "name": str(name)}:
            return _value(name)
        case dict() | list() | tuple():
            text = json.dumps(value, default=str)
            return text if len(text) <= TEXT_MAX else f"{text[: TEXT_MAX - 1]}…"
        case str():
            line = " ".join(value.split())
            return json.dumps(line if len(line) <= TEXT_MAX else line[: TEXT_MAX - 1] + "…", ensure_ascii=False)
        case float():
            return f"{value:g}"
    return str(value)
