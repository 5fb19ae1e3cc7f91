"""How the daemon samples: exact area averages into the net, bilinear masks back, its window for a closer look.

The functions for one picture are those of `tests/reference/reference.py`, which defines them; this file adds the
sequence of passes of `portraitd-lab eval --closer N` (`Observer::segment_picture`, docs/design/attention.md), but for
a window that moves while it keeps its size.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "reference"))
from reference import (  # noqa: E402, F401
    Manifest,
    Rectangle,
    area_weights,
    bilinear_weights,
    full_size,
    iou,
    preprocess,
    probability,
    read_grey,
    read_rgb,
    session,
)

MARGIN_X, MARGIN_Y = 0.3, 0.2
MAX_STRETCH = 3.0
FULL_FRAME_FROM = 0.75
MIN_MARGIN = 0.35
MAX_SLACK = 1.6
TILES = (
    (0.2, 0.25, 0.6, 0.75),
    (0.0, 0.25, 0.6, 0.75),
    (0.4, 0.25, 0.6, 0.75),
    (0.25, 0.0, 0.5, 0.6),
    (0.0, 0.0, 0.5, 0.6),
    (0.5, 0.0, 0.5, 0.6),
)
"""Parts of the frame in which people are sought."""
MIN_SHARE_OF_MASK = 0.005
MIN_SHARE_OF_LARGEST = 0.15
BOX_QUANTILE = 0.02

Box = tuple[float, float, float, float]
"""x, y, width, height in fractions of the frame."""

Net = Callable[[np.ndarray], np.ndarray]
"""From the input tensor to the mask, f64 [net height, net width] in 0..=1."""


def net_of(manifest: Manifest, model: str | bytes | None = None) -> Net:
    """The manifest's net, or `model` in its place, on one thread of ONNX Runtime."""
    runtime = session(model if model is not None else str(manifest.onnx))
    entry = runtime.get_inputs()[0].name
    return lambda tensor: probability(manifest, runtime.run(None, {entry: tensor})[0])


def components(mask: np.ndarray) -> list[np.ndarray]:
    """The 8-connected parts of a boolean mask, as index arrays [n, 2] (y, x), by runs and union-find."""
    runs, parent, previous = [], [], []
    for y, row in enumerate(mask):
        steps = np.flatnonzero(np.diff(np.concatenate(([False], row, [False]))))
        current = []
        for start, end in zip(steps[::2], steps[1::2], strict=True):
            label = len(parent)
            parent.append(label)
            for other, other_start, other_end in previous:
                if start <= other_end and other_start <= end:
                    a, b = _root(parent, label), _root(parent, other)
                    parent[max(a, b)] = min(a, b)
            current.append((label, start, end))
            runs.append((label, y, start, end))
        previous = current
    parts: dict[int, list[np.ndarray]] = {}
    for label, y, start, end in runs:
        columns = np.arange(start, end)
        parts.setdefault(_root(parent, label), []).append(np.stack([np.full_like(columns, y), columns], axis=1))
    return [np.concatenate(part) for part in parts.values()]


def _root(parent: list[int], label: int) -> int:
    while parent[label] != label:
        label = parent[label]
    return label


def regions(mask: np.ndarray) -> list[Box]:
    """Boxes (x, y, width, height) of people, in fractions of the mask: components large enough, each box without the
    outer 2 % of the component's probability on each side."""
    parts = [part for part in components(mask >= 0.5) if len(part) >= MIN_SHARE_OF_MASK * mask.size]
    if not parts:
        return []
    largest = max(len(part) for part in parts)
    boxes = []
    for part in parts:
        if len(part) < MIN_SHARE_OF_LARGEST * largest:
            continue
        weights = mask[part[:, 0], part[:, 1]]
        (top, bottom), (left, right) = (_extent(part[:, axis], weights, mask.shape[axis]) for axis in (0, 1))
        height, width = mask.shape
        boxes.append((left / width, top / height, (right - left) / width, (bottom - top) / height))
    return boxes


def _extent(positions: np.ndarray, weights: np.ndarray, size: int) -> tuple[float, float]:
    sums = np.bincount(positions, weights, minlength=size)
    before = np.cumsum(sums)
    ends = []
    for share in (BOX_QUANTILE, 1 - BOX_QUANTILE):
        target = share * before[-1]
        place = min(int(np.searchsorted(before, target, side="left")), size - 1)
        ends.append(place + 1 - (before[place] - target) / sums[place])
    return ends[0], ends[1]


