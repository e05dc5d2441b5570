"""Helpers: the NumPy reference beside an optimizer, and what "untouched" means."""

from __future__ import annotations

import copy
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch

import mgup_core as core
from mgup_conformance.compare import check_identical

SHAPES = ((7, 5), (33,), (4, 3, 2, 2), (2, 3))
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_NUMPY = {torch.bfloat16: np.dtype(ml_dtypes.bfloat16)}

ON_GPU = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]
DEVICES = ["cpu", pytest.param("cuda", marks=ON_GPU)]


def array(x: torch.Tensor) -> np.ndarray:
    """A copy in NumPy with the same bits; bfloat16 through ml_dtypes."""
    x = x.detach()
    x = torch.zeros_like(x) if x._is_zerotensor() else x.resolve_neg().cpu().contiguous()
    if x.dtype == torch.bfloat16:
        return x.view(torch.int16).numpy().view(_NUMPY[torch.bfloat16]).copy()
    return x.numpy().copy()


def parameters(shapes=SHAPES, dtype=torch.float32, seed=0, device="cpu") -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(shape, generator=generator).to(device, dtype).requires_grad_()
        for shape in shapes
    ]


def gradients(params, step: int, seed: int = 1) -> list[torch.Tensor]:
    """Gradients of one step: noise, a third zeros (tied scores), and magnitudes over decades."""
    generator = torch.Generator().manual_seed(1000 * seed + step)
    out = []
    for p in params:
        g = torch.randn(p.shape, generator=generator)
        g = g * 10.0 ** torch.randint(-3, 2, p.shape, generator=generator)
        g = g * (torch.rand(p.shape, generator=generator) > 0.3)
        out.append(g.to(p.device, p.dtype))
    return out


def give(params, grads) -> None:
    for p, g in zip(params, grads, strict=True):
        p.grad = g


def advance(optimizer, params, steps: int, start: int = 0) -> None:
    """Steps ``start`` … ``start + steps - 1`` with the gradients of :func:`gradients`."""
    for i in range(start, start + steps):
        give(params, gradients(params, i))
        optimizer.step()


class Reference:
    """mgup_core.Optimizer over NumPy copies of tensors, stepped with NumPy copies of gradients."""

    def __init__(
        self, params, rule, policy, *, maximize=False, state_dtype=None, **options: Any
    ) -> None:
        self.maximize = maximize
        self.optimizer = core.Optimizer(rule, policy, **options)
        self.params = [array(p) for p in params]
        self.state = self.optimizer.init(self.params)
        if state_dtype is not None:  # zeros, so that casting them is what init would have done
            for arrays in self.state.arrays.values():
                for name, value in arrays.items():
                    arrays[name] = value.astype(array(torch.empty(0, dtype=state_dtype)).dtype)

    def step(self, grads, lr: float | None = None) -> None:
        # Negated, not multiplied: NumPy 1 makes float64 of a 0-d array times a number.
        arrays = [None if g is None else array(-g if self.maximize else g) for g in grads]
        self.params, self.state = self.optimizer.step(self.params, arrays, self.state, lr=lr)

    def check(self, params, optimizer=None, **place: Any) -> None:
        """N1, parameters and state alike."""
        for i, (expected, p) in enumerate(zip(self.params, params, strict=True)):
            check_identical("parameter", expected, array(p), parameter=i, **place)
            if optimizer is None:
                continue
            state = {k: v for k, v in optimizer.state[p].items() if k != "step"}
            assert state.keys() == self.state.arrays[i].keys()
            for name, value in state.items():
                check_identical(
                    f"state {name}",
                    self.state.arrays[i][name],
                    array(value),
                    parameter=i,
                    **place,
                )


def compare(optimizer, params, reference: Reference, steps: int = 5, start: int = 0) -> None:
    """Step both, and compare after each step."""
    for i in range(start, start + steps):
        grads = gradients(params, i)
        give(params, grads)
        optimizer.step()
        reference.step(grads)
        reference.check(params, optimizer, step=i + 1)


def frozen(optimizer) -> Any:
    """Everything an optimizer holds, as bytes and plain values, to be compared with ``==``."""

    def plain(x: Any) -> Any:
        if isinstance(x, torch.Tensor):
            if x.device.type == "meta":
                return str(x.dtype), tuple(x.shape)
            return (
                str(x.dtype),
                tuple(x.shape),
                array(x).tobytes() if x.layout == torch.strided else "",
            )
        if isinstance(x, dict):
            return {k: plain(v) for k, v in x.items()}
        if isinstance(x, (list, tuple)):
            return [plain(v) for v in x]
        return repr(x)

    groups = [
        {k: plain(v) for k, v in group.items() if k != "params"} for group in optimizer.param_groups
    ]
    params = [[plain(p) for p in group["params"]] for group in optimizer.param_groups]
    # optimizer.state is a defaultdict: looking up is writing.
    state = [
        plain(optimizer.state.get(p) or {}) for g in optimizer.param_groups for p in g["params"]
    ]
    return copy.deepcopy((groups, params, state))


def same(first, second) -> bool:
    """Whether two lists of tensors have the same bits."""
    return [array(x).tobytes() for x in first] == [array(x).tobytes() for x in second]


def regression(seed: int = 0, dtype=torch.float32):
    """A small model, its inputs and targets."""
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    return model.to(dtype), torch.randn(16, 6, dtype=dtype), torch.randn(16, 3, dtype=dtype)


def loss_of(model, x, y) -> torch.Tensor:
    return torch.nn.functional.mse_loss(model(x), y)
