"""Blocks of a recorded rule give the bits of the whole step, whatever the rule calls (N1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from array_api_compat import numpy as array_api

import mgup_core as core
from mgup_core.host.blocks import BlockStep
from mgup_core.numerics.elementary import tanh
from mgup_core.numerics.scalars import ema
from mgup_core.trace.interpreter import Replay
from mgup_core.trace.tracer import record_proposal


@dataclass(frozen=True)
class Bent(core.Rule):
    """A rule that calls functions which no rule of the library calls."""

    def init(self, be, w):
        return {"m": be.zeros_like(w)}

    def accumulate(self, be, g, w, state, t):
        return {"m": ema(be, state["m"], g, 0.9)}

    def direction(self, be, g, w, state, t):
        bent = tanh(be, state["m"])
        return core.Direction(be.xp.where(g > 0.0, bent, -be.xp.floor(bent)), a=state["m"])


@dataclass(frozen=True)
class Flushed(core.Rule):
    """Needs what it flushed later than the flushed, and the flushed later than that (N6)."""

    def init(self, be, w):
        return {"v": be.zeros_like(w), "m": be.zeros_like(w)}

    def accumulate(self, be, g, w, state, t):
        square = be.mul(g, g)
        kept = be.flush(square)
        v = ema(be, state["v"], square, 0.9)
        m = ema(be, state["m"], be.div(g, be.sqrt(v) + be.scalar(1.0)), 0.9)
        return {"v": be.xp.where(m > 0.0, kept, v), "m": m}

    def direction(self, be, g, w, state, t):
        return core.Direction(state["m"] - state["v"], a=state["m"])


@dataclass(frozen=True)
class FlushedState(Flushed):
    """Flushes a state that it then writes over."""

    def accumulate(self, be, g, w, state, t):
        before = be.flush(state["v"])
        v = ema(be, state["v"], be.mul(g, g), 0.9)
        return {"v": v, "m": be.mul(before, v) + g}


RULES = [Bent(), core.AdamW(), core.SGD(coupled_decay=True), Flushed(), FlushedState()]


@pytest.mark.parametrize("rule", [*RULES, core.ADOPT()], ids=str)
def test_the_bits_of_the_whole_step(rule):
    rng = np.random.default_rng(0)
    start = rng.standard_normal(100_000).astype(np.float32)
    optimizer = core.Optimizer(rule, core.MGUP(), lr=0.1, weight_decay=0.1)
    params, state = [start], optimizer.init([start])
    w, kept = start.copy(), {name: x.copy() for name, x in state.arrays[0].items()}
    for t in range(1, 4):
        g = rng.standard_normal(w.size).astype(np.float32)
        params, state = optimizer.step(params, [g], state)
        be = core.NumPyBackend(array_api, np.float32)
        options = {"lr": 0.1, "weight_decay": 0.1, "spare": 1 << 16}
        BlockStep(be, rule, core.MGUP(), w, g, kept, t, **options).run()
        assert w.tobytes() == params[0].tobytes()
        for name, value in kept.items():
            assert value.tobytes() == state.arrays[0][name].tobytes()


def test_a_rule_that_asks_for_a_value_is_told_so():
    class Curious(core.Lion):
        def direction(self, be, g, w, state, t):
            if g > 0.0:
                return core.Direction(g, g)
            return super().direction(be, g, w, state, t)

    w = np.ones(10, np.float32)
    be = core.NumPyBackend(array_api, np.float32)
    with pytest.raises(TypeError, match="asked for the value of an array"):
        BlockStep(be, Curious(), core.MGUP(), w, w, {"exp_avg": w}, 1, lr=0.1)


def test_no_sign_overwrites_its_operand():
    """NumPy takes ten times as long for that, which made Lion slower than a loop over blocks."""
    proposal = record_proposal(core.Lion(), "float32", coupled=False, accumulate=True)
    replay = Replay([proposal.u, proposal.scores])
    places = {number: slot for _, _, number, _, slot, _ in replay._steps}
    ((operands, slot),) = ((o, s) for _, symbol, _, o, s, _ in replay._steps if symbol.op == "sign")
    assert slot not in [places[number] for number in operands]
