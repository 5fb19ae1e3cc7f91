#!/usr/bin/env python3
"""Convert a segmentation network from TFLite to ONNX (f32, NCHW): MediaPipe's selfie nets, DeepLabV3 on MobileNetV2.

    convert.py NETWORK.tflite NETWORK.onnx [--expect-sha256 HEX]

TFLite keeps pictures NHWC and its weights f16 behind DEQUANTIZE; the ONNX file keeps pictures NCHW and
its weights f32 (each f16 value is exactly representable). Nothing else changes: one ONNX node for each
TFLite operator that computes something, in the same order, each named after the TFLite tensor it writes,
so that `prove.py` and `portraitd-lab layers` can compare the two tensor by tensor. An activation that TFLite has
fused into an operator becomes a node of its own; the node before it, `NAME/linear`, has no counterpart in TFLite.

Anything that this converter was not proved on (another operator, another fused activation, a depth multiplier)
is an error and never a guess: a wrong mask is worse than no model.

The output has no time stamps and no dictionary order in it: the same input gives the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import Any, Callable

import numpy as np
import onnx
import tflite
from onnx import TensorProto, helper, numpy_helper

# HardSwish needs opset 14; nothing here needs a later one. IR 8 belongs to opset 15 and is read by every
# runtime of the last years.
OPSET = 14
IR_VERSION = 8
PRODUCER = "portraitd models/convert"

# tflite.Padding and TfLitePadding number the same two ideas differently: the first is in builtin options,
# the second in the custom operator's options.
CUSTOM_PADDING_SAME = 1

RELU, RELU6 = tflite.ActivationFunctionType.RELU, tflite.ActivationFunctionType.RELU6
LINEAR = "/linear"
"""Ends the name of a node whose activation TFLite has fused into it."""
NOT_WEIGHTS = ("/Scales", "/Sizes", "/Low", "/High")
"""End the names of constants that are no weights."""

BUILTIN_NAMES = {value: name for name, value in vars(tflite.BuiltinOperator).items() if isinstance(value, int)}
NUMPY_TYPES = {
    tflite.TensorType.FLOAT32: np.dtype("<f4"),
    tflite.TensorType.FLOAT16: np.dtype("<f2"),
    tflite.TensorType.INT32: np.dtype("<i4"),
}


class ConversionError(Exception):
    """The network holds something that this converter does not know."""


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """(before, after) in pixels of TFLite's SAME padding along one axis.

    With stride 2 and an even size the sum is odd and the extra pixel goes *after*; a converter that splits
    it the other way, or evenly, shifts the mask by a pixel at every such layer.
    """
    outputs = -(-size // stride)
    total = max((outputs - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class Operator:
    """One TFLite operator: its name, its tensors by index, and its options."""

    def __init__(self, model: tflite.Model, op: tflite.Operator) -> None:
        code = model.OperatorCodes(op.OpcodeIndex())
        # Codes above 127 are only in the new field, older files only fill the old one.
        self.kind: str = BUILTIN_NAMES[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        if self.kind == "CUSTOM":
            self.kind = code.CustomCode().decode()
        self.inputs = [int(index) for index in op.InputsAsNumpy()]
        outputs = [int(index) for index in op.OutputsAsNumpy()]
        if len(outputs) != 1:
            raise ConversionError(f"{self.kind} writes {len(outputs)} tensors, expected 1")
        self.output = outputs[0]
        self._table = op.BuiltinOptions()
        self.custom_options = op.CustomOptionsAsNumpy().tobytes() if op.CustomOptionsLength() else b""

    def options(self, cls: type, activations: tuple[int, ...] = ()) -> Any:
        """The operator's builtin options read as `cls`, refused where an activation other than `activations` is
        fused into it."""
        if self._table is None:
            raise ConversionError(f"{self.kind} has no options")
        options = cls()
        options.Init(self._table.Bytes, self._table.Pos)
        fused = getattr(options, "FusedActivationFunction", None)
        if fused is not None and fused() not in (tflite.ActivationFunctionType.NONE, *activations):
            raise ConversionError(f"{self.kind} has a fused activation")
        return options


class Converter:
    """Walks a TFLite graph in its stored (topological) order and collects ONNX nodes."""

    def __init__(self, flatbuffer: bytes) -> None:
        self.model = tflite.Model.GetRootAs(flatbuffer, 0)
        if self.model.SubgraphsLength() != 1:
            raise ConversionError("expected one subgraph")
        self.graph = self.model.Subgraphs(0)
        self.constants: dict[int, np.ndarray] = {}
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.shapes: list[onnx.ValueInfoProto] = []
        self._used_names: set[str] = set()
        self._rules: dict[str, Callable[[Operator], None]] = {
            "DEQUANTIZE": self._dequantize,
            "CONV_2D": self._conv,
            "DEPTHWISE_CONV_2D": self._depthwise,
            "HARD_SWISH": lambda op: self._unary(op, "HardSwish"),
            "RELU": lambda op: self._unary(op, "Relu"),
            "LOGISTIC": lambda op: self._unary(op, "Sigmoid"),
            "ADD": lambda op: self._binary(op, "Add", tflite.AddOptions),
            "MUL": lambda op: self._binary(op, "Mul", tflite.MulOptions),
            "MEAN": self._mean,
            "AVERAGE_POOL_2D": self._average_pool,
            "RESIZE_BILINEAR": self._resize,
            "CONCATENATION": self._concatenate,
            "Convolution2DTransposeBias": self._transposed_conv,
        }

    # Tensors -------------------------------------------------------------------------------------------

    def name(self, index: int) -> str:
        return self.graph.Tensors(index).Name().decode()

    def nhwc(self, index: int) -> tuple[int, int, int, int]:
        """The shape of a picture-like tensor as (batch, height, width, channels)."""
        shape = tuple(int(extent) for extent in self.graph.Tensors(index).ShapeAsNumpy())
        if len(shape) != 4 or shape[0] != 1:
            raise ConversionError(f"{self.name(index)}: shape {shape}, expected [1, height, width, channels]")
        return shape  # type: ignore[return-value]

    def value_info(self, index: int) -> onnx.ValueInfoProto:
        batch, height, width, channels = self.nhwc(index)
        return helper.make_tensor_value_info(
            self.name(index), TensorProto.FLOAT, [batch, channels, height, width]
        )

    def constant(self, index: int) -> np.ndarray:
        """The value of a constant tensor: stored in the file, or what a DEQUANTIZE made of one."""
        if index not in self.constants:
            tensor = self.graph.Tensors(index)
            buffer = self.model.Buffers(tensor.Buffer())
            if not buffer.DataLength():
                raise ConversionError(f"{self.name(index)} is not a constant")
            data = buffer.DataAsNumpy().tobytes()
            shape = tuple(tensor.ShapeAsNumpy())
            self.constants[index] = np.frombuffer(data, NUMPY_TYPES[tensor.Type()]).reshape(shape)
        return self.constants[index]

    # Emitting ------------------------------------------------------------------------------------------

    def _initializer(self, name: str, value: np.ndarray) -> str:
        if name in self._used_names:
            raise ConversionError(f"two constants named {name}")
        self._used_names.add(name)
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def _emit(self, op: Operator, onnx_kind: str, inputs: list[str], activation: int = 0, **attributes: Any) -> None:
        """Add the node that computes `op`'s output, and one for its activation; node and tensor share the TFLite
        tensor's name."""
        name, info = self.name(op.output), self.value_info(op.output)
        if activation:
            linear = onnx.ValueInfoProto()
            linear.CopyFrom(info)
            linear.name = name + LINEAR
            self.nodes.append(helper.make_node(onnx_kind, inputs, [linear.name], name=linear.name, **attributes))
            self.shapes.append(linear)
            onnx_kind, inputs, attributes = "Relu", [linear.name], {}
            if activation == RELU6:
                limits = [("Low", 0), ("High", 6)]
                inputs += [self._initializer(f"{name}/{end}", np.array(value, "<f4")) for end, value in limits]
                onnx_kind = "Clip"
        self.nodes.append(helper.make_node(onnx_kind, inputs, [name], name=name, **attributes))
        self.shapes.append(info)

    # Rules, one a TFLite operator ----------------------------------------------------------------------

    def _dequantize(self, op: Operator) -> None:
        half = self.constant(op.inputs[0])
        if half.dtype != np.dtype("<f2"):
            raise ConversionError(f"{self.name(op.output)}: DEQUANTIZE of {half.dtype}, expected f16")
        self.constants[op.output] = half.astype("<f4")

    def _weights(self, op: Operator) -> tuple[np.ndarray, list[str]]:
        """The kernel, and the node's inputs: picture, kernel name, bias name (the bias is stored here)."""
        picture, kernel, bias = op.inputs
        kernel_name = self.name(kernel).removesuffix("_dequantize")
        bias_name = self.name(bias).removesuffix("_dequantize")
        self._initializer(bias_name, self.constant(bias))
        return self.constant(kernel), [self.name(picture), kernel_name, bias_name]

    def _convolve(self, op: Operator, options: Any, kernel: np.ndarray, inputs: list[str], group: int) -> None:
        """`kernel` in ONNX order: [outputs, inputs / group, height, width]."""
        _, height, width, channels = self.nhwc(op.inputs[0])
        _, out_height, out_width, out_channels = self.nhwc(op.output)
        outputs, inputs_a_group, kernel_height, kernel_width = kernel.shape
        # The project's first bug was a group count lost in conversion: hold both sides of its equation.
        if outputs != out_channels or inputs_a_group * group != channels or outputs % group:
            raise ConversionError(
                f"{self.name(op.output)}: kernel {kernel.shape}, group {group}, {channels} -> {out_channels} channels"
            )
        stride_y, stride_x = options.StrideH(), options.StrideW()
        dilations = [options.DilationHFactor(), options.DilationWFactor()]
        # What a window covers, with the pixels that a dilation skips.
        covered_y, covered_x = dilations[0] * (kernel_height - 1) + 1, dilations[1] * (kernel_width - 1) + 1
        pad_y = pad_x = (0, 0)
        if options.Padding() == tflite.Padding.SAME:
            pad_y = same_padding(height, covered_y, stride_y)
            pad_x = same_padding(width, covered_x, stride_x)
        expected = (
            (height + sum(pad_y) - covered_y) // stride_y + 1,
            (width + sum(pad_x) - covered_x) // stride_x + 1,
        )
        if expected != (out_height, out_width):
            raise ConversionError(
                f"{self.name(op.output)}: {expected} by arithmetic, {(out_height, out_width)} in the file"
            )
        self._initializer(inputs[1], kernel)
        self._emit(
            op, "Conv", inputs, options.FusedActivationFunction(),
            group=group,
            **({"dilations": dilations} if dilations != [1, 1] else {}),
            kernel_shape=[kernel_height, kernel_width],
            strides=[stride_y, stride_x],
            pads=[pad_y[0], pad_x[0], pad_y[1], pad_x[1]],
        )

    def _conv(self, op: Operator) -> None:
        kernel, inputs = self._weights(op)  # [outputs, height, width, inputs]
        self._convolve(op, op.options(tflite.Conv2DOptions, (RELU, RELU6)), kernel.transpose(0, 3, 1, 2), inputs, group=1)

    def _depthwise(self, op: Operator) -> None:
        kernel, inputs = self._weights(op)  # [1, height, width, channels x multiplier]
        options = op.options(tflite.DepthwiseConv2DOptions, (RELU, RELU6))
        if options.DepthMultiplier() != 1:
            raise ConversionError(f"{self.name(op.output)}: depth multiplier {options.DepthMultiplier()}")
        self._convolve(op, options, kernel.transpose(3, 0, 1, 2), inputs, group=kernel.shape[3])

    def _transposed_conv(self, op: Operator) -> None:
        """MediaPipe's own operator: kernel [outputs, height, width, inputs], options (padding, stride x, y)."""
        padding, stride_x, stride_y = (int(value) for value in np.frombuffer(op.custom_options, "<i4"))
        kernel, inputs = self._weights(op)
        _, height, width, channels = self.nhwc(op.inputs[0])
        _, out_height, out_width, out_channels = self.nhwc(op.output)
        outputs, kernel_height, kernel_width, kernel_inputs = kernel.shape
        if (outputs, kernel_inputs) != (out_channels, channels):
            raise ConversionError(
                f"{self.name(op.output)}: kernel {kernel.shape}, {channels} -> {out_channels} channels"
            )
        # Only the case without overlap or padding: each input pixel makes its own block of output pixels.
        if padding != CUSTOM_PADDING_SAME or (kernel_height, kernel_width) != (stride_y, stride_x):
            raise ConversionError(f"{self.name(op.output)}: a transposed convolution whose blocks overlap")
        if (out_height, out_width) != (height * stride_y, width * stride_x):
            raise ConversionError(f"{self.name(op.output)}: {height}x{width} -> {out_height}x{out_width}")
        self._initializer(inputs[1], kernel.transpose(3, 0, 1, 2))  # [inputs, outputs / group, height, width]
        self._emit(
            op, "ConvTranspose", inputs,
            group=1, kernel_shape=[kernel_height, kernel_width], strides=[stride_y, stride_x], pads=[0, 0, 0, 0],
        )

    def _unary(self, op: Operator, onnx_kind: str) -> None:
        self._emit(op, onnx_kind, [self.name(op.inputs[0])])

    def _binary(self, op: Operator, onnx_kind: str, options: type) -> None:
        op.options(options)
        left, right = op.inputs
        _, height, width, channels = self.nhwc(left)
        # A sum is of two equal pictures, a product is of a picture and one gate a channel.
        expected = (1, 1, 1, channels) if onnx_kind == "Mul" else (1, height, width, channels)
        if self.nhwc(right) != expected:
            raise ConversionError(f"{self.name(op.output)}: shapes {self.nhwc(left)} and {self.nhwc(right)}")
        self._emit(op, onnx_kind, [self.name(left), self.name(right)])

    def _mean(self, op: Operator) -> None:
        axes = sorted(int(axis) for axis in self.constant(op.inputs[1]))
        if axes != [1, 2] or not op.options(tflite.ReducerOptions).KeepDims():
            raise ConversionError(f"{self.name(op.output)}: a mean that is not over height and width")
        self._emit(op, "GlobalAveragePool", [self.name(op.inputs[0])])

    def _average_pool(self, op: Operator) -> None:
        options = op.options(tflite.Pool2DOptions)
        _, height, width, _ = self.nhwc(op.inputs[0])
        whole = (options.FilterHeight(), options.FilterWidth()) == (height, width)
        # One window as large as the map needs no padding.
        if not whole or tuple(self.nhwc(op.output)[1:3]) != (1, 1):
            raise ConversionError(f"{self.name(op.output)}: a pool that is not global")
        self._emit(op, "GlobalAveragePool", [self.name(op.inputs[0])])

    def _resize(self, op: Operator) -> None:
        options = op.options(tflite.ResizeBilinearOptions)
        _, height, width, channels = self.nhwc(op.inputs[0])
        if options.AlignCorners() and not options.HalfPixelCenters():
            # The corners' centres stay where they are: to any size.
            _, out_height, out_width, _ = self.nhwc(op.output)
            sides = np.array([1, channels, out_height, out_width], "<i8")
            sizes = self._initializer(f"{self.name(op.output)}/Sizes", sides)
            self._emit(
                op, "Resize", [self.name(op.inputs[0]), "", "", sizes],
                mode="linear", coordinate_transformation_mode="align_corners",
            )
            return
        if options.AlignCorners() or not options.HalfPixelCenters():
            raise ConversionError(f"{self.name(op.output)}: resize without half-pixel centres")
        if tuple(self.nhwc(op.output)[1:3]) != (2 * height, 2 * width):
            raise ConversionError(f"{self.name(op.output)}: resize that does not double")
        scales = self._initializer(f"{self.name(op.output)}/Scales", np.array([1, 1, 2, 2], "<f4"))
        self._emit(
            op, "Resize", [self.name(op.inputs[0]), "", scales],
            mode="linear", coordinate_transformation_mode="half_pixel",
        )

    def _concatenate(self, op: Operator) -> None:
        axis = op.options(tflite.ConcatenationOptions).Axis()
        if axis not in (3, -1):
            raise ConversionError(f"{self.name(op.output)}: a concatenation along axis {axis}, not the channels")
        self._emit(op, "Concat", [self.name(index) for index in op.inputs], axis=1)

    # The whole -----------------------------------------------------------------------------------------

    def run(self, graph_name: str, metadata: dict[str, str]) -> onnx.ModelProto:
        (source,), (sink,) = self.graph.InputsAsNumpy(), self.graph.OutputsAsNumpy()
        for position in range(self.graph.OperatorsLength()):
            op = Operator(self.model, self.graph.Operators(position))
            if op.kind not in self._rules:
                raise ConversionError(f"operator {op.kind} is not known")
            self._rules[op.kind](op)
        graph = helper.make_graph(
            self.nodes, graph_name, [self.value_info(int(source))], [self.value_info(int(sink))],
            initializer=self.initializers,
            value_info=[shape for shape in self.shapes if shape.name != self.name(int(sink))],
        )
        model = helper.make_model(
            graph, producer_name=PRODUCER, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)],
        )
        helper.set_model_props(model, metadata)
        onnx.checker.check_model(model, full_check=True)
        return model


