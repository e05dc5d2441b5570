"""What MindSpore lends the core: symbols to record with, and selection."""

from __future__ import annotations

from typing import Any

import mindspore as ms

from mgup_core import Backend

from .emitter import Recorder, Symbol
from .selection import Selection

Beta = tuple[float, Any]
"""A decay rate and the compute dtype of its correction."""

DTYPES = (ms.float16, ms.bfloat16, ms.float32, ms.float64)


def compute_dtype(dtype: Any) -> Any:
    """float64 for float64, else float32."""
    return ms.float64 if dtype == ms.float64 else ms.float32


class MindSporeBackend(Backend):
    """Records what the core computes.

    Args:
        betas: gets each (beta, compute dtype) whose ``1 - beta^t`` is asked for (N3). These depend
            on the step alone, so they are computed once for all parameters, and the recorded
            program takes them as its argument ``corrections``.
    """

    def __init__(self, recorder: Recorder, dtype: Any, betas: list[Beta] | None = None) -> None:
        super().__init__(recorder, dtype)
        self.recorder = recorder
        self.betas = [] if betas is None else betas

    def scalar(self, value: Any) -> Symbol:
        if isinstance(value, Symbol):
            return self.cast(value, self.dtype)
        return self.recorder.constant(float(value), self.dtype)

    def cast(self, x: Symbol, dtype: Any) -> Symbol:
        return self.recorder.astype(x, dtype)

    def correction(self, beta: float, t: Symbol) -> Symbol:
        key = beta, self.dtype
        if key not in self.betas:
            self.betas.append(key)
        text = f"corrections[{self.betas.index(key)}]"
        return self.recorder.symbol(text, (), self.dtype)

    def matmul(self, a: Symbol, b: Symbol, dtype: str | None = None) -> Symbol:
        if dtype != "bfloat16":
            return self.recorder.matmul(a, b)
        narrow = (self.cast(x, ms.bfloat16) for x in (a, b))
        return self.cast(self.recorder.matmul(*narrow), self.dtype)

    def rank_mask(self, scores: Symbol, k: int) -> Symbol:
        parts = self.recorder.parts
        parts.append(Selection(scores.shape, scores.dtype, k))
        operation = f"self.parts[{len(parts) - 1}]"
        return self.recorder.call(operation, scores, shape=scores.shape, dtype=ms.bool_)
