"""IoU of any ONNX file with a manifest, on a split: plain, wide with a closer look, conditions, several people.

    evaluate.py DIR CACHE MANIFEST... [--onnx FILE] [--split test] [--count N] [--out STEM]

Prints a table in Markdown; `--out STEM` writes STEM.md and STEM.json. ONNX Runtime on one thread.

- `plain`: the whole photograph once, stretched into the net as the manifest says.
- `plain, closer`: then up to two windows, as `portraitd-lab eval --closer 2`.
- `wide`: on a 16:9 canvas with replicated borders, one pass; `wide, closer`: then up to two windows.
- conditions: applied to the photograph at 512 px, one pass and with windows.
- `people N`: composites of N people on other backgrounds of the split with exact truth, 640x360, one pass and with
windows.

Every row is the mean IoU at threshold 0.5 at the picture's own size. The same files give the same figures.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

import conditions
import pictures
import sampling
from data import SUPERSAMPLE, Composer, Layers, add_person
from sampling import Manifest

CONDITIONS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "dark 0.3": lambda picture, rng: conditions.dark(picture, 0.3, rng),
    "very dark 0.08": lambda picture, rng: conditions.dark(picture, 0.08, rng),
    "blur 4": lambda picture, rng: conditions.blur(picture, 4),
    "motion 21": lambda picture, rng: conditions.motion_blur(picture, 21),
    "noise 20": lambda picture, rng: conditions.noise(picture, 20, rng),
    "grey": lambda picture, rng: conditions.grey(picture),
    "jpeg 10": lambda picture, rng: conditions.jpeg(picture, 10),
}
ROTATIONS = {"rotate 15": 15.0, "rotate 90": 90.0}
PEOPLE = (1, 2, 3, 4, 6)
SCENE_WIDTH, SCENE_HEIGHT = 640, 360
CLOSER = 2
MAX_BYSTANDERS = 0.01
"""Stricter than in training: a passer-by in the background would count as an error of the net."""


def on_wide_canvas(layer: np.ndarray, replicate: bool) -> np.ndarray:
    """Placed in the middle of a 16:9 canvas which it fills in height or in width, as `eval --wide` does."""
    height, width = layer.shape[:2]
    if width * 9 <= height * 16:
        wide, high = -(-height * 16 // 9), height
    else:
        wide, high = width, -(-width * 9 // 16)
    left, top = (wide - width) // 2, (high - height) // 2
    pads = [(top, high - height - top), (left, wide - width - left)] + [(0, 0)] * (layer.ndim - 2)
    return np.pad(layer, pads, mode="edge") if replicate else np.pad(layer, pads)


def photographs(folder: Path, split: str, count: int | None) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(number, picture u8, truth bool) of a split; with `count`, evenly spread over it."""
    names = [entry.name for entry in pictures.read_list() if entry.split == split]
    if count is not None and count < len(names):
        names = [names[place * len(names) // count] for place in range(count)]
    for name in names:
        yield (
            int(name),
            sampling.read_rgb(folder / "images" / f"{name}.jpg"),
            sampling.read_grey(folder / "masks" / f"{name}.png") >= 128,
        )


def groups(composer: Composer, people: int, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Composites of `people` people side by side, some of them overlapping, 35-90 % of the height, on a background
    of the split. Their light is as it was: what is measured is several people, not bad light."""
    for number in range(count):
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([77, people, number])))
        width, height = SCENE_WIDTH, SCENE_HEIGHT
        layers = Layers(
            composer.background(rng, width, height, real=True),
            *(np.zeros((height, width), np.float32) for _ in range(2)),
        )
        common = rng.uniform(0.35, 0.9)
        for place in range(people):
            person = composer.people[rng.integers(len(composer.people))]
            centre = (place + 0.5 + rng.uniform(-0.25, 0.25)) / people
            add_person(rng, layers, person, person.truth, common * rng.uniform(0.85, 1.15), centre, 1.0)
        yield pictures.to_bytes(layers.picture), layers.truth >= 0.5


def cases(
    folder: Path, cache: Path, split: str, count: int | None
) -> Iterator[tuple[str, bool, np.ndarray, np.ndarray]]:
    """(row, whether windows are a row of their own, picture, truth)."""
    for number, picture, truth in photographs(folder, split, count):
        yield "plain", True, picture, truth
        yield "wide", True, on_wide_canvas(picture, True), on_wide_canvas(truth, False)
        for place, (name, change) in enumerate(CONDITIONS.items()):
            rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([78, number, place])))
            yield name, True, pictures.to_bytes(change(picture.astype(np.float32), rng)), truth
        for name, degrees in ROTATIONS.items():
            if degrees == 90:
                yield name, True, np.ascontiguousarray(np.rot90(picture)), np.ascontiguousarray(np.rot90(truth))
            else:
                turned = conditions.rotate(picture, degrees)
                yield (
                    name,
                    True,
                    pictures.to_bytes(turned),
                    conditions.rotate(truth.astype(np.uint8) * 255, degrees) >= 128,
                )
    composer = Composer(cache, split, SCENE_WIDTH // SUPERSAMPLE, SCENE_HEIGHT // SUPERSAMPLE, 0, MAX_BYSTANDERS)
    for people in PEOPLE:
        for picture, truth in groups(composer, people, min(count or 60, 60)):
            yield f"people {people}", True, picture, truth


def write_cases(folder: Path, cache: Path, split: str, count: int | None, out: Path) -> None:
    """Every case as a folder of `out` with images/NNNN.png and masks/NNNN.png: what `portraitd-lab eval` reads."""
    written: dict[str, int] = {}
    for row, _, picture, truth in cases(folder, cache, split, count):
        number = written[row] = written.get(row, 0) + 1
        for kind, layer in (("images", picture), ("masks", truth.astype(np.uint8) * 255)):
            path = out / row.replace(" ", "_") / kind / f"{number:04}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(layer).save(path, compress_level=1)


def evaluate(
    nets: dict[str, tuple[Manifest, sampling.Net]], folder: Path, cache: Path, split: str, count: int | None
) -> dict:
    """Rows of mean IoU by net: {row: {net: IoU}}, in the order of the cases."""
    found: dict[str, dict[str, list[float]]] = {}
    for row, closer, picture, truth in cases(folder, cache, split, count):
        for name, (manifest, net) in nets.items():
            looks = {row: 0, f"{row}, closer": CLOSER} if closer else {row: 0}
            for label, windows in looks.items():
                mask = sampling.segment(manifest, net, picture, windows) >= 0.5
                found.setdefault(label, {}).setdefault(name, []).append(sampling.iou(mask, truth))
    return {
        row: {name: round(float(np.mean(values)), 4) for name, values in columns.items()}
        for row, columns in found.items()
    }


def table(rows: dict, split: str, count: int | None) -> str:
    names = list(next(iter(rows.values())))
    lines = [f"Mean IoU, {split} split" + (f", {count} photographs" if count else "") + ".", ""]
    lines += [
        "| case | " + " | ".join(f"{name} | closer" for name in names) + " |",
        "|---" * (1 + 2 * len(names)) + "|",
    ]
    for row, columns in rows.items():
        if row.endswith(", closer"):
            continue
        near = rows.get(f"{row}, closer", {})
        cells = [f"{columns[name]:.4f} | {near.get(name, float('nan')):.4f}" for name in names]
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("cache", type=Path, metavar="CACHE")
    parser.add_argument("manifests", type=Path, nargs="*", metavar="MANIFEST")
    parser.add_argument("--onnx", type=Path, help="a file to run in place of the (only) manifest's")
    parser.add_argument("--split", choices=pictures.SPLITS, default="test")
    parser.add_argument("--count", type=int)
    parser.add_argument("--out", type=Path, metavar="STEM")
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="write the cases as pictures, and run no net")
    arguments = parser.parse_args()
    if arguments.write:
        write_cases(arguments.folder, arguments.cache, arguments.split, arguments.count, arguments.write)
        return
    if not arguments.manifests:
        parser.error("give a manifest, or --write")
    if arguments.onnx and len(arguments.manifests) != 1:
        parser.error("--onnx goes with one manifest")
    nets = {}
    for path in arguments.manifests:
        manifest = Manifest.read(path)
        nets[manifest.name] = manifest, sampling.net_of(manifest, str(arguments.onnx) if arguments.onnx else None)
    rows = evaluate(nets, arguments.folder, arguments.cache, arguments.split, arguments.count)
    text = table(rows, arguments.split, arguments.count)
    print(text, end="")
    if arguments.out:
        arguments.out.with_suffix(".md").write_text(text)
        document = {"split": arguments.split, "count": arguments.count, "rows": rows}
        arguments.out.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
