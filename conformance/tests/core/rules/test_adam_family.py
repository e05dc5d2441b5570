"""Rules of two moments: plain loops of their equations, what they become at their limits.

It checks R0, P11 and N3; the equations are those of the papers that the rules name.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from mgup_core import (
    ADOPT,
    MGUP,
    AdaBelief,
    AdamW,
    AMSGrad,
    Grams,
    LaProp,
    NAdamW,
    Optimizer,
    RAdam,
    Rule,
    StableAdamW,
    check_rule,
)
from mgup_core.numerics.backend import backend_for

from .textbook import assert_follows, data, follow

RULES = [NAdamW(), NAdamW(form="timm"), LaProp(), ADOPT(), ADOPT(clipping=False), RAdam(),
         AMSGrad(), Grams(), StableAdamW()]  # fmt: skip


class Plain:
    """One step of one parameter, as the paper or the authors' code has it; decoupled decay."""

    def __init__(self, b1=0.9, b2=0.999, eps=1e-8):
        self.b1, self.b2, self.eps, self.m, self.v, self.t = b1, b2, eps, 0.0, 0.0, 0

    def moments(self, g):
        self.t += 1
        self.c1, self.c2 = 1 - self.b1**self.t, 1 - self.b2**self.t
        self.m = self.b1 * self.m + (1 - self.b1) * g
        self.v = self.b2 * self.v + (1 - self.b2) * g * g
        return self.m / self.c1, np.sqrt(self.v / self.c2)

    def step(self, w, g, lr, decay):
        return w - lr * (self.u(g) + decay * w)


class Dozat(Plain):
    def u(self, g):
        _, root = self.moments(g)
        ahead = self.b1 * self.m / (1 - self.b1 ** (self.t + 1))
        return (ahead + (1 - self.b1) * g / self.c1) / (root + self.eps)


class Timm(Plain):
    def u(self, g):
        _, root = self.moments(g)
        return (self.b1 * self.m + (1 - self.b1) * g) / self.c1 / (root + self.eps)


class Separate(Plain):
    """LaProp."""

    def u(self, g):
        m = self.m
        _, root = self.moments(g)
        self.m = self.b1 * m + (1 - self.b1) * g / (root + self.eps)
        return self.m / self.c1


class Adopt(Plain):
    clips = True

    def step(self, w, g, lr, decay):
        self.t += 1
        if self.t == 1:
            self.v = g * g
            return w
        scaled = g / np.maximum(np.sqrt(self.v), self.eps)
        if self.clips:
            scaled = np.clip(scaled, -((self.t - 1) ** 0.25), (self.t - 1) ** 0.25)
        self.m = self.b1 * self.m + (1 - self.b1) * scaled
        self.v = self.b2 * self.v + (1 - self.b2) * g * g
        return w - lr * (self.m + decay * w)


class Unclipped(Adopt):
    clips = False


class Rectified(Plain):
    def u(self, g):
        m, root = self.moments(g)
        limit = 2 / (1 - self.b2) - 1
        rho = limit - 2 * self.t * self.b2**self.t / self.c2
        if rho < 5:
            return m
        r = (rho - 4) * (rho - 2) * limit / ((limit - 4) * (limit - 2) * rho)
        return m * math.sqrt(r) / (root + self.eps / math.sqrt(self.c2))


class Largest(Plain):
    x = 0.0

    def u(self, g):
        m, _ = self.moments(g)
        self.x = np.maximum(self.x, self.v)
        return m / (np.sqrt(self.x / self.c2) + self.eps)


class Scaled(Plain):
    """Grams."""

    def u(self, g):
        m, root = self.moments(g)
        return np.sign(g) * np.abs(m / (root + self.eps))


