"""Writes a plain U-Net of quarter width at 256x256 with random weights, and its manifest.

It is the kind of net with which the project began: four levels of two 3x3 convolutions with ReLU,
max-pooling on the way down, 2x2 transposed convolution and concatenation on the way up, and a 1x1
convolution with sigmoid at the end.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE = 256
WIDTHS = [16, 32, 64, 128]


def write(folder: Path) -> Path:
    """Writes unet.onnx and unet.toml into `folder` and returns the path of the manifest. The files are reproducible."""
    rng = np.random.default_rng(1)
    nodes, weights = [], []
    parameters = work = 0

    def constant(name: str, values: np.ndarray) -> str:
        nonlocal parameters
        parameters += values.size
        weights.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def conv(name: str, of: str, inputs: int, outputs: int, side: int, kernel: int = 3, relu: bool = True) -> str:
        nonlocal work
        scale = np.sqrt(2 / (inputs * kernel * kernel))
        kernel_name = constant(f"{name}.weight", rng.normal(0, scale, (outputs, inputs, kernel, kernel)))
        bias = constant(f"{name}.bias", rng.normal(0, 0.05, outputs))
        work += inputs * outputs * kernel * kernel * side * side
        nodes.append(
            helper.make_node("Conv", [of, kernel_name, bias], [name], name, kernel_shape=[kernel] * 2, pads=[kernel // 2] * 4)
        )
        if relu:
            nodes.append(helper.make_node("Relu", [name], [f"{name}.relu"], f"{name}.relu"))
        return f"{name}.relu" if relu else name

    def double(name: str, of: str, inputs: int, outputs: int, side: int) -> str:
        return conv(f"{name}.b", conv(f"{name}.a", of, inputs, outputs, side), outputs, outputs, side)

    at, channels, side, skips = "input", 3, SIDE, []
    for level, width in enumerate(WIDTHS):
        at, channels = double(f"down{level}", at, channels, width, side), width
        if level + 1 < len(WIDTHS):
            skips.append((at, width, side))
            nodes.append(helper.make_node("MaxPool", [at], [f"pool{level}"], f"pool{level}", kernel_shape=[2, 2], strides=[2, 2]))
            at, side = f"pool{level}", side // 2
    for level, (skip, width, side) in reversed(list(enumerate(skips))):
        kernel = constant(f"up{level}.weight", rng.normal(0, np.sqrt(1 / channels), (channels, width, 2, 2)))
        bias = constant(f"up{level}.bias", rng.normal(0, 0.05, width))
        work += channels * width * side * side
        nodes.append(helper.make_node("ConvTranspose", [at, kernel, bias], [f"up{level}"], f"up{level}", kernel_shape=[2, 2], strides=[2, 2]))
        nodes.append(helper.make_node("Concat", [f"up{level}", skip], [f"cat{level}"], f"cat{level}", axis=1))
        at, channels = double(f"merge{level}", f"cat{level}", 2 * width, width, side), width
    at = conv("head", at, channels, 1, SIDE, kernel=1, relu=False)
    nodes.append(helper.make_node("Sigmoid", [at], ["mask"], "mask"))
    shape = lambda name, planes: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, planes, SIDE, SIDE])
    graph = helper.make_graph(nodes, "unet", [shape("input", 3)], [shape("mask", 1)], weights)
    model = helper.make_model(graph, producer_name="portraitd benches/peers", ir_version=8, opset_imports=[helper.make_opsetid("", 14)])
    onnx.checker.check_model(model)
    data = model.SerializeToString(deterministic=True)
    (folder / "unet.onnx").write_bytes(data)
    (folder / "unet.toml").write_text(
        f"""name = "unet"
title = "U-Net of quarter width, random weights ({parameters} parameters, {work} multiply-adds)"
file = "unet.onnx"
sha256 = "{hashlib.sha256(data).hexdigest()}"
licence = "CC0-1.0"
source = "benches/peers/unet.py"
card = "unet.py"

[input]
width = {SIDE}
height = {SIDE}
layout = "nchw"
color_order = "rgb"
mean = [0.0, 0.0, 0.0]
std = [1.0, 1.0, 1.0]
fit = "stretch"

[output]
layout = "nchw"
channels = 1
activation = "none"
person_channel = 0

[scope]
max_distance_m = 1.0
min_person_height = 1.0
people = "none: its weights are random"
out_of_scope = ["everything but measurements"]
"""
    )
    return folder / "unet.toml"
