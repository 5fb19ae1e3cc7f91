#!/usr/bin/env python3
"""The independent reference: it computes masks and their IoU, and shares no code with portraitd.

    reference.py DIR --model MANIFEST.toml [--count N] [--compare MASKS]

DIR contains `images/NAME.jpg` and `masks/NAME.png` (a person where >= 128), as for `portraitd-lab eval`.
Each picture is scaled to the input size of the net by exact area averaging and run in ONNX Runtime on
one thread. The probability is scaled to the size of the picture, bilinearly with half-pixel centres,
and thresholded at 0.5.

The output is one JSON document. `--compare MASKS` names a folder of `NAME.mask.png` (8-bit grey, in the
size of the picture), as `portraitd-lab segment` writes them. The document then contains the difference
of their IoU from that of the reference as well. The exit code is 1 if the mean absolute difference is
above 0.003, or if a mask is missing.

`models/golden.py` imports these functions: this file defines the meaning of a manifest.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image

GREATEST_MEAN_DIFFERENCE = 0.003
"""IoU. Differences in rounding between decoders and resamplers stay below it; swapped colours or a shift do not."""


@dataclass(frozen=True)
class Rectangle:
    """Part of a picture, in source pixels. Outside the picture, the border pixel is replicated."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Manifest:
    """A model's TOML file, and the path of its ONNX file. `models/README.md` describes the keys."""

    name: str
    onnx: Path
    input: dict[str, Any]
    output: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> Manifest:
        document = tomllib.loads(path.read_text())
        return cls(document["name"], path.parent / document["file"], document["input"], document["output"])

    def seen(self, height: int, width: int) -> Rectangle:
        """The part of a height x width picture that fills the net's input."""
        if self.input["fit"] == "stretch":
            return Rectangle(0, 0, width, height)
        if self.input["fit"] == "pad-replicate":
            scale = max(width / self.input["width"], height / self.input["height"])
            padded_width, padded_height = self.input["width"] * scale, self.input["height"] * scale
            return Rectangle((width - padded_width) / 2, (height - padded_height) / 2, padded_width, padded_height)
        raise ValueError(f"fit = {self.input['fit']!r}")


def area_weights(start: float, extent: float, cells: int, size: int) -> np.ndarray:
    """[cells, size]: each row averages `size` pixels over one of `cells` equal parts of start..start + extent.

    The weight of a pixel is the fraction of the cell that it covers. Area outside 0..size counts for the border pixel.
    """
    edges = start + extent * np.arange(cells + 1, dtype=np.float64) / cells
    low, high = edges[:-1, np.newaxis], edges[1:, np.newaxis]
    left = np.arange(size, dtype=np.float64)
    right = left + 1
    left[0], right[-1] = -np.inf, np.inf
    overlap = np.minimum(high, right) - np.maximum(low, left)
    return np.maximum(overlap, 0) / (extent / cells)


def bilinear_weights(start: float, extent: float, cells: int, size: int) -> np.ndarray:
    """[size, cells]: the value at each of `size` pixel centres, from `cells` cell centres over start..start + extent.

    The transposed case of `area_weights`: cells are the mask, pixels the picture. Positions are clamped to the outermost
    centres.
    """
    position = (np.arange(size, dtype=np.float64) + 0.5 - start) * cells / extent - 0.5
    position = np.clip(position, 0, cells - 1)
    lower = np.minimum(position.astype(np.int64), max(cells - 2, 0))
    weights = np.zeros((size, cells))
    rows = np.arange(size)
    weights[rows, lower] = 1 - (position - lower)
    weights[rows, np.minimum(lower + 1, cells - 1)] += position - lower
    return weights


def preprocess(manifest: Manifest, picture: np.ndarray, seen: Rectangle | None = None) -> np.ndarray:
    """Converts RGB [height, width, 3] in 0..=255 to the net's input tensor: f32, in the manifest's layout and colour order.

    `seen` is the part of the picture to use. None is the whole picture, fitted as the manifest requires.
    """
    height, width, _ = picture.shape
    spec, seen = manifest.input, seen or manifest.seen(height, width)
    rows = area_weights(seen.y, seen.height, spec["height"], height)
    columns = area_weights(seen.x, seen.width, spec["width"], width)
    small = np.einsum("iy,yxc->ixc", rows, picture.astype(np.float64), optimize=True)
    small = np.einsum("jx,ixc->ijc", columns, small, optimize=True)
    if spec["color_order"] == "bgr":
        small = small[:, :, ::-1]
    small = (small / 255 - np.array(spec["mean"])) / np.array(spec["std"])
    if spec["layout"] == "nchw":
        small = small.transpose(2, 0, 1)
    return np.ascontiguousarray(small[np.newaxis], dtype=np.float32)


