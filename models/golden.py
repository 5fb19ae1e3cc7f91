#!/usr/bin/env python3
"""Write every tensor that a model computes on one picture, from ONNX Runtime, as a golden file.

    golden.py MANIFEST.toml PICTURE OUT.npz

OUT.npz holds one array a tensor, f32, under the tensor's ONNX name and in the model's own layout: first the net's
input as the manifest prepares it, then the output of each node in the graph's order. `portraitd-lab layers MODEL
--input PICTURE --golden OUT.npz` compares with it and names the first layer that differs.

The preparation of the picture is that of `tests/reference/reference.py`; its requirements.txt is this file's too.
The same versions give the same bytes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

# The reference holds the meaning of a manifest. It is a script of the tests and no installed package.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "reference"))
import reference  # noqa: E402


def all_tensors(model: onnx.ModelProto, picture: np.ndarray) -> dict[str, np.ndarray]:
    """The input and every float tensor that a node writes, by name, in the graph's order."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    written = [name for node in shown.graph.node for name in node.output if name]
    del shown.graph.output[:]
    # A name alone will do: the runtime knows each tensor's type from the node that writes it.
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in written)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    # Optimised graphs have other tensors than the file.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(shown.SerializeToString(), options, ["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    values = dict(zip(written, session.run(written, {entry.name: picture}), strict=True))
    return {entry.name: picture} | {name: value for name, value in values.items() if value.dtype == np.float32}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("manifest", type=Path, help="the model's TOML file")
    parser.add_argument("picture", type=Path, help="JPEG or PNG")
    parser.add_argument("out", type=Path, help="file to write, .npz")
    arguments = parser.parse_args()
    manifest = reference.Manifest.read(arguments.manifest)
    picture = reference.preprocess(manifest, reference.read_rgb(arguments.picture))
    tensors = all_tensors(onnx.load(manifest.onnx), picture)
    with arguments.out.open("wb") as out:
        # Stored and not deflated: a reader needs nothing but the archive's layout.
        np.savez(out, **tensors)
    print(f"{arguments.out.name}: {len(tensors)} tensors of {manifest.name}")


if __name__ == "__main__":
    main()
