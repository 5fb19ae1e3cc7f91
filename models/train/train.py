"""Trains one net.

    train.py NET CACHE RUN [--minutes M] [--steps N] [--seed S] [--border zeros] [--workers N] [--smoke]

NET: selfie-landscape, selfie-general (fine-tuned, then blended with the released weights), unet-quarter (from
nothing), tiny (from the landscape net's numbers). RUN is a folder: a run found there goes on at its last checkpoint.
`--minutes` ends this call, not the run: the schedule counts steps, so that a run in ten calls gives the bits of a
run in one.

RUN/ gets `loss.tsv`, `validation.tsv`, their curves, `checkpoint.pt`, and when all steps are done `NAME.onnx` (the
mean of the last weights; for selfie nets their blend, chosen by `blend.tsv` on the validation split).

Exit status: 0 done, 3 the minutes are over and steps are left.
"""

from __future__ import annotations

import argparse
import copy
import math
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import curves
import losses
import nets
from data import Composer
from validation import Validation, to_tensor

LOG_EVERY, VALIDATE_EVERY, CHECKPOINT_SECONDS = 20, 250, 180
UNFINISHED = 3


@dataclass(frozen=True)
class Recipe:
    """All that decides the result, with the seed, the list of photographs and the teachers."""

    steps: int
    batch: int
    learning_rate: float
    warm_up: int
    weight_decay: float = 1e-4
    average: float = 0.998
    """Decay of the exponential mean of the weights, a step."""
    distillation: float = losses.DISTILLATION
    blends: tuple[float, ...] = ()
    """Shares of the released weights to try."""
    border: str = "replicate"
    seed: int = 1
    pictures: int | None = None


LEAST_RELEASED = 0.6
"""Least share of the released weights in a blend. Training and validation are street fashion both: what fine-tuning
loses on other photographs, the validation split cannot see."""
BLENDS = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
RECIPES = {
    "selfie-landscape": Recipe(steps=4000, batch=16, learning_rate=3e-4, warm_up=200, blends=BLENDS),
    "selfie-general": Recipe(steps=6000, batch=16, learning_rate=3e-4, warm_up=200, blends=BLENDS),
    "unet-quarter": Recipe(steps=20000, batch=8, learning_rate=2e-3, warm_up=500, average=0.999),
    "tiny": Recipe(steps=12000, batch=32, learning_rate=1e-3, warm_up=300, average=0.999),
}
SMOKE = {"steps": 60, "batch": 4, "warm_up": 5, "average": 0.9, "pictures": 16}


def rate(recipe: Recipe, step: int) -> float:
    """Learning rate of a step: a linear start, then half a cosine down to a hundredth."""
    if step < recipe.warm_up:
        return recipe.learning_rate * (step + 1) / recipe.warm_up
    share = (step - recipe.warm_up) / max(1, recipe.steps - recipe.warm_up)
    return recipe.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))


def groups(net: nn.Module, decay: float) -> list[dict]:
    """Biases and batch norms do not decay."""
    kernels = [value for value in net.parameters() if value.dim() > 1]
    return [
        {"params": kernels, "weight_decay": decay},
        {"params": [value for value in net.parameters() if value.dim() <= 1], "weight_decay": 0.0},
    ]


@torch.no_grad()
def follow(mean: nn.Module, net: nn.Module, decay: float) -> None:
    for kept, value in zip(mean.state_dict().values(), net.state_dict().values(), strict=True):
        if value.is_floating_point():
            kept.lerp_(value, 1 - decay)
        else:
            kept.copy_(value)


class Batches(Dataset):
    """The batches of steps `first` to `last`, drawn by another process while the net learns. A sample is a function
    of its index: who draws it, and how far ahead, changes no bit."""

    def __init__(self, composer: Composer, size: int, first: int, last: int) -> None:
        self.composer, self.size, self.first, self.last = composer, size, first, last

    def __len__(self) -> int:
        return self.last - self.first

    def __getitem__(self, place: int) -> tuple[np.ndarray, np.ndarray]:
        return self.composer.batch((self.first + place) * self.size, self.size)


