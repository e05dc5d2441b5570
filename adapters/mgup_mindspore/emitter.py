"""Records the core's mathematics once as straight-line MindSpore source.

MindSpore compiles a graph by parsing the source of ``construct``, which the core's closures and
dataclasses are not made for. (``capture_mode="trace"`` and ``"bytecode"`` are marked experimental,
and a cell inside a network in graph mode is always parsed.) So the core runs once on symbols, each
operation becomes one line, and the lines become the ``construct`` of a cell: PyNative executes it,
graph mode compiles it, and a rule stays written once.

Numbers are data: each constant is an input of the graph, as a ``Parameter`` that no network owns,
so no checkpoint holds it. As constants of the graph they would be folded, ``(x*a)*b`` into
``x*(a*b)``, with other bits.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from itertools import count
from math import prod
from operator import index
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import nn

from mgup_core.trace.functions import Functions, Operators
from mgup_core.trace.ops import COMPOSED, INSTEAD, NAMES, ROUNDED, Unrecordable

from .operations import NUMPY
from .program import Program, Recording

Shape = tuple[int, ...]
NUMBERS = (int, float, np.generic)
FLOATS = (ms.float16, ms.bfloat16, ms.float32, ms.float64)


class Unknown(Unrecordable, AttributeError):
    """A rule calls a function that is not recorded; the message says what to write instead."""


class Symbol(Operators):
    """A value of a program: its expression, shape and dtype. Operators record operations."""

    __array_priority__ = 1000.0
    device = None

    xp: Recorder

    def __init__(self, program: Recorder, text: str, shape: Sequence[int], dtype: Any) -> None:
        self.xp, self.text = program, text
        self.shape, self.dtype = tuple(shape), dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return prod(self.shape)

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        raise TypeError("a rule asked for the value of an array: its step cannot be recorded.")

    def __floordiv__(self, divisor: int) -> Symbol:
        # MindSpore's CPU divides int64 as float64, which holds 53 of its bits; a shift is exact.
        bits = _exponent(divisor)
        return self.xp.elementwise("bitwise_right_shift", self, bits)

    def __mod__(self, divisor: int) -> Symbol:
        if divisor & (divisor - 1) == 0:
            return self.xp.elementwise("bitwise_and", self, divisor - 1)
        return self.xp.elementwise("floor_mod", self, divisor)

    def __getitem__(self, parts: tuple[slice, ...]) -> Symbol:
        spans = [part.indices(n) for part, n in zip(parts, self.shape, strict=False)]
        begin = [start for start, _, _ in spans] + [0] * (self.ndim - len(spans))
        size = [stop - start for start, stop, _ in spans] + list(self.shape[len(spans) :])
        if any(step != 1 for _, _, step in spans):
            raise TypeError("only slices without a step can be recorded.")
        return self.xp.call("part", self, tuple(begin), tuple(size), shape=size, dtype=self.dtype)


def _exponent(divisor: int) -> int:
    if divisor < 1 or divisor & (divisor - 1):
        raise ValueError(f"divisor {divisor}: only powers of two divide exactly on every device.")
    return divisor.bit_length() - 1


def _text(value: Any) -> str:
    """The text of symbols, and of whole numbers, whatever their class would say of them."""
    if isinstance(value, (list, tuple)):
        return f"({' '.join(f'{_text(x)},' for x in value)})"
    return value.text if isinstance(value, Symbol) else repr(index(value))


class Recorder(Functions):
    """The array API on symbols: the elementwise functions, and the others that the core calls."""

    bool, int32, int64 = ms.bool_, ms.int32, ms.int64
    float16, bfloat16, float32, float64 = ms.float16, ms.bfloat16, ms.float32, ms.float64

    @staticmethod
    def finfo(dtype: Any) -> np.finfo[Any]:
        """The limits of a dtype."""
        return np.finfo(NUMPY[dtype])

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.parts: list[nn.Cell] = []
        self.constants: list[tuple[Any, Any]] = []
        self._indent = 1
        self._known: dict[Any, Symbol] = {}
        self._names = count()

    # -- recording ---------------------------------------------------------------------------------

    def symbol(self, text: str, shape: Sequence[int], dtype: Any) -> Symbol:
        """An input, by the expression that gives it."""
        return Symbol(self, text, shape, dtype)

    def constant(self, value: Any, dtype: Any, *, fixed: builtins.bool = True) -> Symbol:
        """Numbers known now, rounded once to ``dtype``, which the program takes as data.

        Args:
            fixed: whether they will never be others; else they share no place with an equal number
                (R7).
        """
        array: np.ndarray[Any, Any] = np.asarray(value, dtype=NUMPY[dtype])
        key: Any = array.tobytes(), array.shape, str(dtype)
        if not fixed:
            key = len(self.constants)
        if key not in self._known:
            i = len(self.constants)
            text = f"c{i}" if dtype == ms.float64 else f"self.constants[{i}]"
            self.constants.append((array, dtype))
            self._known[key] = Symbol(self, text, array.shape, dtype)
        return self._known[key]

    def operation(self, name: str, *operands: Any) -> Symbol:
        spelled: Symbol = SPELLED[name](self, *operands)
        return spelled

    def dtype_name(self, x: Symbol) -> str:
        return str(x.dtype).lower()

    def refusal(self, name: str) -> Exception:
        what = f"be.xp.{name} is not among the functions that a step records for MindSpore"
        if name in INSTEAD:
            return Unknown(f"{what}: write {INSTEAD[name]}.")
        methods = [one for one in vars(Recorder) if one[0] != "_" and one not in _OWN]
        known = ", ".join(sorted({*NAMES, *COMPOSED, *ROUNDED, *methods}))
        return Unknown(f"{what}: write it with these: {known}.")

    def write(self, line: str) -> None:
        """Add one line of source."""
        self.lines.append("    " * self._indent + line)

    def call(self, operation: str, *args: Any, shape: Sequence[int], dtype: Any) -> Symbol:
        """Record ``operation(*args)``; arguments are symbols, lists of them, or literals."""
        texts = [_text(a) for a in args]
        name = f"v{next(self._names)}"
        self.write(f"{name} = {operation}({', '.join(texts)})")
        return Symbol(self, name, shape, dtype)

    def elementwise(self, operation: str, *args: Any, dtype: Any = None) -> Symbol:
        """Record an elementwise operation, its numbers in the dtype of the array beside them."""
        like = next(a for a in reversed(args) if isinstance(a, Symbol))
        symbols = [a if isinstance(a, Symbol) else self.constant(a, like.dtype) for a in args]
        shape = np.broadcast_shapes(*(a.shape for a in symbols))
        return self.call(operation, *symbols, shape=shape, dtype=dtype or like.dtype)

    def loop(self, n: int | Symbol, body: Callable[[Any], Any], carry: tuple[Symbol, ...]) -> Any:
        """``body`` applied n times, as a loop of the graph."""
        times = n if isinstance(n, Symbol) else self.constant(n, ms.int32)
        zero, one = (self.constant(value, ms.int32) for value in (0, 1))
        i = self.elementwise("add", zero, zero)
        held = tuple(
            self.call("add", c, self.constant(0, c.dtype), shape=c.shape, dtype=c.dtype)
            for c in carry
        )
        self.write(f"while less({i.text}, {times.text}):")
        self._indent += 1
        new = body(held)
        targets, values = (", ".join(x.text for x in xs) for xs in (held, new))
        self.write(f"{targets} = {values}")
        self.write(f"{i.text} = add({i.text}, {one.text})")
        self._indent -= 1
        return held

    # -- the array API -----------------------------------------------------------------------------

    def asarray(self, value: Any, *, dtype: Any, device: Any = None) -> Symbol:
        return self.constant(value, dtype)

    def full(self, shape: Any, value: Any, *, dtype: Any, device: Any = None) -> Symbol:
        return self.constant(np.full(shape, value, NUMPY[dtype]), dtype)

    def full_like(self, x: Symbol, value: Any, *, dtype: Any = None) -> Symbol:
        if isinstance(value, Symbol):
            return self.call("broadcast_to", value, x.shape, shape=x.shape, dtype=value.dtype)
        return self.full(x.shape, value, dtype=dtype or x.dtype)

    def eye(self, n: int, *, dtype: Any, device: Any = None) -> Symbol:
        return self.constant(np.eye(n), dtype)

    def ones_like(self, x: Symbol, *, dtype: Any = None) -> Symbol:
        return self.full_like(x, 1, dtype=dtype)

    def zeros_like(self, x: Symbol, *, dtype: Any = None) -> Symbol:
        zeros = self.call("zeros_like", x, shape=x.shape, dtype=x.dtype)
        return self.astype(zeros, dtype or x.dtype)

    def astype(self, x: Symbol, dtype: Any) -> Symbol:
        if x.dtype == dtype:
            return x
        target = self.symbol(str(dtype).lower().replace("bool", "bool_"), (), None)
        return self.call("astype", x, target, shape=x.shape, dtype=dtype)

    def where(self, condition: Symbol, a: Any, b: Any) -> Symbol:
        dtype = next(x.dtype for x in (a, b) if isinstance(x, Symbol))
        a, b = (x if isinstance(x, Symbol) else self.constant(x, dtype) for x in (a, b))
        return self.elementwise("where", condition, a, b, dtype=dtype)

    def reshape(self, x: Symbol, shape: Sequence[int]) -> Symbol:
        known = prod(n for n in shape if n >= 0)
        full = tuple(x.size // known if n < 0 else int(n) for n in shape)
        return x if full == x.shape else self.call("reshape", x, full, shape=full, dtype=x.dtype)

    def broadcast_to(self, x: Symbol, shape: Sequence[int]) -> Symbol:
        return self.call("broadcast_to", x, tuple(shape), shape=shape, dtype=x.dtype)

    def concat(self, arrays: list[Symbol], *, axis: int) -> Symbol:
        shape = list(arrays[0].shape)
        shape[axis] = sum(x.shape[axis] for x in arrays)
        return self.call("concat", arrays, axis, shape=shape, dtype=arrays[0].dtype)

    def zeros(self, shape: Sequence[int], *, dtype: Any, device: Any = None) -> Symbol:
        return self.full(shape, 0.0, dtype=dtype)

    def sum(self, x: Symbol, *, axis: Any = None, keepdims: builtins.bool = False) -> Symbol:
        axes = range(x.ndim) if axis is None else (axis if isinstance(axis, tuple) else (axis,))
        axes = tuple(sorted(a % x.ndim for a in axes))
        left = [(1 if keepdims else None) if i in axes else n for i, n in enumerate(x.shape)]
        shape = tuple(n for n in left if n is not None)
        operation = "total_keeping" if keepdims else "total"
        return self.call(operation, x, axes, shape=shape, dtype=x.dtype)

    def max(self, x: Symbol, *, axis: int, keepdims: Any) -> Symbol:
        shape = [1 if i == axis % x.ndim else n for i, n in enumerate(x.shape)]
        kept = self.call("largest_keeping", x, axis % x.ndim, shape=shape, dtype=x.dtype)
        left = [n for i, n in enumerate(x.shape) if i != axis % x.ndim]
        return kept if keepdims else self.reshape(kept, left)

    def round(self, x: Symbol) -> Symbol:
        return self.elementwise("round", x)

    def take(self, x: Symbol, indices: Symbol, *, axis: int) -> Symbol:
        shape = x.shape[:axis] + indices.shape + x.shape[axis + 1 :]
        return self.call("gather", x, indices, axis, shape=shape, dtype=x.dtype)

    def cumulative_sum(self, x: Symbol, *, axis: int) -> Symbol:
        return self.call("cumsum", x, axis % x.ndim, shape=x.shape, dtype=x.dtype)

    def matrix_transpose(self, x: Symbol) -> Symbol:
        order = (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2)
        shape = tuple(x.shape[i] for i in order)
        return self.call("permute", x, order, shape=shape, dtype=x.dtype)

    def matmul(self, a: Symbol, b: Symbol) -> Symbol:
        shape = (*a.shape[:-1], b.shape[-1])
        return self.call("matmul", a, b, shape=shape, dtype=a.dtype)

    # -- the program -------------------------------------------------------------------------------

    def recording(self, inputs: str, outputs: Sequence[Symbol]) -> Recording:
        """What was recorded.

        Args:
            inputs: names of the arguments, separated by commas.
            outputs: what the program returns, as a tuple.
        """
        head = f"def construct(self, {inputs}):\n" + self._wide_constants()
        tail = f"    return ({' '.join(f'{x.text},' for x in outputs)})\n"
        source = head + "".join(line + "\n" for line in self.lines) + tail
        return Recording(source, self.constants, self.parts)

    def cell(self, inputs: str, outputs: Sequence[Symbol]) -> Program:
        """What was recorded, as a cell."""
        return self.recording(inputs, outputs).cell()

    def _wide_constants(self) -> str:
        """The float64 constants times 1, each read once.

        MindSpore 2.10 keeps as float32 a parameter that is used before a loop of the graph and
        after it.
        """
        wide = [i for i, (_, dtype) in enumerate(self.constants) if dtype == ms.float64]
        if not wide:
            return ""
        one = len(self.constants)
        self.constants.append((np.float64(1.0), ms.float64))
        line = "    c{i} = multiply(self.constants[{i}], self.constants[{one}])\n"
        return "".join(line.format(i=i, one=one) for i in wide)


_OWN = {
    "symbol", "constant", "write", "call", "elementwise", "operation", "dtype_name", "refusal",
    "loop", "recording", "cell", "bool", "int32", "int64", "float16", "bfloat16", "float32",
    "float64",
}  # fmt: skip
"""What a recorder has besides the functions of the array API."""


# -- the operations of the table, as MindSpore has them --------------------------------------------


def _native(operation: str, dtype: Any = None) -> Callable[..., Symbol]:
    return lambda xp, *operands: xp.elementwise(operation, *operands, dtype=dtype)


def _keeping_nan(operation: str) -> Callable[..., Symbol]:
    """An operation that on MindSpore's CPU loses a NaN of its first operand."""

    def record(xp: Recorder, x: Any, *others: Any) -> Symbol:
        result = xp.elementwise(operation, x, *others)
        if isinstance(x, NUMBERS) or x.dtype not in FLOATS:
            return result
        return xp.where(xp.equal(x, x), result, x)

    return record


