#!/usr/bin/env python3
"""How small a person may be: IoU by the height of the person in what the net sees.

    heights.py DIR --model MANIFEST.toml [--count N]

DIR as for reference.py. Each picture is looked at through a rectangle of the net's aspect round the person, as large
as makes the person fill the given fraction of its height; outside the picture the border is replicated, as in
portraitd. `whole`: the person in the middle. `upper`: the picture is cut at half the person's height, and the cut is
the rectangle's lower edge, as at a desk. The IoU counts the picture's own pixels. The numbers are in the models' cards.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import reference
from reference import Rectangle

HEIGHTS = (0.9, 0.7, 0.5, 0.35, 0.25, 0.2)
"""Person's height / rectangle's height."""


def rectangle(truth: np.ndarray, height: float, aspect: float, upper: bool) -> Rectangle:
    rows, columns = np.flatnonzero(truth.any(axis=1)), np.flatnonzero(truth.any(axis=0))
    top, bottom = rows[0], rows[-1] + 1
    extent = (bottom - top) / height
    y = bottom - extent if upper else (top + bottom - extent) / 2
    centre = (columns[0] + columns[-1] + 1) / 2
    return Rectangle(centre - extent * aspect / 2, y, extent * aspect, extent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="DIR", help="holds images/*.jpg and masks/*.png")
    parser.add_argument("--model", type=Path, required=True, metavar="MANIFEST", help="a model's TOML file")
    parser.add_argument("--count", type=int, default=100, metavar="N", help="pictures, evenly chosen (default 100)")
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
