#!/usr/bin/env python3
"""Prove a converted network: every tensor of the ONNX file against the same tensor in LiteRT.

    prove.py NETWORK.tflite NETWORK.onnx --pictures DIR [--pictures DIR ...] [--count N]

The original runs in LiteRT (which has MediaPipe's custom operator, through XNNPACK) with all tensors kept,
the conversion in ONNX Runtime with all graph optimisation off, so that both compute and show every tensor.
A tensor that LiteRT had fused away or overwritten would hold something else and fail here; none may be skipped.

Passes when, on every picture, for each tensor the greatest |difference| is at most 1e-4 x max(1, greatest
|value| in LiteRT). The output is a probability, so for it that is 1e-4 outright. The factor matters only
for the few tensors before the last sigmoid, which reach the hundreds, where f32 itself is this coarse.

Exit code: 0 proved, 1 not.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from convert import LINEAR, OUTPUTS
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

TOLERANCE = 1e-4
MINIMUM_PICTURES = 3


def read_picture(path: Path, height: int, width: int) -> np.ndarray:
    """RGB in 0..=1, [1, height, width, 3]. Only has to be the same for both runtimes."""
    picture = Image.open(path).convert("RGB").resize((width, height), Image.Resampling.BOX)
    return np.asarray(picture, np.float32)[np.newaxis] / 255


def run_litert(source: Path, pictures: Iterable[np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    """All tensors by name, one dictionary a picture (25 to 45 MB, so they are not collected). Four-dimensional ones are turned from NHWC to NCHW."""
    with warnings.catch_warnings():
        # It warns that keeping all tensors takes memory.
        warnings.simplefilter("ignore")
        interpreter = Interpreter(str(source), num_threads=1, experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    (entry,) = interpreter.get_input_details()
    for picture in pictures:
        interpreter.set_tensor(entry["index"], picture)
        interpreter.invoke()
        values = {}
        for detail in interpreter.get_tensor_details():
            # A sparse constant has four axes, and its values are in one.
            if len(detail["shape"]) == 4 and not detail["sparsity_parameters"]:
                values[detail["name"]] = interpreter.get_tensor(detail["index"]).transpose(0, 3, 1, 2)
        yield values


def run_onnx(model: onnx.ModelProto, pictures: Iterable[np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    """All tensors that nodes write, by name, NCHW, one dictionary a picture."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    shown.graph.output.extend(shown.graph.value_info)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(shown.SerializeToString(), options, ["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    names = [output.name for output in session.get_outputs()]
    for picture in pictures:
        yield dict(zip(names, session.run(names, {entry.name: picture.transpose(0, 3, 1, 2)}), strict=True))


def differences(
    source: Path, model: onnx.ModelProto, pictures: list[np.ndarray]
) -> list[tuple[onnx.NodeProto, float, float]]:
    """For each node whose tensor LiteRT has as well: (node, greatest |difference|, greatest |value| in LiteRT), over all
    pictures, in order."""
    nodes = [node for node in model.graph.node if not node.name.endswith(LINEAR) and node.name != OUTPUTS]
    worst = np.zeros((len(nodes), 2))
    for expected, actual in zip(run_litert(source, pictures), run_onnx(model, pictures), strict=True):
        for row, node in zip(worst, nodes, strict=True):
            one, other = expected[node.output[0]], actual[node.output[0]]
            if one.shape != other.shape:
                raise SystemExit(f"prove.py: {node.name}: shape {one.shape} in LiteRT, {other.shape} in ONNX")
            # NumPy's maximum keeps a NaN, so that it fails below.
            np.maximum(row, [np.abs(one - other).max(), np.abs(one).max()], out=row)
    return [(node, *map(float, row)) for node, row in zip(nodes, worst, strict=True)]


def passes(difference: float, magnitude: float) -> bool:
    return difference <= TOLERANCE * max(1.0, magnitude)


