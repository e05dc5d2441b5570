"""What the training loop asks of a framework: the seam behind which each backend lives."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from lm.data import VOCABULARY, Batch
from lm.recipes import Recipe, schedule


@dataclass(frozen=True)
class Settings:
    """Everything that the optimizers of one comparison have in common."""

    steps: int
    warmup: int
    layers: int
    width: int
    heads: int
    context: int
    seed: int
    backend: str
    device: str
    threads: int
    tau: float
    alpha: float | None
    gamma: float | None
    watch: bool = False
    """Measure what the policy does at every step, which takes time."""


class Step(NamedTuple):
    """What one training step left behind."""

    loss: float
    seconds: float
    optimizer_seconds: float
    multiplier: float | None
    """Mean over all coordinates of the model; None where it is neither known nor measured."""


class Trainer(Protocol):
    """A model, its optimizer and its schedule."""

    def step(self, batch: Batch) -> Step: ...

    def evaluate(self, batches: Sequence[Batch]) -> float: ...


class TwoPartTrainer(ABC):
    """The clock around a step, for frameworks in which it is two calls."""

    @abstractmethod
    def differentiate(self, batch: Batch) -> tuple[float, Any]:
        """The loss, and the gradients in whatever form `update` takes them."""

    @abstractmethod
    def update(self, gradients: Any) -> float | None:
        """Move the weights; the mean multiplier if it is known."""

    def step(self, batch: Batch) -> Step:
        started = time.perf_counter()
        loss, gradients = self.differentiate(batch)
        differentiated = time.perf_counter()
        multiplier = self.update(gradients)
        finished = time.perf_counter()
        return Step(loss, finished - started, finished - differentiated, multiplier)


def rates(recipe: Recipe, settings: Settings) -> list[float]:
    """The learning rate of every step."""
    factors = (schedule(i, settings.steps, settings.warmup) for i in range(settings.steps))
    return [recipe.lr * factor for factor in factors]


def initial_weights(settings: Settings) -> dict[str, np.ndarray]:
    """The weights that every optimizer, whatever its framework, starts from.

    Matrices keep the variance of what they multiply; a fixed 0.02, as GPT-2 has it, would leave a
    model this narrow asleep for hundreds of steps.
    """
    rng = np.random.default_rng(settings.seed)
    width = settings.width

    def normal(rows: int, columns: int, std: float) -> np.ndarray:
        return rng.normal(0.0, std, (rows, columns)).astype(np.float32)

    def matrix(rows: int, columns: int, gain: float = 1.0) -> np.ndarray:
        return normal(rows, columns, gain / columns**0.5)

    weights = {
        "token_embedding.weight": normal(VOCABULARY, width, 0.5),
        "position_embedding.weight": normal(settings.context, width, 0.5),
    }
    # Each block adds twice to the residual stream; this keeps the sum's variance level.
    residual = (2 * settings.layers) ** -0.5
    for layer in range(settings.layers):
        block = f"blocks.{layer}"
        weights |= _norm(f"{block}.attention_norm", width) | _norm(f"{block}.mlp_norm", width)
        weights[f"{block}.qkv.weight"] = matrix(3 * width, width)
        weights[f"{block}.attention_out.weight"] = matrix(width, width, residual)
        weights[f"{block}.mlp_in.weight"] = matrix(4 * width, width)
        weights[f"{block}.mlp_out.weight"] = matrix(width, 4 * width, residual)
    weights |= _norm("final_norm", width)
    # Small, so that the first guess is an even one: ln 256 nats.
    weights["head.weight"] = normal(VOCABULARY, width, 0.02)
    return weights


def _norm(name: str, width: int) -> dict[str, np.ndarray]:
    return {
        f"{name}.weight": np.ones(width, np.float32),
        f"{name}.bias": np.zeros(width, np.float32),
    }
