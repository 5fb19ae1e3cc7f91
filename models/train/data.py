"""Training pictures: composites of the photographs' people on other backgrounds, and the photographs themselves.

A sample is a function of (seed, split, index) alone: a run that resumes at step n sees what it would have seen, and
two runs with one seed see the same. No state is kept between samples.

Everything is drawn on a canvas of twice the net's size, as a camera would see it; light, blur, noise and JPEG work on
that; then every 2x2 pixels are averaged into one cell, as the daemon's sampler averages by area. Where a view reaches
beyond a photograph, its border is replicated, as the sampler does.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

import pictures
import teach
from conditions import apply_random
from pictures import MAX_BYSTANDERS, Photograph

SUPERSAMPLE = 2
PHOTOGRAPH, EMPTY = 0.4, 0.04
"""Shares of samples: one photograph, or nobody. The rest are composites."""
TURNED = 0.04
"""Share of samples turned by 90 degrees, either way: cameras are mounted on their side. Without them, fine-tuning
forgets what the released nets know of such pictures."""
PEOPLE = (0.40, 0.25, 0.15, 0.10, 0.06, 0.04)
"""Probabilities of one to six people in a composite."""
SPLIT_NUMBER = {"train": 0, "validation": 1, "test": 2}
ROOMS = ("room-near.jpg", "room-wide.jpg")


@dataclass
class Layers:
    """A canvas, f32: picture [h, w, 3] in 0..=255; truth and teacher [h, w] in 0..=1."""

    picture: np.ndarray
    truth: np.ndarray
    teacher: np.ndarray


def resize(
    layer: np.ndarray, width: int, height: int, box: tuple[float, float, float, float] | None = None
) -> np.ndarray:
    """u8 [h, w] or [h, w, 3] to f32. A triangle as wide as an output pixel, or one source pixel: Pillow's
    BILINEAR."""
    image = Image.fromarray(np.ascontiguousarray(layer))
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR, box), dtype=np.float32)


def view(layer: np.ndarray, box: tuple[float, float, float, float], width: int, height: int) -> np.ndarray:
    """The rectangle (left, top, right, bottom) of a u8 layer in pixels, scaled to width x height; it may reach
    outside."""
    left, top, right, bottom = box
    pads = (
        [max(0, int(np.ceil(-top))), max(0, int(np.ceil(bottom - layer.shape[0])))],
        [max(0, int(np.ceil(-left))), max(0, int(np.ceil(right - layer.shape[1])))],
    )
    if any(map(any, pads)):
        layer = np.pad(layer, (*pads, *([(0, 0)] * (layer.ndim - 2))), mode="edge")
    dy, dx = pads[0][0], pads[1][0]
    return resize(layer, width, height, (left + dx, top + dy, right + dx, bottom + dy))


class Composer:
    """Samples of one split for nets of `width` x `height` cells."""

    def __init__(
        self, cache: Path, split: str, width: int, height: int, seed: int, max_bystanders: float = MAX_BYSTANDERS
    ) -> None:
        self.width, self.height, self.seed, self.split = width, height, seed, split
        self.people = pictures.open_pack(cache, split)
        self.targets = teach.open_targets(cache)
        self.backgrounds = [person for person in self.people if person.bystanders <= max_bystanders]
        assets = pictures.HERE.parents[1] / "crates" / "scene" / "assets"
        self.rooms = [
            np.asarray(Image.open(assets / name).convert("RGB")) for name in ROOMS if (assets / name).exists()
        ]

    def random(self, index: int) -> np.random.Generator:
        return np.random.Generator(
            np.random.PCG64(np.random.SeedSequence([self.seed, SPLIT_NUMBER[self.split], index]))
        )

    def sample(self, index: int, clean: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """(picture u8 [height, width, 3], masks u8 [height, width, 2]: truth and teacher, 255 = person). With
        `clean`, light, noise and the like are left out."""
        rng = self.random(index)
        kind, turns = rng.random(), int(rng.choice((1, 3))) if rng.random() < TURNED else 0
        width, height = SUPERSAMPLE * self.width, SUPERSAMPLE * self.height
        if turns:
            width, height = height, width
        layers = (
            self.photograph(rng, width, height)
            if kind < PHOTOGRAPH
            else self.composite(rng, width, height, kind < PHOTOGRAPH + EMPTY)
        )
        if turns:
            layers = Layers(*(np.rot90(layer, turns) for layer in (layers.picture, layers.truth, layers.teacher)))
        if not clean:
            layers.picture, layers.truth, layers.teacher = apply_random(
                rng, layers.picture, layers.truth, layers.teacher
            )
        if rng.random() < 0.5:
            layers = Layers(layers.picture[:, ::-1], layers.truth[:, ::-1], layers.teacher[:, ::-1])
        masks = [pictures.to_bytes(cells(layer) * 255) for layer in (layers.truth, layers.teacher)]
        return pictures.to_bytes(cells(layers.picture)), np.stack(masks, axis=2)

    def batch(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        samples = [self.sample(index) for index in range(first, first + count)]
        return np.stack([picture for picture, _ in samples]), np.stack([masks for _, masks in samples])

    def target(self, person: Photograph) -> np.ndarray:
        return self.targets.get(person.name, person.truth)

    def photograph(self, rng: np.random.Generator, width: int, height: int) -> Layers:
        """A view of one photograph: a window around the person as the daemon's closer look makes one, the whole
        photograph stretched, or a 16:9 canvas on which the person is small."""
        person = self.people[rng.integers(len(self.people))]
        rows, columns = np.flatnonzero(person.truth.max(axis=1) > 127), np.flatnonzero(person.truth.max(axis=0) > 127)
        full_height, full_width = person.truth.shape
        kind = rng.random()
        if kind < 0.25 or not len(rows):
            box = (0.0, 0.0, float(full_width), float(full_height))
        elif kind < 0.8:
            left, right, top, bottom = columns[0], columns[-1] + 1.0, rows[0], rows[-1] + 1.0
            if rng.random() < 0.4:
                bottom = top + (bottom - top) * rng.uniform(0.25, 0.8)
            across, down = right - left, bottom - top
            left, right = left - across * rng.uniform(0.05, 0.7), right + across * rng.uniform(0.05, 0.7)
            top, bottom = top - down * rng.uniform(0.0, 0.4), bottom + down * rng.uniform(-0.1, 0.3)
            # No window stretches by more than three.
            lack = (bottom - top) * width / height / 3 - (right - left)
            box = (left - max(lack, 0) / 2, top, right + max(lack, 0) / 2, bottom)
        else:
            across = full_height * 16 / 9 * rng.uniform(0.7, 1.1)
            left = full_width / 2 - across * rng.uniform(0.3, 0.7)
            box = (left, 0.0, left + across, float(full_height))
        target = self.target(person)
        # Beyond the photograph the picture's border is replicated, and a person there is what the border shows.
        return Layers(
            *(
                view(layer, box, width, height) / scale
                for layer, scale in ((person.picture, 1), (person.truth, 255), (target, 255))
            )
        )

    def background(self, rng: np.random.Generator, width: int, height: int, real: bool = False) -> np.ndarray:
        """A piece of another photograph's background, two of them, a room, or (unless `real`) something
        procedural."""
        kind = rng.uniform(0.12 if real else 0.0, 1.0)
        if kind < 0.12 or not self.backgrounds:
            return procedural(rng, width, height)
        if kind < 0.2 and self.rooms:
            source = self.rooms[rng.integers(len(self.rooms))]
        else:
            source = self.backgrounds[rng.integers(len(self.backgrounds))].background
            if kind < 0.5:
                other = self.backgrounds[rng.integers(len(self.backgrounds))].background
                size = min(source.shape[0], other.shape[0])
                source = np.concatenate(
                    [source[:size], other[:size] if rng.random() < 0.5 else source[:size, ::-1]], axis=1
                )
        full_height, full_width, _ = source.shape
        scale = rng.uniform(0.5, 1.0)
        across, down = (
            full_width * scale,
            min(full_height * scale, full_width * scale * height / width * rng.uniform(0.8, 1.5)),
        )
        left, top = rng.uniform(0, full_width - across), rng.uniform(0, full_height - down)
        return resize(source, width, height, (left, top, left + across, top + down))

    def composite(self, rng: np.random.Generator, width: int, height: int, empty: bool) -> Layers:
        layers = Layers(
            self.background(rng, width, height),
            np.zeros((height, width), np.float32),
            np.zeros((height, width), np.float32),
        )
        if empty:
            return layers
        count = int(rng.choice(len(PEOPLE), p=PEOPLE)) + 1
        # How much narrower people are than in the world: a 16:9 frame is not stretched in a 16:9 net, a window may
        # be.
        stretch = np.exp(rng.uniform(np.log(0.8), np.log(1.5))) * (width / height) / (16 / 9)
        least = 0.12 if rng.random() < 0.25 else 0.25
        common = np.exp(rng.uniform(np.log(least), np.log(1.8 if count == 1 else 1.1)))
        for place in range(count):
            size = (
                common * np.exp(rng.uniform(-0.25, 0.25))
                if rng.random() < 0.8
                else np.exp(rng.uniform(np.log(0.12), 0))
            )
            centre = (place + 0.5 + rng.uniform(-0.5, 0.5)) / count if rng.random() < 0.7 else rng.uniform(0.05, 0.95)
            person = self.people[rng.integers(len(self.people))]
            add_person(rng, layers, person, self.target(person), size, centre, stretch)
        if rng.random() < 0.2:
            add_occluder(rng, layers, self.background(rng, width, height))
        return layers


def cells(layer: np.ndarray) -> np.ndarray:
    """Means of 2x2 pixels."""
    return (layer[0::2, 0::2] + layer[1::2, 0::2] + layer[0::2, 1::2] + layer[1::2, 1::2]) * np.float32(0.25)


def add_person(
    rng: np.random.Generator,
    layers: Layers,
    person: Photograph,
    target: np.ndarray,
    size: float,
    centre: float,
    stretch: float,
) -> None:
    """Pastes one person whose height is `size` of the canvas, in front of what is there."""
    rows, columns = np.flatnonzero(person.alpha.max(axis=1) > 127), np.flatnonzero(person.alpha.max(axis=0) > 127)
    if len(rows) < 8 or len(columns) < 4:
        return
    height, width = layers.truth.shape
    top, bottom, left, right = max(rows[0] - 3, 0), rows[-1] + 4, max(columns[0] - 3, 0), columns[-1] + 4
    upper_body = rng.random() < 0.45
    if upper_body:
        # Sitting at a table, or cut by the frame.
        bottom = top + max(int((bottom - top) * rng.uniform(0.3, 0.7)), 8)
    crop = person.data[top:bottom, left:right]
    out_height = max(6, int(size * height))
    out_width = max(4, int(out_height * crop.shape[1] / crop.shape[0] * stretch))
    out_height, out_width = min(out_height, 2 * height), min(out_width, 2 * width)
    picture, alpha = resize(crop[..., :3], out_width, out_height), resize(crop[..., 4], out_width, out_height) / 255
    # The teachers' mask of this person, not of those beside them.
    soft = resize(np.minimum(target[top:bottom, left:right], grown(crop[..., 3])), out_width, out_height) / 255
    if rng.random() < 0.5:
        picture, alpha, soft = picture[:, ::-1], alpha[:, ::-1], soft[:, ::-1]
    picture = picture * rng.uniform(0.7, 1.25) + rng.uniform(-15, 15)
    x = int(centre * width - out_width / 2)
    head_room = height - out_height
    y = int(head_room * rng.uniform(0.4, 1.0)) if head_room > 0 else int(rng.uniform(0, 0.12) * height)
    if rng.random() < (0.75 if upper_body else 0.3) or size > 0.9:
        # Cut by the lower border.
        y = max(y, height - out_height + int(rng.uniform(0, 0.3) * out_height))
    if rng.random() < 0.4:
        add_shadow(rng, layers, alpha, x, y)
    inside, part = overlap(layers.truth.shape, alpha.shape, x, y)
    a, t = alpha[part], soft[part]
    layers.picture[inside] += (picture[part] - layers.picture[inside]) * a[..., None]
    layers.truth[inside] += (1 - layers.truth[inside]) * a
    layers.teacher[inside] += (1 - layers.teacher[inside]) * t


def grown(truth: np.ndarray) -> np.ndarray:
    """u8 mask, wider by some two pixels and soft."""
    return pictures.to_bytes(np.minimum(pictures.box_mean(truth.astype(np.float32), 2) * 4, 255))


def overlap(
    canvas: tuple[int, int], layer: tuple[int, int], x: int, y: int
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where a layer at (x, y) lies on the canvas, and which part of it."""
    top, left = max(y, 0), max(x, 0)
    bottom, right = max(min(y + layer[0], canvas[0]), top), max(min(x + layer[1], canvas[1]), left)
    return (slice(top, bottom), slice(left, right)), (slice(top - y, bottom - y), slice(left - x, right - x))


