"""A recorded program (:mod:`mgup_core.trace.tracer`) as Triton functions.

The functions have the program's operations in its order. Division and root are rounded correctly
(N4), and ``enable_fp_fusion=False`` at the launch keeps products and sums apart (N5).
"""

from __future__ import annotations

import functools
import itertools
import linecache
import weakref
from collections.abc import Iterable
from typing import Any, NamedTuple

import triton
import triton.language as tl

from mgup_core import Policy
from mgup_core.trace.tracer import Numbers, Program, Symbol, frontier, needed

from . import layout
from .apply import bias_correction, current_step
from .ordered_keys import selected_in_block

SPELLED = {
    "add": "{} + {}",
    "sub": "{} - {}",
    "mul": "{} * {}",
    "div": "tl.div_rn({}, {})",
    "neg": "-{}",
    "sqrt": "tl.sqrt_rn({})",
    "abs": "tl.abs({})",
    "sign": "tl.where({0} > 0, 1.0, tl.where({0} < 0, -1.0, {0}))",
    "isfinite": "tl.abs({}) < float('inf')",
    # tl.maximum drops NaN, where NumPy keeps it.
    "maximum": "tl.where(({0} >= {1}) | ({0} != {0}), {0}, {1})",
    "minimum": "tl.where(({0} <= {1}) | ({0} != {0}), {0}, {1})",
    "where": "tl.where({}, {}, {})",
    "flush": "tl.where(tl.abs({0}) < {1}, 0.0, {0})",
    "signbit": "({}).to(tl.int32, bitcast=True) < 0",
    "lt": "{} < {}",
    "gt": "{} > {}",
    "ge": "{} >= {}",
    "eq": "{} == {}",
    "and": "{} & {}",
    "or": "{} | {}",
    "invert": "~{}",
}
"""One entry for each of :data:`mgup_core.trace.ops.OPERATIONS`."""

_SPELLED_BESIDES = {
    "floordiv": "{} // {}",
    "mod": "{} % {}",
    "selected": "selected_in_block({}, inside, record, earlier_ties)",
}
ITEMSIZE = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of a number of each dtype that the kernels load and store."""
_SLICE_COLUMNS = {
    "d": layout.LENGTH,
    "lr": layout.LR,
    "weight_decay": layout.WEIGHT_DECAY,
    "alpha": layout.ALPHA,
    "gamma": layout.GAMMA,
}

_texts = itertools.count()


class Kind(NamedTuple):
    """What the text of the functions depends on."""

    program: Program
    policy: Policy | None
    dtype: str
    """Of the parameter and its gradient, one of :data:`ITEMSIZE`."""
    state_dtypes: tuple[str, ...]
    aligned: bool
    """Whether all pointers are multiples of 16 bytes and all lengths of 8."""


class Functions(NamedTuple):
    """The Triton functions of one kind.

    ``row`` is the address of a slice's row of the slice table, ``scalars`` that of its row of slice
    scalars; a coordinate is ``start + offsets`` and exists where ``inside``.
    """

    early_scalars: Any
    """``(row, positive_count, scalars, inside)``: store those scalars of slices that do not depend
    on the count of positive scores."""
    late_scalars: Any
    """The same for those that do; ``None`` if there are none."""
    statistic: Any
    """``(row, scalars, start, offsets, inside)``: the scores, if the policy ranks; whether they are
    positive, if it counts; ``None`` if it does neither."""
    update: Any
    """``(row, scalars, start, offsets, inside, record, earlier_ties)``: load, step and store."""
    scalar_count: int
    """How many scalars each slice has."""
    numbers: Numbers
    """What the functions read of the rule's fields."""
    both_updates: Any = None
    """``(row, scalars, start, offsets, inside)``: the scores, the parameter damped and amplified,
    and the state; ``None`` if nothing is ranked."""
    store: Any = None
    """``(row, start, offsets, inside, w, states)``: store the parameter and the state."""
    dtype: str | None = None
    """Of the parameter."""
    bytes_moved: int = 0
    """Bytes of a coordinate that a step reads and writes."""


