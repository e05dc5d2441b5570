"""R7: one recorded program serves every rule that differs only in its floats."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, fields, replace

import numpy as np
import pytest
from array_api_compat import numpy as array_api

import mgup_core as core
from mgup_core.host import blocks
from mgup_core.host.blocks import BlockStep
from mgup_core.numerics.runtime import Number, on_host
from mgup_core.numerics.scalars import ema
from mgup_core.trace.forms import Forms, free_fields, runtime_fields

RULES = {
    "AdamW": core.AdamW(),
    "AdamW, paper": core.AdamW(form="paper"),
    "Lion": core.Lion(),
    "LionK, tanh": core.LionK(kernel="tanh", sharpness=3.0),
    "SGD, nesterov": core.SGD(nesterov=True),
    "SGD, dampening": core.SGD(dampening=0.3),
    "SGD, coupled": core.SGD(coupled_decay=True),
    "Signum": core.Signum(),
    "Adan": core.Adan(),
    "AdaBelief": core.AdaBelief(),
    "AdaBelief, plain": core.AdaBelief(rectify=False),
    "AdEMAMix, warmup": core.AdEMAMix(mix_warmup=20, beta3_warmup=30),
    "AnchoredSGD": core.AnchoredSGD(),
}


def at_step(rule: core.Rule, t: int) -> core.Rule:
    """The rule with other floats at each step; a 0 stays, since rules compare with it."""
    moved = {name: getattr(rule, name) * (1.0 - 0.001 * t) for name in runtime_fields(rule)}
    return replace(rule, **moved)


class Pair:
    """One parameter stepped in blocks and as a whole, with a rule that changes at every step."""

    def __init__(self, rule: core.Rule, size: int = 500, dtype=np.float32) -> None:
        self.rng, self.dtype, self.t = np.random.default_rng(0), dtype, 0
        start = self.rng.standard_normal(size).astype(dtype)
        self.params, self.w = [start], start.copy()
        self.state = core.Optimizer(rule, core.MGUP()).init(self.params)
        self.kept = {name: x.copy() for name, x in self.state.arrays[0].items()}

    def step(self, rule: core.Rule) -> None:
        self.t += 1
        rates = {"lr": 0.1 / self.t, "weight_decay": 0.1 / self.t}
        policy = core.MGUP(0.3, 2.0 + 0.01 * self.t, 0.5 - 0.001 * self.t)
        g = self.rng.standard_normal(self.w.size).astype(self.dtype)
        whole = core.Optimizer(rule, policy, **rates)
        self.params, self.state = whole.step(self.params, [g], self.state)
        be = core.NumPyBackend(array_api, self.dtype)
        BlockStep(be, rule, policy, self.w, g, self.kept, self.t, **rates).run()
        assert self.w.tobytes() == self.params[0].tobytes(), f"step {self.t} of {rule}"
        for name, value in self.kept.items():
            assert value.tobytes() == self.state.arrays[0][name].tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", RULES)
def test_fifty_steps_are_recorded_once(name, dtype):
    """Every value changes at every step, and blocks give the bits of the whole step (N2, N3)."""
    rule = RULES[name]
    pair = Pair(rule, dtype=dtype)
    pair.step(at_step(rule, 0))
    made = blocks._replay.made
    for t in range(1, 50):
        pair.step(at_step(rule, t))
    assert blocks._replay.made == made


@pytest.mark.parametrize(
    "rule",
    [
        core.AdamW(b1=0.0, b2=0.0, eps=0.0),
        core.AdamW(b1=0, b2=0, eps=0),
        core.SGD(momentum=0.0),
        core.SGD(dampening=1.0),
        core.Lion(b1=0.0, b2=0.0),
        core.Signum(momentum=0.0),
        core.AdEMAMix(mix=0.0),
        core.AnchoredSGD(beta=1.0),
        core.AdaBelief(b2=0.1),
        core.AdaBelief(b1=0.0, eps=0.0),
    ],
    ids=str,
)
def test_the_ends_of_ranges(rule):
    """Other floats between two steps with the defaults get programs of their own."""
    for one in (type(rule)(), rule, type(rule)()):
        pair = Pair(one)
        for _ in range(3):
            pair.step(one)


def test_a_comparison_is_a_form():
    """SGD's program has the first step's special case only if dampening is not 0."""
    recorded = Forms(lambda rule: rule.dampening != 0)
    forms = [(core.SGD(dampening=d), d != 0) for d in (0.0, 0.3, 0.0, 0.5, 0.7, 0)]
    assert [recorded(rule) for rule, _ in forms] == [answer for _, answer in forms]
    assert recorded.made == 2
    assert recorded.asked(core.SGD()) == {"dampening"}


@dataclass(frozen=True)
class Curious(core.Rule):
    """A rule that reads its floats in every possible way."""

    b1: float = 0.9
    limit: float = 0.5
    scale: float | None = None

    def init(self, be, w):
        return {"m": be.zeros_like(w)}

    def accumulate(self, be, g, w, state, t):
        return {"m": ema(be, state["m"], g, self.b1)}

    def direction(self, be, g, w, state, t):
        m, wanted = state["m"], be.scalar(math.exp(-self.limit))
        if self.b1 > 0.8:
            m = be.mul(m, be.scalar(max(self.limit, 0.25)))
        if self.scale is not None and self.scale:
            m = be.mul(m, be.scalar(self.scale**2 / 3.0 + abs(-self.scale)))
        return core.Direction(be.mul(m, wanted), a=m)


def test_a_rule_that_asks_for_its_floats_stays_right():
    """Comparisons and ``math`` use the floats of the step."""
    pair = Pair(Curious())
    for b1 in (0.9, 0.7, 0.85, 0.79):
        for limit in (0.5, 0.1, 0.5):
            for scale in (None, 0.0, 0.3, 0.4):
                pair.step(Curious(b1, limit, scale))


def test_a_wish_for_the_float_binds_it_alone():
    """A rule that reads one float gets a program for each value of it, and of no other float."""
    recorded = Forms(lambda rule: (float(rule.b1), rule.limit * 2.0)[0])
    for b1 in (0.9, 0.8, 0.9):
        for limit in (0.1, 0.2, 0.3):
            assert recorded(Curious(b1, limit)) == b1
    assert recorded.made == 2
    assert recorded(Curious(0.0)) == 0.0
    assert math.copysign(1.0, recorded(Curious(-0.0))) in (1.0, -1.0)


def test_a_function_of_the_host_is_carried_out_at_each_step():
    recorded = Forms(lambda rule: on_host(math.log, rule.b1) * 2.0)
    (number,) = {id(recorded(Curious(b1))): recorded(Curious(b1)) for b1 in (0.5, 0.6)}.values()
    assert isinstance(number, Number)
    assert number.expression.of(Curious(0.7)) == math.log(0.7) * 2.0
    assert recorded.asked(Curious()) == {"b1"}


def test_what_a_rule_derives_when_it_is_made_binds_all():
    """A rule with attributes besides its fields."""

    @dataclass(frozen=True)
    class Derived(Curious):
        def __post_init__(self):
            object.__setattr__(self, "half", self.limit / 2)

        def direction(self, be, g, w, state, t):
            return core.Direction(be.mul(be.scalar(self.half), state["m"]), a=g)

    assert runtime_fields(Derived()) == ()
    pair = Pair(Derived())
    for limit in (0.5, 0.1, 0.7):
        pair.step(Derived(limit=limit))


def test_which_fields_are_values():
    """Runtime fields are floats, also if given as ints, and never flags, counts or words."""
    for name, rule in RULES.items():
        others = {f.name for f in fields(rule)} - set(runtime_fields(rule))
        assert not any(isinstance(getattr(rule, n), float) for n in others), name
    assert "momentum" in runtime_fields(core.SGD(momentum=0))
    assert "mix_warmup" not in runtime_fields(core.AdEMAMix(mix_warmup=3))
    assert runtime_fields(core.AMSGD(beta=0.5)) == ("lam", "beta_max", "beta")
    assert "beta" not in runtime_fields(core.AMSGD())
    assert free_fields(core.AdamW()) == {"b1", "b2", "eps"}
    assert free_fields(core.SGD()) == {"momentum"}
    assert free_fields(core.Muon()) == {"momentum", "eps"}
    assert free_fields(core.AdaBelief()) == {"b1", "eps"}


def test_a_failure_is_kept_and_said_again():
    """A failed recording is cached, and not tried again at every step."""
    tried = []

    def make(rule):
        tried.append(rule)
        raise TypeError("it has no such program")

    recorded = Forms(make)
    for _ in range(3):
        with pytest.raises(TypeError, match="no such program"):
            recorded(core.AdamW())
    assert len(tried) == 2  # with numbers, and with floats


def test_what_is_kept_is_bounded():
    recorded = Forms(lambda rule: float(rule.b1), maxsize=4)
    for i in range(100):
        recorded(Curious(b1=0.5 + 0.001 * i))
    assert sum(map(len, recorded._kept.values())) <= 32
    many = Forms(lambda rule, how: how, maxsize=4)
    assert [many(Curious(), i) for i in range(10)] == list(range(10))
    assert len(many._kept) == 4


def test_many_threads_make_one():
    """Threads that ask at once all get the first result."""
    begun, made = threading.Barrier(8), []

    def make(rule):
        time.sleep(0.05)
        return object()

    recorded = Forms(make)

    def work():
        begun.wait()
        made.append(recorded(Curious()))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(set(map(id, made))) == 1
    assert recorded.made == 1
