"""Prints a recorded program (:mod:`mgup_core.trace.tracer`) as loops in LLVM's language.

LLVM vectorizes the loops. They have no fast-math flag, so that quotients and roots stay correctly
rounded (N4) and LLVM contracts no product with a sum (N5).
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from mgup_core import Policy, Rule
from mgup_core.trace.forms import Forms
from mgup_core.trace.interpreter import Scalars
from mgup_core.trace.tracer import Program, Symbol, needed, record

from ..notices import warn
from .jit import INDEX, available, compiled, ir, real, void_function

WORTH = 1 << 22
"""The number of stepped coordinates from which compiling pays: compiling takes a tenth of a second,
and compiled code saves some ten nanoseconds a coordinate."""

_stepped: Counter[Any] = Counter()


class Function(NamedTuple):
    """A compiled loop over consecutive coordinates, and the scalars that it needs.

    ``call`` takes the address of the scores to write (:attr:`Code.scores` only), the addresses of
    ``w``, ``g`` and the state, the address of the scalars, and the number of coordinates. It runs
    without the interpreter's lock.
    """

    call: Callable[..., None]
    scalars: Scalars
    touches: frozenset[str]
    """Which of ``w``, ``g`` and the state the function reads or writes. It ignores the addresses of
    the others."""

    def operands(self, dtype: Any, known: Mapping[str, Any], rule: Rule, *more: Any) -> Any:
        """The scalars of a step by this rule as an array, with ``more`` appended."""
        given = tuple((name, known[name]) for name in self.scalars.inputs)
        return np.array([*_values(self.scalars, dtype, given, rule), *more], dtype)


@functools.lru_cache(maxsize=1024)
def _values(
    scalars: Scalars, dtype: Any, known: tuple[tuple[str, Any], ...], rule: Rule
) -> list[Any]:
    return scalars.values(dtype, dict(known), rule)


class Code(NamedTuple):
    """The compiled functions of a rule with a policy."""

    states: tuple[str, ...]
    """The names of the rule's state, in the order in which the functions take it."""
    scores: Function | None
    """Writes the canonical scores and nothing else; ``None`` without a policy."""
    update: Function
    """Steps ``w`` and the state in place. It takes two more scalars: the threshold, above which it
    selects every score, and 1 if it also selects scores equal to the threshold, else 0."""
    rows: Callable[..., None]
    """Calls ``update`` for consecutive rows. It takes the arguments of ``update``, whose last two
    scalars it overwrites, then three more: the address of the threshold of each row; the address of
    int64 numbers, first the length of a row, then for each row the index before which it selects
    scores equal to the threshold; and the number of rows."""


def refusal(
    rule: Rule, policy: Policy | None, decays: bool, dtype: str, *, coordinates: int
) -> str | None:
    """Why a rule has no compiled code, or why compiling does not pay yet; ``None`` if it has code.

    Args:
        decays: whether there is weight decay at all.
        dtype: the compute dtype, ``"float32"`` or ``"float64"``.
        coordinates: how many are about to be stepped.
    """
    if not available:
        return "llvmlite is not installed (the extra compiled)"
    stepped = _stepped[type(rule), type(policy), decays, dtype] + coordinates
    if stepped < WORTH:
        return f"compiling pays from {WORTH} coordinates on, of which {stepped} are stepped"
    if code_for(rule, policy, decays, dtype) is None:
        return f"{type(rule).__name__} cannot be compiled"
    return None


def count(rule: Rule, policy: Policy | None, decays: bool, dtype: str, *, coordinates: int) -> None:
    """Record that this many coordinates were stepped without code; see :func:`refusal`."""
    _stepped[type(rule), type(policy), decays, dtype] += coordinates


def code_for(rule: Rule, policy: Policy | None, decays: bool, dtype: str) -> Code | None:
    """The code of a rule, or ``None`` if it cannot be compiled."""
    try:
        return _code(rule, None if policy is None else policy.static, decays, dtype)
    except (TypeError, AttributeError):  # the reference step will say why
        return None


