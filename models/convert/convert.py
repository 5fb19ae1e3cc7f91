#!/usr/bin/env python3
"""Convert a network from TFLite to ONNX (f32, NCHW): MediaPipe's selfie nets and full-range face detector, DeepLabV3
on MobileNetV2.

    convert.py NETWORK.tflite NETWORK.onnx [--expect-sha256 HEX]

TFLite keeps pictures NHWC and its weights f16 behind DEQUANTIZE; the ONNX file keeps pictures NCHW and
its weights f32 (each f16 value is exactly representable). Nothing else changes: one ONNX node for each
TFLite operator that computes something, in the same order, each named after the TFLite tensor it writes,
so that `prove.py` and `portraitd-lab layers` can compare the two tensor by tensor. An activation that TFLite has
fused into an operator becomes a node of its own; the node before it, `NAME/linear`, has no counterpart in TFLite.
A border of zeros becomes the padding of the convolution after it. If the network has several outputs, which it
flattens to [1, pixels, channels], then the maps before that are the channels of one output, the fewest first.

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
NOT_WEIGHTS = ("/Scales", "/Sizes", "/Low", "/High", "/Places")
"""End the names of constants that are no weights."""
OUTPUTS = "outputs"
"""The name of the tensor that joins several outputs."""

BUILTIN_NAMES = {value: name for name, value in vars(tflite.BuiltinOperator).items() if isinstance(value, int)}
NUMPY_TYPES = {
    tflite.TensorType.FLOAT32: np.dtype("<f4"),
    tflite.TensorType.FLOAT16: np.dtype("<f2"),
    tflite.TensorType.INT32: np.dtype("<i4"),
}
INDEX_TYPES = {
    tflite.SparseIndexVector.Int32Vector: (tflite.Int32Vector, np.dtype("<i4")),
    tflite.SparseIndexVector.Uint16Vector: (tflite.Uint16Vector, np.dtype("<u2")),
    tflite.SparseIndexVector.Uint8Vector: (tflite.Uint8Vector, np.dtype("u1")),
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
        # By the index of their output: borders as (input, pixels above, left, below, right), and reshapes' inputs.
        self.borders: dict[int, tuple[int, tuple[int, int, int, int]]] = {}
        self.flattened: dict[int, int] = {}
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.shapes: list[onnx.ValueInfoProto] = []
        self._used_names: set[str] = set()
        # Names tell tensors apart in most files, but not in all.
        names = [self.name(index) for index in range(self.graph.TensorsLength())]
        self.model_has_shared_names = len(set(names)) < len(names)
        self._rules: dict[str, Callable[[Operator], None]] = {
            "DEQUANTIZE": self._dequantize,
            "DENSIFY": self._densify,
            "PAD": self._border,
            "DEPTH_TO_SPACE": self._depth_to_space,
            "RESHAPE": self._flatten,
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
            data = np.frombuffer(buffer.DataAsNumpy().tobytes(), NUMPY_TYPES[tensor.Type()])
            shape = tuple(int(extent) for extent in tensor.ShapeAsNumpy())
            sparsity = tensor.Sparsity()
            self.constants[index] = data.reshape(shape) if sparsity is None else self._dense(data, shape, sparsity)
        return self.constants[index]

    def _dense(self, values: np.ndarray, shape: tuple[int, ...], sparsity: tflite.SparsityParameters) -> np.ndarray:
        """The tensor of which only `values` are stored: all axes but the last are dense, and for each row along the last
        the file says where its values are."""
        axes = [sparsity.DimMetadata(axis) for axis in range(sparsity.DimMetadataLength())]
        kinds = [axis.Format() for axis in axes]
        *dense, sparse = [tflite.DimensionType.DENSE] * (len(shape) - 1) + [tflite.DimensionType.SPARSE_CSR]
        if kinds != [*dense, sparse] or sparsity.BlockMapLength() or list(sparsity.TraversalOrderAsNumpy()) != [*range(len(shape))]:
            raise ConversionError("a sparse tensor whose rows are not along its last axis")

        def indices(kind: int, table: Any) -> np.ndarray:
            cls, dtype = INDEX_TYPES[kind]
            vector = cls()
            vector.Init(table.Bytes, table.Pos)
            return vector.ValuesAsNumpy().astype(dtype).astype(np.int64)

        last = axes[-1]
        ends = indices(last.ArraySegmentsType(), last.ArraySegments())
        places = indices(last.ArrayIndicesType(), last.ArrayIndices())
        rows = np.repeat(np.arange(len(ends) - 1), np.diff(ends))
        whole = np.zeros((len(ends) - 1, shape[-1]), values.dtype)
        whole[rows, places] = values
        return whole.reshape(shape)

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

    def _densify(self, op: Operator) -> None:
        self.constants[op.output] = self.constant(op.inputs[0])

    def _border(self, op: Operator) -> None:
        pixels = self.constant(op.inputs[1])
        if pixels.shape != (4, 2) or pixels[[0, 3]].any():
            raise ConversionError(f"{self.name(op.output)}: a border that is not around a picture")
        (above, below), (left, right) = pixels[1].tolist(), pixels[2].tolist()
        self.borders[op.output] = (op.inputs[0], (above, left, below, right))

    def _weights(self, op: Operator) -> tuple[np.ndarray, list[str]]:
        """The kernel, and the node's inputs: picture, kernel name, bias name (the bias is stored here)."""
        picture, kernel, bias = op.inputs
        picture, _ = self.borders.get(picture, (picture, None))
        kernel_name = self.name(kernel).removesuffix("_dequantize")
        bias_name = self.name(bias).removesuffix("_dequantize")
        if self.model_has_shared_names:
            kernel_name, bias_name = f"{self.name(op.output)}/Kernel", f"{self.name(op.output)}/Bias"
        self._initializer(bias_name, self.constant(bias))
        return self.constant(kernel), [self.name(picture), kernel_name, bias_name]

    def _convolve(self, op: Operator, options: Any, kernel: np.ndarray, inputs: list[str], group: int) -> None:
        """`kernel` in ONNX order: [outputs, inputs / group, height, width]."""
        picture, border = self.borders.get(op.inputs[0], (op.inputs[0], None))
        _, height, width, channels = self.nhwc(picture)
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
        if border is not None:
            if options.Padding() == tflite.Padding.SAME:
                raise ConversionError(f"{self.name(op.output)}: a border, and padding as well")
            pad_y, pad_x = border[::2], border[1::2]
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
        activation = op.options(options, (RELU, RELU6)).FusedActivationFunction()
        left, right = op.inputs
        _, height, width, channels = self.nhwc(left)
        # A sum is of two equal pictures, a product is of a picture and one gate a channel.
        expected = (1, 1, 1, channels) if onnx_kind == "Mul" else (1, height, width, channels)
        if self.nhwc(right) != expected:
            raise ConversionError(f"{self.name(op.output)}: shapes {self.nhwc(left)} and {self.nhwc(right)}")
        self._emit(op, onnx_kind, [self.name(left), self.name(right)], activation)

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

    def _depth_to_space(self, op: Operator) -> None:
        """Channels become pixels. A transposed convolution by ones and zeros does the same, in every runtime."""
        side = op.options(tflite.DepthToSpaceOptions).BlockSize()
        _, height, width, channels = self.nhwc(op.inputs[0])
        _, out_height, out_width, out_channels = self.nhwc(op.output)
        if (out_height, out_width, out_channels * side * side) != (height * side, width * side, channels):
            raise ConversionError(f"{self.name(op.output)}: {channels} channels to {out_channels} in blocks of {side}")
        # [inputs, outputs, row in the block, column in the block]
        places = np.eye(channels, dtype="<f4").reshape(channels, side, side, out_channels).transpose(0, 3, 1, 2)
        name = self._initializer(f"{self.name(op.output)}/Places", places)
        self._emit(
            op, "ConvTranspose", [self.name(op.inputs[0]), name],
            group=1, kernel_shape=[side, side], strides=[side, side], pads=[0, 0, 0, 0],
        )

    def _flatten(self, op: Operator) -> None:
        shape = [int(extent) for extent in self.graph.Tensors(op.output).ShapeAsNumpy()]
        _, height, width, channels = self.nhwc(op.inputs[0])
        if shape != [1, height * width, channels]:
            raise ConversionError(f"{self.name(op.output)}: a reshape to {shape}, expected [1, pixels, channels]")
        self.flattened[op.output] = op.inputs[0]

    def _concatenate(self, op: Operator) -> None:
        axis = op.options(tflite.ConcatenationOptions).Axis()
        if axis not in (3, -1):
            raise ConversionError(f"{self.name(op.output)}: a concatenation along axis {axis}, not the channels")
        self._emit(op, "Concat", [self.name(index) for index in op.inputs], axis=1)

    # The whole -----------------------------------------------------------------------------------------

    def _sink(self) -> onnx.ValueInfoProto:
        """The one output."""
        sinks = [int(sink) for sink in self.graph.OutputsAsNumpy()]
        if len(sinks) == 1:
            return self.value_info(sinks[0])
        maps = sorted((self.flattened[sink] for sink in sinks), key=lambda index: self.nhwc(index)[3])
        (_, height, width, _), channels = self.nhwc(maps[0]), sum(self.nhwc(index)[3] for index in maps)
        if any(self.nhwc(index)[1:3] != (height, width) for index in maps):
            raise ConversionError("outputs of several sizes")
        inputs = [self.name(index) for index in maps]
        self.nodes.append(helper.make_node("Concat", inputs, [OUTPUTS], name=OUTPUTS, axis=1))
        return helper.make_tensor_value_info(OUTPUTS, TensorProto.FLOAT, [1, channels, height, width])

    def run(self, graph_name: str, metadata: dict[str, str]) -> onnx.ModelProto:
        (source,) = self.graph.InputsAsNumpy()
        for position in range(self.graph.OperatorsLength()):
            op = Operator(self.model, self.graph.Operators(position))
            if op.kind not in self._rules:
                raise ConversionError(f"operator {op.kind} is not known")
            self._rules[op.kind](op)
        sink = self._sink()
        graph = helper.make_graph(
            self.nodes, graph_name, [self.value_info(int(source))], [sink],
            initializer=self.initializers,
            value_info=[shape for shape in self.shapes if shape.name != sink.name],
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
