#!/usr/bin/env python3
"""Removes the remaining noise of the path tracer from a rendered background and saves it as JPEG.

Usage: finish_background.py IN.png OUT.jpg
IN is the output of `cargo run --release -p portraitd-scene --example render_background`. Needs numpy and pillow.

It is a bilateral filter. The range weights come from a smoothed copy, so that single bright pixels are removed too.
"""
import sys

import numpy as np
from PIL import Image, ImageFilter

RADIUS_PX, SPACE_PX, RANGE = 5, 2.5, 9.0

image = Image.open(sys.argv[1]).convert("RGB")
guide = np.asarray(image.filter(ImageFilter.MedianFilter(3)).filter(ImageFilter.GaussianBlur(0.8)), dtype=np.float32)
pixels = np.pad(np.asarray(image, dtype=np.float32), ((RADIUS_PX,) * 2, (RADIUS_PX,) * 2, (0, 0)), mode="edge")
padded = np.pad(guide, ((RADIUS_PX,) * 2, (RADIUS_PX,) * 2, (0, 0)), mode="edge")
height, width = guide.shape[:2]
total, weights = np.zeros_like(guide), np.zeros((height, width, 1), dtype=np.float32)
for dy in range(2 * RADIUS_PX + 1):
    for dx in range(2 * RADIUS_PX + 1):
        there = np.s_[dy : dy + height, dx : dx + width]
        space = ((dy - RADIUS_PX) ** 2 + (dx - RADIUS_PX) ** 2) / (2 * SPACE_PX**2)
        difference = ((padded[there] - guide) ** 2).sum(axis=2, keepdims=True) / (2 * RANGE**2)
        weight = np.exp(-space - difference)
        total += weight * pixels[there]
        weights += weight
out = Image.fromarray((total / weights + 0.5).clip(0, 255).astype(np.uint8))
out.save(sys.argv[2], quality=86, subsampling=2, optimize=True)