class _Writer:
    """The lines of one function, and the variable of each symbol that they compute."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names: dict[Symbol, str] = {}
        self._variables = itertools.count()

    def assign(self, symbol: Symbol, text: str) -> str:
        """A line that computes a symbol; the name of its variable."""
        self.names[symbol] = f"x{next(self._variables)}"
        self.lines.append(f"{self.names[symbol]} = {text}")
        return self.names[symbol]

    def forget(self, symbols: Iterable[Symbol]) -> None:
        """Let symbols be computed once more, from other values."""
        for symbol in symbols:
            self.names.pop(symbol, None)

    def write(self, symbols: Iterable[Symbol], known: Iterable[Symbol] = ()) -> None:
        """The lines that compute symbols whose inputs have variables."""
        for symbol in needed(symbols, known):
            if symbol in self.names:
                continue
            if symbol.op == "const":
                self.assign(symbol, _literal(symbol))
            elif symbol.op == "cast":
                self.assign(symbol, f"{self.names[symbol.args[0]]}.to(tl.{symbol.dtype})")
            else:
                args = (self.names[arg] for arg in symbol.args)
                text = SPELLED.get(symbol.op) or _SPELLED_BESIDES[symbol.op]
                self.assign(symbol, text.format(*args))

    def function(self, signature: str, result: str = "") -> str:
        """The text of a Triton function of these lines."""
        body = [*self.lines, f"return {result}" if result else "pass"]
        return "\n    ".join([f"@triton.jit\ndef {signature}:", *body]) + "\n"


def _literal(symbol: Symbol) -> str:
    number = symbol.args[0]
    if symbol.dtype == "int64":
        return repr(int(number))
    return f"tl.full([], {float(number)!r}, tl.float32)".replace("inf", "float('inf')")


def _inputs(symbols: Iterable[Symbol], *, uniform: bool) -> list[Symbol]:
    return [s for s in needed(symbols) if s.op == "input" and s.uniform == uniform]


def _scalars_function(
    name: str, numbers: Numbers, columns: dict[Symbol, int], wanted: list[Symbol]
) -> str:
    """A function that computes some scalars for several slices.

    Args:
        columns: of the slice scalars, by their symbols.
    """
    writer = _Writer()
    address = f"tl.load(row + {layout.NUMBERS_ADDRESS}, mask=inside, other=0)"
    writer.lines.append(f"numbers = {address}.to(tl.pointer_type(tl.float32))")
    for symbol in _inputs(wanted, uniform=True):
        what = symbol.args[0]
        if what == "positive":
            text = "tl.load(positive_count, mask=inside, other=0)"
        elif what == "t":
            text = "current_step(row, inside)"
        else:
            text = f"tl.load(row + {_SLICE_COLUMNS[what]}, mask=inside, other=0)"
            if symbol.dtype == "float32":  # the slice table has the bits of a float64
                text += ".to(tl.float64, bitcast=True).to(tl.float32)"
        writer.assign(symbol, text)
    for symbol in needed(wanted):
        if symbol.op == "number" and symbol in numbers.places:
            place = numbers.places[symbol]
            writer.assign(symbol, f"tl.load(numbers + {place}, mask=inside, other=0.0)")
    for symbol in needed(wanted):
        if symbol.op == "correction":
            step, place = writer.names[symbol.args[0]], numbers.places[symbol]
            writer.assign(symbol, f"bias_correction({step}, numbers + {place}, inside)")
    writer.write(wanted, writer.names)
    for symbol in wanted:
        value = f"{writer.names[symbol]}.to(tl.float32)"
        writer.lines.append(f"tl.store(scalars + {columns[symbol]}, {value}, mask=inside)")
    return writer.function(f"{name}(row, positive_count, scalars, inside)")


def _arrays(writer: _Writer, program: Program, kind: Kind, wanted: list[Symbol]) -> None:
    """Load the arrays that the wanted symbols need."""
    for symbol in _inputs(wanted, uniform=False):
        name = symbol.args[0]
        dtype = _dtype_of(name, program, kind)
        text = f"tl.load({_addresses(name, dtype, program, kind)}, mask=inside, other=0)"
        writer.assign(symbol, f"{text}.to(tl.float32)")


def _dtype_of(name: str, program: Program, kind: Kind) -> str:
    if name in program.states:
        return kind.state_dtypes[program.states.index(name)]
    return kind.dtype


def _addresses(name: str, dtype: str, program: Program, kind: Kind) -> str:
    """The text of the addresses of an array's coordinates."""
    column = layout.ADDRESSES + ("w", "g", *program.states).index(name)
    address = f"tl.load(row + {column}).to(tl.pointer_type(tl.{dtype}))"
    if kind.aligned:  # four coordinates a load in any dtype, so that threads hold the same ones
        address = f"tl.multiple_of({address}, {4 * ITEMSIZE[dtype]})"
    return f"{address} + start + offsets"


def _scalars(writer: _Writer, columns: dict[Symbol, int], wanted: list[Symbol]) -> list[Symbol]:
    """Load the scalars that the wanted symbols need; their symbols."""
    used = [s for s in frontier(wanted) if s in columns]
    for symbol in used:
        text = f"tl.load(scalars + {columns[symbol]})"
        writer.assign(symbol, f"{text} != 0" if symbol.dtype == "bool" else text)
    return used