@Forms
def _code(rule: Rule, policy: Policy | None, decays: bool, dtype: str) -> Code | None:
    program = record(rule, policy, decays=decays, dtype=dtype)
    wanted = {"update": program.outputs}
    if program.scores is not None:
        wanted["scores"] = {"scores": program.scores}
    scalars = {name: Scalars(outputs.values()) for name, outputs in wanted.items()}
    module = ir.Module()
    for name, outputs in wanted.items():
        _write(module, name, program, outputs, scalars[name].symbols)
    _write_rows(module, program, len(scalars["update"].symbols))
    try:
        calls = compiled(str(module))
    except Exception as error:
        warn(
            f"{type(rule).__name__} could not be compiled ({error}): it takes the reference step, "
            "which gives the same result more slowly."
        )
        return None
    functions = {
        name: Function(calls[name], scalars[name], _arrays(outputs))
        for name, outputs in wanted.items()
    }
    return Code(program.states, functions.get("scores"), functions["update"], calls["rows"])


def _arrays(outputs: dict[str, Symbol]) -> frozenset[str]:
    inputs = (s for s in needed(outputs.values()) if s.op == "input" and not s.uniform)
    return frozenset([*outputs, *(s.args[0] for s in inputs)])


# -- from a program to LLVM's language -------------------------------------------------------------


def _intrinsic(name: str) -> Callable[[Any, Any], Any]:
    return lambda b, x: b.call(b.module.declare_intrinsic(name, [x.type]), [x])


_absolute = _intrinsic("llvm.fabs")


def _number(x: Any, value: float) -> Any:
    return ir.Constant(x.type, value)


def _compare(sign: str) -> Callable[[Any, Any, Any], Any]:
    return lambda b, x, y: b.fcmp_ordered(sign, x, y)


def _extremum(sign: str) -> Callable[[Any, Any, Any], Any]:
    """The larger or the smaller operand, or NaN if one is NaN, as in NumPy."""

    def choose(b: Any, x: Any, y: Any) -> Any:
        nan = b.fcmp_unordered("uno", x, x)
        return b.select(b.or_(b.fcmp_ordered(sign, x, y), nan), x, y)

    return choose


def _sign(b: Any, x: Any) -> Any:
    zero, value = _number(x, 0.0), x  # NaN stays
    for sign, one in (("==", 0.0), ("<", -1.0), (">", 1.0)):
        value = b.select(b.fcmp_ordered(sign, x, zero), _number(x, one), value)
    return value


def _signbit(b: Any, x: Any) -> Any:
    whole = ir.IntType(64 if isinstance(x.type, ir.DoubleType) else 32)
    return b.icmp_signed("<", b.bitcast(x, whole), whole(0))


def _flush(b: Any, x: Any, bound: Any) -> Any:
    return b.select(b.fcmp_ordered("<", _absolute(b, x), bound), _number(x, 0.0), x)


SPELLED: dict[str, Callable[..., Any]] = {
    "add": lambda b, x, y: b.fadd(x, y),
    "sub": lambda b, x, y: b.fsub(x, y),
    "mul": lambda b, x, y: b.fmul(x, y),
    "div": lambda b, x, y: b.fdiv(x, y),
    "neg": lambda b, x: b.fneg(x),
    "sqrt": _intrinsic("llvm.sqrt"),
    "abs": _absolute,
    "sign": _sign,
    "isfinite": lambda b, x: b.fcmp_ordered("<", _absolute(b, x), _number(x, float("inf"))),
    "maximum": _extremum(">="),
    "minimum": _extremum("<="),
    "where": lambda b, condition, x, y: b.select(condition, x, y),
    "flush": _flush,
    "signbit": _signbit,
    "lt": _compare("<"),
    "gt": _compare(">"),
    "ge": _compare(">="),
    "eq": _compare("=="),
    "and": lambda b, x, y: b.and_(x, y),
    "or": lambda b, x, y: b.or_(x, y),
    "invert": lambda b, x: b.not_(x),
}
"""One entry for each of :data:`mgup_core.trace.ops.OPERATIONS`."""


