"""The runs of one cell: the same arm and hyperparameters for several seeds, trained together."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

import mgup_core
from audit import finetuning, signals
from audit.arms import ARMS, make_optimizer
from audit.config import Experiment
from audit.corpus import Corpus, load_corpus
from audit.gpt import SIZES, StackedGPT, count_parameters
from audit.plan import Cell
from audit.records import VERSION

FEW, MANY = 64, 1024
"""Held-out windows of a point of the curve, and of the loss at the end."""


class Where(NamedTuple):
    """What is the same for all runs of a command."""

    folder: str
    """Of the CSV and the manifests."""
    cache: str
    device: str
    commit: str


class Outcome(NamedTuple):
    """What came out of a cell: a line of the CSV and a curve for each seed."""

    rows: list[dict[str, Any]]
    curves: list[dict[str, Any]]
    seconds: float


class Text:
    """Next-token prediction on :mod:`audit.corpus`."""

    points = 10
    """Of a curve: where the held-out loss and the statistics are looked at."""

    def __init__(self, one: Experiment, where: Where, device: torch.device) -> None:
        self.one, self.device = one, device
        self.corpus, self.where = corpus_of(one.vocabulary, where), where
        self.parameters = count_parameters(SIZES[one.model], one.vocabulary)
        share = 1.0 if device.type == "cuda" else one.cpu_share
        tokens = one.tokens_per_parameter * self.parameters * share
        self.steps = max(20, round(tokens / (one.batch * one.context)))
        self.tokens = self.steps * one.batch * one.context

    def model(self, seeds: Sequence[int]) -> StackedGPT:
        size, one = SIZES[self.one.model], self.one
        model = StackedGPT(
            size, one.vocabulary, one.context, seeds,
            query_norm=one.query_norm, shifted_keys=one.shifted_keys,
        )  # fmt: skip
        return model.to(self.device)

    def prepare(self, seeds: Sequence[int]) -> None:
        """Put the data where it is used: batches depend on the seed alone, not on the arm."""
        one, train = self.one, self.corpus.train
        self.data = tokens_on_device(one.vocabulary, self.where)
        starts = [
            np.random.default_rng([seed, 1]).integers(
                0, len(train) - one.context - 1, (self.steps, one.batch)
            )
            for seed in seeds
        ]
        self.starts = torch.from_numpy(np.stack(starts, 1)).to(self.device)  # (steps, seeds, b)
        self.window = torch.arange(one.context + 1, device=self.device)
        held_out = self.corpus.held_out
        places = np.linspace(0, len(held_out) - one.context - 2, MANY).astype(np.int64)
        places = places[np.random.default_rng(0).permutation(MANY)]
        windows = np.asarray(held_out)[places[:, None] + np.arange(one.context + 1)]
        self.held_out = torch.from_numpy(windows.astype(np.int64)).to(self.device)

    def losses(self, model: Any, step: Tensor) -> Tensor:
        """Of the batch of a step, a tensor of one entry on the device: (seeds,)."""
        starts = self.starts.index_select(0, step)[0]
        tokens = self.data[starts[..., None] + self.window].long()
        return model(tokens[..., :-1], tokens[..., 1:])

    def held_out_losses(self, model: Any, final: bool) -> Tensor:
        few = self.held_out if final else self.held_out[:FEW]
        if self.device.type != "cuda":
            few = few[:FEW]
        parts = []
        for part in few.split(FEW):
            tokens = part.expand(model.seeds, *part.shape)
            parts.append(model(tokens[..., :-1], tokens[..., 1:]) * len(part))
        return torch.stack(parts).sum(0) / len(few)


class Signals:
    """Classification of :mod:`audit.signals`."""

    points = 3
    nets: Mapping[str, Any] = signals.NETS

    def __init__(self, one: Experiment, where: Where, device: torch.device) -> None:
        self.one, self.device, self.steps = one, device, one.steps
        self.x, self.y, self.held_x, self.held_y = (part.to(device) for part in self.dataset())
        shapes = [p.numel() for p in self.nets[one.model]((0,)).parameters()]
        self.parameters, self.tokens = sum(shapes), one.steps * one.batch

    def dataset(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return signals.dataset()

    def model(self, seeds: Sequence[int]) -> Any:
        return self.nets[self.one.model](seeds).to(self.device)

    def prepare(self, seeds: Sequence[int]) -> None:
        chosen = [
            np.random.default_rng([seed, 1]).integers(0, len(self.x), (self.steps, self.one.batch))
            for seed in seeds
        ]
        self.chosen = torch.from_numpy(np.stack(chosen, 1)).to(self.device)

    def losses(self, model: Any, step: Tensor) -> Tensor:
        chosen = self.chosen.index_select(0, step)[0]
        return model(self.x[chosen], self.y[chosen])

    def held_out_losses(self, model: Any, final: bool) -> Tensor:
        s = next(model.parameters()).shape[0]
        x, y = self.held_x, self.held_y
        if not final:
            x, y = x[:1000], y[:1000]
        parts = [
            model(a.expand(s, *a.shape), b.expand(s, *b.shape)) * len(a)
            for a, b in zip(x.split(1000), y.split(1000), strict=True)
        ]
        return torch.stack(parts).sum(0) / len(x)


class Tuning(Signals):
    """Fine-tuning by :mod:`audit.finetuning`."""

    nets = finetuning.NETS

    def dataset(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return finetuning.second_dataset()


TASKS: dict[str, Callable[[Experiment, Where, torch.device], Any]] = {
    "text": Text,
    "signals": Signals,
    "finetuning": Tuning,
}


@lru_cache(maxsize=2)
def corpus_of(vocabulary: int, where: Where) -> Corpus:
    return load_corpus(Path(where.folder), Path(where.cache), vocabulary)


@lru_cache(maxsize=2)
def tokens_on_device(vocabulary: int, where: Where) -> Tensor:
    """The training tokens, int32, once for all cells of a process."""
    tokens = np.asarray(corpus_of(vocabulary, where).train).astype(np.int32)
    return torch.from_numpy(tokens).to(where.device)


def schedule(step: int, steps: int, warmup: float) -> float:
    """Of the peak learning rate: a linear warmup, then half a cosine to 0."""
    first = max(1, round(warmup * steps))
    if step < first:
        return (step + 1) / first
    return 0.5 * (1 + math.cos(math.pi * (step - first) / max(1, steps - first)))


class Training:
    """One stack of models under one optimizer."""

    def __init__(self, one: Experiment, cell: Cell, where: Where, **more: Any) -> None:
        self.one, self.cell = one, cell
        self.device = torch.device(where.device)
        self.task = TASKS[one.task](one, where, self.device)
        self.model = self.task.model(cell.seeds)
        self.task.prepare(cell.seeds)
        groups = self.model.groups()
        self.axes = [(p, x["stacked_dims"] - 1) for x in groups for _, p in x["params"]]
        self.optimizer = make_optimizer(
            cell.arm, groups, lr=cell.lr, betas=(cell.beta1, self.beta2),
            weight_decay=cell.decay, seed=sum(cell.seeds), **more,
        )  # fmt: skip
        self.peaks = [group["lr"] for group in self.optimizer.param_groups]
        self.step = torch.zeros(1, dtype=torch.int64, device=self.device)
        self.seen = torch.zeros(self.task.steps, len(cell.seeds), device=self.device)
        self.execution = "eager"

    @property
    def beta2(self) -> float:
        return 0.99 if ARMS[self.cell.arm].kind == "MGUPLion" else self.one.beta2

    def autocast(self) -> torch.autocast:
        # Without the cache: a graph that is replayed must cast anew.
        wanted = self.device.type == "cuda" and self.one.task == "text"
        return torch.autocast(self.device.type, torch.bfloat16, wanted, cache_enabled=False)

    def forward_backward(self) -> None:
        with self.autocast():
            losses = self.task.losses(self.model, self.step)
        losses.sum().backward()  # each model's own gradient: they share nothing
        if self.one.clip:
            self._clip()
        self.seen.index_copy_(0, self.step, losses.detach()[None])
        self.step.add_(1)

    @torch.no_grad()
    def _clip(self) -> None:
        """Shorten the gradient of each model whose norm is above the bound."""
        grads = [p.grad.movedim(axis, 0) for p, axis in self.axes]
        norms = torch.stack([g.flatten(1).square().sum(1) for g in grads]).sum(0).sqrt()
        factors = self.one.clip / norms.clamp(min=self.one.clip)
        for g in grads:
            g.mul_(factors.view(-1, *(1,) * (g.dim() - 1)))

    def begin(self) -> Callable[[], None]:
        """What takes a forward and a backward pass: on a GPU a graph, if it can be captured.

        Small kernels outrun their launches.
        """
        if self.device.type == "cuda":
            try:
                return self._captured()
            except RuntimeError as error:
                print(f"no CUDA graph, steps are eager: {error}", file=sys.stderr)
                torch.cuda.synchronize()
        self.step.zero_()
        return self._eager

    def _eager(self) -> None:
        self.model.zero_grad()
        self.forward_backward()

    def _captured(self) -> Callable[[], None]:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(2):
                self._eager()
        torch.cuda.current_stream().wait_stream(stream)
        torch.cuda.synchronize()
        self.model.zero_grad()  # so that the gradients stay where the graph writes them
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.forward_backward()
        self.step.zero_()
        self.execution = "cuda graph"
        return graph.replay

    def run(self) -> list[dict[str, Any]]:
        """Train, and return the points of the curve."""
        total, forward_backward = self.task.steps, self.begin()
        n = self.task.points
        looks = {round(total * (i + 1) / n) - 1 for i in range(n)}
        points = []
        for step in range(total):
            forward_backward()
            now = schedule(step, total, self.one.warmup)
            for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
                group["lr"] = peak * now
            if step in looks:
                points.append(self._looked_at(step, now))
            else:
                self.optimizer.step()
        return points

    def evaluate(self, final: bool) -> list[float]:
        with torch.no_grad(), self.autocast():
            return self.task.held_out_losses(self.model, final).tolist()

    def _looked_at(self, step: int, now: float) -> dict[str, Any]:
        """Take a step, and see what it was: (a number for each seed) by name, by layer."""
        before = {p: p.detach().clone() for p in self.model.parameters()}
        names = {p: name for name, p in self.model.named_parameters()}
        self.optimizer.step()
        layers: dict[str, dict[str, list[float]]] = {}
        for group in self.optimizer.param_groups:
            for p in group["params"]:
                moved = before[p] - p.detach()
                if group["lr"]:  # phi * u
                    moved = moved / group["lr"] - group["weight_decay"] * before[p]
                layers[names[p]] = self._statistics(p, moved, group["stacked_dims"] - 1)
        return {"step": step + 1, "rate": now, "held_out": self.evaluate(False), "layers": layers}

    def _statistics(self, p: Tensor, moved: Tensor, axis: int) -> dict[str, list[float]]:
        """Of one parameter, of which each model is a slice of ``axis``."""

        def mean(x: Tensor) -> list[float]:
            return x.movedim(axis, 0).flatten(1).mean(1).tolist()

        g = p.grad
        assert g is not None
        found = {"gradient": mean(g.square()), "update": mean(moved.square())}
        m = self.optimizer.state[p].get("exp_avg")
        if m is not None:
            found["aligned"] = mean((m * g > 0).float())
        return found


def run_cell(one: Experiment, cell: Cell, where: Where) -> Outcome:
    """Train the runs of a cell."""
    started = time.perf_counter()
    training = Training(one, cell, where)
    points = training.run()
    losses = training.evaluate(True)
    seconds = time.perf_counter() - started
    task, arm = training.task, ARMS[cell.arm]
    tau, alpha, gamma = arm.numbers or ("", "", "")
    corpus = task.corpus.sha256[:16] if one.task == "text" else f"{one.task} {task.tokens}"
    shared = {
        "version": VERSION, "experiment": cell.experiment, "task": one.task, "model": one.model,
        "parameters": task.parameters, "arm": cell.arm, "lr": repr(cell.lr),
        "beta1": repr(cell.beta1), "beta2": repr(training.beta2),
        "weight_decay": repr(cell.decay), "tau": tau, "alpha": alpha, "gamma": gamma,
        "steps": task.steps, "tokens": task.tokens, "batch": one.batch,
        "context": one.context if one.task == "text" else "",
        "seconds": f"{seconds / len(cell.seeds):.3f}", "stacked": len(cell.seeds),
        "execution": training.execution, "device": device_name(training.device),
        "torch": torch.__version__, "mgup": mgup_core.__version__, "commit": where.commit,
        "corpus": corpus,
    }  # fmt: skip
    parts = training.seen.tensor_split(min(5 * task.points, task.steps))
    coarse = torch.stack([part.mean(0) for part in parts]).tolist()
    rows, curves = [], []
    for i, (seed, loss) in enumerate(zip(cell.seeds, losses, strict=True)):
        name = f"{cell.experiment}/{cell.arm}/{cell.lr!r}/{cell.beta1!r}/{cell.decay!r}/{seed}"
        rows.append({**shared, "seed": seed, "loss": f"{loss:.5f}", "curve": name})
        own = [
            {
                **point, "held_out": round(point["held_out"][i], 5),
                "layers": {
                    layer: {n: float(f"{x[i]:.4g}") for n, x in values.items()}
                    for layer, values in point["layers"].items()
                },
            }
            for point in points
        ]  # fmt: skip
        train = [round(part[i], 4) for part in coarse]
        curves.append({"curve": name, "steps": task.steps, "train": train, "points": own})
    return Outcome(rows, curves, seconds)


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
