"""Symbols that take the place of arrays and record the operations on them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn

import numpy as np

from ..numerics.runtime import Number
from .functions import Functions, Operators
from .ops import CONDITION, INTEGER, MIXED, OPERATIONS, NotElementwise, Unrecordable

LEAVES = ("input", "const", "number")
"""The operations without operands."""


class Length(int):
    """The length of a slice, which is an input of the program and no constant."""


class _Unknown:
    """The length of an axis, which an elementwise rule must not read."""

    def _refuse(self, *others: object) -> NoReturn:
        raise NotElementwise("the shape of an array")

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __floordiv__ = _refuse
    __truediv__ = __rtruediv__ = __pow__ = __float__ = __int__ = __index__ = _refuse
    __lt__ = __gt__ = __le__ = __ge__ = _refuse


class Symbol(Operators):
    """A value of a program: its operation and its operands.

    Args:
        op: ``"input"``, ``"const"``, or ``"number"`` (a float of the rule at each step, R7); a name
            of :data:`mgup_core.trace.ops.OPERATIONS`; on the step and on counts ``"floordiv"``,
            ``"mod"``, and ``"cast"`` to the compute dtype; ``"correction"`` (of a step and a beta,
            N3); or ``"selected"`` (the rank mask of a score).
        args: the operands; for an input its name, for a constant its value, for a number its
            :class:`~mgup_core.numerics.runtime.Expression`.
        dtype: ``"float32"``, ``"float64"``, ``"int64"`` or ``"bool"``; for a beta ``"host"``, a
            float that is not rounded.
        uniform: whether the value is equal for all coordinates of a slice (0-d).
    """

    __array_ufunc__ = None
    shape = (_Unknown(), _Unknown())
    device = None

    def __init__(self, op: str, args: tuple[Any, ...], dtype: str, uniform: bool) -> None:
        self.op, self.args, self.dtype, self.uniform = op, args, dtype, uniform

    @property
    def ndim(self) -> int:
        if not self.uniform:
            raise NotElementwise("the shape of an array")
        return 0

    def __hash__(self) -> int:
        return id(self)

    def __bool__(self) -> bool:
        raise Unrecordable("a rule asked for the value of an array: its step cannot be recorded.")

    def __float__(self) -> float:
        raise Unrecordable("a rule asked for the value of an array: its step cannot be recorded.")

    def __getitem__(self, key: object) -> NoReturn:
        raise NotElementwise("x[…]")

    def __matmul__(self, other: object) -> NoReturn:
        raise NotElementwise("x @ y")

    def __floordiv__(self, other: Any) -> Symbol:
        return node("floordiv", self, other)

    def __rfloordiv__(self, other: Any) -> Symbol:
        return node("floordiv", other, self)

    def __mod__(self, other: Any) -> Symbol:
        return node("mod", self, other)

    def __rmod__(self, other: Any) -> Symbol:
        return node("mod", other, self)

    __iter__ = None
    __rmatmul__ = __matmul__


def constant(value: Any, dtype: str) -> Symbol:
    """A constant, or a number that the rule's floats give at each step."""
    if isinstance(value, Number):
        return Symbol("number", (value.expression,), dtype, uniform=True)
    return Symbol("const", (value,), dtype, uniform=True)


def _literal(value: Any, dtype: str) -> Symbol:
    """A Python number that is an operand beside an array, rounded once to its dtype (N2)."""
    if isinstance(value, Number):
        return constant(value, dtype)
    if not isinstance(value, (int, float, np.generic)):
        raise Unrecordable(f"{type(value).__name__} is no array of the backend and no number.")
    types = {"float32": np.float32, "float64": np.float64, "bool": bool}
    return constant(types.get(dtype, int)(value), dtype)


