"""ONNX files by hand, for nets that no tool would write."""

import struct

FLOAT, INT64 = 1, 7


def varint(value):
    out = bytearray()
    value &= (1 << 64) - 1
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out) + bytes([value])


def field(number, value):
    """A field of protobuf: an integer, bytes, or text."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def tensor(name, dims, values, kind=FLOAT):
    """TensorProto; `values` may disagree with `dims`."""
    raw = struct.pack(f"<{len(values)}{'f' if kind == FLOAT else 'q'}", *values)
    return b"".join(field(1, dim) for dim in dims) + field(2, kind) + field(8, name) + field(9, raw)


def attribute(name, value):
    if isinstance(value, int):
        return field(1, name) + field(20, 2) + field(3, value)
    if isinstance(value, float):
        return field(1, name) + field(20, 1) + varint(2 << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, str):
        return field(1, name) + field(20, 3) + field(4, value)
    return field(1, name) + field(20, 7) + b"".join(field(8, item) for item in value)


def node(kind, inputs, outputs, **attributes):
    return (b"".join(field(1, name) for name in inputs) + b"".join(field(2, name) for name in outputs) + field(3, kind + "_" + outputs[0])
            + field(4, kind) + b"".join(field(5, attribute(name, value)) for name, value in attributes.items()))


def value(name, dims):
    shape = b"".join(field(1, field(1, dim)) for dim in dims)
    return field(1, name) + field(2, field(1, field(1, FLOAT) + field(2, shape)))


def model(nodes, constants=(), output="y", input_dims=(1, 3, 144, 256), output_dims=(1, 1, 144, 256)):
    graph = (b"".join(field(1, item) for item in nodes) + field(2, "g") + b"".join(field(5, item) for item in constants)
             + field(11, value("x", input_dims)) + field(12, value(output, output_dims)))
    return field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, 13))


def hostile(nodes=100_000):
    """{name: file}"""
    chain = [node("Relu", ["x" if at == 0 else f"t{at}"], ["y" if at == nodes - 1 else f"t{at + 1}"]) for at in range(nodes)]
    one = tensor("w", (1, 3, 1, 1), [1.0] * 3)

    def single(kind, *constants, inputs=("x",), **attributes):
        return model([node(kind, list(inputs), ["y"], **attributes)], constants)

    return {
        "long-chain": model(chain),
        "cycle": model([node("Relu", ["b"], ["a"]), node("Relu", ["a"], ["b"]), node("Add", ["x", "b"], ["y"])]),
        "conv-stride-0": single("Conv", one, inputs=("x", "w"), strides=[0, 0], kernel_shape=[1, 1]),
        "conv-dilation-0": single("Conv", one, inputs=("x", "w"), dilations=[0, 0]),
        "conv-group-0": single("Conv", one, inputs=("x", "w"), group=0),
        "conv-group-minus": single("Conv", one, inputs=("x", "w"), group=-1),
        "conv-kernel-0": single("Conv", tensor("w", (1, 3, 0, 0), []), inputs=("x", "w")),
        "conv-kernel-huge": single("Conv", one, inputs=("x", "w"), kernel_shape=[2**62, 2**62]),
        "conv-pads": single("Conv", one, inputs=("x", "w"), pads=[-(2**40), 2**40, 2**62, -1]),
        "conv-channels": single("Conv", tensor("w", (1, 7, 3, 3), [1.0] * 63), inputs=("x", "w")),
        "conv-rank": single("Conv", tensor("w", (), [1.0]), inputs=("x", "w")),
        "pool-stride-0": single("MaxPool", kernel_shape=[2, 2], strides=[0, 0]),
        "pool-kernel-0": single("AveragePool", kernel_shape=[0, 0]),
        "pool-rank": single("MaxPool", kernel_shape=[1]),
        "dims-huge": single("Add", tensor("w", (2**31, 2**31, 2**31), [1.0]), inputs=("x", "w")),
        "dims-negative": single("Add", tensor("w", (-1, -5), [1.0]), inputs=("x", "w")),
        "dims-lie": single("Add", tensor("w", (1, 3, 144, 256), [1.0]), inputs=("x", "w")),
        "reshape-huge": single("Reshape", tensor("w", (3,), [2**40, 2**40, -1], INT64), inputs=("x", "w")),
        "reshape-0": single("Reshape", tensor("w", (2,), [0, -7], INT64), inputs=("x", "w")),
        "tile-huge": single("Tile", tensor("w", (4,), [2**20, 2**20, 2**20, 1], INT64), inputs=("x", "w")),
        "expand-huge": single("Expand", tensor("w", (6,), [2**20, 2**20, 1, 3, 144, 256], INT64), inputs=("x", "w")),
        "pad-huge": single("Pad", tensor("w", (8,), [0, 0, 2**40, 2**40, 0, 0, 2**40, 2**40], INT64), inputs=("x", "w")),
        "pad-negative": single("Pad", tensor("w", (8,), [0, 0, -500, -500, 0, 0, -500, -500], INT64), inputs=("x", "w")),
        "slice-step-0": single("Slice", *[tensor(name, (1,), [number], INT64) for name, number in (("b", 0), ("e", 5), ("a", 2), ("s", 0))],
                               inputs=("x", "b", "e", "a", "s")),
        "gather-beyond": single("Gather", tensor("w", (1,), [999], INT64), inputs=("x", "w"), axis=1),
        "gather-axis": single("Gather", tensor("w", (1,), [0], INT64), inputs=("x", "w"), axis=99),
        "concat-axis": single("Concat", inputs=("x", "x"), axis=99),
        "transpose": single("Transpose", perm=[9, 9, 9, 9]),
        "transpose-short": single("Transpose", perm=[0]),
        "softmax-axis": single("Softmax", axis=99),
        "squeeze": single("Squeeze", tensor("w", (1,), [77], INT64), inputs=("x", "w")),
        "depth-to-space-0": single("DepthToSpace", blocksize=0),
        "resize-0": single("Resize", tensor("r", (0,), []), tensor("s", (4,), [1.0, 1.0, 0.0, 0.0]), inputs=("x", "r", "s"), mode="linear"),
        "resize-huge": single("Resize", tensor("r", (0,), []), tensor("s", (4,), [1.0, 1.0, 1e9, 1e9]), inputs=("x", "r", "s"), mode="linear"),
        "resize-nan": single("Resize", tensor("r", (0,), []), tensor("s", (4,), [1.0, 1.0, float("nan"), -1.0]), inputs=("x", "r", "s")),
        "matmul": single("MatMul", tensor("w", (1, 1), [1.0]), inputs=("x", "w")),
        "gemm": single("Gemm", tensor("w", (3,), [1.0] * 3), inputs=("x", "w")),
        "split-0": model([node("Split", ["x"], ["y", "z"], axis=1)]),
        "batch-norm": single("BatchNormalization", *[tensor(name, (1,), [1.0]) for name in "sbmv"], inputs=("x", "s", "b", "m", "v")),
        "input-huge": model([node("Relu", ["x"], ["y"])], input_dims=(1, 3, 2**40, 2**40)),
        "no-nodes": model([], output="x"),
        "no-inputs": single("Relu", inputs=()),
    }
