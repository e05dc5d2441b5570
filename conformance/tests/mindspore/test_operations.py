"""The table of operations in MindSpore's programs: all of it, with the bits of NumPy (N1 to N6)."""

from __future__ import annotations

from typing import Any

import mindspore as ms
import numpy as np
import pytest
from array_api_compat import numpy as array_api
from mindspore import Parameter, Tensor

import mgup_core as core
import mgup_mindspore
from mgup_conformance.compare import check_identical
from mgup_core.trace import ops
from mgup_mindspore.emitter import SPELLED, Recorder
from tests.core.operations import BOUND, CALLS, DTYPES, operands


def outputs(xp: Any, w: Any, g: Any, z: Any) -> dict[str, Any]:
    """Every operation of the table, and everything that a rule may write, as numbers."""
    found = {}
    for name, one in ops.OPERATIONS.items():
        given = [w, g, z]
        if one.takes in (ops.CONDITION, ops.MIXED):
            count = 1 if one.takes == ops.MIXED else 3
            given[:count] = [x > 0.0 for x in given[:count]]
        if name == "flush":
            given[1] = BOUND
        function = one.numpy if xp is array_api else SPELLED[name]
        leading = () if xp is array_api else (xp,)
        found[f"operation {name}"] = function(*leading, *given[: one.arity])
    return found | {name: call(xp, g, w) for name, call in CALLS.items()}


def flushed(x: Any) -> Any:
    """Subnormal numbers as zeros of their sign."""
    return np.where(np.abs(x) < np.finfo(x.dtype).tiny, np.copysign(x.dtype.type(0), x), x)


@pytest.fixture(scope="module", params=DTYPES)
def program(request):
    """(what one program computes of all that, as a graph and in PyNative; the names; the dtype)."""
    xp, kind = Recorder(), getattr(ms, request.param)
    shape = operands(request.param)[0].shape
    symbols = outputs(xp, *(xp.symbol(name, shape, kind) for name in ("w", "g", "z")))
    cell = xp.cell("w, g, z", list(symbols.values()))
    given = [Tensor(x) for x in operands(request.param)]
    ways = {"graph": cell.compiled, "pynative": cell.construct}
    made = {way: [x.asnumpy() for x in run(*given)] for way, run in ways.items()}
    return made, list(symbols), request.param


@pytest.mark.parametrize("way", ["graph", "pynative"])
def test_everything_that_a_rule_may_write(program, way):
    """NaN, zeros, infinities, subnormals, random bits; programs may take subnormals as 0 (N6)."""
    made, names, dtype = program
    exact = operands(dtype)
    with np.errstate(all="ignore"):
        wanted = outputs(array_api, *exact)
        coarse = outputs(array_api, *map(flushed, exact))
    for name, found in zip(names, made[way], strict=True):
        both = [np.asarray(x[name]) for x in (wanted, coarse)]
        if found.dtype == bool:
            both[0] = np.where(found == both[1], both[1], both[0])
        else:
            found, *both = map(flushed, (found, *both))
            alike = (found == both[1]) | np.isnan(found) & np.isnan(both[1])
            both[0] = np.where(alike, both[1], both[0])
        known = ~np.isnan(exact[0]) if name == "operation signbit" else slice(None)
        check_identical(name, both[0][known], found[known])


def test_every_operation_is_spelled():
    """MindSpore has exactly the operations of the table."""
    assert set(SPELLED) == set(ops.OPERATIONS)


@pytest.mark.parametrize("name", ["MGUPLion", "MGUPSignum"])
def test_a_graph_shows_a_nan(name):
    """The sign of a NaN is NaN (N1), as in NumPy, and no 0 that leaves the parameter as it was."""
    w = Parameter(Tensor(np.ones(4, np.float32)), name="w")
    optimizer = getattr(mgup_mindspore, name)([w], learning_rate=0.1)
    ms.jit(optimizer.construct)((Tensor(np.array([np.nan, 1.0, -1.0, 2.0], np.float32)),))
    assert np.isnan(w.asnumpy()).tolist() == [True, False, False, False]


class Tangent(core.Rule):
    """A rule that calls a function which no program has."""

    def init(self, be, w):
        return {}

    def direction(self, be, g, w, state, t):
        return core.Direction(be.xp.tanh(g), a=g)


def test_an_unknown_function_is_refused_with_the_remedy():
    """The error names the rule, the function, and what to write instead; nothing is made."""
    w = Parameter(Tensor(np.ones(4, np.float32)), name="w")
    with pytest.raises(TypeError, match=r"Tangent: be\.xp\.tanh .*numerics\.elementary\.tanh"):
        mgup_mindspore.optimizer(Tangent)([w], 0.1)
