"""A recorded program (:mod:`mgup_core.trace.tracer`) as Triton functions.

The same operations in the same order: division and root correctly rounded (N4), and launched with
``enable_fp_fusion=False``, no product contracted with a sum (N5).
"""

from __future__ import annotations

import functools
import itertools
import linecache
import weakref
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl

from mgup_core import Policy
from mgup_core.trace.tracer import Numbers, Program, Symbol, frontier, needed

from . import table
from .keys import chosen
from .step import bias_correction, current_step

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

_BESIDES = {
    "floordiv": "{} // {}",
    "mod": "{} % {}",
    "selected": "chosen({}, inside, record, earlier)",
}
_TYPES = {
    torch.float32: "tl.float32",
    torch.bfloat16: "tl.bfloat16",
    torch.float16: "tl.float16",
}
_SCALARS = {
    "d": table.TOTAL,
    "lr": table.LR,
    "weight_decay": table.WEIGHT_DECAY,
    "alpha": table.ALPHA,
    "gamma": table.GAMMA,
}

_numbers = itertools.count()


class Kind(NamedTuple):
    """What decides the text of the functions."""

    program: Program
    policy: Policy | None
    dtype: torch.dtype
    """Of the parameter and its gradient."""
    state_dtypes: tuple[torch.dtype, ...]
    aligned: bool
    """Whether all pointers are multiples of 16 bytes."""


class Functions(NamedTuple):
    """The Triton functions of one kind."""

    before: Any
    """Scalars of each slice that need no count, into ``uniforms``."""
    after: Any
    """Those that need the count of positive scores; ``None`` if there are none."""
    seen: Any
    """The score of coordinates, or whether it counts; ``None`` if the whole slice needs no look."""
    update: Any
    """Steps coordinates: loads, computes, stores."""
    uniforms: int
    """How many scalars each slice has."""
    numbers: Numbers
    """What the functions read of the rule's floats."""
    both: Any = None
    """The score, the parameter damped and amplified, the state; ``None`` if nothing is ranked."""
    store: Any = None
    """Stores the parameter and the state."""
    dtype: torch.dtype | None = None
    """Of the parameter."""
    moved: int = 0
    """Bytes of a coordinate that a step reads and writes."""


