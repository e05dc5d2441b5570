"""The table of operations: every target has each of them, with the bits of NumPy (N1 to N6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import array_api_strict
import numpy as np
import pytest
from array_api_compat import numpy as array_api

import mgup_core as core
from mgup_conformance.compare import check_identical
from mgup_core.host.blocks import BlockStep
from mgup_core.numerics.scalars import ema
from mgup_core.numerics.sums import norm
from mgup_core.trace import interpreter as replay
from mgup_core.trace import ops
from mgup_core.trace.interpreter import Replay, Scalars
from mgup_core.trace.symbols import Namespace, Symbol
from mgup_core.trace.tracer import Program, record

from .operations import CALLS, DTYPES, as_number, expected, inputs, operands, recorded


def by_blocks(symbol: Symbol, dtype: str) -> Any:
    """A symbol's value, computed by NumPy blocks."""
    kind = DTYPES[dtype][0]
    arrays = dict(zip(("w", "g", "z"), (x.copy() for x in operands(dtype)), strict=True))
    one = Replay([symbol])
    buffers = [np.empty_like(arrays["w"]) for _ in range(one.buffers)]
    scalars = one.scalars.values(kind, {}, core.Lion())
    with np.errstate(all="ignore"):
        (found,), _ = one.run(arrays, scalars, buffers)
    return found


def by_llvm(symbol: Symbol, dtype: str) -> Any:
    """A symbol's value, computed by compiled loops."""
    pytest.importorskip("llvmlite", reason="the extra cpu is not installed")
    loops = pytest.importorskip("mgup_torch.llvm.codegen")
    machine = pytest.importorskip("mgup_torch.llvm.jit")
    kind = DTYPES[dtype][0]
    arrays = [x.copy() for x in operands(dtype)]
    scalars = Scalars([symbol])
    module = machine.ir.Module()
    program = Program(("z",), None, {"w": symbol}, None)
    loops._write(module, "update", program, {"w": symbol}, scalars.symbols)
    values = np.array([*scalars.values(kind, {}, core.Lion()), 0, 0], kind)
    run = machine.compiled(str(module))["update"]
    run(*map(machine.address, (*arrays, values)), arrays[0].size)
    return arrays[0]


TARGETS = {"blocks": by_blocks, "llvm": by_llvm}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", ops.OPERATIONS)
def test_every_operation(name, target, dtype):
    """NaN, zeros, infinities, subnormals and random bits; the sign of NaN is not compared."""
    found, wanted = TARGETS[target](recorded(name, dtype), dtype), expected(name, dtype)
    if name == "signbit":
        known = ~np.isnan(operands(dtype)[0])
        found, wanted = found[known], wanted[known]
    check_identical(name, wanted, found)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", CALLS)
def test_everything_that_a_rule_may_write(name, target, dtype):
    """A recorded function gives the bits of NumPy's function of that name."""
    w, g, _ = inputs(dtype)
    symbol = as_number(CALLS[name](Namespace(), g, w), dtype)
    found = TARGETS[target](symbol, dtype)
    w, g, _ = operands(dtype)
    with np.errstate(all="ignore"):
        wanted = np.asarray(CALLS[name](array_api, g, w))
    check_identical(name, wanted, found)


@pytest.mark.parametrize("name", CALLS)
def test_array_api_strict_takes_it_too(name):
    """Else it is no operation of a portable rule."""
    w, g, _ = (array_api_strict.asarray(x) for x in operands("float32"))
    with np.errstate(all="ignore"):
        found = CALLS[name](array_api_strict, g, w)
        wanted = CALLS[name](array_api, *(np.asarray(x) for x in (g, w)))
    check_identical(name, np.asarray(wanted), np.asarray(found))


def test_every_target_has_every_operation():
    """Every target has exactly the operations of the table."""
    assert set(replay.SPELLED) == {*ops.OPERATIONS, *ops.UNIFORM}
    loops = pytest.importorskip("mgup_torch.llvm.codegen")
    assert set(loops.SPELLED) == set(ops.OPERATIONS)


def test_every_name_leads_to_operations():
    """The tests above cover every function that the namespace has."""
    names = {*ops.NAMES, *ops.COMPOSED, *ops.ROUNDED}
    assert names <= {*CALLS, "abs"}, names - {*CALLS, "abs"}
    assert set(ops.NAMES.values()) | {"flush"} == set(ops.OPERATIONS)
    for one in ops.OPERATIONS.values():
        assert one.nan
        assert getattr(one.numpy, "nin", one.arity) == one.arity


# -- what is refused -------------------------------------------------------------------------------


def rule_that(direction, name: str = "Mine", **flags: Any) -> core.Rule:
    """A rule with this direction."""

    def proposed(self, be, g, w, state, t):
        return core.Direction(direction(be, g, w, t), a=g)

    def init(self, be, w):
        return {"m": be.zeros_like(w)}

    return type(name, (core.Rule,), {"direction": proposed, "init": init, **flags})()