def node(op: str, *args: Any) -> Symbol:
    """The symbol of an operation on symbols and numbers, or of its result if all are constant."""
    kinds = [x.dtype for x in args if isinstance(x, Symbol)]
    kind = next((k for k in reversed(kinds) if k != "bool"), "bool")
    takes = OPERATIONS[op].takes if op in OPERATIONS else INTEGER
    expected = ("bool", kind, kind) if takes == MIXED else (kind,) * len(args)
    if takes == CONDITION and kind != "bool":
        raise Unrecordable(f"{op} takes conditions, not numbers: compare with be.scalar(0.0).")
    symbols = [
        x if isinstance(x, Symbol) else _literal(x, k) for x, k in zip(args, expected, strict=True)
    ]
    for x, wanted in zip(symbols, expected, strict=True):
        if x.dtype != wanted:
            raise Unrecordable(_mixed(op, x.dtype, wanted))
    if takes == INTEGER and kind != "int64":
        raise Unrecordable(f"{op} is for the step: write be.xp.floor(be.div(x, y)).")
    if takes not in (CONDITION, INTEGER) and kind == "bool" and op != "where":
        raise Unrecordable(f"{op} takes numbers: be.xp.where(condition, x, y) makes them.")
    gives = "bool" if op in OPERATIONS and OPERATIONS[op].gives == CONDITION else kind
    if gives == kind != "bool" and op in OPERATIONS and all(x.op == "const" for x in symbols):
        return constant(OPERATIONS[op].numpy(*(x.args[0] for x in symbols)), kind)
    return Symbol(op, tuple(symbols), gives, all(x.uniform for x in symbols))


def _mixed(op: str, found: str, wanted: str) -> str:
    if "int64" in (found, wanted):
        return f"{op} takes the step beside an array: write be.scalar(t)."
    if "bool" in (found, wanted):
        return f"{op} takes a condition beside numbers: write be.xp.where(condition, x, y)."
    return f"{op} takes {found} beside {wanted}: write be.cast(x, be.dtype)."


class Namespace(Functions):
    """The functions of the array API that elementwise rules and policies may call, on symbols."""

    float32, float64, int32, int64, bool = "float32", "float64", "int32", "int64", "bool"
    finfo = staticmethod(np.finfo)

    def operation(self, name: str, *operands: Any) -> Symbol:
        return node(name, *operands)

    def dtype_name(self, x: Symbol) -> str:
        return x.dtype

    def reshape(self, x: Symbol, shape: Any) -> Symbol:
        return x

    def astype(self, x: Symbol, dtype: str) -> Symbol:
        if x.dtype == dtype:
            return x
        if x.dtype == "bool":
            return node("where", x, _literal(1, dtype), _literal(0, dtype))
        if x.uniform and x.dtype == "int64":
            return Symbol("cast", (x,), dtype, uniform=True)
        raise Unrecordable(f"{x.dtype} cast to {dtype}: a step is recorded in one dtype, be.dtype.")

    def asarray(self, value: Any, *, dtype: str | None = None, device: Any = None) -> Symbol:
        if isinstance(value, Symbol):
            return value if dtype is None else self.astype(value, dtype)
        if dtype is None:
            raise Unrecordable("an array without a dtype: write be.scalar(value).")
        return _literal(value, dtype)

    def full(self, shape: Any, value: Any, *, dtype: Any = None, device: Any = None) -> Symbol:
        return self.asarray(value, dtype=dtype)

    def full_like(self, x: Symbol, value: Any, *, dtype: Any = None, device: Any = None) -> Symbol:
        return self.asarray(value, dtype=dtype or x.dtype)

    def zeros_like(self, x: Symbol, *, dtype: Any = None, device: Any = None) -> Symbol:
        return self.full_like(x, 0, dtype=dtype)

    def ones_like(self, x: Symbol, *, dtype: Any = None, device: Any = None) -> Symbol:
        return self.full_like(x, 1, dtype=dtype)


Symbol.xp = Namespace()


def needed(symbols: Iterable[Symbol], known: Iterable[Symbol] = ()) -> list[Symbol]:
    """These symbols and all that they depend on, each after its operands.

    Args:
        known: symbols whose operands are not needed.
    """
    order: dict[Symbol, None] = {}
    stack = [(symbol, False) for symbol in reversed(list(symbols))]
    known = set(known)
    while stack:
        symbol, ready = stack.pop()
        if symbol in order:
            continue
        if ready or symbol in known or symbol.op in LEAVES:
            order[symbol] = None
            continue
        stack.append((symbol, True))
        stack += [(arg, False) for arg in reversed(symbol.args)]
    return list(order)


def frontier(symbols: Iterable[Symbol]) -> list[Symbol]:
    """The uniform operands, except constants, of all array operations that ``symbols`` need."""
    found: dict[Symbol, None] = {}
    for symbol in needed(symbols):
        if not symbol.uniform and symbol.op not in LEAVES:
            for arg in symbol.args:
                if arg.uniform and arg.op != "const":
                    found[arg] = None
    return list(found)
