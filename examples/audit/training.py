"""The runs of one cell: the same arm and hyperparameters for several seeds, trained together."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

import mgup_core
from audit.arms import ARMS, make_optimizer
from audit.config import Experiment
from audit.plan import Cell
from audit.records import VERSION
from audit.tasks import TASKS, Where


class Outcome(NamedTuple):
    """What came out of a cell: a line of the CSV and a curve for each seed."""

    rows: list[dict[str, Any]]
    curves: list[dict[str, Any]]
    seconds: float


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
        if one.task == "finetuning-text":
            self.model.begin_at(base_of(one, where).weights)
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
        wanted = self.device.type == "cuda" and self.one.reads
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
    shared = {
        "version": VERSION, "experiment": cell.experiment, "task": one.task, "model": one.model,
        "parameters": task.parameters, "arm": cell.arm, "lr": repr(cell.lr),
        "beta1": repr(cell.beta1), "beta2": repr(training.beta2),
        "weight_decay": repr(cell.decay), "tau": tau, "alpha": alpha, "gamma": gamma,
        "steps": task.steps, "tokens": task.tokens, "batch": one.batch,
        "context": one.context if one.reads else "",
        "seconds": f"{seconds / len(cell.seeds):.3f}", "stacked": len(cell.seeds),
        "execution": training.execution, "device": device_name(training.device),
        "torch": torch.__version__, "mgup": mgup_core.__version__, "commit": where.commit,
        "corpus": data_of(one, task, where),
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


class Base(NamedTuple):
    """What fine-tuning begins with."""

    weights: dict[str, Tensor]
    """Of a stack of one model."""
    loss: float
    """On held-out code."""
    sha256: str
    """Of the settings and the weights."""


def base_of(one: Experiment, where: Where) -> Base:
    """The model that has learned code: trained once, by AdamW, into the cache.

    Raises:
        ValueError: where the file in the cache is not what was written there.
    """
    base, device = one.base(), torch.device(where.device)
    task = TASKS[base.task](base, where, device)
    settings = json.dumps(
        {**dataclasses.asdict(base), "corpus": task.corpus.sha256, "steps": task.steps,
         "device": device.type}, sort_keys=True,
    )  # fmt: skip
    path = Path(where.cache) / f"base-{hashlib.sha256(settings.encode()).hexdigest()[:16]}.pt"
    if not path.exists():
        cell = Cell(base.name, *base.arms, base.start(*base.arms), base.betas1[0], base.decays[0],
                    base.selection_seeds)  # fmt: skip
        training = Training(base, cell, where)
        training.run()
        weights = {name: p.detach().cpu() for name, p in training.model.named_parameters()}
        loss = training.evaluate(True)[0]
        partial = path.with_suffix(".partial")
        torch.save(Base(weights, loss, _sha256(settings, weights))._asdict(), partial)
        partial.replace(path)
    found = Base(**torch.load(path, weights_only=True))
    if found.sha256 != _sha256(settings, found.weights):
        raise ValueError(
            f"{path} is not the base that was written there: delete it, and the same command "
            "trains one anew."
        )
    return found


def _sha256(settings: str, weights: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(settings.encode())
    for name, value in sorted(weights.items()):
        digest.update(name.encode() + value.numpy().tobytes())
    return digest.hexdigest()


def data_of(one: Experiment, task: Any, where: Where) -> str:
    """What the runs of an experiment are made of, as the CSV has it."""
    if not one.reads:
        return f"{one.task} {task.tokens}"
    text = str(task.corpus.sha256[:16])
    if one.task == "finetuning-text":
        return f"{text} from {base_of(one, where).sha256[:16]}"
    return text


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