REFUSED = {
    "tanh": (lambda be, g, w, t: be.xp.tanh(g), r"be\.xp\.tanh .*elementary\.tanh"),
    "exp": (lambda be, g, w, t: be.xp.exp(g), r"be\.xp\.exp .*numerics\.elementary"),
    "no name": (lambda be, g, w, t: be.xp.sqare(g), r"be\.xp\.sqare .*There are .*square"),
    "power": (lambda be, g, w, t: g**3, r"be\.xp\.pow .*products"),
    "sum": (lambda be, g, w, t: g / be.xp.sum(g), r"be\.xp\.sum .*elementwise = False"),
    "mean": (lambda be, g, w, t: g - be.xp.mean(g), r"be\.xp\.mean .*elementwise = False"),
    "total": (lambda be, g, w, t: be.div(g, be.total(g)), r"be\.total.*elementwise = False"),
    "norm": (lambda be, g, w, t: be.div(g, norm(be, g)), r"be\.total.*elementwise = False"),
    "matmul": (lambda be, g, w, t: be.matmul(g, g), r"be\.matmul .*elementwise = False"),
    "@": (lambda be, g, w, t: g @ g, r"x @ y .*elementwise = False"),
    "index": (lambda be, g, w, t: g[0], r"x\[…\] .*elementwise = False"),
    "shape": (
        lambda be, g, w, t: be.mul(be.scalar(1.0 / np.prod(g.shape)), g),
        "shape of an array .*elementwise = False",
    ),
    "size": (
        lambda be, g, w, t: be.mul(be.scalar(1.0 / (g.shape[0] * g.shape[1])), g),
        "shape of an array .*elementwise = False",
    ),
    "step beside": (lambda be, g, w, t: g * t, r"be\.scalar\(t\)"),
    "floor division": (lambda be, g, w, t: g // 2.0, r"be\.xp\.floor\(be\.div"),
    "mask times": (lambda be, g, w, t: (g > 0.0) * g, r"be\.xp\.where\(condition"),
    "mask plus": (lambda be, g, w, t: (g > 0.0) + (w > 0.0), r"be\.xp\.where\(condition"),
    "and of numbers": (lambda be, g, w, t: be.xp.logical_and(g, w), "takes conditions"),
    "other dtype": (lambda be, g, w, t: be.xp.astype(g, be.xp.int32), r"one dtype, be\.dtype"),
    "value": (lambda be, g, w, t: g if g > 0.0 else w, "asked for the value of an array"),
    "float": (lambda be, g, w, t: be.mul(be.scalar(float(g)), g), "asked for the value"),
    "a NumPy array": (lambda be, g, w, t: g + np.ones(3, np.float32), "no array of the backend"),
    "a ufunc": (lambda be, g, w, t: np.sqrt(g), "ufunc"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_names_the_remedy(name):
    """The error names the rule, the operation, and what to write instead."""
    direction, message = REFUSED[name]
    rule = rule_that(direction)
    before = np.ones(10, np.float32)
    w, state = before.copy(), {"m": np.zeros(10, np.float32)}
    be = core.NumPyBackend(array_api, np.float32)
    with pytest.raises(TypeError, match=message) as caught:
        BlockStep(be, rule, core.MGUP(), w, w.copy(), state, 1, lr=0.1).run()
    if name != "a ufunc":
        assert isinstance(caught.value, ops.Unrecordable)
        assert str(caught.value).startswith("Mine: ")
    assert np.array_equal(w, before)
    with pytest.raises(TypeError, match=message):
        record(rule, core.MGUP(), decays=True)


def test_a_rule_that_is_not_elementwise_is_not_recorded():
    """A rule that is not elementwise may call any function, since it is not recorded."""
    rule = rule_that(lambda be, g, w, t: be.div(g, norm(be, g)), elementwise=False)
    params, state = [np.ones(4, np.float32)], None
    whole = core.Optimizer(rule, core.MGUP(), lr=1.0)
    moved, _ = whole.step(params, [np.ones(4, np.float32)], whole.init(params) or state)
    np.testing.assert_allclose(moved[0], 1.0 - np.array([2, 2, 0.5, 0.5]) / 2, rtol=1e-6)


@dataclass(frozen=True)
class Clipped(core.Rule):
    """A rule that calls most of the recorded functions."""

    b1: float = 0.9
    limit: float = 0.5

    def init(self, be, w):
        return {"m": be.zeros_like(w)}

    def accumulate(self, be, g, w, state, t):
        return {"m": ema(be, state["m"], g, self.b1)}

    def direction(self, be, g, w, state, t):
        xp, m = be.xp, state["m"]
        u = xp.clip(be.mul(2.0 * m, be.scalar(1.0) - self.limit * abs(g)), -1.0, 1.0)
        u = xp.where(xp.isnan(u) | (g != m) & xp.signbit(w), xp.copysign(u, w), +u)
        u = u + be.mul(xp.ones_like(u), xp.floor(w)) - xp.round(xp.square(m)) / 3.0
        return core.Direction(xp.minimum(u, 1.0 - m**2), a=m)


def test_a_rule_of_all_that():
    """Blocks give the bits of the whole step, NaN and infinities included."""
    rule, rng = Clipped(), np.random.default_rng(0)
    start = rng.standard_normal(3000).astype(np.float32)
    whole = core.Optimizer(rule, core.MGUP(), lr=0.1)
    params, state = [start], whole.init([start])
    w, kept = start.copy(), {"m": np.zeros_like(start)}
    be = core.NumPyBackend(array_api, np.float32)
    for t in range(1, 6):
        g = rng.standard_normal(3000).astype(np.float32)
        g[:6] = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40]
        params, state = whole.step(params, [g], state)
        BlockStep(be, rule, core.MGUP(), w, g.copy(), kept, t, lr=0.1).run()
        check_identical("parameter", params[0], w, step=t)
