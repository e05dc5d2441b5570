"""The core's backend on PyTorch: exact roots, and parameters as cells of host memory."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import array_api_compat.numpy as numpy_xp
import array_api_compat.torch as xp
import numpy as np
import torch
from torch import Tensor

from mgup_core import Backend, NumPyBackend, register
from mgup_core.numerics.backend import Carry
from mgup_core.numerics.scalars import host_correction
from mgup_core.numerics.sums import folded_sum

from .selection import select

_ALIGNED = 8  # entries of sixteen bytes
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """float64 for float64, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


class TorchBackend(Backend):
    """Whole tensors, eager or compiled.

    Scalars lie on the tensors' device, filled there: copying one would wait for the device, and
    CUDA divides by a scalar in host memory by multiplying with its reciprocal (N4).
    """

    def __init__(self, dtype: torch.dtype, device: torch.device | str = "cpu") -> None:
        super().__init__(xp, dtype, device)
        # hardshrink zeroes |x| <= lambd, and N6 zeroes |x| < bound.
        self._just_below = {
            bound: float(np.nextafter(self.host_dtype(bound), self.host_dtype(0)))
            for bound in (self.tiny_score, self.tiny_moment)
        }

    def scalar(self, value: Any) -> Tensor:
        if isinstance(value, Tensor):
            if value.device.type != "cpu" or torch.compiler.is_compiling():
                return value.reshape(()).to(self.device, self.dtype)
            value = value.item()  # torch takes a tensor of one entry as a learning rate
        # A graph's constants cost nothing.
        make = self._filled if torch.compiler.is_compiling() else self._known
        scalar: Tensor = make(float(value))
        return scalar

    def _filled(self, value: float) -> Tensor:
        return torch.full((), value, dtype=self.dtype, device=self.device)

    def cast(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        return x.to(dtype)

    def zeros_like(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x, dtype=self.dtype, memory_format=torch.preserve_format)

    def sqrt(self, x: Tensor) -> Tensor:
        # Eager torch.sqrt is off by one unit for 17 % of float32 on the CPU, and for 0.7 % of
        # float64; compiled it is exact.
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            return torch.sqrt(x)
        root: Tensor = _Root.apply(x) if x.requires_grad else _root(x)  # type: ignore[no-untyped-call]
        return root

    def correction(self, beta: Any, t: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            wide = torch.as_tensor(beta, dtype=torch.float64)
            corrected: Tensor = _correction_op(t, wide, self.dtype)
        else:
            corrected = super().correction(beta, t)
        return corrected

    def total(self, x: Tensor, axis: int | None = None) -> Tensor:
        compiling = torch.compiler.is_compiling()
        total: Tensor = _total_op(x, axis) if compiling else super().total(x, axis)
        return total

    def matmul(self, a: Tensor, b: Tensor, dtype: str | None = None) -> Tensor:
        if dtype == "exact":
            compiled = torch.compiler.is_compiling()
            product: Tensor = _exact_op(a, b) if compiled else super().matmul(a, b, dtype)
            return product
        if dtype != "bfloat16":  # float32 is the compute dtype, or narrower than it need be
            return torch.matmul(a, b)
        narrow = a.dtype == torch.bfloat16
        product = torch.matmul(a.to(torch.bfloat16), b.to(torch.bfloat16))
        return product if narrow else product.to(self.dtype)

    def orthogonal_factor(self, x: Tensor, dtype: str | None = None) -> Tensor:
        if dtype != "exact":
            q: Tensor = torch.linalg.qr(x).Q
            return q
        compiled = torch.compiler.is_compiling()
        factor: Tensor = _factor_op(x) if compiled else super().orthogonal_factor(x)
        return factor

    def eigenvectors(self, x: Tensor, dtype: str | None = None) -> Tensor:
        if dtype != "exact":
            found: Tensor = torch.linalg.eigh(x).eigenvectors
            return found
        compiled = torch.compiler.is_compiling()
        vectors: Tensor = _eigenvectors_op(x) if compiled else super().eigenvectors(x)
        return vectors

    def when(self, condition: Any, body: Callable[[Carry], Carry], carry: Carry) -> Carry:
        if isinstance(condition, Tensor) and not torch.compiler.is_compiling():
            condition = bool(condition)  # waiting for the device is less than computing in vain
        return super().when(condition, body, carry)

    def products(
        self, function: Callable[[Tensor], Tensor], x: Tensor, dtype: str | None = None
    ) -> Tensor:
        if dtype != "bfloat16" or x.device.type == "cpu":
            return function(x)
        # An accelerator reads and writes an array in the time of a product, so it is kept narrow;
        # and a product of rows that begin at odd addresses takes several times as long.
        rows, columns = x.shape[-2:]
        x = x.to(torch.bfloat16)
        if rows % _ALIGNED or columns % _ALIGNED:
            x = torch.nn.functional.pad(x, (0, -columns % _ALIGNED, 0, -rows % _ALIGNED))
        return function(x)[..., :rows, :columns].to(self.dtype)

    def add_product(
        self, beta: float, x: Tensor, alpha: float, a: Tensor, b: Tensor, dtype: str | None = None
    ) -> Tensor:
        if x.dtype != torch.bfloat16 or x.ndim not in (2, 3):
            sum_: Tensor = super().add_product(beta, x, alpha, a, b, dtype)
            return sum_
        add = torch.addmm if x.ndim == 2 else torch.baddbmm
        return add(x, a, b, beta=beta, alpha=alpha)

    def flush(self, x: Tensor, below: float | None = None) -> Tensor:
        below = self.tiny_moment if below is None else below
        return torch.nn.functional.hardshrink(x, self._just_below[below])

    def rank_mask(self, scores: Tensor, k: int) -> Tensor:
        return select(scores, k)


def backend_of(x: Tensor) -> TorchBackend:
    """The backend for a tensor of any dtype (N10)."""
    return TorchBackend(compute_dtype(x.dtype), x.device)


register("torch", backend_of)


def _root(x: Tensor) -> Tensor:
    return torch.from_numpy(np.asarray(np.sqrt(x.numpy())))


class _Root(torch.autograd.Function):
    """The square root with its derivative, for code that differentiates through the core."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        y = _root(x.detach())
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        y: Tensor
        (y,) = ctx.saved_tensors
        return grads[0] / (2.0 * y)


@torch.library.custom_op("mgup::bias_correction", mutates_args=())
def _correction_op(t: Tensor, beta: Tensor, dtype: torch.dtype) -> Tensor:
    """N3 as one opaque operation: inductor would expand its chain of selections exponentially."""
    wide = dtype == torch.float64
    kind = np.float64 if wide else np.float32
    return torch.tensor(float(host_correction(kind, float(beta), int(t))), dtype=dtype)


@_correction_op.register_fake
def _(t: Tensor, beta: Tensor, dtype: torch.dtype) -> Tensor:
    return t.new_empty((), dtype=dtype)


@torch.library.custom_op("mgup::total", mutates_args=())
def _total_op(x: Tensor, axis: int | None) -> Tensor:
    """A sum in one order as one opaque operation: inductor would write out every fold of it."""
    total: Tensor = folded_sum(xp, x, axis)
    return total.clone()  # of one element it would be x itself


@_total_op.register_fake
def _(x: Tensor, axis: int | None) -> Tensor:
    return x.new_empty(()) if axis is None else x.sum(axis, keepdim=True)


# Compiled code reads a result by the strides of its fake: both are contiguous, whatever x is.
@torch.library.custom_op("mgup::exact_product", mutates_args=())
def _exact_op(a: Tensor, b: Tensor) -> Tensor:
    """N9 as one opaque operation: inductor need not know that its sums must stay as they are."""
    product: Tensor = backend_of(a).matmul(a, b, "exact")
    return product.contiguous()


@_exact_op.register_fake
def _(a: Tensor, b: Tensor) -> Tensor:
    return torch.matmul(a, b).contiguous()


@torch.library.custom_op("mgup::orthogonal_factor", mutates_args=())
def _factor_op(x: Tensor) -> Tensor:
    """A loop as one opaque operation."""
    return backend_of(x).orthogonal_factor(x, "exact").contiguous()


@torch.library.custom_op("mgup::eigenvectors", mutates_args=())
def _eigenvectors_op(x: Tensor) -> Tensor:
    """A loop as one opaque operation."""
    return backend_of(x).eigenvectors(x, "exact").contiguous()


@_factor_op.register_fake
@_eigenvectors_op.register_fake
def _(x: Tensor) -> Tensor:
    return x.new_empty(x.shape)


@functools.cache
def host_backend(dtype: torch.dtype) -> NumPyBackend:
    """The NumPy backend for tensors of a compute dtype, which NumPy sees without a copy."""
    return NumPyBackend(numpy_xp, np.float64 if dtype == torch.float64 else np.float32)


class _NarrowCells:
    """A flat float16 or bfloat16 tensor, read as float32 arrays and rounded once when written."""

    def __init__(self, flat: Tensor) -> None:
        self.flat = flat

    def __len__(self) -> int:
        return self.flat.numel()

    def __getitem__(self, span: slice) -> Any:
        return self.flat[span].to(torch.float32).numpy()

    def __setitem__(self, span: slice, value: Any) -> None:
        self.flat[span].copy_(torch.from_numpy(value))


class _NegativeCells:
    """The gradient of something to be maximized, block by block."""

    def __init__(self, positive: Any) -> None:
        self.positive = positive

    def __len__(self) -> int:
        return len(self.positive)

    def __getitem__(self, span: slice) -> Any:
        return -self.positive[span]


def cells(x: Tensor, dtype: torch.dtype, *, negative: bool = False) -> Any:
    """A contiguous tensor in host memory as one-dimensional cells of a compute dtype."""
    plain = x.numpy().reshape(-1) if x.dtype == dtype else _NarrowCells(x.view(-1))
    return _NegativeCells(plain) if negative else plain
