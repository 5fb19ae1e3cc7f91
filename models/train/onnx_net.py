"""A net of the daemon's operators as a PyTorch module that is made from its ONNX file, and is written back into it.

The module *is* the ONNX graph: it walks the nodes in their order with PyTorch's functions and has the initializers
as its parameters. A trained net is the released file with other numbers in the initializers; nodes, names, order and
attributes are copied, so that the daemon's fused plan takes the one as it takes the other.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as functional
from onnx import numpy_helper, shape_inference
from torch import nn


class UnknownOperator(Exception):
    """The graph has an operator, or a use of one, that this module does not compute."""


def _attributes(node: onnx.NodeProto) -> dict:
    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}


def _pads(node: onnx.NodeProto, attributes: dict) -> tuple[int, int, int, int]:
    """(left, right, top, bottom), the order of `functional.pad`."""
    if attributes.get("auto_pad", b"NOTSET") != b"NOTSET" or any(
        step != 1 for step in attributes.get("dilations", [1])
    ):
        raise UnknownOperator(f"{node.name}: auto_pad or dilations")
    top, left, bottom, right = attributes.get("pads", [0, 0, 0, 0])
    return left, right, top, bottom


def _check_group(node: onnx.NodeProto, group: int, channels: int, kernel: torch.Tensor) -> None:
    """The first mistake of this project's history: a group count that was lost on the way."""
    if channels != kernel.shape[1] * group or kernel.shape[0] % group:
        raise UnknownOperator(f"{node.name}: group {group}, {channels} channels, kernel {tuple(kernel.shape)}")


def _conv(
    node: onnx.NodeProto, attributes: dict, x: torch.Tensor, kernel: torch.Tensor, bias: torch.Tensor | None = None
):
    left, right, top, bottom = _pads(node, attributes)
    group, strides = attributes.get("group", 1), tuple(attributes.get("strides", [1, 1]))
    _check_group(node, group, x.shape[1], kernel)
    if (left, top) == (right, bottom):
        return functional.conv2d(x, kernel, bias, strides, (top, left), 1, group)
    return functional.conv2d(functional.pad(x, (left, right, top, bottom)), kernel, bias, strides, 0, 1, group)


def _conv_transpose(node: onnx.NodeProto, attributes: dict, x: torch.Tensor, kernel: torch.Tensor, bias=None):
    if any(_pads(node, attributes)) or any(attributes.get("output_padding", [0])):
        raise UnknownOperator(f"{node.name}: a transposed convolution with padding")
    group = attributes.get("group", 1)
    if x.shape[1] != kernel.shape[0] or x.shape[1] % group:
        raise UnknownOperator(f"{node.name}: group {group}, {x.shape[1]} channels, kernel {tuple(kernel.shape)}")
    return functional.conv_transpose2d(x, kernel, bias, tuple(attributes.get("strides", [1, 1])), 0, 0, group)


def _resize(node: onnx.NodeProto, attributes: dict, x: torch.Tensor, _roi, scales: torch.Tensor):
    if (
        attributes.get("mode") != b"linear"
        or attributes.get("coordinate_transformation_mode", b"half_pixel") != b"half_pixel"
    ):
        raise UnknownOperator(f"{node.name}: Resize {attributes}")
    if scales.tolist() != [1, 1, 2, 2]:
        raise UnknownOperator(f"{node.name}: Resize by {scales.tolist()}")
    return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def _pad(node: onnx.NodeProto, attributes: dict, x: torch.Tensor, pads: torch.Tensor):
    if attributes.get("mode") != b"edge":
        raise UnknownOperator(f"{node.name}: Pad {attributes.get('mode')}")
    _, _, top, left, _, _, bottom, right = pads.tolist()
    return functional.pad(x, (left, right, top, bottom), mode="replicate")


def _max_pool(node: onnx.NodeProto, attributes: dict, x: torch.Tensor):
    if any(_pads(node, attributes)):
        raise UnknownOperator(f"{node.name}: MaxPool with padding")
    return functional.max_pool2d(x, tuple(attributes["kernel_shape"]), tuple(attributes["strides"]))


OPERATORS = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Resize": _resize,
    "Pad": _pad,
    "MaxPool": _max_pool,
    "Concat": lambda node, attributes, *maps: torch.cat(maps, dim=attributes["axis"]),
    "HardSwish": lambda node, attributes, x: functional.hardswish(x),
    "Relu": lambda node, attributes, x: functional.relu(x),
    "Sigmoid": lambda node, attributes, x: torch.sigmoid(x),
    "Add": lambda node, attributes, a, b: a + b,
    "Mul": lambda node, attributes, a, b: a * b,
    "GlobalAveragePool": lambda node, attributes, x: x.mean((2, 3), keepdim=True),
}


