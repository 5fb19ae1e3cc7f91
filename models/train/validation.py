"""The validation pictures, on the net's grid, and the figures on them that choose a blend.

Three sets, all of the validation split: `plain` (whole photographs, stretched), `wide` (a window around the person,
on the photograph in a 16:9 canvas: the daemon's second look), `mixed` (samples as in training, with every
condition). The truth places the window in `wide`: an ideal first look.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

import losses
import sampling
from data import Composer
from evaluate import on_wide_canvas
from pictures import open_pack
from teach import box_of

MIXED = 160
SEED = 20260


class Validation:
    """Tensors of the three sets. `count` limits each of them, for the smoke form."""

    def __init__(self, cache: Path, size: tuple[int, int], count: int | None = None) -> None:
        height, width = size
        found: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {"plain": [], "wide": [], "mixed": []}
        for photograph in open_pack(cache, "validation")[:count]:
            picture, truth = photograph.picture, photograph.truth
            whole = sampling.Rectangle(0, 0, truth.shape[1], truth.shape[0])
            found["plain"].append(self._pair(picture, truth, whole, height, width))
            picture, truth = on_wide_canvas(picture, True), on_wide_canvas(truth, False)
            box = box_of(truth >= 128)
            if box is not None:
                high, wide = truth.shape
                fractions = box.x / wide, box.y / high, box.width / wide, box.height / high
                window = sampling.window_for(fractions, (wide / width) / (high / height))
                seen = sampling.Rectangle(window[0] * wide, window[1] * high, window[2] * wide, window[3] * high)
                found["wide"].append(self._pair(picture, truth, seen, height, width))
        composer = Composer(cache, "validation", width, height, SEED)
        for index in range(min(count or MIXED, MIXED)):
            picture, masks = composer.sample(index)
            found["mixed"].append((picture, masks[..., 0]))
        self.sets = {
            name: tuple(np.stack(layer) for layer in zip(*pairs, strict=True)) for name, pairs in found.items()
        }

    @staticmethod
    def _pair(picture: np.ndarray, truth: np.ndarray, seen: sampling.Rectangle, height: int, width: int):
        small = np.rint(sampling.sampled(picture, seen, height, width)).astype(np.uint8)
        mask = np.rint(sampling.sampled(truth[..., None], seen, height, width)[..., 0]).astype(np.uint8)
        return small, mask

    def measure(self, net: nn.Module) -> dict[str, float]:
        """Mean IoU of each set, and their mean."""
        training = net.training
        net.eval()
        found = {}
        with torch.no_grad():
            for name, (pictures, masks) in self.sets.items():
                values = []
                for start in range(0, len(pictures), 16):
                    logits = net(to_tensor(pictures[start : start + 16]))
                    values.append(losses.ious(logits, to_tensor(masks[start : start + 16, ..., None])))
                found[name] = float(torch.cat(values).mean())
        net.train(training)
        return found | {"mean": float(np.mean(list(found.values())))}


def to_tensor(values: np.ndarray) -> torch.Tensor:
    """u8 [n, h, w, channels] to f32 [n, channels, h, w] in 0..=1, channels last in memory: twice as fast on a CPU."""
    return (
        torch.from_numpy(np.ascontiguousarray(values))
        .permute(0, 3, 1, 2)
        .to(torch.float32, memory_format=torch.channels_last)
        .div_(255)
    )
