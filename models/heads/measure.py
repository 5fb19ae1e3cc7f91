#!/usr/bin/env python3
"""Count the faces that MediaPipe's two detectors find in folders of pictures with masks: the table of faces.md.

    measure.py WHEEL DIR...

WHEEL is the unpacked wheel (`.cache/convert/wheel` after models/convert/run); each DIR has images/ and masks/ with the
same names, as `models/train/evaluate.py --write` makes them. The originals run in LiteRT, on squares as high as the
picture (or as wide) in a row with an overlap of 30 %. A face is on a person if its centre is in the mask.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

MODULES = "mediapipe/modules/face_detection"
MIN_SCORE, MAX_OVERLAP, OVERLAP = 0.5, 0.3, 0.3


class Detector:
    """One of the nets: `grids` are its maps as (cells along a side, boxes for each cell)."""

    def __init__(self, path: Path, size: int, grids: list[tuple[int, int]]) -> None:
        self.size = size
        self.interpreter = Interpreter(str(path), num_threads=1)
        self.interpreter.allocate_tensors()
        centers = []
        for cells, boxes in grids:
            y, x = np.mgrid[:cells, :cells].reshape(2, -1)
            centers.append(np.repeat((np.stack([x, y], 1) + 0.5) / cells, boxes, axis=0))
        self.centers = np.concatenate(centers)

    def detect(self, square: Image.Image) -> tuple[np.ndarray, np.ndarray]:
        """Boxes as left, top, right, bottom in fractions of the square, and their scores."""
        pixels = np.asarray(square.resize((self.size, self.size), Image.Resampling.BOX), np.float32)
        self.interpreter.set_tensor(self.interpreter.get_input_details()[0]["index"], pixels[np.newaxis] / 127.5 - 1)
        self.interpreter.invoke()
        outputs = [self.interpreter.get_tensor(output["index"])[0] for output in self.interpreter.get_output_details()]
        places, scores = sorted(outputs, key=lambda output: -output.shape[1])
        centers, extents = self.centers + places[:, :2] / self.size, places[:, 2:4] / self.size
        boxes = np.concatenate([centers - extents / 2, centers + extents / 2], axis=1)
        return boxes, 1 / (1 + np.exp(-np.clip(scores[:, 0], -80, 80)))


def squares(width: int, height: int) -> Iterator[tuple[int, int, int]]:
    """Left, top and side, in pixels."""
    side, length = min(width, height), max(width, height)
    count = max(1, math.ceil((length - OVERLAP * side) / ((1 - OVERLAP) * side)))
    for place in range(count):
        at = round((length - side) * place / max(1, count - 1))
        yield (at, 0, side) if width >= height else (0, at, side)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    shared = np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0))
    return shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared)


def faces(detector: Detector, picture: Image.Image) -> list[np.ndarray]:
    """Boxes in pixels; of those that overlap, the best."""
    found = []
    for left, top, side in squares(*picture.size):
        boxes, scores = detector.detect(picture.crop((left, top, left + side, top + side)))
        found += [(score, box * side + [left, top, left, top]) for box, score in zip(boxes, scores) if score >= MIN_SCORE]
    kept: list[np.ndarray] = []
    for _, box in sorted(found, key=lambda face: -face[0]):
        if all(iou(box, other) <= MAX_OVERLAP for other in kept):
            kept.append(box)
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path, help="the unpacked wheel")
    parser.add_argument("folders", type=Path, nargs="+", help="folders with images/ and masks/")
    arguments = parser.parse_args()
    modules = arguments.wheel / MODULES
    detectors = {
        "full range": Detector(modules / "face_detection_full_range_sparse.tflite", 192, [(48, 1)]),
        "short range": Detector(modules / "face_detection_short_range.tflite", 128, [(16, 2), (8, 6)]),
    }
    for folder in arguments.folders:
        row = []
        paths = sorted((folder / "images").iterdir())
        for name, detector in detectors.items():
            on = elsewhere = 0
            for path in paths:
                picture = Image.open(path).convert("RGB")
                mask = np.asarray(Image.open(folder / "masks" / f"{path.stem}.png").convert("L")) >= 128
                for box in faces(detector, picture):
                    x, y = np.clip((box[:2] + box[2:]) / 2, 0, np.array(picture.size) - 1).astype(int)
                    on, elsewhere = on + int(mask[y, x]), elsewhere + int(not mask[y, x])
            row.append(f"{name}: {on} on people, {elsewhere} elsewhere")
        print(f"{folder.name}: {len(paths)} pictures; {'; '.join(row)}")


if __name__ == "__main__":
    main()
