"""The vector store: one `.npz` a video with its passages and their embeddings, searched exactly.

A file holds `vectors` (float32 (n, 384), rows of length 1) and `passages` (the UTF-8 bytes of a JSON list of n
`Passage`s). No pickles: a store may come from another host.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import msgspec

from . import passages
from .interface import BadInput, Call
from .minilm import DIMENSIONS, MiniLM
from .types import Detections, Passage, Passages, Summary, Transcript, VectorIndex

MEDIA_TYPE = "application/x-npz"
NO_MEDIA = "none"
"""`media_hash` of an index of nothing at all, where no scene names a medium."""
K_MAX = 1000


class VectorIndexer:
    """Transcripts, detections and summaries of one video to a `VectorIndex`; nothing to index gives 0 passages."""

    def __init__(self) -> None:
        self._model = MiniLM()

    def load(self) -> None:
        self._model.load()

    def run(self, call: Call) -> VectorIndex:
        import numpy as np

        transcripts = call.maybe("transcripts", list[Transcript]) or []
        detections = call.maybe("detections", list[Detections]) or []
        summaries = call.maybe("summaries", list[Summary]) or []
        scenes = [*(t.scene for t in transcripts), *(d.scene for d in detections), *(s.scene for s in summaries)]
        media = {scene.media.sha256 for scene in scenes}
        if len(media) > 1:
            raise BadInput(f"an index is of one video, but the inputs come from {len(media)} different ones")
        found = passages.of_video(transcripts, detections, summaries)
        call.count("texts", len(found))
        vectors = self._model.embed([p.text for p in found])
        path = call.files.scratch(".npz")
        with path.open("wb") as file:
            np.savez(file, vectors=vectors, passages=np.frombuffer(msgspec.json.encode(found), np.uint8))
        given = {"transcript": transcripts, "detections": detections, "summary": summaries}
        kinds = tuple(kind for kind, values in given.items() if values)
        return VectorIndex(call.files.keep(path, MEDIA_TYPE), media.pop() if media else NO_MEDIA, len(found), kinds)


class VectorSearcher:
    """A question and the indexes of any number of videos to the `k` nearest passages, best first; `score` is the cosine."""

    def __init__(self) -> None:
        self._model = MiniLM()

    def load(self) -> None:
        self._model.load()

    def run(self, call: Call) -> Passages:
        question, k = call.arg("question", "").strip(), call.arg("k", 5)
        if not question:
            raise BadInput("argument 'question' is empty; it should say what is asked")
        if not 1 <= k <= K_MAX:
            raise BadInput(f"k={k} is not between 1 and {K_MAX}")
        query = self._model.embed([question])[0]
        best: list[Passage] = []
        for index in call.take("indexes", list[VectorIndex]):
            vectors, found = read(call.files.path(index.store))
            scores = vectors @ query
            order = scores.argsort(kind="stable")[::-1][:k]
            best += [msgspec.structs.replace(found[i], score=round(float(scores[i]), 4)) for i in order]
        best.sort(key=lambda p: (-p.score, p.name, p.start_s, p.kind))
        return Passages(question, tuple(best[:k]))


def read(path: Path) -> tuple[Any, list[Passage]]:
    """The matrix and the passages of a store; `BadInput` for a file that is none."""
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as store:
            vectors, raw = store["vectors"], store["passages"].tobytes()
        found = msgspec.json.decode(raw, type=list[Passage])
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, msgspec.DecodeError) as error:
        raise BadInput(f"the vector store {path.name[:12]}… cannot be read: {str(error).splitlines()[0]}") from None
    if vectors.dtype != np.float32 or vectors.shape != (len(found), DIMENSIONS):
        raise BadInput(f"the vector store {path.name[:12]}… holds {vectors.dtype} {vectors.shape}, not float32 {(len(found), DIMENSIONS)}")
    return vectors, found