class Run:
    """One training run in a folder. `workers`: processes that draw batches ahead; 0 draws them in this one."""

    def __init__(self, name: str, recipe: Recipe, cache: Path, folder: Path, workers: int = 0) -> None:
        self.name, self.recipe, self.cache, self.folder, self.workers = name, recipe, cache, folder, workers
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(recipe.seed)
        self.net = nets.make(name, recipe.border).to(memory_format=torch.channels_last).train()
        self.mean = copy.deepcopy(self.net).eval()
        self.optimizer = torch.optim.AdamW(
            groups(self.net, recipe.weight_decay), lr=recipe.learning_rate, betas=(0.9, 0.99)
        )
        self.step, self.seconds = 0, 0.0
        self.resume()
        height, width = self.net.size
        self.composer = Composer(cache, "train", width, height, recipe.seed)
        if recipe.distillation and not self.composer.targets:
            raise SystemExit(f"train.py: {cache} has no teachers' targets; teach.py makes them")
        self.validation = Validation(cache, self.net.size, recipe.pictures)

    def resume(self) -> None:
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        if state["recipe"] != repr(asdict(self.recipe)) or state["name"] != self.name:
            raise SystemExit(f"train.py: {path} belongs to another net or recipe; name another folder, or remove it")
        self.net.load_state_dict(state["net"])
        self.mean.load_state_dict(state["mean"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]
        # Rows after the checkpoint are written again.
        for table in ("loss.tsv", "validation.tsv"):
            file = self.folder / table
            if file.exists():
                lines = file.read_text().splitlines(keepends=True)
                file.write_text(
                    "".join(lines[:1] + [line for line in lines[1:] if int(line.split("\t")[0]) <= self.step])
                )

    def save(self) -> None:
        state = {
            "name": self.name,
            "recipe": repr(asdict(self.recipe)),
            "net": self.net.state_dict(),
            "mean": self.mean.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }
        part = self.folder / "checkpoint.pt.part"
        torch.save(state, part)
        part.rename(self.folder / "checkpoint.pt")

    def log(self, table: str, row: dict[str, float]) -> None:
        path = self.folder / table
        new = not path.exists()
        with path.open("a") as out:
            if new:
                out.write("\t".join(row) + "\n")
            out.write(
                "\t".join(str(value) if isinstance(value, int) else f"{value:.6g}" for value in row.values()) + "\n"
            )

    def batches(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The batches from the present step on."""
        batches = Batches(self.composer, self.recipe.batch, self.step, self.recipe.steps)
        ahead = {"num_workers": self.workers, "prefetch_factor": 4} if self.workers else {}
        return iter(DataLoader(batches, batch_size=None, collate_fn=as_it_is, **ahead))

    def train_step(self, batch: tuple[np.ndarray, np.ndarray]) -> dict[str, float]:
        pictures, masks = batch
        target = to_tensor(masks)
        for group in self.optimizer.param_groups:
            group["lr"] = rate(self.recipe, self.step)
        self.optimizer.zero_grad(set_to_none=True)
        found = losses.loss(self.net(to_tensor(pictures)), target[:, :1], target[:, 1:], self.recipe.distillation)
        found["loss"].backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()
        # A mean that remembers the start would be the start: it follows faster in the first steps.
        follow(self.mean, self.net, min(self.recipe.average, (1 + self.step) / (10 + self.step)))
        self.step += 1
        return {name: float(value.detach()) for name, value in found.items()}

    def validate(self) -> dict[str, float]:
        row = self.validation.measure(self.mean)
        self.log("validation.tsv", {"step": self.step, "seconds": self.seconds, **row})
        curves.draw(self.folder)
        return row

    def train(self, minutes: float) -> bool:
        """Trains until all steps are done or the time is over; whether all steps are done."""
        begun = saved = time.monotonic()
        before, sums = self.seconds, {}
        stop: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, frame: stop.append(number))
        if self.step == 0:
            print(f"{self.name}: before: {self.validate()}", flush=True)
        for batch in self.batches():
            values = self.train_step(batch)
            self.seconds = before + time.monotonic() - begun
            sums = {name: sums.get(name, 0.0) + value for name, value in values.items()}
            if self.step % LOG_EVERY == 0 or self.step == self.recipe.steps:
                since = LOG_EVERY if self.step % LOG_EVERY == 0 else self.step % LOG_EVERY
                means = {name: value / since for name, value in sums.items()}
                self.log(
                    "loss.tsv",
                    {
                        "step": self.step,
                        "seconds": self.seconds,
                        "learning_rate": rate(self.recipe, self.step - 1),
                        **means,
                    },
                )
                sums = {}
            if self.step % VALIDATE_EVERY == 0 or self.step == self.recipe.steps:
                where = f"step {self.step} of {self.recipe.steps}, {self.seconds / 60:.1f} min"
                print(f"{self.name}: {where}: {self.validate()}", flush=True)
            over = stop or time.monotonic() - begun > minutes * 60
            # Sums are of whole intervals only, so that a resumed run writes the same table.
            if self.step % LOG_EVERY == 0 and (over or time.monotonic() - saved > CHECKPOINT_SECONDS):
                self.save()
                saved = time.monotonic()
                if over and self.step < self.recipe.steps:
                    return False
        self.save()
        return True

    def finish(self) -> Path:
        """Writes the ONNX file of the mean weights, blended where the recipe says so."""
        if self.recipe.blends:
            self.blend()
        path = self.folder / f"{self.name}.onnx"
        onnx.save(self.mean.to_onnx(self.name if not self.name.startswith("selfie-") else f"{self.name}-2"), path)
        return path

    def blend(self) -> None:
        """`share * released + (1 - share) * tuned` for each share. Keeps the one with the best mean on the validation
        split among those of at least [`LEAST_RELEASED`] that lose at most 0.003 on every set. 1.0, the released net,
        is one of them; smaller shares are measured for the table alone."""
        released = nets.make(self.name).state_dict()
        tuned = copy.deepcopy(self.mean.state_dict())
        rows = {}
        (self.folder / "blend.tsv").unlink(missing_ok=True)
        for share in self.recipe.blends:
            self.mean.load_state_dict({key: torch.lerp(tuned[key], released[key], share) for key in tuned})
            rows[share] = self.validation.measure(self.mean)
            self.log("blend.tsv", {"released": share, **rows[share]})
        allowed = [
            share
            for share, row in rows.items()
            if share >= LEAST_RELEASED and all(row[key] >= rows[1.0][key] - 0.003 for key in row)
        ]
        best = max(allowed, key=lambda share: rows[share]["mean"])
        print(
            f"{self.name}: blend with {best} of the released weights: {rows[best]}; released: {rows[1.0]}", flush=True
        )
        self.mean.load_state_dict({key: torch.lerp(tuned[key], released[key], best) for key in tuned})


def as_it_is(batch: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Batches stay arrays on their way from the process that draws them."""
    return batch


def prepare_torch() -> None:
    """One thread and fixed algorithms: the same bits each time."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.set_flush_denormal(True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("net", choices=nets.NAMES)
    parser.add_argument("cache", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--border", choices=("replicate", "zeros"), default="replicate", help="unet-quarter only")
    parser.add_argument("--workers", type=int, default=1, help="processes that draw samples ahead (1); 0: this one")
    parser.add_argument("--smoke", action="store_true", help="60 steps on small batches, 16 validation pictures a set")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    prepare_torch()
    recipe = replace(RECIPES[arguments.net], seed=arguments.seed, border=arguments.border)
    if arguments.smoke:
        recipe = replace(recipe, **SMOKE)
    if arguments.steps:
        recipe = replace(recipe, steps=arguments.steps, warm_up=min(recipe.warm_up, arguments.steps // 10))
    if arguments.learning_rate:
        recipe = replace(recipe, learning_rate=arguments.learning_rate)
    run = Run(arguments.net, recipe, arguments.cache, arguments.run, arguments.workers)
    if not run.train(arguments.minutes):
        print(f"{arguments.net}: {run.step} of {recipe.steps} steps; the same command goes on", flush=True)
        sys.exit(UNFINISHED)
    print(run.finish())


if __name__ == "__main__":
    main()
