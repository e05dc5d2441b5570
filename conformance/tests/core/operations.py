"""Operands for every operation, and every function that a rule may call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from mgup_core.trace.ops import CONDITION, MIXED, OPERATIONS
from mgup_core.trace.symbols import Namespace, Symbol, node

BOUND = 2.0**-99
"""The bound of the flush, which is a scalar."""
DTYPES = {"float32": (np.float32, np.uint32), "float64": (np.float64, np.uint64)}


def operands(dtype: str) -> tuple[Any, Any, Any]:
    """Three arrays: every pair of special values, then random bits of every magnitude."""
    kind, bits = DTYPES[dtype]
    info = np.finfo(kind)
    special = [
        0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -2.5, 0.49999997, 8388607.5, 8388608.0, 1e10,
        np.inf, -np.inf, np.nan, -np.nan, info.tiny, -info.tiny, info.max, -info.max,
        info.smallest_subnormal, -info.smallest_subnormal, 2.0**-100, 2.0**-101, 2.0**-125,
    ]  # fmt: skip
    x, y = (v.ravel() for v in np.meshgrid(*[np.array(special, kind)] * 2))
    rng = np.random.default_rng(0)
    whole = rng.integers(0, np.iinfo(bits).max, (3, 4096 - x.size), bits, endpoint=True)
    near = rng.standard_normal((3, 4096)).astype(kind) * kind(4.0)
    third = np.resize(np.array(special, kind)[::-1], x.size)
    columns = zip((x, y, third), whole.view(kind), near, strict=True)
    return tuple(np.concatenate(column) for column in columns)  # type: ignore[return-value]


def inputs(dtype: str) -> tuple[Symbol, Symbol, Symbol]:
    """Symbols of the operands, named as the arrays of a step."""
    w, g, z = (Symbol("input", (name,), dtype, uniform=False) for name in ("w", "g", "z"))
    return w, g, z


def as_number(symbol: Symbol, dtype: str) -> Symbol:
    """A condition as 1 or 0."""
    if symbol.dtype != "bool":
        return symbol
    one, zero = (Symbol("const", (value,), dtype, uniform=True) for value in (1.0, 0.0))
    return Symbol("where", (symbol, one, zero), dtype, symbol.uniform)


def recorded(name: str, dtype: str) -> Symbol:
    """One operation on its operands; the signs of the operands make conditions."""
    one = OPERATIONS[name]
    symbols: list[Symbol] = list(inputs(dtype))
    if one.takes in (CONDITION, MIXED):
        count = 1 if one.takes == MIXED else 3
        symbols[:count] = [node("gt", x, 0.0) for x in symbols[:count]]
    if name == "flush":
        symbols[1] = Symbol("const", (BOUND,), dtype, uniform=True)
    return as_number(node(name, *symbols[: one.arity]), dtype)


def expected(name: str, dtype: str) -> Any:
    """The result of NumPy."""
    one, kind = OPERATIONS[name], DTYPES[dtype][0]
    arrays = list(operands(dtype))
    if one.takes in (CONDITION, MIXED):
        count = 1 if one.takes == MIXED else 3
        arrays[:count] = [x > 0.0 for x in arrays[:count]]
    if name == "flush":
        arrays[1] = kind(BOUND)
    with np.errstate(all="ignore"):
        return one.numpy(*arrays[: one.arity]).astype(kind)


CALLS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "abs(g)": lambda xp, g, w: abs(g),
    "g**2": lambda xp, g, w: g**2,
    "+g": lambda xp, g, w: +g,
    "-g": lambda xp, g, w: -g,
    "2.0*g": lambda xp, g, w: 2.0 * g,
    "g*2.0": lambda xp, g, w: g * 2.0,
    "1.0-g": lambda xp, g, w: 1.0 - g,
    "1.0+g": lambda xp, g, w: 1.0 + g,
    "1.0/g": lambda xp, g, w: 1.0 / g,
    "g/w": lambda xp, g, w: g / w,
    "g != w": lambda xp, g, w: xp.where(g != w, g, w),
    "g <= w": lambda xp, g, w: xp.where(g <= w, g, -w),
    "g < 0.5": lambda xp, g, w: xp.where(g < 0.5, g, w),
    "xor": lambda xp, g, w: xp.where((g > 0.0) ^ (w > 0.0), g, w),
    "or": lambda xp, g, w: xp.where((g > 0.0) | ~(w > 0.0), g, w),
    "clip": lambda xp, g, w: xp.clip(g, -1.0, 1.0),
    "clip from below": lambda xp, g, w: xp.clip(g, min=-0.5),
    "clip from above": lambda xp, g, w: xp.clip(g, max=0.5),
    "square": lambda xp, g, w: xp.square(g),
    "multiply": lambda xp, g, w: xp.multiply(g, w),
    "add": lambda xp, g, w: xp.add(g, w),
    "subtract": lambda xp, g, w: xp.subtract(g, w),
    "divide": lambda xp, g, w: xp.divide(g, w),
    "negative": lambda xp, g, w: xp.negative(g),
    "positive": lambda xp, g, w: xp.positive(g),
    "floor": lambda xp, g, w: xp.floor(g),
    "ceil": lambda xp, g, w: xp.ceil(g),
    "trunc": lambda xp, g, w: xp.trunc(g),
    "round": lambda xp, g, w: xp.round(g),
    "isnan": lambda xp, g, w: xp.where(xp.isnan(g), w, g),
    "isinf": lambda xp, g, w: xp.where(xp.isinf(g), w, g),
    "isfinite": lambda xp, g, w: xp.where(xp.isfinite(g), w, g),
    "copysign": lambda xp, g, w: xp.where(xp.isnan(w), g, xp.copysign(g, w)),
    "signbit": lambda xp, g, w: xp.where(
        xp.signbit(xp.where(xp.isnan(g), xp.zeros_like(g), g)), w, g
    ),
    "logical_and": lambda xp, g, w: xp.where(xp.logical_and(g > 0.0, w > 0.0), g, w),
    "logical_or": lambda xp, g, w: xp.where(xp.logical_or(g > 0.0, w > 0.0), g, w),
    "logical_not": lambda xp, g, w: xp.where(xp.logical_not(g > 0.0), g, w),
    "logical_xor": lambda xp, g, w: xp.where(xp.logical_xor(g > 0.0, w > 0.0), g, w),
    "less": lambda xp, g, w: xp.where(xp.less(g, w), g, w),
    "less_equal": lambda xp, g, w: xp.where(xp.less_equal(g, w), g, w),
    "greater": lambda xp, g, w: xp.where(xp.greater(g, w), g, w),
    "greater_equal": lambda xp, g, w: xp.where(xp.greater_equal(g, w), g, w),
    "equal": lambda xp, g, w: xp.where(xp.equal(g, w), g, w),
    "not_equal": lambda xp, g, w: xp.where(xp.not_equal(g, w), g, w),
    "maximum": lambda xp, g, w: xp.maximum(g, w),
    "minimum": lambda xp, g, w: xp.minimum(g, w),
    "sign": lambda xp, g, w: xp.sign(g) * w,
    "sqrt": lambda xp, g, w: xp.sqrt(xp.abs(g)),
    "ones_like": lambda xp, g, w: xp.ones_like(g) * w,
    "zeros_like": lambda xp, g, w: xp.zeros_like(g) + w,
    "full_like": lambda xp, g, w: xp.full_like(g, 0.1) * w,
    "astype": lambda xp, g, w: xp.astype(g > 0.0, g.dtype) * w,
    "where": lambda xp, g, w: xp.where(g > 0.0, g, w),
    "reshape": lambda xp, g, w: xp.reshape(g, g.shape),
}
"""Expressions of two arrays that a rule may write."""


def calls() -> Iterator[tuple[str, Callable[[Any, Any, Any], Any], Namespace]]:
    """The value of each expression, with the namespace that records it."""
    for name, call in CALLS.items():
        yield name, call, Namespace()
