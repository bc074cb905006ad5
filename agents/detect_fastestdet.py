"""ObjectDetector by FastestDet: 80 COCO classes in a megabyte, on onnxruntime.

Network and decoding: github.com/dog-qiuqiu/FastestDet (BSD-3-Clause). One 22 x 22 grid; each cell speaks for one object.
"""

from __future__ import annotations

import os
from typing import Any

from . import weights
from .interface import Call
from .media import number, threads
from .stills import clipped, pictures, steady, suppressed, wanted_labels
from .types import Detection, Detections, Frames

SIDE = 352
MOST_OVERLAP = 0.45
THRESHOLD = 0.6
SURE = 0.65
NAMES_NOW = {
    "aeroplane": "airplane",
    "diningtable": "dining table",
    "motorbike": "motorcycle",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "tvmonitor": "tv",
}
"""The names file has COCO's first spellings; people, and other detectors, use today's."""


class FastestDet:
    """Weights are `FastestDet.onnx`, with the names of its classes, one a line, in `coco.names` beside it."""

    def __init__(self) -> None:
        self.session: Any = None
        self.names: tuple[str, ...] = ()

    def load(self) -> None:
        import cv2
        import numpy as np
        import onnxruntime

        model = weights.locate("fastestdet", os.environ)
        if model is None:
            raise RuntimeError(weights.WEIGHTS["fastestdet"].how)
        cv2.setNumThreads(threads())
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads(), 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        self.names = tuple(NAMES_NOW.get(name, name) for name in (model.parent / "coco.names").read_text().splitlines() if name)
        self.cells(np.zeros((SIDE, SIDE, 3), np.uint8))

    def run(self, call: Call) -> Detections:
        frames = call.take("frames", Frames)
        call.count("images", len(frames.times_s))
        threshold = number(call, "threshold", THRESHOLD, 0, 1)
        labels = wanted_labels(call, self.names)
        items: list[Detection] = []
        for t_s, picture in pictures(call, frames):
            items += [item for item in self.detect(picture, t_s, threshold) if item.label in labels]
        return Detections(tuple(steady(items, len(frames.times_s), SURE)), frames.scene, frames.times_s)

    def cells(self, picture: Any) -> Any:
        """The network's grid, (85, 22, 22) float32: object score, centre x and y, width, height, 80 class scores."""
        import cv2
        import numpy as np

        small = cv2.resize(picture, (SIDE, SIDE)).astype(np.float32) / 255
        return self.session.run(None, {self.session.get_inputs()[0].name: small.transpose(2, 0, 1)[None]})[0][0]

    def detect(self, picture: Any, t_s: float, threshold: float) -> list[Detection]:
        """The objects of one picture (BGR), best first."""
        import numpy as np

        grid = self.cells(picture)
        score = grid[0] ** 0.6 * grid[5:].max(axis=0) ** 0.4
        label = grid[5:].argmax(axis=0)
        rows, columns = score.shape
        found = []
        for row, column in np.argwhere(score > threshold).tolist():
            x, y = (column + np.tanh(grid[1, row, column])) / columns, (row + np.tanh(grid[2, row, column])) / rows
            width, height = 1 / (1 + np.exp(-grid[3:5, row, column]))
            box = clipped(float(x - width / 2), float(y - height / 2), float(x + width / 2), float(y + height / 2))
            found.append(Detection(self.names[label[row, column]], min(1.0, round(float(score[row, column]), 4)), t_s, box))
        return suppressed(found, MOST_OVERLAP)