class _Writer:
    """Lines of one function, and the name of each symbol that has one."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names: dict[Symbol, str] = {}
        self._numbers = itertools.count()

    def name(self, symbol: Symbol, text: str) -> str:
        self.names[symbol] = f"x{next(self._numbers)}"
        self.lines.append(f"{self.names[symbol]} = {text}")
        return self.names[symbol]

    def forget(self, symbols: Iterable[Symbol]) -> None:
        """Let symbols be written once more, with other values."""
        for symbol in symbols:
            self.names.pop(symbol, None)

    def write(self, symbols: Iterable[Symbol], known: Iterable[Symbol] = ()) -> None:
        """The lines that compute symbols whose inputs are named."""
        for symbol in needed(symbols, known):
            if symbol in self.names:
                continue
            if symbol.op == "const":
                self.name(symbol, _literal(symbol))
            elif symbol.op == "cast":
                self.name(symbol, f"{self.names[symbol.args[0]]}.to(tl.{symbol.dtype})")
            else:
                args = (self.names[arg] for arg in symbol.args)
                text = SPELLED.get(symbol.op) or _BESIDES[symbol.op]
                self.name(symbol, text.format(*args))

    def function(self, signature: str, result: str = "") -> str:
        body = [*self.lines, f"return {result}" if result else "pass"]
        return "\n    ".join([f"@triton.jit\ndef {signature}:", *body]) + "\n"


def _literal(symbol: Symbol) -> str:
    number = symbol.args[0]
    if symbol.dtype == "int64":
        return repr(int(number))
    return f"tl.full([], {float(number)!r}, tl.float32)".replace("inf", "float('inf')")


def _inputs(symbols: Iterable[Symbol], *, uniform: bool) -> list[Symbol]:
    return [s for s in needed(symbols) if s.op == "input" and s.uniform == uniform]


def _settle(name: str, numbers: Numbers, layout: dict[Symbol, int], chosen: list[Symbol]) -> str:
    """A function that computes some scalars for a block of slices."""
    writer = _Writer()
    address = f"tl.load(row + {table.NUMBERS}, mask=inside, other=0)"
    writer.lines.append(f"numbers = {address}.to(tl.pointer_type(tl.float32))")
    for symbol in _inputs(chosen, uniform=True):
        what = symbol.args[0]
        if what == "positive":
            text = "tl.load(positive, mask=inside, other=0)"
        elif what == "t":
            text = "current_step(row, inside)"
        else:
            text = f"tl.load(row + {_SCALARS[what]}, mask=inside, other=0)"
            if symbol.dtype == "float32":  # the table holds the bits of a float64
                text += ".to(tl.float64, bitcast=True).to(tl.float32)"
        writer.name(symbol, text)
    for symbol in needed(chosen):
        if symbol.op == "number" and symbol in numbers.places:
            place = numbers.places[symbol]
            writer.name(symbol, f"tl.load(numbers + {place}, mask=inside, other=0.0)")
    for symbol in needed(chosen):
        if symbol.op == "correction":
            step, place = writer.names[symbol.args[0]], numbers.places[symbol]
            writer.name(symbol, f"bias_correction({step}, numbers + {place}, inside)")
    writer.write(chosen, writer.names)
    for symbol in chosen:
        value = f"{writer.names[symbol]}.to(tl.float32)"
        writer.lines.append(f"tl.store(uniforms + {layout[symbol]}, {value}, mask=inside)")
    return writer.function(f"{name}(row, positive, uniforms, inside)")


def _arrays(writer: _Writer, program: Program, kind: Kind, wanted: list[Symbol]) -> None:
    """Loads of the arrays that are wanted, and their scalars."""
    for symbol in _inputs(wanted, uniform=False):
        name = symbol.args[0]
        dtype = _dtype_of(name, program, kind)
        text = f"tl.load({_places(name, dtype, program, kind)}, mask=inside, other=0)"
        writer.name(symbol, f"{text}.to(tl.float32)")


def _dtype_of(name: str, program: Program, kind: Kind) -> torch.dtype:
    if name in program.states:
        return kind.state_dtypes[program.states.index(name)]
    return kind.dtype


def _places(name: str, dtype: torch.dtype, program: Program, kind: Kind) -> str:
    """Where the coordinates of an array are."""
    column = table.POINTERS + ("w", "g", *program.states).index(name)
    address = f"tl.load(row + {column}).to(tl.pointer_type({_TYPES[dtype]}))"
    if kind.aligned:  # four at once in any dtype, so that all lie alike in the threads
        address = f"tl.multiple_of({address}, {4 * dtype.itemsize})"
    return f"{address} + start + offsets"


def _scalars(writer: _Writer, layout: dict[Symbol, int], wanted: list[Symbol]) -> list[Symbol]:
    used = [s for s in frontier(wanted) if s in layout]
    for symbol in used:
        text = f"tl.load(uniforms + {layout[symbol]})"
        writer.name(symbol, f"{text} != 0" if symbol.dtype == "bool" else text)
    return used


def _source(kind: Kind, numbers: Numbers) -> tuple[str, int]:
    program = kind.program
    outputs = list(program.outputs.values())
    seen = [] if program.slice_statistic is None else [program.slice_statistic]
    layout = {symbol: i for i, symbol in enumerate(frontier([*seen, *outputs]))}
    late = [
        symbol
        for symbol in layout
        if any(s.op == "input" and s.args[0] == "positive" for s in needed([symbol]))
    ]
    early = [symbol for symbol in layout if symbol not in dict.fromkeys(late)]
    text = _settle("before", numbers, layout, early)
    if late:
        text += _settle("after", numbers, layout, late)
    if seen:
        writer = _Writer()
        _arrays(writer, program, kind, seen)
        writer.write(seen, _scalars(writer, layout, seen))
        text += writer.function(
            "seen(row, uniforms, start, offsets, inside)", writer.names[seen[0]]
        )
    writer = _Writer()
    _arrays(writer, program, kind, outputs)
    writer.write(outputs, _scalars(writer, layout, outputs))
    for name, symbol in program.outputs.items():
        dtype = _dtype_of(name, program, kind)
        places = _places(name, dtype, program, kind)
        value = writer.names[symbol]
        writer.lines.append(f"tl.store({places}, {value}.to({_TYPES[dtype]}), mask=inside)")
    text += writer.function("update(row, uniforms, start, offsets, inside, record, earlier)")
    if kind.policy is not None and kind.policy.ranks and not _selected(program)[1]:
        text += _both(program, kind, layout)
    return text, len(layout)


def _selected(program: Program) -> tuple[set[Symbol], bool]:
    """(the symbols that depend on the selection, whether a state is among them)."""
    outputs = list(program.outputs.values())
    depends = {s for s in needed(outputs) if s.op == "selected"}
    for symbol in needed(outputs):
        if not depends.isdisjoint(symbol.args):
            depends.add(symbol)
    return depends, any(s in depends for name, s in program.outputs.items() if name != "w")


def _both(program: Program, kind: Kind, layout: dict[Symbol, int]) -> str:
    """Functions that compute a step for either answer of the selection, and store one."""
    outputs = list(program.outputs.values())
    selected = next(s for s in needed(outputs) if s.op == "selected")
    depends, _ = _selected(program)
    states = {name: symbol for name, symbol in program.outputs.items() if name != "w"}
    writer = _Writer()
    _arrays(writer, program, kind, outputs)
    known = [selected, *_scalars(writer, layout, outputs)]
    writer.write([*states.values(), *selected.args], known)
    versions = []
    for answer in ("False", "True"):
        writer.name(selected, f"tl.full([], {answer}, tl.int1)")
        writer.write([program.outputs["w"]], known)
        versions.append(writer.names[program.outputs["w"]])
        writer.forget(depends)
    values = [
        writer.names[selected.args[0]],
        *versions,
        *(writer.names[x] for x in states.values()),
    ]
    text = writer.function("both(row, uniforms, start, offsets, inside)", ", ".join(values))
    writer = _Writer()
    for name in program.outputs:
        dtype = _dtype_of(name, program, kind)
        places = _places(name, dtype, program, kind)
        value = "w" if name == "w" else f"states[{list(states).index(name)}]"
        writer.lines.append(f"tl.store({places}, {value}.to({_TYPES[dtype]}), mask=inside)")
    return text + writer.function("store(row, start, offsets, inside, w, states)")


def define(text: str) -> dict[str, Any]:
    """The functions of a text, by name."""
    # Triton reads the source of what it compiles; linecache is where Python looks for text that
    # is in no file.
    filename = f"<mgup kernel {next(_numbers)}>"
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    scope: dict[str, Any] = {
        "tl": tl,
        "triton": triton,
        "bias_correction": bias_correction,
        "chosen": chosen,
        "current_step": current_step,
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
    text, uniforms = _source(kind, numbers)
    scope = define(text)
    before, after, seen, update = map(scope.get, ("before", "after", "seen", "update"))
    both, store = scope.get("both"), scope.get("store")
    moved = 3 * kind.dtype.itemsize + 2 * sum(dtype.itemsize for dtype in kind.state_dtypes)
    return Functions(before, after, seen, update, uniforms, numbers, both, store, kind.dtype, moved)