class Stable(Plain):
    def step(self, w, g, lr, decay):
        m, root = self.moments(g)
        r = np.sqrt(np.mean(g * g / np.maximum(root * root, self.eps**2)))
        return w - lr / max(1, r) * (m / (root + self.eps) + decay * w)


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize(
    ("rule", "plain"),
    [
        (NAdamW(), Dozat),
        (NAdamW(form="timm"), Timm),
        (LaProp(eps=1e-8), Separate),
        (ADOPT(), lambda: Adopt(b2=0.9999, eps=1e-6)),
        (ADOPT(clipping=False), lambda: Unclipped(b2=0.9999, eps=1e-6)),
        (RAdam(), Rectified),
        (AMSGrad(), Largest),
        (Grams(), Scaled),
        (StableAdamW(), lambda: Stable(b2=0.99, eps=1e-6)),
    ],
    ids=lambda x: repr(x) if isinstance(x, Rule) else "",
)
def test_the_equations(rule, plain, decay):
    params, grads = data(steps=10)
    grads = [[g * (1 + 9 * (i == 4)) for g in one] for i, one in enumerate(grads)]  # one large
    expected = []
    for i, w in enumerate(params):
        memory = plain()
        for one in grads:
            w = memory.step(w, one[i], 0.1, decay)
        expected.append(w)
    assert_follows(rule, expected, params, grads, weight_decay=decay)


def same(one, other, grads=None, **options):
    params, drawn = data()
    ours, theirs = (follow(rule, params, grads or drawn, **options)[0] for rule in (one, other))
    for x, y in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("policy", [None, MGUP()], ids=["plain", "mgup"])
@pytest.mark.parametrize("form", ["dozat", "timm"])
def test_without_momentum_nadamw_is_adamw(form, policy):
    """Nothing to look ahead by."""
    same(NAdamW(form=form, b1=0.0), AdamW(b1=0.0), policy=policy, weight_decay=0.2)


def test_growing_gradients_make_amsgrad_adamw():
    """x = v where v never falls."""
    _, grads = data(steps=1)
    growing = [[g * 2.0**t for g in grads[0]] for t in range(6)]
    same(AMSGrad(), AdamW(), growing, weight_decay=0.2)


def test_amsgrad_never_forgets_a_large_gradient():
    params, grads = data(steps=2)
    grads = [[g * 1e3 for g in grads[0]], *([grads[1]] * 5)]
    _, state = follow(AMSGrad(b2=0.5), params, grads)
    for i, g in enumerate(grads[0]):
        np.testing.assert_array_equal(state.arrays[i]["max_exp_avg_sq"], 0.5 * (g * g))


def test_the_first_steps_of_radam_are_those_of_adabelief():
    """Both are the corrected momentum while R is not defined."""
    same(RAdam(), AdaBelief(), data(steps=5)[1], weight_decay=0.2)


def test_grams_of_one_gradient_is_adamw():
    """Where momentum and gradient have one sign, nothing is left to replace."""
    _, grads = data(steps=1)
    same(Grams(), AdamW(), grads * 6, weight_decay=0.2)


def test_grams_never_steps_uphill_and_ranks_by_the_momentum():
    rule, rng = Grams(), np.random.default_rng(3)
    be, w = backend_for(np.zeros(1)), np.zeros(64)
    state = rule.init(be, w)
    adam_state, adam = AdamW().init(be, w), AdamW()
    for t in range(1, 8):
        g = rng.standard_normal(64)
        state = rule.accumulate(be, g, w, state, t)
        adam_state = adam.accumulate(be, g, w, adam_state, t)
        made = rule.direction(be, g, w, state, t)
        assert (made.u * g >= 0).all()
        np.testing.assert_array_equal(made.a, adam.direction(be, g, w, adam_state, t).u)
    assert (made.a * g < 0).any()


def test_laprop_takes_signs_in_where_the_second_moment_forgets():
    """b2 = 0, eps = 0: g / |g| = sign(g), the momentum of Lion's kind."""
    params, grads = data(steps=1)
    moved, _ = follow(LaProp(b2=0.0, eps=0.0), params, grads * 4, lr=0.5)
    for w, g, new in zip(params, grads[0], moved, strict=True):
        # The square, its root and the quotient round by units of 2 (4e-16), and w cancels no more.
        np.testing.assert_allclose(new, w - 4 * 0.5 * np.sign(g), rtol=1e-14, atol=1e-14)


