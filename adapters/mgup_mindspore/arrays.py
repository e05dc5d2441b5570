"""The core on MindSpore's tensors as they are, operation by operation (N10)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Tensor

from mgup_core import Backend, register
from mgup_core.numerics.scalars import host_correction

from . import operations as namespace
from .backend import compute_dtype
from .emitter import Recorder
from .operations import NUMPY
from .selection import select


class Arrays(Recorder):
    """The array API as :class:`Recorder` spells it, done at once instead of written down."""

    int8, int16 = ms.int8, ms.int16
    uint8, uint16, uint32, uint64 = ms.uint8, ms.uint16, ms.uint32, ms.uint64
    complex64, complex128 = ms.complex64, ms.complex128

    def constant(self, value: Any, dtype: Any, *, fixed: bool = True) -> Tensor:
        return Tensor(np.asarray(value, NUMPY[dtype]))

    def call(self, operation: str, *args: Any, shape: Sequence[int], dtype: Any) -> Tensor:
        return getattr(namespace, operation)(*args)

    def elementwise(self, operation: str, *args: Any, dtype: Any = None) -> Tensor:
        like = next(a for a in reversed(args) if isinstance(a, Tensor))
        tensors = [a if isinstance(a, Tensor) else self.constant(a, like.dtype) for a in args]
        return getattr(namespace, operation)(*tensors)

    def where(self, condition: Tensor, a: Any, b: Any) -> Tensor:
        dtype = next(x.dtype for x in (a, b) if isinstance(x, Tensor))
        tensors = (x if isinstance(x, Tensor) else self.constant(x, dtype) for x in (a, b))
        return namespace.where(condition, *tensors)

    def astype(self, x: Tensor, dtype: Any) -> Tensor:
        return x if x.dtype == dtype else namespace.astype(x, dtype)

    def full_like(self, x: Tensor, value: Any, *, dtype: Any = None) -> Tensor:
        if isinstance(value, Tensor):
            return namespace.broadcast_to(value, x.shape)
        return self.full(x.shape, value, dtype=dtype or x.dtype)

    def min(self, x: Tensor, *, axis: int | None = None, keepdims: bool = False) -> Tensor:
        return x.min() if axis is None else x.min(axis, keepdims=keepdims)

    def mean(self, x: Tensor) -> Tensor:
        return x.mean()

    def loop(self, n: Any, body: Callable[[Any], Any], carry: Any) -> Any:
        for _ in range(n):
            carry = body(carry)
        return carry


class TensorBackend(Backend):
    """Whole tensors, in PyNative mode."""

    def scalar(self, value: Any) -> Tensor:
        if isinstance(value, Tensor):
            return self.cast(value.reshape(()), self.dtype)
        return self.xp.constant(float(value), self.dtype)

    def correction(self, beta: float, t: Tensor) -> Tensor:
        return self.scalar(host_correction(self.host_dtype, beta, int(t.asnumpy())))

    def matmul(self, a: Tensor, b: Tensor, dtype: str | None = None) -> Tensor:
        if dtype != "bfloat16":
            return super().matmul(a, b, dtype)
        narrow = (self.cast(x, ms.bfloat16) for x in (a, b))
        return self.cast(self.xp.matmul(*narrow), self.dtype)

    def when(self, condition: Any, body: Callable[[Any], Any], carry: Any) -> Any:
        chosen = condition.asnumpy() if isinstance(condition, Tensor) else condition
        return body(carry) if chosen else carry

    def rank_mask(self, scores: Tensor, k: int) -> Tensor:
        return select(scores, k, self.xp.full((scores.shape[0], 1), k, dtype=ms.int32))


def backend_of(x: Tensor) -> TensorBackend:
    """The backend for a tensor of any dtype (N10)."""
    return TensorBackend(Arrays(), compute_dtype(x.dtype))


register("mindspore", backend_of)