def window_for(people: Box, aspect: float) -> Box:
    """The window for a box of people, in fractions of the frame.

    `aspect`: (frame width / grid width) / (frame height / grid height)."""
    x, y, width, height = _expanded(people, people[2] * MARGIN_X, people[3] * MARGIN_Y)
    stretch = aspect * width / height
    if stretch < 1 / MAX_STRETCH:
        x, y, width, height = _expanded((x, y, width, height), (width / (stretch * MAX_STRETCH) - width) / 2, 0)
    elif stretch > MAX_STRETCH:
        x, y, width, height = _expanded((x, y, width, height), 0, (height * stretch / MAX_STRETCH - height) / 2)
    width, height = min(width, 1.0), min(height, 1.0)
    return min(max(x, 0.0), 1 - width), min(max(y, 0.0), 1 - height), width, height


def _expanded(box: Box, x: float, y: float) -> Box:
    return box[0] - x, box[1] - y, box[2] + 2 * x, box[3] + 2 * y


def _cut(box: Box) -> Box:
    left, top = max(box[0], 0.0), max(box[1], 0.0)
    return left, top, min(box[0] + box[2], 1.0) - left, min(box[1] + box[3], 1.0) - top


def _still_fits(window: Box, people: Box, wanted: Box) -> bool:
    """Whether a window may stay for people who are now in the box `people`."""
    x, y, width, height = _cut(_expanded(people, people[2] * MARGIN_X * MIN_MARGIN, people[3] * MARGIN_Y * MIN_MARGIN))
    inside = (
        x >= window[0] and y >= window[1] and x + width <= window[0] + window[2] and y + height <= window[1] + window[3]
    )
    return inside and window[2] * window[3] <= MAX_SLACK * wanted[2] * wanted[3]


def segment(manifest: Manifest, net: Net, picture: np.ndarray, closer: int) -> np.ndarray:
    """The mask of RGB [height, width, 3] at its own size, f64: a pass over the whole frame, then up to `closer`
    passes over the window around the people that the last pass found. Where nobody is found, six tiles are looked
    at before. Outside what the last pass saw there is nobody."""
    height, width, _ = picture.shape
    aspect = (width / manifest.input["width"]) / (height / manifest.input["height"])
    whole = manifest.seen(height, width)

    def look(seen: Rectangle) -> tuple[np.ndarray, Box | None]:
        """The mask of a pass, and the box around all people in it, in fractions of the frame."""
        small = net(preprocess(manifest, picture, seen))
        boxes = []
        for x, y, across, down in regions(small):
            left, top = (seen.x + x * seen.width) / width, (seen.y + y * seen.height) / height
            boxes.append(_cut((left, top, across * seen.width / width, down * seen.height / height)))
        if not boxes:
            return small, None
        left, top = min(box[0] for box in boxes), min(box[1] for box in boxes)
        right, bottom = max(box[0] + box[2] for box in boxes), max(box[1] + box[3] for box in boxes)
        return small, (left, top, right - left, bottom - top)

    seen, window, tiles = whole, None, list(TILES) if closer else []
    small, people = look(seen)
    while closer or tiles:
        if people is None:
            if not tiles:
                break
            part, window = tiles.pop(0), None
        else:
            wanted = window_for(people, aspect)
            if wanted[2] * wanted[3] >= FULL_FRAME_FROM or not closer:
                break
            part = window = window if window and _still_fits(window, people, wanted) else wanted
            closer -= 1
        seen = Rectangle(part[0] * width, part[1] * height, part[2] * width, part[3] * height)
        small, people = look(seen)
    if people is None and seen != whole:
        seen = whole
        small, _ = look(whole)
    mask = full_size(manifest, small, height, width, seen)
    rows, columns = np.arange(height) + 0.5, np.arange(width) + 0.5
    mask[(rows < seen.y) | (rows > seen.y + seen.height)] = 0
    mask[:, (columns < seen.x) | (columns > seen.x + seen.width)] = 0
    return mask


def sampled(picture: np.ndarray, seen: Rectangle, height: int, width: int) -> np.ndarray:
    """The rectangle `seen` of [picture height, picture width, channels], borders replicated, averaged by area onto
    height x width cells; f64 [height, width, channels], the values in the picture's own unit."""
    rows = area_weights(seen.y, seen.height, height, picture.shape[0])
    columns = area_weights(seen.x, seen.width, width, picture.shape[1])
    small = np.einsum("iy,yxc->ixc", rows, picture.astype(np.float64), optimize=True)
    return np.einsum("jx,ixc->ijc", columns, small, optimize=True)
