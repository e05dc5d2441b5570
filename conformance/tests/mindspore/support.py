"""Helpers: the NumPy reference beside an optimizer."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor

import mgup_core as core
from mgup_conformance.backends.mindspore import to_numpy
from mgup_conformance.compare import check_identical
from mgup_conformance.data import chaotic, dtype_of

SHAPES = ((7, 5), (33,), (4, 3, 2, 2))
DTYPES = ("float32", "float64", "float16")


def arrays(shapes=SHAPES, dtype="float32", seed=0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(dtype_of(dtype)) for shape in shapes]


def parameters(values, names=None) -> list[Parameter]:
    names = names or [f"layer{i}.weight" for i in range(len(values))]
    return [Parameter(w, name=n) for w, n in zip(values, names, strict=True)]


def tensors(values) -> tuple[Tensor, ...]:
    return tuple(Tensor(g) for g in values)


class Beside:
    """An optimizer and the reference, stepped together in a chaotic loop and compared (N1)."""

    def __init__(self, optimizer: Any, rule: core.Rule, policy: Any, **options: Any) -> None:
        self.optimizer, self.take = optimizer, optimizer
        self.params = list(optimizer.parameters)
        self.reference = core.Optimizer(rule, policy, **options)
        self.expected = [to_numpy(p) for p in self.params]
        self.state = self.reference.init(self.expected)
        self.rng = np.random.default_rng(1)
        self.t = 0

    def compiled(self) -> Beside:
        self.take = ms.jit(self.optimizer.construct)
        return self

    def gradients(self) -> list[np.ndarray]:
        wide = np.float64 if self.expected[0].dtype == np.float64 else np.float32
        return [chaotic(self.rng.standard_normal(w.shape).astype(wide), w) for w in self.expected]

    def step(self, grads=None, lr=None) -> None:
        grads = self.gradients() if grads is None else grads
        self.t += 1
        self.take(tensors(grads))
        self.expected, self.state = self.reference.step(self.expected, grads, self.state, lr=lr)
        self.check()

    def check(self) -> None:
        held = dict.fromkeys(("exp_avg", "exp_avg_sq", "momentum_buffer"), 0)
        for i, (w, p) in enumerate(zip(self.expected, self.params, strict=True)):
            for name, value in self.state.arrays[i].items():
                actual = to_numpy(getattr(self.optimizer, name)[held[name]])
                held[name] += 1
                check_identical(f"state {name}", value, actual, step=self.t, parameter=i)
            check_identical("parameter", w, to_numpy(p), step=self.t, parameter=i)

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.step()
