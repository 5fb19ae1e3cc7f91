"""From a finished run to the three files of a model: ONNX, manifest, and the skeleton of its card.

    export.py RUN/NET.onnx NAME OUT [--figures STEM.json] [--licence SPDX] [--title TEXT]

Writes OUT/NAME.onnx, OUT/NAME.toml (every key that `models/README.md` asks for, with the file's sha256),
OUT/NAME.md. What a person has to say stands in the card as `TODO`: `export.py` knows what was trained, not what it
must not be used for.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import onnx

import onnx_net
import pictures

MANIFEST = """\
name = "{name}"
title = "{title}"
file = "{name}.onnx"
sha256 = "{sha256}"
licence = "{licence}"
source = "{source}"
card = "{name}.md"

[input]
width = {width}
height = {height}
layout = "nchw"
color_order = "rgb"
# value = (pixel / 255 - mean) / std, per channel in color_order
mean = [0.0, 0.0, 0.0]
std = [1.0, 1.0, 1.0]
fit = "stretch"

[output]
layout = "nchw"
channels = 1
# what is still to be applied: the net ends in its own sigmoid
activation = "none"
person_channel = 0

[scope]
max_distance_m = {max_distance_m}
min_person_height = {min_person_height}
people = "{people}"
out_of_scope = [
    "surveillance", "identity recognition", "people beyond {max_distance_m:.0f} m", "people at very different scales",
]
"""

CARD = """\
# {name}

{title}: the probability that each pixel belongs to a person near the camera.

- **Input** `{entry}` `[1, 3, {height}, {width}]` f32, RGB in 0..=1; the picture is stretched to {width}x{height} px.
- **Output** `{output}` `[1, 1, {height}, {width}]` f32, probability of "person" in 0..=1. It
  includes the sigmoid.
- **Size** {parameters:,} parameters, {multiply_adds:.1f} million multiply-adds per picture.
- **Licence** {licence}. TODO: authors, and `NOTICE`.

## What it learned from

{source}. Photographs: {train} of the Clothing Co-Parsing set (CVPR 2014, Apache-2.0) for training, {validation} for
the choice of its settings; `models/train/data.tsv` lists each with its hash. They are street fashion: nearly all
show one upright adult from head to foot, by daylight. Composites of them show up to six people. TODO: who is missing.

Targets for distillation are the mean of `models/train/teachers.tsv`.

**Intended for** TODO. **Not intended for** TODO: surveillance or identity recognition of any kind, or any decision on
which a life depends.

**Known limits.** TODO

## What we measured

`models/train/evaluate.py` on the {test} photographs of the test split, mean IoU at threshold 0.5, one pass and with
closer looks.

{figures}

TODO: IoU by height (`tests/reference/heights.py`), flicker, and the figures by groups of people, or why there are
none.

## Where the file comes from

`models/train/run` with the committed lists and versions; sha256 `{sha256}`.
"""


def figures(path: Path | None, name: str) -> str:
    if path is None:
        return "TODO: `evaluate.py --out STEM`, then `export.py --figures STEM.json`."
    rows = json.loads(path.read_text())["rows"]
    columns = next(iter(rows.values()))
    column = name if name in columns else next(iter(columns))
    lines = ["| case | one pass | closer |", "|---|---|---|"]
    for row, values in rows.items():
        if not row.endswith(", closer"):
            lines.append(f"| {row} | {values[column]:.4f} | {rows[f'{row}, closer'][column]:.4f} |")
    return "\n".join(lines)


def export(source: Path, name: str, out: Path, licence: str, title: str, measured: Path | None) -> None:
    model = onnx.load(source)
    onnx.checker.check_model(model)
    (entry,), (output,) = model.graph.input, model.graph.output
    height, width = (side.dim_value for side in entry.type.tensor_type.shape.dim[2:])
    out.mkdir(parents=True, exist_ok=True)
    onnx.save(model, out / f"{name}.onnx")
    digest = hashlib.sha256((out / f"{name}.onnx").read_bytes()).hexdigest()
    splits = [entry.split for entry in pictures.read_list()]
    base = next((f"selfie-{kind}" for kind in ("landscape", "general") if f"selfie-{kind}" in name), "")
    words = {
        "name": name,
        "title": title,
        "licence": licence,
        "sha256": digest,
        "width": width,
        "height": height,
        "entry": entry.name,
        "output": output.name,
        "parameters": onnx_net.parameters(model),
        "multiply_adds": onnx_net.multiply_adds(model) / 1e6,
        "source": f"Trained by models/train of this repository{f', from models/{base}.onnx' if base else ''}",
        "max_distance_m": 4.0,
        "min_person_height": 0.7,
        "people": "one, or several of similar size",
        "figures": figures(measured, name),
        **{split: splits.count(split) for split in pictures.SPLITS},
    }
    (out / f"{name}.toml").write_text(MANIFEST.format(**words))
    (out / f"{name}.md").write_text(CARD.format(**words))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, metavar="ONNX")
    parser.add_argument("name")
    parser.add_argument("out", type=Path)
    parser.add_argument("--figures", type=Path, metavar="STEM.json")
    parser.add_argument("--licence", default="Apache-2.0")
    parser.add_argument("--title", default="Person segmentation, trained by this project")
    arguments = parser.parse_args()
    export(arguments.source, arguments.name, arguments.out, arguments.licence, arguments.title, arguments.figures)
    print(arguments.out / f"{arguments.name}.toml")


if __name__ == "__main__":
    main()
