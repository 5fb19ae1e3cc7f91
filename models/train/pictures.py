"""The photographs: their list with hashes and split, and a pack of them that is quick to read.

    pictures.py list DIR > data.tsv     # write the list again; a change of it is a change of the training
    pictures.py pack DIR CACHE [--few] [--split S]  # check hashes, scale, cut out; writes CACHE/pack.bin and pack.tsv

DIR has `images/NAME.jpg` and `masks/NAME.png` (a person from 128 up), as for `portraitd-lab eval`.

The split is by blocks of ten consecutive photographs, since neighbours in this set show the same person in the
same street. Photographs that the repository shows elsewhere (its fixtures, the people of its scenes) belong to the
test split, so that no figure about them comes from a net that has seen them.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parent
LIST = HERE / "data.tsv"
SPLITS = ("train", "validation", "test")
BLOCK = 10
MAX_BYSTANDERS = 0.05
"""Share of a tile. Small and blurred passers-by remain: of 624 training backgrounds, 0.004 would leave 99."""
SHOWN_ELSEWHERE = {"0007", "0065", "0152", "0208", "0607", "0742", "0111", "0445", "0467"}
"""tests/fixtures/people and crates/scene/assets."""
LONGEST_PX = 384
"""Longest side in the pack: one and a half times the height of the largest net."""
PLANES = 8
"""Bytes a pixel of the pack: RGB, truth, alpha of the cut-out, background RGB."""


@dataclass(frozen=True)
class Entry:
    """One photograph: name, the two files' sha256, and its split."""

    name: str
    image_sha256: str
    mask_sha256: str
    split: str


