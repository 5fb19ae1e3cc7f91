"""The nets that can be trained, and their ONNX graphs.

| name | what | made from |
|---|---|---|
| `selfie-landscape`, `selfie-general` | the released nets | their ONNX files |
| `unet-quarter` | U-Net, 16-32-64-64-64 channels, batch norm, 2x2 deconvolutions | nothing |
| `tiny` | the landscape graph for 128x80 without its last residual block | the landscape net's numbers |

Every net takes f32 [n, 3, height, width] in 0..=1, returns logits [n, 1, height, width], and has `to_onnx(name)`: a
graph that ends in its own sigmoid, opset 14, fixed shapes, batch 1.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import onnx_net
from onnx_net import OnnxNet

MODELS = Path(__file__).resolve().parent.parent
OPSET, IR_VERSION = 14, 8
NAMES = ("selfie-landscape", "selfie-general", "unet-quarter", "tiny")
TINY_HEIGHT, TINY_WIDTH = 80, 128
"""Both are multiples of 16: each of the four halvings is exact, as the decoder's doublings are. 128x72 is not
possible."""


class DoubleConv(nn.Sequential):
    """Two 3x3 convolutions with batch norm. `border`: `replicate` or `zeros` around the maps."""

    def __init__(self, inputs: int, outputs: int, border: str) -> None:
        layers: list[nn.Module] = []
        for channels in (inputs, outputs):
            layers += [
                nn.Conv2d(channels, outputs, 3, padding=1, padding_mode=border, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(inplace=True),
            ]
        super().__init__(*layers)


class UnetQuarter(nn.Module):
    """The U-Net of xuduo35/unet_mxnet2ncnn at a quarter of its channels: 0.52 M parameters.

    `border="replicate"` repeats the maps' edge before each 3x3 convolution, the way the report removed errors along the
    border; the graph then has `Pad` nodes of mode `edge`. `"zeros"` needs none of them."""

    CHANNELS = (16, 32, 64, 64, 64)

    def __init__(
        self, height: int = 144, width: int = 256, border: str = "replicate", channels: tuple[int, ...] = CHANNELS
    ) -> None:
        super().__init__()
        if height % 16 or width % 16:
            raise ValueError(f"{width}x{height}: both must be multiples of 16")
        self.size, self.border = (height, width), border
        self.down = nn.ModuleList(DoubleConv(a, b, border) for a, b in zip((3, *channels[:-1]), channels, strict=True))
        pairs = list(zip(channels[:0:-1], channels[-2::-1], strict=True))
        self.grow = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, stride=2) for a, b in pairs)
        self.up = nn.ModuleList(DoubleConv(2 * b, b, border) for _, b in pairs)
        self.head = nn.Conv2d(channels[0], 1, 1)
        self.pool = nn.MaxPool2d(2)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        nn.init.zeros_(self.head.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        skips = []
        for level in self.down:
            skips.append(level(self.pool(skips[-1]) if skips else x))
        x = skips.pop()
        for grow, up in zip(self.grow, self.up, strict=True):
            x = up(torch.cat([skips.pop(), grow(x)], dim=1))
        return self.head(x)

    def to_onnx(self, name: str) -> onnx.ModelProto:
        return _UnetGraph(self, name).model()


class _UnetGraph:
    """Writes a U-Net with its batch norms folded into the convolutions before them."""

    def __init__(self, net: UnetQuarter, name: str) -> None:
        self.net, self.name = net, name
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def constant(self, name: str, value: np.ndarray) -> str:
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, kind: str, name: str, inputs: list[str], **attributes) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def conv(self, name: str, x: str, kernel: np.ndarray, bias: np.ndarray) -> str:
        size = kernel.shape[-1]
        pads = [size // 2] * 4
        if size > 1 and self.net.border == "replicate":
            edges = np.array([0, 0, *pads[:2], 0, 0, *pads[2:]], np.int64)
            x = self.add("Pad", f"{name}/pad", [x, self.constant(f"{name}/Pads", edges)], mode="edge")
            pads = [0] * 4
        inputs = [x, self.constant(f"{name}/Kernel", kernel), self.constant(f"{name}/Bias", bias)]
        return self.add("Conv", name, inputs, group=1, kernel_shape=[size] * 2, strides=[1, 1], pads=pads)

    def double(self, name: str, x: str, block: DoubleConv) -> str:
        for number, (conv, norm) in enumerate(zip(list(block)[0::3], list(block)[1::3], strict=True), 1):
            kernel, bias = folded(conv, norm)
            x = self.add("Relu", f"{name}_{number}/relu", [self.conv(f"{name}_{number}", x, kernel, bias)])
        return x

    def model(self) -> onnx.ModelProto:
        net = self.net
        x, skips = "picture", []
        for level, block in enumerate(net.down, 1):
            if skips:
                x = self.add("MaxPool", f"pool{level - 1}", [x], kernel_shape=[2, 2], strides=[2, 2])
            x = self.double(f"conv{level}", x, block)
            skips.append(x)
        skips.pop()
        for level, (grow, block) in enumerate(zip(net.grow, net.up, strict=True), 6):
            kernel, bias = (value.detach().numpy() for value in (grow.weight, grow.bias))
            inputs = [x, self.constant(f"grow{level}/Kernel", kernel), self.constant(f"grow{level}/Bias", bias)]
            x = self.add(
                "ConvTranspose", f"grow{level}", inputs, group=grow.groups, kernel_shape=[2, 2], strides=[2, 2]
            )
            x = self.add("Concat", f"concat{level}", [skips.pop(), x], axis=1)
            x = self.double(f"conv{level}", x, block)
        x = self.conv("head", x, *(value.detach().numpy() for value in (net.head.weight, net.head.bias)))
        self.add("Sigmoid", "person", [x])
        info = helper.make_tensor_value_info
        graph = helper.make_graph(
            self.nodes,
            self.name,
            [info("picture", TensorProto.FLOAT, [1, 3, *net.size])],
            [info("person", TensorProto.FLOAT, [1, 1, *net.size])],
            self.weights,
        )
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(
            graph, producer_name="portraitd models/train", ir_version=IR_VERSION, opset_imports=opsets
        )
        model = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
        onnx.checker.check_model(model)
        return model


def folded(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias of a convolution that includes the batch norm after it, in f64 until the end."""
    scale = (norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)).detach()
    kernel = conv.weight.detach().double() * scale[:, None, None, None]
    bias = norm.bias.detach().double() - norm.running_mean.double() * scale
    return kernel.float().numpy(), bias.float().numpy()