def _text_of(kind: Kind, numbers: Numbers) -> tuple[str, int]:
    """The text of a kind's functions, and how many scalars each slice has."""
    program = kind.program
    outputs = list(program.outputs.values())
    statistics = [] if program.slice_statistic is None else [program.slice_statistic]
    columns = {symbol: i for i, symbol in enumerate(frontier([*statistics, *outputs]))}
    late = [
        symbol
        for symbol in columns
        if any(s.op == "input" and s.args[0] == "positive" for s in needed([symbol]))
    ]
    early = [symbol for symbol in columns if symbol not in dict.fromkeys(late)]
    text = _scalars_function("early_scalars", numbers, columns, early)
    if late:
        text += _scalars_function("late_scalars", numbers, columns, late)
    for statistic in statistics:
        writer = _Writer()
        _arrays(writer, program, kind, [statistic])
        writer.write([statistic], _scalars(writer, columns, [statistic]))
        signature = "statistic(row, scalars, start, offsets, inside)"
        text += writer.function(signature, writer.names[statistic])
    writer = _Writer()
    _arrays(writer, program, kind, outputs)
    writer.write(outputs, _scalars(writer, columns, outputs))
    for name, symbol in program.outputs.items():
        dtype = _dtype_of(name, program, kind)
        addresses = _addresses(name, dtype, program, kind)
        value = writer.names[symbol]
        writer.lines.append(f"tl.store({addresses}, {value}.to(tl.{dtype}), mask=inside)")
    text += writer.function("update(row, scalars, start, offsets, inside, record, earlier_ties)")
    if kind.policy is not None and kind.policy.ranks and not _selected(program)[1]:
        text += _both_updates(program, kind, columns)
    return text, len(columns)


def _selected(program: Program) -> tuple[set[Symbol], bool]:
    """(the symbols that depend on the selection, whether a state is among them)."""
    outputs = list(program.outputs.values())
    depends = {symbol for symbol in needed(outputs) if symbol.op == "selected"}
    for symbol in needed(outputs):
        if not depends.isdisjoint(symbol.args):
            depends.add(symbol)
    return depends, any(s in depends for name, s in program.outputs.items() if name != "w")


def _both_updates(program: Program, kind: Kind, columns: dict[Symbol, int]) -> str:
    """A function that computes a step for either multiplier, and one that stores a step."""
    outputs = list(program.outputs.values())
    selected = next(s for s in needed(outputs) if s.op == "selected")
    depends, _ = _selected(program)
    states = {name: symbol for name, symbol in program.outputs.items() if name != "w"}
    writer = _Writer()
    _arrays(writer, program, kind, outputs)
    known = [selected, *_scalars(writer, columns, outputs)]
    writer.write([*states.values(), *selected.args], known)
    versions = []
    for answer in ("False", "True"):
        writer.assign(selected, f"tl.full([], {answer}, tl.int1)")
        writer.write([program.outputs["w"]], known)
        versions.append(writer.names[program.outputs["w"]])
        writer.forget(depends)
    values = [
        writer.names[selected.args[0]],
        *versions,
        *(writer.names[x] for x in states.values()),
    ]
    text = writer.function("both_updates(row, scalars, start, offsets, inside)", ", ".join(values))
    writer = _Writer()
    for name in program.outputs:
        dtype = _dtype_of(name, program, kind)
        addresses = _addresses(name, dtype, program, kind)
        value = "w" if name == "w" else f"states[{list(states).index(name)}]"
        writer.lines.append(f"tl.store({addresses}, {value}.to(tl.{dtype}), mask=inside)")
    return text + writer.function("store(row, start, offsets, inside, w, states)")


def define(text: str) -> dict[str, Any]:
    """The functions of a text, by name."""
    # Triton reads the source of what it compiles, and Python looks up the source of code that is
    # in no file in linecache.
    filename = f"<mgup kernel {next(_texts)}>"
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    scope: dict[str, Any] = {
        "tl": tl,
        "triton": triton,
        "bias_correction": bias_correction,
        "current_step": current_step,
        "selected_in_block": selected_in_block,
        "__name__": __name__,
    }
    known = set(scope)
    exec(compile(text, filename, "exec"), scope)
    *_, last = (value for name, value in scope.items() if name not in known)
    weakref.finalize(last, linecache.cache.pop, filename, None)
    return scope


@functools.lru_cache(maxsize=64)
def functions(kind: Kind) -> Functions:
    """The functions of a kind, made once."""
    numbers = Numbers(kind.program.outputs.values())
    text, scalars = _text_of(kind, numbers)
    scope = define(text)
    return Functions(
        early_scalars=scope["early_scalars"],
        late_scalars=scope.get("late_scalars"),
        statistic=scope.get("statistic"),
        update=scope["update"],
        scalar_count=scalars,
        numbers=numbers,
        both_updates=scope.get("both_updates"),
        store=scope.get("store"),
        dtype=kind.dtype,
        bytes_moved=3 * ITEMSIZE[kind.dtype] + 2 * sum(ITEMSIZE[x] for x in kind.state_dtypes),
    )
