"""The operations of a recorded step: one table, which every target prints.

A target (NumPy blocks, LLVM, Triton, MindSpore) has a dictionary with one entry for each name of
:data:`OPERATIONS`, and one test feeds the same inputs to all targets. All other functions that a
rule may call are composed of these (:data:`COMPOSED`), or refused with a remedy (:func:`refusal`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

REAL, CONDITION, INTEGER, MIXED = "real", "condition", "integer", "mixed"


class Unrecordable(TypeError):
    """A rule calls a function that cannot be recorded; the message says what to write instead."""


class NotElementwise(Unrecordable):
    """A rule with ``elementwise = True`` calls a function that needs more than one coordinate.

    Args:
        operation: the call as the rule writes it.
    """

    def __init__(self, operation: str) -> None:
        self.operation = operation
        super().__init__(
            f"{operation} does not act on each coordinate by itself, as elementwise = True "
            "promises: set elementwise = False in the rule."
        )


class Operation(NamedTuple):
    """One elementwise operation."""

    name: str
    arity: int
    takes: str
    """The kind of the operands: ``"real"`` for numbers of the compute dtype, ``"condition"`` for
    booleans, ``"integer"`` for the step and counts, ``"mixed"`` for a condition and two numbers."""
    gives: str
    """The kind of the result, in the same words."""
    numpy: Callable[..., Any]
    """The function whose bits every target must give (N1: NaN may be any NaN, 0 may be -0)."""
    nan: str
    """The result if an operand is NaN, for the reader."""


def _flush(x: Any, bound: Any) -> Any:
    return np.where(np.abs(x) < bound, np.zeros_like(x), x)


OPERATIONS: dict[str, Operation] = {
    one.name: one
    for one in (
        Operation("add", 2, REAL, REAL, np.add, "NaN"),
        Operation("sub", 2, REAL, REAL, np.subtract, "NaN"),
        Operation("mul", 2, REAL, REAL, np.multiply, "NaN"),
        Operation("div", 2, REAL, REAL, np.divide, "NaN; correctly rounded (N4)"),
        Operation("neg", 1, REAL, REAL, np.negative, "NaN"),
        Operation("abs", 1, REAL, REAL, np.abs, "NaN"),
        Operation("sqrt", 1, REAL, REAL, np.sqrt, "NaN; correctly rounded (N4)"),
        Operation("sign", 1, REAL, REAL, np.sign, "NaN"),
        Operation("maximum", 2, REAL, REAL, np.maximum, "NaN"),
        Operation("minimum", 2, REAL, REAL, np.minimum, "NaN"),
        Operation("flush", 2, REAL, REAL, _flush, "NaN (N6)"),
        Operation("lt", 2, REAL, CONDITION, np.less, "false"),
        Operation("gt", 2, REAL, CONDITION, np.greater, "false"),
        Operation("ge", 2, REAL, CONDITION, np.greater_equal, "false"),
        Operation("eq", 2, REAL, CONDITION, np.equal, "false"),
        Operation("isfinite", 1, REAL, CONDITION, np.isfinite, "false"),
        Operation("signbit", 1, REAL, CONDITION, np.signbit, "either: a NaN has no sure sign"),
        Operation("and", 2, CONDITION, CONDITION, np.logical_and, "-"),
        Operation("or", 2, CONDITION, CONDITION, np.logical_or, "-"),
        Operation("invert", 1, CONDITION, CONDITION, np.logical_not, "-"),
        Operation("where", 3, MIXED, REAL, np.where, "stays if chosen"),
    )
}
"""Operations on arrays and on uniform values, by name."""

UNIFORM: dict[str, Callable[..., Any]] = {"floordiv": np.floor_divide, "mod": np.mod}
"""Integer operations on the step and on counts only."""

NAMES = {
    "add": "add", "subtract": "sub", "multiply": "mul", "divide": "div", "negative": "neg",
    "abs": "abs", "sqrt": "sqrt", "sign": "sign", "maximum": "maximum", "minimum": "minimum",
    "less": "lt", "greater": "gt", "greater_equal": "ge", "equal": "eq", "isfinite": "isfinite",
    "signbit": "signbit", "logical_and": "and", "logical_or": "or", "logical_not": "invert",
    "where": "where",
}  # fmt: skip
"""The operation of each function of the array API."""

Op = Callable[..., Any]
"""``op(name, *operands)``: records an operation."""


def _round(op: Op, x: Any, whole: float) -> Any:
    size = op("abs", x)
    rounded = op("sub", op("add", size, whole), whole)  # numbers from `whole` on have no fraction
    return op("where", op("lt", size, whole), _copysign(op, rounded, x), x)


def _copysign(op: Op, x: Any, y: Any) -> Any:
    size = op("abs", x)
    return op("where", op("signbit", y), op("neg", size), size)


def _floor(op: Op, x: Any, whole: float) -> Any:
    near = _round(op, x, whole)
    return op("where", op("gt", near, x), op("sub", near, 1.0), near)


def _ceil(op: Op, x: Any, whole: float) -> Any:
    return op("neg", _floor(op, op("neg", x), whole))


def _clip(op: Op, x: Any, min: Any = None, max: Any = None) -> Any:
    x = x if min is None else op("maximum", x, min)
    return x if max is None else op("minimum", x, max)


def _xor(op: Op, x: Any, y: Any) -> Any:
    return op("and", op("or", x, y), op("invert", op("and", x, y)))


COMPOSED: dict[str, Op] = {
    "positive": lambda op, x: x,
    "square": lambda op, x: op("mul", x, x),
    "not_equal": lambda op, x, y: op("invert", op("eq", x, y)),
    "less_equal": lambda op, x, y: op("ge", y, x),
    "isnan": lambda op, x: op("invert", op("eq", x, x)),
    "isinf": lambda op, x: op("eq", op("abs", x), float("inf")),
    "logical_xor": _xor,
    "copysign": _copysign,
    "clip": _clip,
}
"""Functions composed of the operations, by the array API's name."""

