"""Programs: the core's mathematics written down once as straight-line MindSpore source.

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

import atexit
import builtins
import tempfile
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from itertools import count
from math import prod
from operator import index
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn

from . import operations

Shape = tuple[int, ...]

NUMPY = {
    ms.float16: np.float16, ms.float32: np.float32, ms.float64: np.float64,
    ms.int32: np.int32, ms.int64: np.int64, ms.bool_: np.bool_,
}  # fmt: skip

_numbers = count()


class Symbol:
    """A value of a program: its expression, shape and dtype. Operators record operations."""

    __array_priority__ = 1000.0
    device = None

    def __init__(self, program: Recorder, text: str, shape: Sequence[int], dtype: Any) -> None:
        self.program, self.text = program, text
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

    def __invert__(self) -> Symbol:
        return self.program.elementwise("logical_not", self)

    def __floordiv__(self, divisor: int) -> Symbol:
        # MindSpore's CPU divides int64 as float64, which holds 53 of its bits; a shift is exact.
        bits = _exponent(divisor)
        return self.program.elementwise("bitwise_right_shift", self, bits)

    def __mod__(self, divisor: int) -> Symbol:
        if divisor & (divisor - 1) == 0:
            return self.program.elementwise("bitwise_and", self, divisor - 1)
        return self.program.elementwise("floor_mod", self, divisor)

    def __neg__(self) -> Symbol:
        return self.program.elementwise("negative", self)

    def __getitem__(self, parts: tuple[slice, ...]) -> Symbol:
        spans = [part.indices(n) for part, n in zip(parts, self.shape, strict=False)]
        begin = [start for start, _, _ in spans] + [0] * (self.ndim - len(spans))
        size = [stop - start for start, stop, _ in spans] + list(self.shape[len(spans) :])
        if any(step != 1 for _, _, step in spans):
            raise TypeError("only slices without a step can be recorded.")
        return self.program.call(
            "part", self, tuple(begin), tuple(size), shape=size, dtype=self.dtype
        )


def _exponent(divisor: int) -> int:
    if divisor < 1 or divisor & (divisor - 1):
        raise ValueError(f"divisor {divisor}: only powers of two divide exactly on every device.")
    return divisor.bit_length() - 1


def _binary(operation: str, swapped: bool, dtype: Any) -> Callable[[Symbol, Any], Symbol]:
    def record(self: Symbol, other: Any) -> Symbol:
        operands = (other, self) if swapped else (self, other)
        return self.program.elementwise(operation, *operands, dtype=dtype)

    return record


for _name, _operation in {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide",
      "and": "logical_and", "or": "logical_or",
}.items():  # fmt: skip
    setattr(Symbol, f"__{_name}__", _binary(_operation, False, None))
    setattr(Symbol, f"__r{_name}__", _binary(_operation, True, None))
for _name, _operation in {
    "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal",
    "eq": "equal", "ne": "not_equal",
}.items():  # fmt: skip
    setattr(Symbol, f"__{_name}__", _binary(_operation, False, ms.bool_))


def _text(value: Any) -> str:
    """The text of symbols, and of whole numbers, whatever their class would say of them."""
    if isinstance(value, (list, tuple)):
        return f"({' '.join(f'{_text(x)},' for x in value)})"
    return value.text if isinstance(value, Symbol) else repr(index(value))


class Recorder:
    """An array-API namespace of symbols, as much of one as the core asks for."""

    bool, int32, int64 = ms.bool_, ms.int32, ms.int64
    float16, bfloat16, float32, float64 = ms.float16, ms.bfloat16, ms.float32, ms.float64

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

    def loop(self, n: int, body: Callable[[Any], Any], carry: tuple[Symbol, ...]) -> Any:
        """``body`` applied n times, as a loop of the graph."""
        zero, one = (self.constant(value, ms.int32) for value in (0, 1))
        i = self.elementwise("add", zero, zero)
        held = tuple(
            self.call("add", c, self.constant(0, c.dtype), shape=c.shape, dtype=c.dtype)
            for c in carry
        )
        self.write(f"while less({i.text}, {self.constant(n, ms.int32).text}):")
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

    def cell(self, inputs: str, outputs: Sequence[Symbol]) -> Program:
        """What was recorded, as a cell: see :class:`Recording`."""
        return Recording(self, inputs, outputs).cell()

    def source(self, inputs: str, outputs: Sequence[Symbol]) -> str:
        """What was recorded, as the source of a function; complete with the constants."""
        head = f"def construct(self, {inputs}):\n" + self._wide_constants()
        tail = f"    return ({' '.join(f'{x.text},' for x in outputs)})\n"
        return head + "".join(line + "\n" for line in self.lines) + tail

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


class Recording:
    """What was recorded, complete.

    Args:
        inputs: names of the arguments, separated by commas.
        outputs: what the program returns, as a tuple.
    """

    def __init__(self, recorder: Recorder, inputs: str, outputs: Sequence[Symbol]) -> None:
        self.source = recorder.source(inputs, outputs)
        self.constants, self.parts = recorder.constants, recorder.parts

    def cell(self) -> Program:
        """As a cell that MindSpore can parse."""
        members = {"construct": _load(self.source), "__module__": __name__}
        kind = type("Program", (Program,), members)
        return kind(self.source, self.constants, self.parts)  # type: ignore[no-any-return]


def _elementwise(operation: str, dtype: Any = None) -> Callable[..., Symbol]:
    def record(self: Recorder, *args: Any) -> Symbol:
        return self.elementwise(operation, *args, dtype=dtype)

    return record


for _name in ("abs", "sign", "sqrt", "maximum", "minimum", "negative", "logical_not"):
    setattr(Recorder, _name, _elementwise(_name))
Recorder.isfinite = _elementwise("isfinite", ms.bool_)  # type: ignore[attr-defined]


Constants = Sequence[tuple[Any, Any]]
"""(numbers, MindSpore dtype) for each."""


def held(constants: Constants) -> tuple[Parameter, ...]:
    """Constants as data: parameters that no cell owns, as long as the tuple is a plain one."""
    return tuple(
        Parameter(
            Tensor(np.asarray(value, NUMPY[dtype])),
            name=f"mgup_constant_{next(_numbers)}",
            requires_grad=False,
        )
        for value, dtype in constants
    )


class Program(nn.Cell):
    """A recorded computation; ``construct`` takes and returns tensors, and changes none."""

    def __init__(self, source: str, constants: Constants, parts: Sequence[nn.Cell]) -> None:
        super().__init__(auto_prefix=False)
        self.source = source
        self.constants = held(constants)
        self.parts = nn.CellList(parts, auto_prefix=False)

    def take(self, recording: Recording) -> None:
        """Go on with the numbers of a recording of the same source: nothing compiles (R7)."""
        for place, (value, dtype) in zip(self.constants, recording.constants, strict=True):
            array: np.ndarray[Any, Any] = np.asarray(value, NUMPY[dtype])
            if place.asnumpy().tobytes() != array.tobytes():
                operations.assign(place, Tensor(array))

    @cached_property
    def compiled(self) -> Callable[..., Any]:
        """The same as a graph, whatever the mode."""
        return ms.jit(self.construct)  # type: ignore[no-any-return]


_folder: list[tempfile.TemporaryDirectory[str]] = []


@lru_cache(maxsize=256)
def _load(source: str) -> Callable[..., Any]:
    """The function that the source defines, with a file from which MindSpore can parse it.

    It lives in the module :mod:`operations`, where MindSpore looks up the names that it uses.
    """
    if not _folder:
        _folder.append(tempfile.TemporaryDirectory(prefix="mgup_mindspore_"))
        atexit.register(_folder[0].cleanup)
    path = Path(_folder[0].name, f"program_{next(_numbers)}.py")
    path.write_text(source, encoding="utf-8")
    names: dict[str, Any] = {}
    exec(compile(source, str(path), "exec"), vars(operations), names)
    construct: Callable[..., Any] = names["construct"]
    return construct