class OnnxNet(nn.Module):
    """`forward` takes pictures f32 [n, 3, height, width] and returns logits [n, 1, height, width]: the tensor before
    the graph's last sigmoid, which losses need in this form. Float initializers with more than four elements or the
    names `*Kernel`, `*Bias` are parameters; the others are constants."""

    def __init__(self, model: onnx.ModelProto) -> None:
        super().__init__()
        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        (entry,) = model.graph.input
        self.entry = entry.name
        self.size = tuple(side.dim_value for side in entry.type.tensor_type.shape.dim[2:])
        last = model.graph.node[-1]
        if last.op_type != "Sigmoid" or [output.name for output in model.graph.output] != list(last.output):
            raise UnknownOperator("the graph does not end in a sigmoid")
        self.logits_name = last.input[0]
        # ParameterDict refuses dots and slashes in places; numbered names are safe, and state files stay stable.
        self.index = {}
        self.constants: dict[str, torch.Tensor] = {}
        self.values = nn.ParameterList()
        for tensor in model.graph.initializer:
            value = torch.from_numpy(numpy_helper.to_array(tensor).copy())
            if value.is_floating_point() and tensor.name.endswith(("Kernel", "Bias")):
                self.index[tensor.name] = len(self.values)
                self.values.append(nn.Parameter(value))
            else:
                self.constants[tensor.name] = value
        for node in model.graph.node:
            if node.op_type not in OPERATORS:
                raise UnknownOperator(f"{node.name}: {node.op_type}")
        self.attributes = [_attributes(node) for node in self.model.graph.node]

    def parameter(self, name: str) -> nn.Parameter:
        return self.values[self.index[name]]

    def tensors(self, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
        """Every tensor of the graph by its ONNX name, the input first, the last sigmoid included."""
        known = {self.entry: pictures}
        for node, attributes in zip(self.model.graph.node, self.attributes, strict=True):
            inputs = [self._value(name, known) for name in node.input]
            known[node.output[0]] = OPERATORS[node.op_type](node, attributes, *inputs)
        return known

    def _value(self, name: str, known: dict[str, torch.Tensor]) -> torch.Tensor | None:
        if not name:
            return None
        if name in known:
            return known[name]
        return self.parameter(name) if name in self.index else self.constants[name]

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.tensors(pictures)[self.logits_name]

    def to_onnx(self, name: str | None = None) -> onnx.ModelProto:
        """The graph with this module's numbers. With `name`, the graph is renamed."""
        out = onnx.ModelProto()
        out.CopyFrom(self.model)
        for tensor in out.graph.initializer:
            if tensor.name in self.index:
                value = self.parameter(tensor.name).detach().numpy().astype("<f4")
                tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), tensor.name))
        if name is not None:
            out.graph.name = name
            out.producer_name = "portraitd models/train"
        onnx.checker.check_model(out)
        return out


def load(path: Path) -> OnnxNet:
    return OnnxNet(onnx.load(path))


def resized(model: onnx.ModelProto, height: int, width: int) -> onnx.ModelProto:
    """The same graph for pictures of another size: shapes are inferred again, and both sides must still meet."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    del out.graph.value_info[:]
    for value in (*out.graph.input, *out.graph.output):
        for side, extent in zip(value.type.tensor_type.shape.dim[2:], (height, width), strict=True):
            side.dim_value = extent
    return shape_inference.infer_shapes(out, check_type=True, strict_mode=True, data_prop=True)


def multiply_adds(model: onnx.ModelProto) -> int:
    """Multiply-adds of the convolutions for one picture."""
    inferred = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    shapes = {
        value.name: [side.dim_value for side in value.type.tensor_type.shape.dim]
        for value in (*inferred.input, *inferred.value_info, *inferred.output)
    }
    kernels = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    total = 0
    for node in model.graph.node:
        if node.op_type == "Conv":
            total += int(np.prod(kernels[node.input[1]])) * int(np.prod(shapes[node.output[0]][2:]))
        elif node.op_type == "ConvTranspose":
            total += int(np.prod(kernels[node.input[1]])) * int(np.prod(shapes[node.input[0]][2:]))
    return total


def parameters(model: onnx.ModelProto) -> int:
    return sum(
        int(np.prod(tensor.dims)) for tensor in model.graph.initializer if tensor.name.endswith(("Kernel", "Bias"))
    )


def differences(one: onnx.ModelProto, other: onnx.ModelProto) -> list[str]:
    """What the plan would see as another graph: nodes, wiring, attributes, kernel shapes. Empty: the same
    structure."""
    found = []
    if len(one.graph.node) != len(other.graph.node):
        return [f"{len(one.graph.node)} nodes and {len(other.graph.node)}"]
    for a, b in zip(one.graph.node, other.graph.node, strict=True):
        for what in ("op_type", "name", "input", "output"):
            if getattr(a, what) != getattr(b, what):
                found.append(f"{a.name}: {what} {getattr(a, what)} and {getattr(b, what)}")
        if _attributes(a) != _attributes(b):
            found.append(f"{a.name}: {_attributes(a)} and {_attributes(b)}")
    shapes = [{tensor.name: list(tensor.dims) for tensor in model.graph.initializer} for model in (one, other)]
    found += [
        f"{name}: {shapes[0].get(name)} and {shapes[1].get(name)}"
        for name in sorted(shapes[0] | shapes[1])
        if shapes[0].get(name) != shapes[1].get(name)
    ]
    if list(one.graph.input) != list(other.graph.input) or list(one.graph.output) != list(other.graph.output):
        found.append("input or output")
    return found
