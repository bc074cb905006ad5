"""ObjectDetector by OpenCV's own detectors: nothing to download, two labels, upright and frontal ones only.

People: HOG of a standing person with a linear SVM (Dalal and Triggs, CVPR 2005). Faces, and cats' faces: Haar cascades
(Viola and Jones, CVPR 2001). Needs OpenCV 4: version 5 has neither.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from .interface import Call
from .media import number, threads
from .stills import clipped, pictures, suppressed, wanted_labels
from .types import Detection, Detections, Frames

THRESHOLD = 0.5
MOST_OVERLAP = 0.4
WIDTH = 480
"""Pixels that pictures are shrunk to for HOG, whose person is 64 x 128 or larger."""


class HogCascades:
    """Finds "person" and "cat"."""

    def __init__(self) -> None:
        self.hog: Any = None
        self.cascades: list[tuple[str, Any]] = []

    def load(self) -> None:
        import cv2
        import cv2.data

        cv2.setNumThreads(threads())
        self.hog = cv2.HOGDescriptor()
        self.hog.setSVMDetector(cv2.HOGDescriptor.getDefaultPeopleDetector())
        folder = Path(cv2.data.haarcascades)
        for label, file in (("person", "haarcascade_frontalface_default.xml"), ("cat", "haarcascade_frontalcatface_extended.xml")):
            cascade = cv2.CascadeClassifier(str(folder / file))
            if cascade.empty():
                raise RuntimeError(f"{file} is not in this OpenCV; opencv-python-headless 4.13 or later 4.x has it")
            self.cascades.append((label, cascade))

    def run(self, call: Call) -> Detections:
        frames = call.take("frames", Frames)
        call.count("images", len(frames.times_s))
        threshold = number(call, "threshold", THRESHOLD, 0, 1)
        labels = wanted_labels(call, ("person", "cat"))
        items: list[Detection] = []
        for t_s, picture in pictures(call, frames):
            found = [d for d in self.detect(picture, t_s, labels) if d.score >= threshold]
            items += suppressed(found, MOST_OVERLAP)
        return Detections(tuple(items), frames.scene, frames.times_s)

    def detect(self, picture: Any, t_s: float, labels: frozenset[str]) -> list[Detection]:
        """Everything that might be one, with a score: the logistic of the classifier's own margin, so 0.5 is its border."""
        import cv2

        height, width = picture.shape[:2]
        found = []

        def add(label: str, margin: float, box: Any, across: int, down: int) -> None:
            left, top, w, h = (float(v) for v in box)
            score = round(1 / (1 + math.exp(-margin)), 4)
            found.append(Detection(label, score, t_s, clipped(left / across, top / down, (left + w) / across, (top + h) / down)))

        if "person" in labels:
            small = cv2.resize(picture, (WIDTH, round(height * WIDTH / width)), interpolation=cv2.INTER_AREA)
            if small.shape[0] >= 128:
                boxes, margins = self.hog.detectMultiScale(small, winStride=(8, 8), padding=(16, 16), scale=1.05)
                for box, margin in zip(boxes, list(margins), strict=True):
                    add("person", float(margin), box, small.shape[1], small.shape[0])
        grey = cv2.equalizeHist(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY))
        for label, cascade in self.cascades:
            if label in labels:
                boxes, _, margins = cascade.detectMultiScale3(grey, 1.1, 6, minSize=(40, 40), outputRejectLevels=True)
                for box, margin in zip(boxes, list(margins), strict=True):
                    add(label, float(margin) - 3, box, width, height)
        return found