def probability(manifest: Manifest, output: np.ndarray) -> np.ndarray:
    """Converts the net's output tensor to the probability of a person: f64 [net height, net width] in 0..=1."""
    spec = manifest.output
    planes = output[0].astype(np.float64)
    if planes.ndim == 2:
        # Classes often have no axis of channels.
        planes = planes[np.newaxis]
    elif spec["layout"] == "nhwc":
        planes = planes.transpose(2, 0, 1)
    if planes.shape[0] != spec["channels"]:
        raise ValueError(f"{planes.shape[0]} output channels, {spec['channels']} in the manifest")
    if spec["activation"] == "sigmoid":
        planes = 1 / (1 + np.exp(-planes))
    elif spec["activation"] == "softmax":
        planes = np.exp(planes - planes.max(axis=0))
        planes /= planes.sum(axis=0)
    elif spec["activation"] == "argmax":
        return (planes.argmax(axis=0) == spec["person_channel"]).astype(np.float64)
    elif spec["activation"] == "class-index":
        return (planes[0] == spec["person_channel"]).astype(np.float64)
    return planes[spec["person_channel"]]


def full_size(
    manifest: Manifest, small: np.ndarray, height: int, width: int, seen: Rectangle | None = None
) -> np.ndarray:
    """Scales a mask of the net's size, made from the part `seen`, to the size of the picture."""
    seen = seen or manifest.seen(height, width)
    rows = bilinear_weights(seen.y, seen.height, small.shape[0], height)
    columns = bilinear_weights(seen.x, seen.width, small.shape[1], width)
    return rows @ small @ columns.T


def session(model: str | bytes) -> onnxruntime.InferenceSession:
    """A session on one thread, so that sums always have the same order."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])


def read_rgb(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def read_grey(path: Path) -> np.ndarray:
    """[height, width] in 0..=255. Without the conversion, a one-bit PNG would have the values 0 and 1."""
    return np.asarray(Image.open(path).convert("L"))


def iou(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two boolean masks; 1 when both are empty."""
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else 1.0


def evaluate(folder: Path, manifest: Manifest, count: int | None, masks: Path | None) -> dict[str, Any]:
    net = session(str(manifest.onnx))
    entry = net.get_inputs()[0].name
    pictures, missing = [], []
    for path in sorted((folder / "images").glob("*.jpg"))[:count]:
        picture = read_rgb(path)
        height, width, _ = picture.shape
        truth = read_grey(folder / "masks" / f"{path.stem}.png") >= 128
        (output,) = net.run(None, {entry: preprocess(manifest, picture)})
        found = full_size(manifest, probability(manifest, output), height, width)
        row = {"name": path.stem, "iou": iou(found >= 0.5, truth)}
        if masks is not None:
            candidate = masks / f"{path.stem}.mask.png"
            if not candidate.exists():
                missing.append(path.stem)
                continue
            theirs = read_grey(candidate)
            if theirs.shape != truth.shape:
                raise SystemExit(f"reference.py: {candidate.name} is {theirs.shape}, but the picture is {truth.shape}")
            row["compared_iou"] = iou(theirs >= 128, truth)
            row["mean_mask_difference"] = float(np.abs(theirs / 255 - found).mean())
        pictures.append(row)
    if not pictures:
        raise SystemExit(f"reference.py: {folder} contains no picture to compare; {len(missing)} masks are missing")
    ious = [row["iou"] for row in pictures]
    report: dict[str, Any] = {
        "model": manifest.name,
        "count": len(pictures),
        "mean_iou": float(np.mean(ious)),
        "median_iou": float(np.median(ious)),
    }
    if masks is not None:
        apart = [abs(row["iou"] - row["compared_iou"]) for row in pictures]
        report["compare"] = {
            "mean_iou": float(np.mean([row["compared_iou"] for row in pictures])),
            "mean_iou_difference": float(np.mean(apart)),
            "max_iou_difference": float(np.max(apart)),
            "max_at": pictures[int(np.argmax(apart))]["name"],
            "mean_mask_difference": float(np.mean([row["mean_mask_difference"] for row in pictures])),
            "missing": missing,
            "passed": not missing and float(np.mean(apart)) <= GREATEST_MEAN_DIFFERENCE,
        }
    report["pictures"] = pictures
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="DIR", help="contains images/*.jpg and masks/*.png")
    parser.add_argument("--model", type=Path, required=True, metavar="MANIFEST", help="a model's TOML file")
    parser.add_argument("--count", type=int, metavar="N", help="use only the first N pictures")
    parser.add_argument("--compare", type=Path, metavar="MASKS", help="folder of NAME.mask.png to compare with")
    arguments = parser.parse_args()
    report = evaluate(arguments.folder, Manifest.read(arguments.model), arguments.count, arguments.compare)
    json.dump(report, sys.stdout, indent=1)
    print()
    if not report.get("compare", {"passed": True})["passed"]:
        print("reference.py: the masks differ from those of the reference, or some are missing", file=sys.stderr)
        raise SystemExit(1)


if __name__ == "__main__":
    main()
