"""Runs a net on several runtimes in alternation, and prints a table of times and ratios. `run` starts it."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

# Limits every library to one thread. The variables must be set before the libraries are loaded.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np  # noqa: E402

NETS = ["selfie-landscape", "selfie-general", "unet"]
# Runs per turn. The first ones are not counted, since the caches still contain the data of another
# runtime.
TURN, UNCOUNTED = 10, 3
# The largest difference between the masks of two runtimes that rounding explains: in f32, and with
# bfloat16 products.
TOLERANCE, BFLOAT16_TOLERANCE = 1e-3, 0.5


class Ours:
    """`portraitd-lab bench net` as a process. It runs the net once for each line that it reads, and prints the time."""

    def __init__(self, name: str, program: str, model: str, work: Path, options: list[str]) -> None:
        self.name = name
        exchange = work / f"exchange-{name}"
        exchange.mkdir(exist_ok=True)
        command = [program, "bench", "net", "--model", model, "--on-line", "--exchange", str(exchange), *options]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.once()
        self.input = np.fromfile(exchange / "input.f32", np.float32)
        self.answer = np.fromfile(exchange / "output.f32", np.float32)

    def once(self) -> float:
        self.process.stdin.write("\n")
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.name}: the process ended with status {self.process.wait()}")
        return float(line)


class Peer:
    """A runtime in this process. `call` runs the net once and returns the mask."""

    def __init__(self, name: str, call) -> None:
        self.name, self.call = name, call
        self.answer = np.asarray(call()).ravel().copy()

    def once(self) -> float:
        started = time.perf_counter_ns()
        self.call()
        return (time.perf_counter_ns() - started) / 1e6


def openvino(onnx: Path, picture: np.ndarray, precision: str = "f32") -> Peer:
    import openvino as ov

    options = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
    request = ov.Core().compile_model(str(onnx), "CPU", options).create_infer_request()
    request.set_input_tensor(ov.Tensor(picture))

    def call():
        request.infer()
        return request.get_output_tensor().data

    return Peer("OpenVINO" if precision == "f32" else f"OpenVINO, {precision}", call)


def onnx_runtime(onnx: Path, picture: np.ndarray) -> Peer:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(onnx), options, ["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return Peer("ONNX Runtime", lambda: session.run(None, {name: picture})[0])


def ncnn(onnx: Path, picture: np.ndarray, work: Path) -> Peer:
    import importlib.util

    import ncnn as library

    # The Python part of the package needs PyTorch, but the program that it contains does not.
    program = Path(importlib.util.find_spec("pnnx").submodule_search_locations[0]) / "pnnx"
    folder = work / "ncnn" / onnx.stem
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copy(onnx, folder / "net.onnx")
    shape = ",".join(str(axis) for axis in picture.shape)
    done = subprocess.run([program, "net.onnx", f"inputshape=[{shape}]", "fp16=0"], cwd=folder, capture_output=True, text=True)
    if not (folder / "net.ncnn.param").exists():
        sys.exit(f"pnnx did not convert {onnx.name}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    net = library.Net()
    net.opt.num_threads = 1
    net.load_param(str(folder / "net.ncnn.param"))
    net.load_model(str(folder / "net.ncnn.bin"))
    mat = library.Mat(picture[0])

    def call():
        extractor = net.create_extractor()
        extractor.input("in0", mat)
        return extractor.extract("out0")[1]

    return Peer("ncnn", call)


def litert(tflite: Path, picture: np.ndarray) -> Peer:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(tflite), num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.ascontiguousarray(picture.transpose(0, 2, 3, 1)))
    output = interpreter.tensor(interpreter.get_output_details()[0]["index"])

    def call():
        interpreter.invoke()
        return output()

    return Peer("LiteRT", call)


def measure(net: str, arguments: argparse.Namespace) -> dict:
    work, models = arguments.work, Path(__file__).resolve().parents[2] / "models"
    if net == "unet":
        from unet import write

        manifest = write(work)
    else:
        manifest = models / f"{net}.toml"
    onnx = manifest.with_suffix(".onnx")
    isa = ["--isa", arguments.isa] if arguments.isa else []
    ours = Ours("portraitd", arguments.program, str(manifest), work, ["--engine", "plan", *isa])
    tract = Ours("tract", arguments.program, str(manifest), work, ["--engine", "tract"])
    sides = {"selfie-landscape": (144, 256), "selfie-general": (256, 256), "unet": (256, 256)}[net]
    picture = ours.input.reshape(1, 3, *sides)
    runtimes = [ours, tract, openvino(onnx, picture), onnx_runtime(onnx, picture), ncnn(onnx, picture, work)]
    if "avx512_bf16" in Path("/proc/cpuinfo").read_text():
        # OpenVINO uses bfloat16 by default on such a CPU. The other runtimes use f32.
        runtimes.append(openvino(onnx, picture, "bf16"))
    if net != "unet":
        tflite = {"selfie-landscape": "selfie_segmentation_landscape", "selfie-general": "selfie_segmentation"}[net]
        runtimes.append(litert(arguments.networks / f"{tflite}.tflite", picture))
    differences = {}
    for runtime in runtimes:
        difference = float(np.abs(runtime.answer - ours.answer).max())
        differences[runtime.name] = difference
        # LiteRT resizes in its own way and has f16 weights. The tolerance covers both.
        if not difference <= (BFLOAT16_TOLERANCE if runtime.name.endswith("bf16") else TOLERANCE):
            sys.exit(f"{net}: the mask of {runtime.name} differs by {difference}")
    times: dict[str, list[float]] = {runtime.name: [] for runtime in runtimes}
    ratios: dict[str, list[float]] = {runtime.name: [] for runtime in runtimes}
    for number in range(arguments.rounds):
        turn = number % len(runtimes)
        medians = {}
        for runtime in runtimes[turn:] + runtimes[:turn]:
            taken = [runtime.once() for _ in range(TURN)][UNCOUNTED:]
            times[runtime.name] += taken
            medians[runtime.name] = statistics.median(taken)
        # Ratios are taken within a round, so that other load on the machine affects both runtimes.
        for name, median in medians.items():
            ratios[name].append(medians["portraitd"] / median)
    rows = []
    for runtime in runtimes:
        taken = sorted(times[runtime.name])
        rows.append(
            {
                "runtime": runtime.name,
                "median_ms": round(statistics.median(taken), 4),
                "min_ms": round(taken[0], 4),
                "ratio": round(statistics.median(ratios[runtime.name]), 3),
                "max_difference": differences[runtime.name],
            }
        )
    return {"net": net, "rounds": arguments.rounds, "runs": arguments.rounds * (TURN - UNCOUNTED), "rows": rows}


def cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown CPU"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", required=True)
    parser.add_argument("--networks", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--isa")
    parser.add_argument("--json", type=Path)
    parser.add_argument("nets", nargs="*", metavar="NET", help=f"one of {', '.join(NETS)}; the default is all")
    arguments = parser.parse_args()
    if unknown := set(arguments.nets) - set(NETS):
        parser.error(f"unknown net {unknown.pop()}; the nets are {', '.join(NETS)}")
    print(f"{cpu_name()}, {os.cpu_count()} CPUs, {platform.system()} {platform.machine()}, {time.strftime('%Y-%m-%d')}")
    print("One thread, f32 unless stated otherwise. `ratio` is our time divided by theirs: the median over rounds in which each runtime ran once.\n")
    results = []
    for net in arguments.nets or NETS:
        result = measure(net, arguments)
        results.append(result)
        print(f"{net}, {result['runs']} runs each\n")
        print("| runtime | median, ms | minimum, ms | ratio | max difference to ours |\n|---|---|---|---|---|")
        for row in result["rows"]:
            print(f"| {row['runtime']} | {row['median_ms']:.3f} | {row['min_ms']:.3f} | {row['ratio']:.3f} | {row['max_difference']:.1e} |")
        print(flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
