"""Zero-shot detection by CLIP (transformers): any labels in words, but whole pictures only, no places in them.

Source: Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision", section 3.1
(prompt template, cosine similarity times the learned scale, softmax over the prompts).
"""

from __future__ import annotations

import os
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from .interface import BadInput, Call
from .media import number
from .types import Detection, Detections, Frames

TEMPLATE = "a photo of a {label}"
BACKGROUND = "a photo"
"""Takes the probability of a picture that shows none of the labels."""
THRESHOLD = 0.2
"""The softmax divides one picture's probability among all that it shows, so that one of several objects has little."""
BATCH = 16
LISTS = 8
"""So many label lists keep their embeddings; jobs seldom have more than one."""
WHOLE = (0.0, 0.0, 1.0, 1.0)


class Clip:
    """`MURAKKAB_CLIP_MODEL` is a hub id (`openai/clip-vit-base-patch32`) or a local folder of the same files."""

    def __init__(self) -> None:
        self.model: Any = None
        self.texts: OrderedDict[tuple[str, ...], Any] = OrderedDict()

    def load(self) -> None:
        import torch
        from transformers import AutoTokenizer, CLIPImageProcessorPil, CLIPModel  # the name without Pil wants torchvision

        name = os.environ.get("MURAKKAB_CLIP_MODEL", "")
        if not name:
            raise RuntimeError("MURAKKAB_CLIP_MODEL is not set; name a hub id such as openai/clip-vit-base-patch32, or a local folder")
        local = {"local_files_only": Path(name).is_dir()}
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = CLIPModel.from_pretrained(name, **local).eval().to(self.device)
        self.tokenizer = AutoTokenizer.from_pretrained(name, **local)
        self.pictures = CLIPImageProcessorPil.from_pretrained(name, **local)

    def run(self, call: Call) -> Detections:
        import torch

        frames = call.take("frames", Frames)
        call.count("images", len(frames.times_s))
        labels, threshold = _labels(call), number(call, "threshold", THRESHOLD, 0, 1)
        items: list[Detection] = []
        with torch.inference_mode():
            texts = self._texts(labels)
            for times_s, pictures in _batches(frames, call.files.path(frames.archive)):
                pixels = self.pictures(images=pictures, return_tensors="pt")["pixel_values"].to(self.device)
                embedded = _unit(self.model.visual_projection(self.model.vision_model(pixel_values=pixels).pooler_output))
                scores = (self.model.logit_scale.exp() * embedded @ texts.T).softmax(dim=-1)[:, : len(labels)].tolist()
                for t_s, row in zip(times_s, scores, strict=True):
                    found = [
                        Detection(label, min(score, 1.0), t_s, WHOLE)
                        for label, score in zip(labels, row, strict=True)
                        if score >= threshold
                    ]
                    items += sorted(found, key=lambda item: -item.score)
        return Detections(tuple(items), frames.scene, frames.times_s)

    def _texts(self, labels: tuple[str, ...]) -> Any:
        """Unit vectors of the labels' prompts and, last, of the background's: (n + 1, d)."""
        if labels in self.texts:
            self.texts.move_to_end(labels)
            return self.texts[labels]
        prompts = [*(TEMPLATE.format(label=label) for label in labels), BACKGROUND]
        tokens = self.tokenizer(prompts, padding=True, truncation=True, return_tensors="pt").to(self.device)
        states = self.model.text_model(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"])
        self.texts[labels] = _unit(self.model.text_projection(states.pooler_output))
        if len(self.texts) > LISTS:
            self.texts.popitem(last=False)
        return self.texts[labels]


def _unit(vectors: Any) -> Any:
    return vectors / vectors.norm(dim=-1, keepdim=True)


def _labels(call: Call) -> tuple[str, ...]:
    """The argument `labels` (a list, or one text with commas), else the 80 names of COCO. Each once, in its first place."""
    said = call.args.get("labels") or (files("murakkab") / "agents/data/fastestdet/coco.names").read_text().splitlines()
    said = said.split(",") if isinstance(said, str) else said
    if not isinstance(said, list | tuple) or not all(isinstance(label, str) for label in said):
        raise BadInput(f"labels={said!r} is not a list of words")
    labels = tuple(dict.fromkeys(label.strip() for label in said if label.strip()))
    if not labels:
        raise BadInput("labels names nothing; give at least one word, or leave it out for the 80 of COCO")
    return labels


def _batches(frames: Frames, archive: Path) -> Iterator[tuple[tuple[float, ...], list[Any]]]:
    """Up to `BATCH` pictures at a time with their times; only one batch is ever decoded."""
    from PIL import Image, UnidentifiedImageError

    try:
        with zipfile.ZipFile(archive) as pack:
            names = pack.namelist()
            if len(names) != len(frames.times_s):
                raise BadInput(f"{frames.scene.name}: {len(names)} pictures for {len(frames.times_s)} times; there should be one each")
            for first in range(0, len(names), BATCH):
                pictures = []
                for name in names[first : first + BATCH]:
                    with pack.open(name) as f, Image.open(f) as picture:
                        pictures.append(picture.convert("RGB"))
                yield frames.times_s[first : first + BATCH], pictures
    except (zipfile.BadZipFile, UnidentifiedImageError, OSError, Image.DecompressionBombError) as e:
        raise BadInput(f"{frames.scene.name}: the frames cannot be read ({e}); they should be a zip of JPEGs") from e
