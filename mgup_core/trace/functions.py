"""What a rule may write: Python's operators and the array API's functions, as operations.

Everything that records a step inherits both, and so knows the same names: it says only what one
operation of the table becomes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .ops import COMPOSED, NAMES, ROUNDED, WHOLE, refusal


class Functions:
    """The elementwise functions of the array API."""

    inf, nan, pi, e = np.inf, np.nan, np.pi, np.e

    def operation(self, name: str, *operands: Any) -> Any:
        """Record one operation of :data:`mgup_core.trace.ops.OPERATIONS`."""
        raise NotImplementedError

    def dtype_name(self, x: Any) -> str:
        """``"float32"`` or ``"float64"``."""
        raise NotImplementedError

    def refusal(self, name: str) -> Exception:
        """The error for a function that is not recorded; it says what to write instead."""
        return refusal(name)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name in NAMES:
            return partial(self.operation, NAMES[name])
        if name in COMPOSED:
            return partial(COMPOSED[name], self.operation)
        if name in ROUNDED:
            return lambda x: ROUNDED[name](self.operation, x, WHOLE[self.dtype_name(x)])
        raise self.refusal(name)


class Operators:
    """Python's operators on a recorded value: each is the function of its meaning."""

    xp: Functions
    """The functions that record."""

    def __neg__(self) -> Any:
        return self.xp.negative(self)

    def __pow__(self, power: Any) -> Any:
        if power != 2:
            raise self.xp.refusal("pow")
        return self.xp.square(self)


def _forward(name: str) -> Callable[..., Any]:
    return lambda self, *others: getattr(self.xp, name)(self, *others)


def _backward(name: str) -> Callable[..., Any]:
    return lambda self, other: getattr(self.xp, name)(other, self)


for _operator, _function in {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide",
    "and": "logical_and", "or": "logical_or", "xor": "logical_xor",
}.items():  # fmt: skip
    setattr(Operators, f"__{_operator}__", _forward(_function))
    setattr(Operators, f"__r{_operator}__", _backward(_function))
for _operator, _function in {
    "abs": "abs", "pos": "positive", "invert": "logical_not", "lt": "less",
    "le": "less_equal", "gt": "greater", "ge": "greater_equal", "eq": "equal", "ne": "not_equal",
}.items():  # fmt: skip
    setattr(Operators, f"__{_operator}__", _forward(_function))