def test_laprop_is_bounded_whatever_b1_and_b2():
    """By 1 / sqrt(1 - b2). Adam's step is not: its momentum may outlive its second moment."""
    params, grads = data(steps=1)
    stream = [[g * 1e4 for g in grads[0]], *([grads[0]] * 30)]

    def largest(rule):
        optimizer = Optimizer(rule, None, lr=1.0, weight_decay=0.0)
        before, state, found = params, optimizer.init(params), 0.0
        for one in stream:
            after, state = optimizer.step(before, one, state)
            found = max(found, *(np.abs(a - b).max() for a, b in zip(after, before, strict=True)))
            before = after
        return found

    bound = 1 / math.sqrt(1 - 0.1) + 1e-9
    assert largest(LaProp(b1=0.99, b2=0.1)) < bound < largest(AdamW(b1=0.99, b2=0.1))


@pytest.mark.parametrize("policy", [None, MGUP()], ids=["plain", "mgup"])
def test_the_first_step_of_adopt_only_measures(policy):
    """Nothing moves or decays, whatever the gradient."""
    params, grads = data(steps=1)
    grads[0][0][0, 0] = 1e300
    with np.errstate(over="ignore"):
        moved, state = follow(ADOPT(), params, grads, policy, weight_decay=0.5)
    for i, (w, new) in enumerate(zip(params, moved, strict=True)):
        np.testing.assert_array_equal(new, w)
        np.testing.assert_array_equal(state.arrays[i]["exp_avg"], 0.0)
        with np.errstate(over="ignore"):
            np.testing.assert_array_equal(state.arrays[i]["exp_avg_sq"], grads[0][i] ** 2)


def test_a_traced_step_of_adopt_has_the_same_bits():
    rule, be = ADOPT(), backend_for(np.zeros(1, np.float32))
    rng = np.random.default_rng(0)
    w, lr = np.zeros(9, np.float32), np.float32(0.1)
    known = traced = rule.init(be, w)
    for t in range(1, 6):
        g = rng.standard_normal(9).astype(np.float32)
        known = rule.accumulate(be, g, w, known, t)
        traced = rule.accumulate(be, g, w, traced, np.asarray(t))
        for name in known:
            np.testing.assert_array_equal(known[name], traced[name])
        assert rule.rates(be, lr, lr, t) == rule.rates(be, lr, lr, np.asarray(t))


def test_a_calm_tensor_makes_stable_adamw_adamw():
    """r <= 1 leaves the rate alone; decay too."""
    _, grads = data(steps=1)
    calm = [[g * 0.5**t for g in grads[0]] for t in range(6)]
    same(StableAdamW(), AdamW(b2=0.99, eps=1e-6), calm, weight_decay=0.2)


def test_stable_adamw_slows_down_for_one_tensor_alone():
    params, grads = data(steps=6)
    large = [list(one) for one in grads]
    large[-1][0] = large[-1][0] * 100
    at = {"lr": 0.1, "weight_decay": 0.2}
    before, _ = follow(StableAdamW(), params, grads[:-1], **at)
    ours, _ = follow(StableAdamW(), params, large, **at)
    adam, _ = follow(AdamW(b2=0.99, eps=1e-6), params, large, **at)
    assert np.abs(ours[0] - before[0]).max() < 0.5 * np.abs(adam[0] - before[0]).max()


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_the_linter_finds_no_error(rule):
    assert check_rule(rule).ok, str(check_rule(rule))


@pytest.mark.parametrize("kind", [NAdamW, LaProp, ADOPT, RAdam, AMSGrad, Grams, StableAdamW])
@pytest.mark.parametrize("bad", [{"b1": 1.0}, {"b2": -0.1}, {"eps": -1e-8}], ids=str)
def test_bad_input(kind, bad):
    with pytest.raises(ValueError, match=f"{next(iter(bad))}="):
        kind(**bad)


def test_bad_input_of_their_own():
    with pytest.raises(ValueError, match=r"form='keras' is none of 'dozat', 'timm'"):
        NAdamW(form="keras")
    with pytest.raises(ValueError, match=r"eps=0\.0 is outside \(0, inf\)"):
        StableAdamW(eps=0.0)
    optimizer = Optimizer(StableAdamW(), None, lr=0.1, stacked_dims=1)
    with pytest.raises(ValueError, match="stacked_dims=1 is not available"):
        optimizer.init([np.zeros((2, 3))])
