#!/usr/bin/env python3
"""Measures the smallest usable size of a person: IoU by the height of the person in the net's input.

    heights.py DIR --model MANIFEST.toml [--count N]

DIR is the same as for reference.py. The net sees a rectangle of its own aspect around the person. The
size of the rectangle is chosen so that the person fills the given fraction of its height. Outside the
picture, the border is replicated, as in portraitd.

- `whole`: the person is in the middle.
- `upper`: the picture is cut at half the height of the person, and the cut is the lower edge of the
  rectangle, as for a person at a desk.

The IoU counts the pixels of the picture only. The model cards contain the results.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import reference
from reference import Rectangle

HEIGHTS = (0.9, 0.7, 0.5, 0.35, 0.25, 0.2)
"""Height of the person divided by the height of the rectangle."""


def rectangle(truth: np.ndarray, height: float, aspect: float, upper: bool) -> Rectangle:
    rows, columns = np.flatnonzero(truth.any(axis=1)), np.flatnonzero(truth.any(axis=0))
    top, bottom = rows[0], rows[-1] + 1
    extent = (bottom - top) / height
    y = bottom - extent if upper else (top + bottom - extent) / 2
    centre = (columns[0] + columns[-1] + 1) / 2
    return Rectangle(centre - extent * aspect / 2, y, extent * aspect, extent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="DIR", help="contains images/*.jpg and masks/*.png")
    parser.add_argument("--model", type=Path, required=True, metavar="MANIFEST", help="a model's TOML file")
    parser.add_argument("--count", type=int, default=100, metavar="N", help="number of pictures, chosen evenly (default 100)")
    arguments = parser.parse_args()
    model = reference.Manifest.read(arguments.model)
    net = reference.session(str(model.onnx))
    entry = net.get_inputs()[0].name
    paths = sorted((arguments.folder / "images").glob("*.jpg"))
    ious: dict[tuple[bool, float], list[float]] = {}
    for path in paths[:: max(1, len(paths) // arguments.count)]:
        picture = reference.read_rgb(path)
        truth = reference.read_grey(arguments.folder / "masks" / f"{path.stem}.png") >= 128
        if not truth.any():
            continue
        rows = np.flatnonzero(truth.any(axis=1))
        waist = (rows[0] + rows[-1] + 1) // 2
        for upper, rows_kept in ((False, None), (True, waist)):
            seen_picture, seen_truth = picture[:rows_kept], truth[:rows_kept]
            for height in HEIGHTS:
                seen = rectangle(seen_truth, height, model.input["width"] / model.input["height"], upper)
                (output,) = net.run(None, {entry: reference.preprocess(model, seen_picture, seen)})
                mask = reference.full_size(model, reference.probability(model, output), *seen_truth.shape, seen)
                ious.setdefault((upper, height), []).append(reference.iou(mask >= 0.5, seen_truth))
    print(f"{model.name}: mean IoU of {len(ious[False, HEIGHTS[0]])} pictures")
    print("height  " + "".join(f"{height:8.2f}" for height in HEIGHTS))
    for upper in (False, True):
        print(f"{'upper' if upper else 'whole':8}" + "".join(f"{np.mean(ious[upper, height]):8.3f}" for height in HEIGHTS))


if __name__ == "__main__":
    main()
