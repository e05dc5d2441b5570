"""A recorded program (:mod:`mgup_core.program`) as machine code for the processor at hand.

LLVM makes one vectorized loop of it. Nothing is relaxed: no fast-math flag, so that division and
root stay correctly rounded (N4) and no product is contracted with a sum (N5).
"""

from __future__ import annotations

import ctypes
import functools
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from mgup_core import MGUP, Policy, Rule, SignMGUP
from mgup_core.program import Program, Symbol, needed, record
from mgup_core.replay import Scalars

try:
    import llvmlite.binding as llvm
    from llvmlite import ir
except ImportError:  # the extra "cpu" was not installed
    llvm = ir = None

WORTH = 1 << 22
"""So many coordinates must have been stepped before compiling pays: it takes a tenth of a second,
and saves some ten nanoseconds a coordinate."""

_stepped: Counter[Any] = Counter()


class Function(NamedTuple):
    """A loop over consecutive coordinates, and what it is to be told.

    ``call`` takes addresses: of the scores to be written (:attr:`Code.scores` only), of ``w``,
    ``g`` and the state, of the scalars; then the number of coordinates. It holds no lock.
    """

    call: Callable[..., None]
    scalars: Scalars

    def operands(self, dtype: Any, known: Mapping[str, Any], *more: Any) -> Any:
        """The scalars, as an array; ``more`` follow."""
        known = tuple((name, known[name]) for name in self.scalars.inputs)
        return np.array([*_values(self.scalars, dtype, known), *more], dtype)


@functools.lru_cache(maxsize=1024)
def _values(scalars: Scalars, dtype: Any, known: tuple[tuple[str, Any], ...]) -> list[Any]:
    return scalars.values(dtype, dict(known))


class Code(NamedTuple):
    """The functions of a rule under a policy."""

    scores: Function | None
    """Writes the canonical scores and changes nothing; ``None`` without a policy."""
    update: Function
    """Steps ``w`` and the state in place. Two more scalars: the threshold above which scores are
    selected, and whether (1) or not (0) those equal to it are, too."""


def code_for(
    rule: Rule, policy: Policy | None, decays: bool, dtype: str, *, coordinates: int
) -> Code | None:
    """The code of a rule, or ``None`` where there is none or it does not pay yet.

    Args:
        decays: whether there is weight decay at all.
        dtype: the compute dtype, ``"float32"`` or ``"float64"``.
        coordinates: how many are about to be stepped.
    """
    if llvm is None:
        return None
    kind = type(rule), type(policy), decays, dtype
    _stepped[kind] += coordinates
    if _stepped[kind] < WORTH:
        return None
    if isinstance(policy, (MGUP, SignMGUP)):
        policy = replace(policy, alpha=1.0, gamma=1.0)  # they may change at every step
    return _code(rule, policy, decays, dtype)


@functools.lru_cache(maxsize=256)
def _code(rule: Rule, policy: Policy | None, decays: bool, dtype: str) -> Code | None:
    try:
        program = record(rule, policy, decays=decays, dtype=dtype, expand=False)
    except (TypeError, AttributeError):  # the reference step will say why
        return None
    wanted = {"update": program.outputs}
    if program.scores is not None:
        wanted["scores"] = {"scores": program.scores}
    if not {s.op for s in needed(program.outputs.values())} <= _KNOWN:
        return None
    scalars = {name: Scalars(outputs.values()) for name, outputs in wanted.items()}
    module = ir.Module()
    for name, outputs in wanted.items():
        _write(module, name, program, outputs, scalars[name].symbols)
    try:
        calls = _compiled(str(module))
    except Exception as error:
        warnings.warn(
            f"{type(rule).__name__} could not be compiled ({error}): it takes the reference step, "
            "which gives the same result more slowly.",
            stacklevel=2,
        )
        return None
    functions = {name: Function(calls[name], scalars[name]) for name in wanted}
    return Code(functions.get("scores"), functions["update"])


# -- from a program to LLVM's language -------------------------------------------------------------


def _intrinsic(name: str) -> Callable[[Any, Any], Any]:
    return lambda b, x: b.call(b.module.declare_intrinsic(name, [x.type]), [x])


_absolute = _intrinsic("llvm.fabs")


def _number(x: Any, value: float) -> Any:
    return ir.Constant(x.type, value)


def _compare(sign: str) -> Callable[[Any, Any, Any], Any]:
    return lambda b, x, y: b.fcmp_ordered(sign, x, y)


