"""How the daemon samples: exact area averages into the net, bilinear masks back, its window for a closer look.

The functions for one picture are those of `tests/reference/reference.py`, which defines them; this file adds the
sequence of passes of `portraitd-lab eval --closer N` (`Observer::segment_picture`, docs/design/attention.md), less
its scan of tiles when nobody is found.
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
MIN_SHARE_OF_MASK = 0.005
MIN_SHARE_OF_LARGEST = 0.15
BOX_QUANTILE = 0.02

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


def regions(mask: np.ndarray) -> list[tuple[float, float, float, float]]:
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
    sums = np.cumsum(np.bincount(positions, weights, minlength=size))
    start = int(np.searchsorted(sums, BOX_QUANTILE * sums[-1], side="right"))
    end = int(np.searchsorted(sums, (1 - BOX_QUANTILE) * sums[-1], side="left"))
    return float(start), float(end + 1)


def window_for(people: tuple[float, float, float, float], aspect: float) -> tuple[float, float, float, float] | None:
    """The window for a box of people, in fractions of the frame; None if the whole frame is to be seen again.

    `aspect`: (frame width / grid width) / (frame height / grid height)."""
    x, y, width, height = people
    x, width = x - width * MARGIN_X, width * (1 + 2 * MARGIN_X)
    y, height = y - height * MARGIN_Y, height * (1 + 2 * MARGIN_Y)
    x, y, width, height = _cut(x, y, width, height)
    stretch = aspect * width / height
    if stretch < 1 / MAX_STRETCH:
        wider = width / (stretch * MAX_STRETCH) - width
        x, width = x - wider / 2, width + wider
    elif stretch > MAX_STRETCH:
        higher = height * stretch / MAX_STRETCH - height
        y, height = y - higher / 2, height + higher
    width, height = min(width, 1.0), min(height, 1.0)
    x, y = min(max(x, 0.0), 1 - width), min(max(y, 0.0), 1 - height)
    return None if width * height >= FULL_FRAME_FROM else (x, y, width, height)


def _cut(x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
    left, top = max(x, 0.0), max(y, 0.0)
    return left, top, min(x + width, 1.0) - left, min(y + height, 1.0) - top


def segment(manifest: Manifest, net: Net, picture: np.ndarray, closer: int) -> np.ndarray:
    """The mask of RGB [height, width, 3] at its own size, f64: a pass over the whole frame, then up to `closer`
    passes over the window around the people that the last pass found. Outside the last window there is nobody."""
    height, width, _ = picture.shape
    grid = manifest.input
    seen = manifest.seen(height, width)
    small = net(preprocess(manifest, picture, seen))
    aspect = (width / grid["width"]) / (height / grid["height"])
    for _ in range(closer):
        boxes = []
        for left, top, box_width, box_height in regions(small):
            boxes.append(
                _cut(
                    (seen.x + left * seen.width) / width,
                    (seen.y + top * seen.height) / height,
                    box_width * seen.width / width,
                    box_height * seen.height / height,
                )
            )
        if not boxes:
            break
        left, top = min(box[0] for box in boxes), min(box[1] for box in boxes)
        right, bottom = max(box[0] + box[2] for box in boxes), max(box[1] + box[3] for box in boxes)
        window = window_for((left, top, right - left, bottom - top), aspect)
        if window is None:
            if seen == manifest.seen(height, width):
                break
            seen = manifest.seen(height, width)
        else:
            wanted = Rectangle(window[0] * width, window[1] * height, window[2] * width, window[3] * height)
            # A window that still fits stays, and its pass would repeat.
            if wanted == seen:
                break
            seen = wanted
        small = net(preprocess(manifest, picture, seen))
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
