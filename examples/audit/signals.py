"""The task that is not text: which of ten templates a short noisy signal is.

In the manner of MNIST-1D (Greydanus and Kobak 2024), made here from a seed: each class has a smooth
template of twelve points, which a sample shifts, stretches, shears and scales before correlated and
white noise come on top. A multilayer perceptron and a small convolutional net learn it on the CPU
in seconds, many seeds stacked (P5).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

LENGTH, CLASSES, TRAIN, HELD_OUT = 40, 10, 4000, 8000
FIRST = 20261128
"""The seed of the task's templates."""
_POINTS = 12


@lru_cache(maxsize=2)
def dataset(seed: int = FIRST, train: int = TRAIN) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(training signals, labels, held-out signals, labels): float32 (n, 40) and int64 (n,).

    Args:
        seed: of templates and signals; with another one the task is related to the first.
    """
    rng = np.random.default_rng(seed)
    templates = _templates(rng)
    if seed != FIRST:
        templates = (_templates(np.random.default_rng(FIRST)) + templates) / 2**0.5
    n = train + HELD_OUT
    labels = rng.permutation(np.arange(n) % CLASSES)
    signals = np.stack([_sample(templates[label], rng) for label in labels])
    signals = (signals - signals.mean()) / signals.std()
    x, y = torch.from_numpy(signals.astype(np.float32)), torch.from_numpy(labels)
    return x[:train], y[:train], x[train:], y[train:]


def _templates(rng: np.random.Generator) -> np.ndarray:
    templates = np.cumsum(rng.standard_normal((CLASSES, _POINTS)), 1)
    templates -= templates.mean(1, keepdims=True)
    return templates / templates.std(1, keepdims=True)


def _sample(template: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    width = rng.uniform(14, 26)
    start = rng.uniform(0, LENGTH - width)
    place = (np.arange(LENGTH) - start) / width * (_POINTS - 1)
    shear = rng.uniform(-0.75, 0.75) * np.linspace(-1, 1, _POINTS)
    signal = np.interp(place, np.arange(_POINTS), template * rng.uniform(0.6, 1.4) + shear, 0, 0)
    drift = np.convolve(rng.standard_normal(LENGTH + 8), np.ones(9) / 3, "valid")
    return signal + 0.35 * drift + 0.25 * rng.standard_normal(LENGTH)


class StackedNet(nn.Module):
    """As many nets as there are seeds: their arrays have the seed as their first axis."""

    def __init__(self, seeds: Sequence[int], shapes: dict[str, tuple[int, ...]]) -> None:
        super().__init__()
        drawn: dict[str, list[Tensor]] = {name: [] for name in shapes}
        for seed in seeds:
            generator = torch.Generator().manual_seed(seed)
            for name, shape in shapes.items():
                fan_in = int(np.prod(shape[:-1] if name.startswith("matrix") else shape[1:]))
                scale = 0.0 if name.startswith("bias") else (2 / fan_in) ** 0.5
                drawn[name].append(torch.randn(shape, generator=generator) * scale)
        for name, nets in drawn.items():
            self.register_parameter(name, nn.Parameter(torch.stack(nets)))

    def groups(self) -> list[dict[str, Any]]:
        """The parameter groups, for :func:`audit.arms.make_optimizer`."""
        named = list(self.named_parameters())

        def group(matrices: bool) -> dict[str, Any]:
            params = [(n, p) for n, p in named if n.startswith("bias") != matrices]
            return {"params": params, "stacked_dims": 1, "matrices": matrices, "decays": matrices}

        return [one for one in (group(True), group(False)) if one["params"]]

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """The loss of each net, in nats: (seeds,).

        Args:
            x: (seeds, batch, 40).
            labels: (seeds, batch), int64.
        """
        logits = self.logits(x)
        losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
        return losses.view(labels.shape).mean(1)

    def logits(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class StackedMLP(StackedNet):
    """Two hidden layers of 64."""

    def __init__(self, seeds: Sequence[int]) -> None:
        super().__init__(seeds, {
            "matrix1": (LENGTH, 64), "bias1": (64,), "matrix2": (64, 64), "bias2": (64,),
            "matrix3": (64, CLASSES), "bias3": (CLASSES,),
        })  # fmt: skip

    def matrix(self, name: str) -> Tensor:
        return getattr(self, name)

    def logits(self, x: Tensor) -> Tensor:
        x = F.relu(torch.baddbmm(self.bias1[:, None], x, self.matrix("matrix1")))
        x = F.relu(torch.baddbmm(self.bias2[:, None], x, self.matrix("matrix2")))
        return torch.baddbmm(self.bias3[:, None], x, self.matrix("matrix3"))


class StackedConv(StackedNet):
    """Two convolutions of 12 channels, strides of 2, and a linear layer."""

    def __init__(self, seeds: Sequence[int]) -> None:
        super().__init__(seeds, {
            "kernel1": (12, 1, 5), "bias1": (12,), "kernel2": (12, 12, 5), "bias2": (12,),
            "matrix3": (120, CLASSES), "bias3": (CLASSES,),
        })  # fmt: skip

    def logits(self, x: Tensor) -> Tensor:
        s = x.shape[0]
        x = x.transpose(0, 1)  # the seeds are the groups of a grouped convolution
        for kernel, bias in ((self.kernel1, self.bias1), (self.kernel2, self.bias2)):
            x = F.conv1d(x, kernel.flatten(0, 1), bias.flatten(), stride=2, padding=2, groups=s)
            x = F.relu(x)
        x = x.unflatten(1, (s, -1)).transpose(0, 1).flatten(2)
        return torch.baddbmm(self.bias3[:, None], x, self.matrix3)


NETS = {"mlp": StackedMLP, "conv": StackedConv}