def convert(source: Path, target: Path, expect_sha256: str | None = None) -> onnx.ModelProto:
    """Convert the file `source` and write `target`; refuses a `source` whose sha256 is not the expected one."""
    flatbuffer = source.read_bytes()
    digest = hashlib.sha256(flatbuffer).hexdigest()
    if expect_sha256 is not None and digest != expect_sha256:
        raise ConversionError(f"{source.name}: sha256 {digest}, expected {expect_sha256}")
    model = Converter(flatbuffer).run(target.stem, {"source": source.name, "source_sha256": digest})
    target.write_bytes(model.SerializeToString(deterministic=True))
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="network in TFLite form")
    parser.add_argument("target", type=Path, help="ONNX file to write")
    parser.add_argument("--expect-sha256", metavar="HEX", help="refuse any other source")
    arguments = parser.parse_args()
    try:
        model = convert(arguments.source, arguments.target, arguments.expect_sha256)
    except ConversionError as error:
        raise SystemExit(f"convert.py: {error}") from error
    weights = [tensor for tensor in model.graph.initializer if not tensor.name.endswith(NOT_WEIGHTS)]
    parameters = sum(int(np.prod(tensor.dims)) for tensor in weights)
    print(f"{arguments.target.name}: {len(model.graph.node)} nodes, {parameters} parameters")


if __name__ == "__main__":
    main()