def read_list(path: Path = LIST) -> list[Entry]:
    rows = [line.split("\t") for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return [Entry(*row) for row in rows]


def few() -> list[Entry]:
    """16 entries of all splits, for the smoke form."""
    entries = read_list()
    wanted = {"train": 8, "validation": 4, "test": 4}
    return [entry for split, count in wanted.items() for entry in [e for e in entries if e.split == split][:count]]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def split_of(name: str) -> str:
    """70 % training, 15 % validation, 15 % test, by a hash of the block's number."""
    if name in SHOWN_ELSEWHERE:
        return "test"
    block = (int(name) - 1) // BLOCK
    share = hashlib.sha256(f"portraitd people, block {block}".encode()).digest()[0] / 256
    return "train" if share < 0.70 else "validation" if share < 0.85 else "test"


def write_list(folder: Path) -> None:
    print("# name\tsha256 of images/NAME.jpg\tsha256 of masks/NAME.png\tsplit; written by `pictures.py list`")
    for image in sorted((folder / "images").glob("*.jpg")):
        mask = folder / "masks" / f"{image.stem}.png"
        print(image.stem, sha256(image), sha256(mask), split_of(image.stem), sep="\t")


def box_mean(values: np.ndarray, radius: int) -> np.ndarray:
    """Mean over (2 radius + 1)^2 pixels of f32 [height, width] or [height, width, channels]; borders replicated."""
    for axis in (0, 1):
        edges = [(0, 0)] * values.ndim
        edges[axis] = (radius + 1, radius)
        sums = np.cumsum(np.pad(values, edges, mode="edge"), axis=axis, dtype=np.float32)
        high = np.take(sums, range(2 * radius + 1, sums.shape[axis]), axis=axis)
        low = np.take(sums, range(0, sums.shape[axis] - 2 * radius - 1), axis=axis)
        values = (high - low) / np.float32(2 * radius + 1)
    return values


def cut_out_alpha(truth: np.ndarray) -> np.ndarray:
    """Alpha of the person, f32 [height, width] in 0..=1, about half a pixel inside the mask: its outline is coarse
    and has the old background's colours on it."""
    soft = box_mean(truth, 1)
    return np.clip((soft - 0.45) / 0.5, 0, 1)


def without_people(picture: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The photograph without the columns of its person: what lies to the left and to the right is joined, with a
    soft seam, and repeated as in a mirror up to the photograph's width. f32 [height, width, 3] in 0..=255.

    Filling the person's place from its surroundings was tried first: it leaves a silhouette, and a net would learn
    from it that silhouettes are background."""
    width = picture.shape[1]
    hidden = np.flatnonzero(truth.max(axis=0) > 0.1)
    left, right = (int(hidden[0]), int(hidden[-1]) + 1) if len(hidden) else (width, width)
    margin = width // 40
    parts = [picture[:, : max(left - margin, 0)], picture[:, min(right + margin, width) :]]
    parts = [part for part in parts if part.shape[1] >= width // 12]
    if not parts:
        # The person fills the width: the rows above them, or nothing, are all there is.
        rows = np.flatnonzero(truth.max(axis=1) > 0.1)
        return np.resize(picture[: max(int(rows[0]), 1)], picture.shape)
    joined = parts[0]
    if len(parts) == 2:
        seam = min(part.shape[1] for part in parts) // 3
        fade = np.linspace(0, 1, seam, dtype=np.float32)[None, :, None]
        mixed = parts[0][:, -seam:] * (1 - fade) + parts[1][:, :seam] * fade
        joined = np.concatenate([parts[0][:, :-seam], mixed, parts[1][:, seam:]], axis=1)
    while joined.shape[1] < width:
        joined = np.concatenate([joined, joined[:, ::-1]], axis=1)
    return joined[:, :width]


def scaled(image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """Area average, f32. `Image.BOX` is exact for a smaller size: fractions of pixels count."""
    return np.asarray(image.resize(size, Image.Resampling.BOX), dtype=np.float32)


def bystanders(net: Callable[[np.ndarray], np.ndarray], background: np.ndarray) -> float:
    """The largest share of person pixels that `net` (a mask of RGB u8) finds in the background or in one of its
    tiles. Where it is above [`MAX_BYSTANDERS`], passers-by would be taught as background."""
    height, width, _ = background.shape
    side = height // 2
    tiles = [background] + [
        background[top : top + side, left : left + side]
        for top in (0, side // 2, side)
        for left in (0, max(width - side, 0))
    ]
    return max(float((net(tile) >= 0.5).mean()) for tile in tiles)


def to_bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def pack(folder: Path, cache: Path, entries: list[Entry] | None = None) -> None:
    """Writes the pack of `entries` (None: all of the list). Refuses a photograph whose bytes are not those of the
    list."""
    cache.mkdir(parents=True, exist_ok=True)
    import sampling  # Only the pack needs a net.

    manifest = sampling.Manifest.read(HERE.parent / "selfie-general.toml")
    general = sampling.net_of(manifest)
    rows, offset = [], 0
    with (cache / "pack.bin.part").open("wb") as out:
        for entry in read_list() if entries is None else entries:
            image_path, mask_path = folder / "images" / f"{entry.name}.jpg", folder / "masks" / f"{entry.name}.png"
            for path, wanted in ((image_path, entry.image_sha256), (mask_path, entry.mask_sha256)):
                if sha256(path) != wanted:
                    raise SystemExit(f"pictures.py: {path} is not the file of {LIST.name}: another sha256")
            image, mask = Image.open(image_path).convert("RGB"), Image.open(mask_path).convert("L")
            scale = LONGEST_PX / max(image.size)
            size = tuple(max(1, round(side * scale)) for side in image.size)
            picture = scaled(image, size)
            truth = scaled(mask.point(lambda value: 255 if value >= 128 else 0), size) / 255
            layers = [
                to_bytes(picture),
                to_bytes(truth * 255)[..., None],
                to_bytes(cut_out_alpha(truth) * 255)[..., None],
                to_bytes(without_people(picture, truth)),
            ]
            data = np.concatenate(layers, axis=2)
            seen = bystanders(lambda tile: general(sampling.preprocess(manifest, tile)), data[..., 5:8])
            out.write(data.tobytes())
            rows.append(f"{entry.name}\t{entry.split}\t{size[1]}\t{size[0]}\t{offset}\t{seen:.4f}\n")
            offset += data.size
    (cache / "pack.bin.part").rename(cache / "pack.bin")
    (cache / "pack.tsv").write_text("".join(rows))


@dataclass(frozen=True)
class Photograph:
    """Views of one photograph in the pack, all u8."""

    name: str
    data: np.ndarray
    """[height, width, 8]"""
    bystanders: float
    """Share of the background in which selfie-general sees people."""

    @property
    def picture(self) -> np.ndarray:
        return self.data[..., 0:3]

    @property
    def truth(self) -> np.ndarray:
        return self.data[..., 3]

    @property
    def alpha(self) -> np.ndarray:
        return self.data[..., 4]

    @property
    def background(self) -> np.ndarray:
        return self.data[..., 5:8]


def open_pack(cache: Path, split: str | None = None) -> list[Photograph]:
    """The photographs of a split (None: of all), in the list's order. Pixels are read when they are used."""
    if not (cache / "pack.tsv").exists():
        raise SystemExit(f"pictures.py: no pack in {cache}; `pictures.py pack DIR {cache}` makes it")
    memory = np.memmap(cache / "pack.bin", dtype=np.uint8, mode="r")
    found = []
    for line in (cache / "pack.tsv").read_text().splitlines():
        name, its_split, height, width, offset, seen = line.split("\t")
        if split in (None, its_split):
            shape = (int(height), int(width), PLANES)
            start = int(offset)
            found.append(Photograph(name, memory[start : start + int(np.prod(shape))].reshape(shape), float(seen)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("list", "pack"))
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("cache", type=Path, nargs="?", metavar="CACHE")
    parser.add_argument("--few", action="store_true", help="16 photographs, for the smoke form")
    parser.add_argument("--split", choices=SPLITS, help="the photographs of one split alone")
    arguments = parser.parse_args()
    if arguments.command == "list":
        write_list(arguments.folder)
    elif arguments.cache is None:
        parser.error("pack needs CACHE")
    else:
        entries = few() if arguments.few else read_list()
        wanted = [entry for entry in entries if arguments.split in (None, entry.split)]
        pack(arguments.folder, arguments.cache, wanted)
        print(f"{arguments.cache}: {len(open_pack(arguments.cache))} photographs", file=sys.stderr)


if __name__ == "__main__":
    main()