ROUNDED: dict[str, Op] = {
    "round": _round,
    "floor": _floor,
    "ceil": _ceil,
    "trunc": lambda op, x, whole: _copysign(op, _floor(op, op("abs", x), whole), x),
}
"""Composed functions that also take the least number from which the dtype has integers only."""

WHOLE = {"float32": 2.0**23, "float64": 2.0**52}
"""The least number from which a dtype has integers only."""

_OVER_ALL = {
    "all", "any", "argmax", "argmin", "argsort", "broadcast_to", "concat", "count_nonzero",
    "cumulative_prod", "cumulative_sum", "diff", "expand_dims", "flip", "linalg", "matmul",
    "matrix_transpose", "max", "mean", "min", "moveaxis", "nonzero", "permute_dims", "prod",
    "repeat", "roll", "searchsorted", "sort", "squeeze", "stack", "std", "sum", "take",
    "take_along_axis", "tensordot", "tile", "tril", "triu", "unstack", "var", "vecdot",
}  # fmt: skip
INSTEAD = {
    "tanh": "mgup_core.numerics.elementary.tanh(be, x)",
    "pow": "products (g * g), and be.sqrt",
    "reciprocal": "be.div(be.scalar(1.0), x)",
    "hypot": "be.sqrt(be.mul(x, x) + be.mul(y, y))",
    "floor_divide": "be.xp.floor(be.div(x, y))",
    "remainder": "x - be.mul(y, be.xp.floor(be.div(x, y)))",
    "bitwise_and": "be.xp.logical_and",
    "bitwise_or": "be.xp.logical_or",
    "bitwise_invert": "be.xp.logical_not",
    "bitwise_xor": "be.xp.logical_xor",
}
"""What to write in the place of some functions."""


def refusal(name: str) -> Unrecordable:
    """The error for a function of the array API that cannot be recorded."""
    if name in _OVER_ALL:
        return NotElementwise(f"be.xp.{name}")
    what = f"be.xp.{name} is not among the operations of a recorded step"
    if name in INSTEAD:
        return Unrecordable(f"{what}: write {INSTEAD[name]}.")
    known = ", ".join(sorted({*NAMES, *COMPOSED, *ROUNDED}))
    return Unrecordable(
        f"{what}, since no two libraries round it alike or the array API lacks it: write it in "
        "sums, products and quotients, as mgup_core.numerics.elementary does, or set elementwise = "
        f"False, whose steps are not recorded. There are {known}."
    )