def tiny_graph() -> onnx.ModelProto:
    """The landscape graph for 128x80, without the last residual block of its bottleneck (`conv2d_25` to
    `add_4__xeno_compat__1`): the block adds to what passes it by, so that the others go on as they were."""
    model = onnx.load(MODELS / "selfie-landscape.onnx")
    names = [node.name for node in model.graph.node]
    first, last = names.index("conv2d_25"), names.index("add_4__xeno_compat__1")
    entry, gone = model.graph.node[first].input[0], model.graph.node[last].output[0]
    unused = {
        name for node in model.graph.node[first : last + 1] for name in node.input if name.endswith(("Kernel", "Bias"))
    }
    kept = [node for index, node in enumerate(model.graph.node) if not first <= index <= last]
    for node in kept:
        for place, name in enumerate(node.input):
            if name == gone:
                node.input[place] = entry
    weights = [tensor for tensor in model.graph.initializer if tensor.name not in unused]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(kept)
    model.graph.initializer.extend(weights)
    model.graph.name, model.producer_name = "tiny", "portraitd models/train"
    return onnx_net.resized(model, TINY_HEIGHT, TINY_WIDTH)


def make(name: str, border: str = "replicate") -> nn.Module:
    """A net to train, with the numbers that it begins with."""
    if name.startswith("selfie-"):
        return onnx_net.load(MODELS / f"{name}.onnx")
    if name == "tiny":
        return OnnxNet(tiny_graph())
    if name == "unet-quarter":
        return UnetQuarter(border=border)
    raise ValueError(f"no net {name}; there are: {' '.join(NAMES)}")