def add_shadow(rng: np.random.Generator, layers: Layers, alpha: np.ndarray, x: int, y: int) -> None:
    """A soft, shifted copy of the silhouette on what is behind: nets take hard shadows for people."""
    radius = int(rng.integers(1, max(2, alpha.shape[0] // 12) + 1))
    strength = rng.uniform(0.2, 0.75)
    soft = pictures.box_mean(np.ascontiguousarray(alpha), radius)
    shift = int(rng.uniform(-0.5, 0.5) * alpha.shape[1]), int(rng.uniform(-0.02, 0.15) * alpha.shape[0])
    inside, part = overlap(layers.truth.shape, alpha.shape, x + shift[0], y + shift[1])
    layers.picture[inside] *= 1 - strength * soft[part][..., None]


def add_occluder(rng: np.random.Generator, layers: Layers, texture: np.ndarray) -> None:
    """A thing before the people: a rectangle or an ellipse of another background, a table edge along the bottom."""
    height, width = layers.truth.shape
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
    if rng.random() < 0.5:
        shape = ys > height * rng.uniform(0.7, 0.95) + (xs - width / 2) * rng.uniform(-0.1, 0.1)
    else:
        centre, extent = (
            (rng.uniform(0, width), rng.uniform(0.3 * height, height)),
            (rng.uniform(0.03, 0.15) * width, rng.uniform(0.05, 0.3) * height),
        )
        dx, dy = np.abs(xs - centre[0]) / extent[0], np.abs(ys - centre[1]) / extent[1]
        shape = np.maximum(dx, dy) < 1 if rng.random() < 0.5 else dx**2 + dy**2 < 1
    a = pictures.box_mean(shape.astype(np.float32), 1)
    layers.picture += (texture * rng.uniform(0.5, 1.2) - layers.picture) * a[..., None]
    layers.truth *= 1 - a
    layers.teacher *= 1 - a


def procedural(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Walls, curtains, shelves and blobs: gradients, stripes, rectangles and noise of several sizes."""
    out = np.empty((height, width, 3), np.float32)
    corners = rng.uniform(0, 255, (2, 2, 3)).astype(np.uint8)
    out[:] = resize(corners, width, height)
    cells_across = int(rng.integers(3, 40))
    noise = rng.integers(0, 256, (max(2, cells_across * height // width), cells_across, 3), dtype=np.uint8)
    out += (resize(noise, width, height) - 128) * rng.uniform(0, 0.6)
    if rng.random() < 0.4:
        period, angle = rng.uniform(6, 80), rng.uniform(0, np.pi)
        ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
        out += (np.sin((xs * np.cos(angle) + ys * np.sin(angle)) * 2 * np.pi / period) * rng.uniform(5, 50))[..., None]
    for _ in range(int(rng.integers(0, 14))):
        left, top = int(rng.uniform(-0.2, 1) * width), int(rng.uniform(-0.2, 1) * height)
        right, bottom = left + int(rng.uniform(0.02, 0.5) * width), top + int(rng.uniform(0.02, 0.7) * height)
        out[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = rng.uniform(0, 255, 3)
    return np.clip(out, 0, 255)