def _quotient(xp: Recorder, x: Any, y: Any) -> Symbol:
    """x/y; MindSpore's CPU divides by zero without its sign, and NaN/0 is an infinity there."""
    quotient = xp.elementwise("divide", x, y)
    if isinstance(y, NUMBERS):
        return quotient
    # Subnormal numbers are zeros here, since they are in some threads and in others they are not.
    smallest, zero = float(np.finfo(NUMPY[y.dtype]).tiny), xp.multiply(y, 0.0)
    if isinstance(x, Symbol):
        x = xp.where(xp.less(xp.abs(x), smallest), xp.multiply(x, 0.0), x)
    by_zero = xp.multiply(x, xp.elementwise("reciprocal", zero))
    return xp.where(xp.less(xp.abs(y), smallest), by_zero, quotient)


def _negative(xp: Recorder, x: Symbol) -> Symbol:
    """The sign of x; -0 is negative, which on MindSpore's CPU its reciprocal alone shows."""
    below: Symbol = xp.logical_or(xp.less(x, 0.0), xp.less(xp.elementwise("reciprocal", x), 0.0))
    return below


def _flush(xp: Recorder, x: Symbol, bound: Any) -> Symbol:
    return xp.where(xp.less(xp.abs(x), bound), 0.0, x)


SPELLED: dict[str, Callable[..., Any]] = {
    "add": _native("add"),
    "sub": _native("subtract"),
    "mul": _native("multiply"),
    "div": _quotient,
    "neg": _native("negative"),
    "abs": _native("abs"),
    "sqrt": _native("sqrt"),
    "sign": _keeping_nan("sign"),
    "maximum": _keeping_nan("maximum"),
    "minimum": _keeping_nan("minimum"),
    "flush": _flush,
    "lt": _native("less", ms.bool_),
    "gt": _native("greater", ms.bool_),
    "ge": _native("greater_equal", ms.bool_),
    "eq": _native("equal", ms.bool_),
    "isfinite": _native("isfinite", ms.bool_),
    "signbit": _negative,
    "and": _native("logical_and"),
    "or": _native("logical_or"),
    "invert": _native("logical_not"),
    "where": lambda xp, *operands: xp.where(*operands),
}
"""One entry for each of :data:`mgup_core.trace.ops.OPERATIONS`, with NumPy's result of NaN and 0.

Programs of MindSpore take subnormal numbers as 0, or not, as its threads do (N1, N6).
"""
