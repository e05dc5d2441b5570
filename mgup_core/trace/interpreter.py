"""A recorded program, carried out on NumPy arrays in few buffers.

The operations of :mod:`mgup_core.trace.tracer` are carried out in their order, each into a buffer
that is free by then. So a block of a parameter stays in the processor's cache, and a step allocates
nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from .._typing import Array
from ..numerics.scalars import host_correction
from ..rules.base import Rule
from .ops import OPERATIONS, REAL, UNIFORM
from .tracer import Symbol, needed

SPELLED: dict[str, Any] = {**UNIFORM, **{one.name: one.numpy for one in OPERATIONS.values()}}

_INTO = {
    one.name: one.numpy
    for one in OPERATIONS.values()
    if isinstance(one.numpy, np.ufunc) and one.gives == REAL
}
"""The operations that NumPy writes into a given array (``out``)."""

_APART = {"sign"}
"""Those that NumPy has no vector instructions for where they overwrite their operand: ten times as
slow."""


def _compute(symbol: Symbol, args: list[Any]) -> Any:
    """The value of an operation whose result gets an array of its own."""
    if symbol.op == "cast":
        return np.asarray(args[0]).astype(symbol.dtype)[()]
    return SPELLED[symbol.op](*args)


class Scalars:
    """The uniform values of a program (equal for all coordinates), computed once on the host.

    Args:
        outputs: the symbols that the program computes.
    """

    def __init__(self, outputs: Iterable[Symbol]) -> None:
        outputs = list(outputs)
        arrays = [s for s in needed(outputs) if not s.uniform and s.op != "input"]
        used = [s for s in (*(a for s in arrays for a in s.args), *outputs) if s.uniform]
        self.symbols = list(dict.fromkeys(used))
        """The symbols whose values :meth:`values` returns, constants included."""
        self._order = needed(self.symbols)
        self.inputs = [s.args[0] for s in self._order if s.op == "input"]
        """The names of the inputs that :meth:`values` needs."""

    def values(self, dtype: Any, known: Mapping[str, Any], rule: Rule) -> list[Any]:
        """The values of :attr:`symbols`: NumPy scalars, and numbers for constants.

        Args:
            dtype: the compute dtype, as a NumPy scalar type.
            known: the value of each of :attr:`inputs`; it may hold others.
            rule: its floats are those of this step (R7).
        """
        values: dict[Symbol, Any] = {}
        for symbol in self._order:
            if symbol.op == "const":
                values[symbol] = symbol.args[0]
            elif symbol.op == "number":
                value = symbol.args[0].of(rule)
                values[symbol] = value if symbol.dtype == "host" else dtype(value)
            elif symbol.op == "input":
                value = known[symbol.args[0]]
                values[symbol] = value if symbol.dtype == "int64" else dtype(value)
            elif symbol.op == "correction":
                t, beta = (values[arg] for arg in symbol.args)
                values[symbol] = host_correction(dtype, beta, t)
            else:
                values[symbol] = _compute(symbol, [values[arg] for arg in symbol.args])
        return [values[symbol] for symbol in self.symbols]


class Replay:
    """Computes some symbols of a program from arrays.

    Args:
        outputs: the symbols, in the order in which :meth:`run` returns their values.
        homes: outputs by the name of the input whose array they are to overwrite. Where the program
            needs that input longer, or the input is the output, the output gets a buffer instead.
    """

    def __init__(
        self, outputs: Iterable[Symbol], homes: Mapping[str, Symbol] | None = None
    ) -> None:
        self.outputs = list(outputs)
        order = [s for s in needed(self.outputs) if not s.uniform]
        self.inputs = {s.args[0]: s for s in order if s.op == "input"}
        self.steps = [s for s in order if s.op != "input"]
        self.scalars = Scalars(self.outputs)
        last = {arg: i for i, s in enumerate(self.steps) for arg in s.args}
        at_home = self._at_home(homes or {}, last)
        last |= dict.fromkeys(self.outputs, len(self.steps))
        slots: dict[Symbol, int | str] = {}
        free: list[int] = []
        self.buffers = 0
        for i, symbol in enumerate(self.steps):
            # An argument that is not needed again gives its buffer to the result.
            given = [
                slot
                for arg in dict.fromkeys(symbol.args)
                if isinstance(slot := slots.get(arg), int) and last[arg] == i
            ]
            if symbol.op not in _APART:
                free += given
            if symbol in at_home:
                slots[symbol] = at_home[symbol]
            else:
                if not free:
                    free.append(self.buffers)
                    self.buffers += 1
                slots[symbol] = free.pop()
            if symbol.op in _APART:
                free += given
        self.buffers += 1  # the last is for the intermediate values of an operation
        # `run` looks values up by number, which is faster than by symbol: it runs for every block,
        # and two threads that meet at the interpreter's lock wait longer than they work.
        symbols = dict.fromkeys([*self.scalars.symbols, *order])
        numbers = {symbol: i for i, symbol in enumerate(symbols)}
        self._length = len(numbers)
        self._inputs = [(numbers[symbol], name) for name, symbol in self.inputs.items()]
        self._outputs = [numbers[symbol] for symbol in self.outputs]
        overwritten = set(at_home.values())

        def passes(flush: Symbol) -> bool:
            """Whether what is flushed may stand for the result, as long as that is needed."""
            x = flush.args[0]
            if x.op != "input":
                return slots[x] == slots[flush]
            return x.args[0] == slots[flush] or x.args[0] not in overwritten

        self._steps = [
            (
                _INTO.get(s.op), s, numbers[s], [numbers[a] for a in s.args], slots[s],
                s.op == "flush" and passes(s),
            )
            for s in self.steps
        ]  # fmt: skip

    def _at_home(self, homes: Mapping[str, Symbol], last: dict[Symbol, int]) -> dict[Symbol, str]:
        """The steps that overwrite an input, with the name of the input."""
        place = {symbol: i for i, symbol in enumerate(self.steps)}
        found: dict[Symbol, str] = {}
        for name, output in homes.items():
            chain = [output]
            if output.op == "flush" and last.get(output.args[0]) == place[output]:
                chain.append(output.args[0])  # a flush nearly always changes nothing
            first = place.get(chain[-1])
            read = self.inputs.get(name)  # a state may be written and never read
            if first is not None and (read is None or last[read] <= first):
                found |= dict.fromkeys(chain, name)
        return found

    def run(
        self,
        arrays: dict[str, Array],
        scalars: list[Any],
        buffers: list[Array],
        *,
        needs_no_flush: bool = False,
    ) -> tuple[list[Array], bool]:
        """(the outputs, each in a buffer or in an input's array; whether nothing was flushed).

        Args:
            arrays: the inputs by name, of one length and dtype.
            scalars: the result of :meth:`Scalars.values`.
            buffers: at least ``self.buffers`` arrays of that length and dtype.
            needs_no_flush: whether the caller knows that there is nothing to flush.
        """
        values = [*scalars, *[None] * (self._length - len(scalars))]
        for i, name in self._inputs:
            values[i] = arrays[name]
        intermediate, flushed_nothing = buffers[self.buffers - 1], True
        for into, symbol, i, operands, slot, passes in self._steps:
            out = arrays[slot] if isinstance(slot, str) else buffers[slot]
            if into is not None:
                into(*[values[j] for j in operands], out=out)
            elif symbol.op == "flush":
                x, bound = values[operands[0]], values[operands[1]]
                if needs_no_flush or np.abs(x, out=intermediate).min(initial=np.inf) >= bound:
                    if not passes:
                        np.copyto(out, x)
                    values[i] = x if passes else out
                    continue
                flushed_nothing = False
                # A product keeps NaN (NaN * 0), and is ten times as fast as a selection, since the
                # processor cannot predict the branch of a selection.
                np.multiply(x, intermediate >= bound, out=out)
                out += 0.0  # -0 + 0 is +0
            else:
                np.copyto(out, _compute(symbol, [values[j] for j in operands]))
            values[i] = out
        return [values[i] for i in self._outputs], flushed_nothing