def _further(sign: str) -> Callable[[Any, Any, Any], Any]:
    """The larger or the smaller, NaN before both, as in NumPy."""

    def choose(b: Any, x: Any, y: Any) -> Any:
        nan = b.fcmp_unordered("uno", x, x)
        return b.select(b.or_(b.fcmp_ordered(sign, x, y), nan), x, y)

    return choose


def _sign(b: Any, x: Any) -> Any:
    zero, value = _number(x, 0.0), x  # NaN stays
    for sign, one in (("==", 0.0), ("<", -1.0), (">", 1.0)):
        value = b.select(b.fcmp_ordered(sign, x, zero), _number(x, one), value)
    return value


def _flush(b: Any, x: Any, bound: Any) -> Any:
    return b.select(b.fcmp_ordered("<", _absolute(b, x), bound), _number(x, 0.0), x)


_SPELLED: dict[str, Callable[..., Any]] = {
    "add": lambda b, x, y: b.fadd(x, y),
    "sub": lambda b, x, y: b.fsub(x, y),
    "mul": lambda b, x, y: b.fmul(x, y),
    "div": lambda b, x, y: b.fdiv(x, y),
    "neg": lambda b, x: b.fneg(x),
    "sqrt": _intrinsic("llvm.sqrt"),
    "abs": _absolute,
    "sign": _sign,
    "isfinite": lambda b, x: b.fcmp_ordered("<", _absolute(b, x), _number(x, float("inf"))),
    "maximum": _further(">="),
    "minimum": _further("<="),
    "where": lambda b, condition, x, y: b.select(condition, x, y),
    "flush": _flush,
    "lt": _compare("<"),
    "gt": _compare(">"),
    "ge": _compare(">="),
    "eq": _compare("=="),
    "and": lambda b, x, y: b.and_(x, y),
    "or": lambda b, x, y: b.or_(x, y),
    "invert": lambda b, x: b.not_(x),
}
_ON_HOST = {"const", "input", "cast", "correction", "floordiv", "mod"}
_KNOWN = {*_SPELLED, *_ON_HOST, "selected"}


def _write(
    module: Any, name: str, program: Program, outputs: dict[str, Symbol], scalars: list[Symbol]
) -> None:
    """Add a function to a module: a loop that computes ``outputs`` and stores them by name."""
    cell = {"float32": ir.FloatType, "float64": ir.DoubleType}[program.outputs["w"].dtype]()
    index, pointer = ir.IntType(64), cell.as_pointer()
    arrays = [*(["scores"] if name == "scores" else []), "w", "g", *program.states]
    kind = ir.FunctionType(ir.VoidType(), [pointer] * (len(arrays) + 1) + [index])
    function = ir.Function(module, kind, name)
    *pointers, values, length = function.args
    for argument in function.args[:-1]:
        argument.add_attribute("noalias")
    start, loop, end = (function.append_basic_block(label) for label in ("start", "loop", "end"))
    b = ir.IRBuilder(start)

    def load(array: Any, place: Any) -> Any:
        return b.load(b.gep(array, [place]))

    def scalar(i: int, dtype: str) -> Any:
        value = load(values, index(i))
        return b.fcmp_unordered("!=", value, cell(0.0)) if dtype == "bool" else value

    known = {symbol: scalar(i, symbol.dtype) for i, symbol in enumerate(scalars)}
    if name == "update":
        cut, ties = scalar(len(scalars), ""), scalar(len(scalars) + 1, "bool")
    b.cbranch(b.icmp_signed(">", length, index(0)), loop, end)

    b.position_at_end(loop)
    place = b.phi(index)
    place.add_incoming(index(0), start)
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
            known[symbol] = _SPELLED[symbol.op](b, *args)
    for array, symbol in outputs.items():
        if symbol.op != "input" or symbol.args[0] != array:
            b.store(known[symbol], b.gep(at[array], [place]))
    following = b.add(place, index(1))
    place.add_incoming(following, loop)
    b.cbranch(b.icmp_signed("<", following, length), loop, end)

    b.position_at_end(end)
    b.ret_void()


# -- from LLVM's language to machine code ----------------------------------------------------------


@functools.cache
def _processor() -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=3,
    )


@functools.lru_cache(maxsize=256)
def _compiled(text: str) -> dict[str, Callable[..., None]]:
    """The functions of a module, as functions that can be called."""
    machine = _processor()
    module = llvm.parse_assembly(text)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = True
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    calls = {}
    for function in module.functions:
        if function.is_declaration:
            continue
        pointers = len(list(function.arguments)) - 1
        kind = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * pointers, ctypes.c_int64)
        calls[function.name] = kind(engine.get_function_address(function.name))
        calls[function.name].owner = engine  # whose memory it runs from
    return calls
