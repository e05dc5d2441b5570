"""The core's backend on MindSpore, which records programs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mindspore as ms

from mgup_core import Backend

from .emitter import Recorder, Symbol
from .selection import Selection


class Betas:
    """The decay rates whose ``1 - beta^t`` the parameters of an optimizer ask for (N3).

    These depend on the step alone, so they are computed once for all parameters: parameters of one
    group ask for the same ones in the same order.
    """

    def __init__(self) -> None:
        self.values: dict[tuple[Any, Any, int], float] = {}
        """By (group, compute dtype, how many the parameter had asked for before)."""

    def of(self, group: Any) -> Asked:
        """The corrections that one parameter of a group will request."""
        return Asked(self, group)


class Asked:
    """The corrections that one parameter asks for."""

    def __init__(self, betas: Betas, group: Any) -> None:
        self.betas, self.group, self.n = betas, group, 0

    def place(self, beta: float, dtype: Any) -> int:
        """The index of the next correction among all, as in ``corrections[place]``."""
        key = self.group, dtype, self.n
        self.n += 1
        self.betas.values[key] = beta
        return list(self.betas.values).index(key)


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

    def __init__(self, recorder: Recorder, dtype: Any, asked: Asked | None = None) -> None:
        super().__init__(recorder, dtype)
        self.recorder = recorder
        self.asked = Betas().of(None) if asked is None else asked

    def scalar(self, value: Any) -> Symbol:
        if isinstance(value, Symbol):
            return self.cast(value, self.dtype)
        # A rule's and a policy's numbers are values of a step (R7).
        return self.recorder.constant(float(value), self.dtype, fixed=False)

    def cast(self, x: Symbol, dtype: Any) -> Symbol:
        return self.recorder.astype(x, dtype)

    def div(self, a: Symbol, b: Symbol) -> Symbol:
        """The quotient in one operation, where ``a / b`` takes six.

        Divided by zero, it has the sign that MindSpore gives it. The denominators of this library's
        rules are roots and sums of positive numbers, and never -0.
        """
        return self.recorder.elementwise("divide", a, b)

    def correction(self, beta: float, t: Symbol) -> Symbol:
        text = f"corrections[{self.asked.place(beta, self.dtype)}]"
        return self.recorder.symbol(text, (), self.dtype)

    def matmul(self, a: Symbol, b: Symbol, dtype: str | None = None) -> Symbol:
        if dtype != "bfloat16":
            product: Symbol = super().matmul(a, b, dtype)
            return product
        narrow = (self.cast(x, ms.bfloat16) for x in (a, b))
        return self.cast(self.recorder.matmul(*narrow), self.dtype)

    def loop(self, n: int, body: Callable[[Any], Any], carry: Any) -> Any:
        # Unrolled, FISMO's exact products take the graph's compiler more than twenty minutes.
        return self.recorder.loop(n, body, carry)

    def when(self, condition: Any, body: Callable[[Any], Any], carry: Any) -> Any:
        # A loop of one turn or none: a graph's branches would have to be cells.
        return self.recorder.loop(self.cast(condition, ms.int32), body, carry)

    def rank_mask(self, scores: Symbol, k: int) -> Symbol:
        parts = self.recorder.parts
        parts.append(Selection(scores.shape, scores.dtype, k))
        operation = f"self.parts[{len(parts) - 1}]"
        return self.recorder.call(operation, scores, shape=scores.shape, dtype=ms.bool_)