def _write(
    module: Any, name: str, program: Program, outputs: dict[str, Symbol], scalars: list[Symbol]
) -> None:
    """Add to a module a function that computes ``outputs`` in a loop and stores them by name."""
    cell = real(program.outputs["w"].dtype)
    arrays = [*(["scores"] if name == "scores" else []), "w", "g", *program.states]
    function = void_function(module, name, [cell] * (len(arrays) + 1))
    *pointers, values, length = function.args
    start, loop, end = (function.append_basic_block(label) for label in ("start", "loop", "end"))
    b = ir.IRBuilder(start)

    def load(array: Any, place: Any) -> Any:
        return b.load(b.gep(array, [place]))

    def scalar(i: int, dtype: str) -> Any:
        value = load(values, INDEX(i))
        return b.fcmp_unordered("!=", value, cell(0.0)) if dtype == "bool" else value

    known = {symbol: scalar(i, symbol.dtype) for i, symbol in enumerate(scalars)}
    if name == "update":
        cut, ties = scalar(len(scalars), ""), scalar(len(scalars) + 1, "bool")
    b.cbranch(b.icmp_signed(">", length, INDEX(0)), loop, end)

    b.position_at_end(loop)
    place = b.phi(INDEX)
    place.add_incoming(INDEX(0), start)
    at = dict(zip(arrays, pointers, strict=True))
    for symbol in needed(outputs.values(), known):
        if symbol in known or symbol.uniform:
            continue
        if symbol.op == "input":
            known[symbol] = load(at[symbol.args[0]], place)
            continue
        args = [known[arg] for arg in symbol.args]
        if symbol.op == "selected":
            above, equal = (b.fcmp_ordered(sign, args[0], cut) for sign in (">", "=="))
            known[symbol] = b.or_(above, b.and_(equal, ties))
        else:
            known[symbol] = SPELLED[symbol.op](b, *args)
    for array, symbol in outputs.items():
        if symbol.op != "input" or symbol.args[0] != array:
            b.store(known[symbol], b.gep(at[array], [place]))
    following = b.add(place, INDEX(1))
    place.add_incoming(following, loop)
    b.cbranch(b.icmp_signed("<", following, length), loop, end)

    b.position_at_end(end)
    b.ret_void()


def _write_rows(module: Any, program: Program, scalars: int) -> None:
    """Add :attr:`Code.rows`; ``scalars`` is the number of those before the threshold."""
    cell = real(program.outputs["w"].dtype)
    arrays = 2 + len(program.states)
    function = void_function(module, "rows", [cell] * (arrays + 2) + [INDEX])
    *pointers, values, thresholds, places, number = function.args
    update = module.get_global("update")
    start, loop, end = (function.append_basic_block(label) for label in ("start", "loop", "end"))
    b = ir.IRBuilder(start)
    length = b.load(places)
    threshold, ties = (b.gep(values, [INDEX(scalars + i)]) for i in range(2))
    b.cbranch(b.icmp_signed(">", number, INDEX(0)), loop, end)

    b.position_at_end(loop)
    row = b.phi(INDEX)
    row.add_incoming(INDEX(0), start)
    following = b.add(row, INDEX(1))
    b.store(b.load(b.gep(thresholds, [row])), threshold)
    first, bound = b.mul(row, length), b.load(b.gep(places, [following]))
    parts = [(first, bound, 1.0), (b.add(first, bound), b.sub(length, bound), 0.0)]
    for begin, size, selects in parts:
        b.store(cell(selects), ties)
        b.call(update, [*(b.gep(array, [begin]) for array in pointers), values, size])
    row.add_incoming(following, loop)
    b.cbranch(b.icmp_signed("<", following, number), loop, end)

    b.position_at_end(end)
    b.ret_void()
