"""What light, lens and link do to a picture: at random for training, at fixed strengths for evaluation.

Pictures are f32 [height, width, 3] in 0..=255, masks f32 [height, width] in 0..=1.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image

from pictures import box_mean, to_bytes


def dark(picture: np.ndarray, gain: float, rng: np.random.Generator) -> np.ndarray:
    """Less light before the sensor: the signal falls, and the noise of a webcam's gain (3 levels and a part of the
    signal's root) stays."""
    return noise(picture * gain, 3.0, rng, shot=0.25)


def noise(picture: np.ndarray, sigma: float, rng: np.random.Generator, shot: float = 0.0) -> np.ndarray:
    """Gaussian noise of `sigma` levels, and `shot` times the root of the level."""
    level = sigma + shot * np.sqrt(np.maximum(picture, 0)) if shot else np.float32(sigma)
    return np.clip(picture + rng.standard_normal(picture.shape, dtype=np.float32) * level, 0, 255)


def blur(picture: np.ndarray, radius: int) -> np.ndarray:
    """Out of focus: two box means of `radius` pixels."""
    return box_mean(box_mean(picture, radius), radius)


def motion_blur(picture: np.ndarray, length: int) -> np.ndarray:
    """Along the rows, `length` pixels, borders replicated."""
    padded = np.pad(picture, ((0, 0), (length // 2, length - 1 - length // 2), (0, 0)), mode="edge")
    sums = np.cumsum(np.pad(padded, ((0, 0), (1, 0), (0, 0))), axis=1)
    return (sums[:, length:] - sums[:, :-length]) / np.float32(length)


def across(
    change: Callable[[np.ndarray, int], np.ndarray], picture: np.ndarray, length: int
) -> np.ndarray:
    """A change that works along the rows, along the columns."""
    return change(picture.transpose(1, 0, 2), length).transpose(1, 0, 2)


def grey(picture: np.ndarray) -> np.ndarray:
    """Luma of BT.601 in all three channels."""
    luma = picture @ np.array([0.299, 0.587, 0.114], np.float32)
    return np.repeat(luma[..., None], 3, axis=2)


def jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(to_bytes(picture)).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file), dtype=np.float32)


def rotate(layer: np.ndarray, degrees: float) -> np.ndarray:
    """Rotated about the centre, size kept, borders replicated; u8 or f32 of 0..=255 in, f32 out."""
    height, width = layer.shape[:2]
    pad = int(np.hypot(height, width) / 2 - min(height, width) / 2) + 2
    padded = np.pad(to_bytes(layer), ((pad, pad), (pad, pad), *([(0, 0)] * (layer.ndim - 2))), mode="edge")
    turned = Image.fromarray(padded).rotate(degrees, Image.Resampling.BILINEAR)
    return np.asarray(turned, dtype=np.float32)[pad : pad + height, pad : pad + width]


def apply_random(
    rng: np.random.Generator, picture: np.ndarray, truth: np.ndarray, teacher: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each condition at random; nearly half of all pictures stay as they are but for a little colour and noise."""
    if rng.random() < 0.2:
        degrees = rng.uniform(-25, 25)
        # The masks' borders are replicated as well: that is what the picture shows there.
        picture, truth, teacher = (
            rotate(picture, degrees),
            rotate(truth * 255, degrees) / 255,
            rotate(teacher * 255, degrees) / 255,
        )
    picture = picture * rng.uniform(0.85, 1.15, 3).astype(np.float32)
    if rng.random() < 0.15:
        picture = 255 * np.clip(picture / 255, 0, 1) ** rng.uniform(0.6, 1.6)
    if rng.random() < 0.12:
        # Against a window: a bright gradient over the picture.
        ramp = np.linspace(rng.uniform(0, 1), rng.uniform(0, 1), picture.shape[1], dtype=np.float32)[None, :, None]
        picture = picture + ramp * rng.uniform(40, 140)
    if rng.random() < 0.08:
        picture = grey(picture)
    if rng.random() < 0.12:
        picture = blur(picture, int(rng.integers(1, 5)))
    elif rng.random() < 0.08:
        length = int(rng.integers(3, 25))
        # People move sideways more than up and down.
        picture = across(motion_blur, picture, length) if rng.random() < 0.25 else motion_blur(picture, length)
    if rng.random() < 0.15:
        picture = dark(picture, np.exp(rng.uniform(np.log(0.06), np.log(0.6))), rng)
    elif rng.random() < 0.3:
        picture = noise(picture, rng.uniform(1, 18), rng)
    if rng.random() < 0.2:
        picture = jpeg(picture, int(rng.integers(8, 70)))
    return np.clip(picture, 0, 255), truth, teacher
