"""The checks of the training code; `check` runs them. Each can fail, and says which one did.

    check.py [--scratch FOLDER]

The six photographs of `tests/fixtures/people` stand in for the set.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import helper

import conditions
import data
import export
import losses
import nets
import onnx_net
import pictures
import sampling
import train
from validation import to_tensor

ROOT = pictures.HERE.parents[1]
sys.path.insert(0, str(ROOT / "models"))
from golden import all_tensors  # noqa: E402

LIMIT = 1e-4
FIXTURES = ROOT / "tests" / "fixtures" / "people"


def fixture_input(size: tuple[int, int]) -> np.ndarray:
    """A photograph as the net sees it, f32 [1, 3, height, width]."""
    picture = sampling.read_rgb(sorted((FIXTURES / "images").glob("*.jpg"))[0])
    whole = sampling.Rectangle(0, 0, picture.shape[1], picture.shape[0])
    return (sampling.sampled(picture, whole, *size) / 255).transpose(2, 0, 1)[None].astype(np.float32)


def first_difference(net: onnx_net.OnnxNet, model: onnx.ModelProto, picture: np.ndarray) -> tuple[str | None, float]:
    """The first tensor of the graph that differs between PyTorch and ONNX Runtime by more than the limit, relative
    to max(1, its largest value), and the worst difference."""
    golden = all_tensors(model, picture)
    with torch.no_grad():
        ours = net.tensors(torch.from_numpy(picture))
    worst, first = 0.0, None
    for name, wanted in golden.items():
        if tuple(ours[name].shape) != wanted.shape:
            return name, float("inf")
        apart = float(np.abs(ours[name].numpy() - wanted).max() / max(1.0, np.abs(wanted).max()))
        worst = max(worst, apart)
        if apart > LIMIT and first is None:
            first = name
    return first, worst


def check_rebuilt(_: Path) -> str:
    said = []
    for name in ("selfie-landscape", "selfie-general", "tiny"):
        net = nets.make(name).eval()
        first, worst = first_difference(net, net.to_onnx(), fixture_input(net.size))
        assert first is None, f"{name}: {first} differs, worst {worst:.1e}"
        said.append(f"{name} {len(net.model.graph.node)} tensors, worst {worst:.1e}")
    return "; ".join(said)


def check_graph(_: Path) -> str:
    for name in ("selfie-landscape", "selfie-general"):
        path = ROOT / "models" / f"{name}.onnx"
        released, net = onnx.load(path), nets.make(name)
        assert net.to_onnx().SerializeToString() == path.read_bytes(), (
            f"{name}: an untrained export is not the released file"
        )
        with torch.no_grad():
            for value in net.parameters():
                value.add_(0.01)
        assert not onnx_net.differences(released, net.to_onnx(f"{name}-2")), (
            f"{name}: a trained export has another graph"
        )
        changed = net.to_onnx()
        changed.graph.node[0].attribute[1].CopyFrom(helper.make_attribute("kernel_shape", [5, 5]))
        assert onnx_net.differences(released, changed), "a changed attribute was not seen"
    return "an untrained export is the released file to the byte; a trained one has its graph"


def unet(border: str) -> nets.UnetQuarter:
    """With batch norms that are not the identity."""
    torch.manual_seed(3)
    net = nets.UnetQuarter(border=border, height=48, width=64).train()
    with torch.no_grad():
        for _ in range(3):
            net(torch.rand(2, 3, 48, 64))
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.5, 0.5)
    return net.eval()


def check_unet(_: Path) -> str:
    said = []
    for border in ("replicate", "zeros"):
        net = unet(border)
        model = net.to_onnx("unet-quarter")
        assert not any(node.op_type == "BatchNormalization" for node in model.graph.node)
        picture = fixture_input(net.size)
        with torch.no_grad():
            ours = torch.sigmoid(net(torch.from_numpy(picture))).numpy()
        golden = all_tensors(model, picture)
        apart = float(np.abs(ours - golden["person"]).max())
        assert apart <= LIMIT, f"border {border}: folded net differs by {apart:.1e}"
        # The graph walked in PyTorch gives every tensor that ONNX Runtime gives: folding is the only difference.
        first, worst = first_difference(onnx_net.OnnxNet(model), model, picture)
        assert first is None, f"border {border}: {first}, worst {worst:.1e}"
        said.append(f"{border} {apart:.1e}, {len(model.graph.node)} tensors {worst:.1e}")
    return "; ".join(said)


def check_group(_: Path) -> str:
    """A depthwise convolution of groups that are lost: the net still loads and runs where shapes allow it."""
    channels, rng = 4, np.random.default_rng(5)
    model = grouped(channels, 4, rng.standard_normal((channels, 1, 2, 2)).astype(np.float32))
    picture = rng.random((1, 3, 8, 8), dtype=np.float32)
    net = onnx_net.OnnxNet(model)
    first, worst = first_difference(net, model, picture)
    assert first is None, f"grouped deconvolution: {first}, worst {worst:.1e}"
    # As converters lose it: one group, whose kernel is the diagonal's column spread over all outputs.
    wrong = grouped(
        channels, 1, np.repeat(rng.standard_normal((channels, 1, 2, 2)), channels, axis=1).astype(np.float32)
    )
    first, _ = first_difference(net, wrong, picture)
    assert first == "grow", f"the lost group count was reported at {first}, not at the deconvolution"
    shapes = grouped(channels, 2, rng.standard_normal((channels, 1, 2, 2)).astype(np.float32))
    assert onnx_net.differences(model, shapes), "another group count was not seen in the graph"
    return "reported at the deconvolution, and by the comparison of graphs"


def grouped(channels: int, group: int, kernel: np.ndarray) -> onnx.ModelProto:
    rng = np.random.default_rng(6)
    tensor = lambda name, value: onnx.numpy_helper.from_array(value.astype(np.float32), name)  # noqa: E731

    def pointwise(source: str, name: str) -> onnx.NodeProto:
        inputs = [source, f"{name}/Kernel", f"{name}/Bias"]
        return helper.make_node(
            "Conv", inputs, [name], name=name, group=1, kernel_shape=[1, 1], pads=[0] * 4, strides=[1, 1]
        )

    nodes = [
        pointwise("picture", "first"),
        helper.make_node(
            "ConvTranspose",
            ["first", "grow/Kernel"],
            ["grow"],
            name="grow",
            group=group,
            kernel_shape=[2, 2],
            strides=[2, 2],
        ),
        pointwise("grow", "head"),
        helper.make_node("Sigmoid", ["head"], ["person"], name="person"),
    ]
    outputs = kernel.shape[1] * group
    weights = [
        tensor("first/Kernel", rng.standard_normal((channels, 3, 1, 1))),
        tensor("first/Bias", rng.standard_normal(channels)),
        tensor("grow/Kernel", kernel),
        tensor("head/Kernel", rng.standard_normal((1, outputs, 1, 1))),
        tensor("head/Bias", np.zeros(1)),
    ]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "grouped", [info("picture", 1, [1, 3, 8, 8])], [info("person", 1, [1, 1, 16, 16])], weights
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 14)])


def check_padding(_: Path) -> str:
    """Zeros where the border should be replicated: errors along the border only, which a mean hardly shows."""
    net = unet("replicate")
    right = net.to_onnx("unet-quarter")
    wrong = onnx.ModelProto()
    wrong.CopyFrom(right)
    pad = next(node for node in wrong.graph.node if node.op_type == "Pad")
    pad.attribute[0].CopyFrom(helper.make_attribute("mode", "constant"))
    first, _ = first_difference(onnx_net.OnnxNet(right), wrong, fixture_input(net.size))
    assert first == pad.output[0], f"zero padding was reported at {first}, not at {pad.output[0]}"
    # Down to the deepest level; the deconvolutions' own pattern begins after it.
    flat = np.full((1, 3, *net.size), 0.6, np.float32)
    uneven = {
        model: float(np.ptp(all_tensors(graph, flat)["conv5_2/relu"], axis=(2, 3)).max())
        for model, graph in (("right", right), ("wrong", wrong))
    }
    assert uneven["right"] < 1e-4 < uneven["wrong"], f"a flat picture is uneven at the deepest level: {uneven}"
    return "reported at the first padding; a flat picture stays flat up to the border"


def check_data(cache: Path) -> str:
    one, two = (data.Composer(cache, "test", 64, 48, seed=9) for _ in range(2))
    other = data.Composer(cache, "test", 64, 48, seed=10)
    forth = [one.sample(index) for index in range(24)]
    back = [two.sample(index) for index in reversed(range(24))][::-1]
    same = all(np.array_equal(a, b) for x, y in zip(forth, back, strict=True) for a, b in zip(x, y, strict=True))
    assert same, "samples depend on their order, or on more than seed and index"
    assert any(not np.array_equal(forth[index][0], other.sample(index)[0]) for index in range(4)), (
        "the seed has no effect"
    )
    assert any(masks[..., 0].any() for _, masks in forth)
    listed = {entry.name: entry.split for entry in pictures.read_list()}
    assert all(listed[name] == "test" for name in pictures.SHOWN_ELSEWHERE), (
        "a picture shown elsewhere is not in the test split"
    )
    assert all(split == pictures.split_of(name) for name, split in listed.items()), (
        "data.tsv has another split than split_of"
    )
    sizes = [list(listed.values()).count(split) for split in pictures.SPLITS]
    return f"24 samples, forwards and backwards; splits {sizes}"


def check_conditions(_: Path) -> str:
    """What is flat stays flat up to the border, whatever blurs or turns it; and each condition does what it says."""
    rng = np.random.default_rng(2)
    flat = np.full((40, 60, 3), 90, np.float32)
    turned = {
        "rotate": conditions.rotate(flat, 17),
        "blur": conditions.blur(flat, 3),
        "motion blur": conditions.motion_blur(flat, 9),
        "motion blur, upright": conditions.across(conditions.motion_blur, flat, 9),
        "view beyond the borders": data.view(flat.astype(np.uint8), (-30.0, -20.0, 90.0, 60.0), 60, 40),
    }
    for name, picture in turned.items():
        uneven = np.ptp(picture)
        assert uneven < 1e-3, f"{name}: a flat picture is uneven by {uneven}: the border is not replicated"
    ramp = (np.arange(12, dtype=np.uint8) * 20).reshape(3, 4)
    seen = data.view(ramp, (-4.0, -3.0, 8.0, 6.0), 12, 9)
    assert np.array_equal(seen[3:6, 4:8], ramp) and np.all(seen[:3, :4] == ramp[0, 0]) and np.all(
        seen[6:, 8:] == ramp[2, 3]
    ), "a view beyond the photograph is not its border repeated"
    stripes = np.zeros((40, 60, 3), np.float32)
    stripes[::2] = 200
    along, upright = conditions.motion_blur(stripes, 9), conditions.across(conditions.motion_blur, stripes, 9)[8:-8]
    assert np.ptp(along) == 200 and np.ptp(upright) < 30, "motion blur along the wrong axis"
    dim = conditions.dark(flat, 0.2, rng)
    assert dim.mean() < 25 and dim.std() > 2, f"dark: mean {dim.mean():.1f}, noise {dim.std():.1f}"
    colours = rng.uniform(0, 255, flat.shape).astype(np.float32)
    grey = conditions.grey(colours)
    assert np.ptp(grey, axis=2).max() == 0, "grey has colours"
    coarse, fine = (np.abs(conditions.jpeg(grey, quality) - grey).mean() for quality in (8, 95))
    assert coarse > 2 * fine, f"jpeg: {coarse:.1f} at quality 8, {fine:.1f} at 95"
    return "borders, dark, grey, motion, JPEG"


def check_turned(cache: Path) -> str:
    """Samples on their side: picture, truth and teacher turn together, either way, as often as the recipe says."""

    class Top(data.Composer):
        """Every sample is bright along its upper edge, and a person there."""

        def photograph(self, rng: np.random.Generator, width: int, height: int) -> data.Layers:
            truth = np.zeros((height, width), np.float32)
            truth[: height // 4] = 1
            return data.Layers(np.repeat(truth[..., None] * 200, 3, axis=2), truth, truth.copy())

        def composite(self, rng: np.random.Generator, width: int, height: int, empty: bool) -> data.Layers:
            return self.photograph(rng, width, height)

    composer, sides = Top(cache, "test", 64, 48, seed=1), {"top": 0, "left": 0, "right": 0}
    for index in range(600):
        picture, masks = composer.sample(index, clean=True)
        assert picture.shape == (48, 64, 3) and masks.shape == (48, 64, 2)
        person = picture[..., 0] > 100
        assert all(np.array_equal(masks[..., layer] > 127, person) for layer in (0, 1)), "masks and picture turn apart"
        sides["top" if person[0].all() else "left" if person[:, 0].all() else "right"] += 1
    share = 1 - sides["top"] / 600
    assert 0.4 * data.TURNED < share < 1.8 * data.TURNED, f"{share:.3f} are turned, the recipe says {data.TURNED}"
    assert sides["left"] and sides["right"], f"turned one way only: {sides}"
    return f"{sides} of 600"


def check_sizes(cache: Path) -> str:
    """Composites have nobody sometimes, small people, and people larger than the frame."""
    composer, heights, empty = data.Composer(cache, "test", 64, 48, seed=11), [], 0
    for index in range(300):
        _, masks = composer.sample(index, clean=True)
        rows = np.flatnonzero((masks[..., 0] > 127).any(axis=1))
        empty += not len(rows)
        if len(rows):
            heights.append((rows[-1] - rows[0] + 1) / 48)
    assert min(heights) < 0.25 and max(heights) == 1, f"heights {min(heights):.2f} to {max(heights):.2f}"
    assert 3 <= empty <= 30, f"{empty} of 300 show nobody"
    return f"heights {min(heights):.2f} to 1, {empty} of 300 without people"


def check_step(cache: Path) -> str:
    """Forty steps on the same four pictures must lower their loss by a fifth, for each kind of net."""
    said = []
    for name in ("selfie-landscape", "unet-quarter", "tiny"):
        torch.manual_seed(1)
        net = nets.make(name).train()
        height, width = net.size
        composer = data.Composer(cache, "test", width, height, seed=4)
        samples = [composer.sample(index, clean=True) for index in range(4)]
        pictures_, masks = (to_tensor(np.stack(layer)) for layer in zip(*samples, strict=True))
        optimizer = torch.optim.AdamW(train.groups(net, 0.0), lr=1e-3)
        seen = []
        for _ in range(12 if name == "unet-quarter" else 40):
            optimizer.zero_grad()
            value = losses.loss(net(pictures_), masks[:, :1], masks[:, 1:])["loss"]
            value.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            seen.append(float(value.detach()))
        assert seen[-1] < 0.8 * seen[0], f"{name}: loss {seen[0]:.3f} -> {seen[-1]:.3f}"
        said.append(f"{name} {seen[0]:.3f} -> {seen[-1]:.3f}")
    return "; ".join(said)


def check_resume(cache: Path) -> str:
    """A run that stops and goes on, its samples drawn by another process, has the bits of one that does neither; and
    its export is a model."""
    recipe = replace(train.RECIPES["tiny"], steps=40, batch=2, warm_up=5, distillation=0.0, pictures=2)

    class OnTest(train.Run):
        """The fixtures are all of the test split."""

        def __init__(self, folder: Path, workers: int) -> None:
            real, train.Composer = train.Composer, lambda cache, split, *rest: data.Composer(cache, "test", *rest)
            validation, train.Validation = train.Validation, lambda *rest: None
            super().__init__("tiny", recipe, cache, folder, workers)
            train.Composer, train.Validation = real, validation

        def validate(self) -> dict[str, float]:
            return {"mean": 0.0}

    whole = OnTest(cache / "whole", 0)
    assert whole.train(1e9)
    parts = OnTest(cache / "parts", 1)
    assert not parts.train(0.0), "no time, yet all steps were done"
    parts = OnTest(cache / "parts", 1)
    assert 0 < parts.step < recipe.steps
    assert parts.train(1e9)
    assert (cache / "whole" / "loss.tsv").read_text().count("\n") == (cache / "parts" / "loss.tsv").read_text().count(
        "\n"
    )
    one, two = (run.finish().read_bytes() for run in (whole, parts))
    assert one == two, "a resumed run has other bits"
    export.export(cache / "whole" / "tiny.onnx", "tiny", cache / "out", "Apache-2.0", "A test", None)
    manifest = tomllib.loads((cache / "out" / "tiny.toml").read_text())
    released = tomllib.loads((ROOT / "models" / "selfie-landscape.toml").read_text())
    assert {key: set(value) if isinstance(value, dict) else type(value) for key, value in manifest.items()} == {
        key: set(value) if isinstance(value, dict) else type(value) for key, value in released.items()
    }, "the manifest has other keys than that of selfie-landscape"
    assert manifest["sha256"] == pictures.sha256(cache / "out" / "tiny.onnx")
    return f"stopped at step 20 of {recipe.steps}: the same {len(one)} bytes"


CHECKS: dict[str, Callable[[Path], str]] = {
    "rebuilt nets equal ONNX Runtime": check_rebuilt,
    "exported graphs are the released ones": check_graph,
    "unet-quarter, batch norm folded": check_unet,
    "lost group count": check_group,
    "zero padding": check_padding,
    "samples by seed and index": check_data,
    "conditions": check_conditions,
    "samples on their side": check_turned,
    "sizes of people": check_sizes,
    "steps lower the loss": check_step,
    "resumed runs, export": check_resume,
}


def fixtures_list() -> list[pictures.Entry]:
    return [entry for entry in pictures.read_list() if (FIXTURES / "images" / f"{entry.name}.jpg").exists()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", type=Path)
    arguments = parser.parse_args()
    train.prepare_torch()
    failed = 0
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
        cache = Path(folder)
        pictures.pack(FIXTURES, cache, fixtures_list())
        for name, check in CHECKS.items():
            try:
                print(f"ok    {name}: {check(cache)}", flush=True)
            except AssertionError as error:
                failed += 1
                print(f"FAIL  {name}: {error}", flush=True)
    print(f"{len(CHECKS) - failed} passed, {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