def groups(model: onnx.ModelProto) -> list[tuple[str, int, int]]:
    """(kind, group, nodes) of all convolutions, each held to `group x inputs a group = channels of its input`."""
    shapes = {
        info.name: [extent.dim_value for extent in info.type.tensor_type.shape.dim]
        for info in [*model.graph.value_info, *model.graph.input, *model.graph.output]
    }
    kernels = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    counts: dict[tuple[str, int], int] = {}
    for node in model.graph.node:
        if node.op_type not in ("Conv", "ConvTranspose"):
            continue
        (group,) = [attribute.i for attribute in node.attribute if attribute.name == "group"]
        kernel = kernels[node.input[1]]
        channels_in, channels_out = shapes[node.input[0]][1], shapes[node.output[0]][1]
        if node.op_type == "Conv":
            agrees = kernel[0] == channels_out and kernel[1] * group == channels_in
        else:
            agrees = kernel[0] == channels_in and kernel[1] * group == channels_out
        if not agrees:
            raise SystemExit(f"prove.py: {node.name}: kernel {kernel}, group {group}, {channels_in} -> {channels_out}")
        counts[node.op_type, group] = counts.get((node.op_type, group), 0) + 1
    return [(kind, group, count) for (kind, group), count in sorted(counts.items())]


def assert_can_fail(source: Path, model: onnx.ModelProto, picture: np.ndarray) -> None:
    """The proof is worth something only if it sees the classic mistake: SAME padding on the wrong side; or, where the
    first layer is padded evenly, none above and to the left."""
    broken = onnx.ModelProto()
    broken.CopyFrom(model)
    first = next(node for node in broken.graph.node if node.op_type == "Conv")
    (pads,) = [attribute for attribute in first.attribute if attribute.name == "pads"]
    top, left, bottom, right = pads.ints
    if not any(pads.ints):
        raise SystemExit(f"prove.py: {first.name} has no padding, expected some in the first layer")
    pads.ints[:] = [bottom, right, top, left] if (top, left) != (bottom, right) else [0, 0, 2 * top, 2 * left]
    _, difference, magnitude = differences(source, broken, [picture])[0]
    if passes(difference, magnitude):
        raise SystemExit("prove.py: the comparison accepts a shifted first layer, so it proves nothing")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="the original, in TFLite form")
    parser.add_argument("model", type=Path, help="the conversion, ONNX")
    parser.add_argument("--pictures", type=Path, action="append", required=True, help="folder of *.jpg; may be repeated")
    parser.add_argument("--count", type=int, default=8, help="at most this many pictures a folder (default 8)")
    arguments = parser.parse_args()

    paths = [path for folder in arguments.pictures for path in sorted(folder.glob("*.jpg"))[: arguments.count]]
    if len(paths) < MINIMUM_PICTURES:
        raise SystemExit(f"prove.py: {len(paths)} pictures, expected at least {MINIMUM_PICTURES}")
    model = onnx.load(arguments.model)
    height, width = (extent.dim_value for extent in model.graph.input[0].type.tensor_type.shape.dim[2:])
    pictures = [read_picture(path, height, width) for path in paths]
    assert_can_fail(arguments.source, model, pictures[0])
    rows = differences(arguments.source, model, pictures)

    print(f"{arguments.model.name} against LiteRT, {len(paths)} pictures, {len(rows)} tensors")
    print(f"{'tensor':32} {'operator':18} {'max |difference|':>16} {'max |value|':>12}")
    failed = []
    for node, difference, magnitude in rows:
        verdict = "" if passes(difference, magnitude) else "  FAILED"
        print(f"{node.name:32} {node.op_type:18} {difference:16.2e} {magnitude:12.3f}{verdict}")
        if verdict:
            failed.append(node.name)
    for kind, group, count in groups(model):
        print(f"{count} x {kind} with group {group}")
    worst_node, worst, scale = max(rows, key=lambda row: row[1] / max(1.0, row[2]))
    print(f"worst: {worst_node.name}, {worst:.2e} of {scale:.1f}; output: {rows[-1][1]:.2e}")
    if failed:
        raise SystemExit(f"prove.py: {len(failed)} tensors differ, the first is {failed[0]}")


if __name__ == "__main__":
    main()
