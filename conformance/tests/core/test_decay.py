"""R0c: cautious weight decay, of every rule."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from mgup_core import (
    MGUP,
    SGD,
    AdaBelief,
    AdamW,
    Direction,
    Lion,
    Optimizer,
    Rule,
    backend_for,
    rules,
)
from mgup_core.frontend.reserved import check_names
from mgup_core.host.blocks import BlockStep
from mgup_core.step import update_array

DECOUPLED = [kind for kind in rules.ALL if not kind().couples_parameters]


def parts(kind, how, weight_decay):
    """(parameter, direction, difference) of a second step."""
    rng = np.random.default_rng(5)
    rule = kind(decay=how)
    w, g, later = rng.standard_normal((3, 6, 8))
    be = backend_for(w)
    given = {"lr": 0.1, "weight_decay": weight_decay}
    state = update_array(be, rule, None, w, g, rule.init(be, w), 1, **given).state
    taken = rule.accumulate(be, later, w, state, 2)
    u = rule.direction(be, later, w, taken, 2).u
    return w, u, update_array(be, rule, None, w, later, state, 2, **given).delta


@np.errstate(invalid="ignore")  # as the optimizer's own step
@pytest.mark.parametrize("kind", DECOUPLED, ids=lambda kind: kind.__name__)
def test_each_coordinate_decays_as_before_or_not_at_all(kind):
    """By the sign of u*w alone, to the bit."""
    w, u, aligned = parts(kind, "aligned", 0.3)
    _, _, everywhere = parts(kind, "all", 0.3)
    against = u * w < 0
    assert against.any()
    assert not against.all()
    np.testing.assert_array_equal(aligned[~against], everywhere[~against])
    # Adan's quotient shrinks the step too, with or without what decays.
    step = parts(kind, "all", 0.0)[2] / (1.03 if kind is rules.Adan else 1.0)
    np.testing.assert_allclose(aligned[against], step[against], rtol=1e-12, atol=0)


@pytest.mark.parametrize("kind", [AdamW, Lion, SGD])
def test_without_decay_nothing_changes(kind):
    _, _, aligned = parts(kind, "aligned", 0.0)
    np.testing.assert_array_equal(aligned, parts(kind, "all", 0.0)[2])


def test_the_multiplier_does_not_touch_the_decay():
    """The difference between the two kinds of decay is the same with and without MGUP."""
    w, g = np.random.default_rng(1).standard_normal((2, 64))
    be = backend_for(w)

    def of(how, policy):
        rule = SGD(decay=how)
        given = {"lr": 0.5, "weight_decay": 0.5}
        return update_array(be, rule, policy, w, g, rule.init(be, w), 1, **given).delta

    left_out = np.where(g * w < 0, 0.25 * w, 0.0)
    for policy in (None, MGUP()):
        difference = of("all", policy) - of("aligned", policy)
        np.testing.assert_allclose(difference, left_out, rtol=0, atol=1e-15)


@dataclass(frozen=True)
class Given(Rule):
    """Its direction is the gradient."""

    def init(self, be, w):
        return {}

    def direction(self, be, g, w, state, t):
        return Direction(g, a=g)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_zeros_and_tiny_products_are_aligned(dtype):
    """N6: below the least score a product is 0, whether or not a backend flushes it."""
    tiny = dtype(1e-30) if dtype == np.float32 else dtype(1e-200)
    w = np.array([0.0, -0.0, 2.0, -2.0, tiny, -tiny, tiny, 1.0, -1.0], dtype)
    u = np.array([1.0, 1.0, 0.0, -0.0, -tiny, tiny, tiny, -tiny, np.nan], dtype)
    decays = np.array([1, 1, 1, 1, 1, 1, 1, 0, 0], bool)
    be = backend_for(w)
    made = update_array(be, Given(decay="aligned"), None, w, u, {}, 1, lr=1.0, weight_decay=0.5)
    plain = update_array(be, Given(), None, w, u, {}, 1, lr=1.0, weight_decay=0.0)
    expected = plain.delta + np.where(decays, dtype(0.5) * w, 0)
    np.testing.assert_array_equal(made.delta, expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("policy", [None, MGUP()], ids=["off", "mgup"])
@pytest.mark.parametrize(
    "kind", [k for k in rules.ALL if k.elementwise and not k().couples_parameters]
)
def test_blocks_have_the_bits_of_whole_arrays(kind, policy, dtype):
    rng = np.random.default_rng(2)
    w = rng.standard_normal(70_000).astype(dtype)
    rule, be = kind(decay="aligned"), backend_for(w)
    state = {name: x.copy() for name, x in rule.init(be, w).items()}
    blocked, kept = w.copy(), {name: x.copy() for name, x in state.items()}
    for t in (1, 2, 3):
        g = rng.standard_normal(w.shape).astype(dtype)
        update = update_array(be, rule, policy, w, g, state, t, lr=0.1, weight_decay=0.1)
        w, state = w - update.delta, update.state
        BlockStep(
            be, rule, policy, blocked, g, kept, t, lr=0.1, weight_decay=0.1, spare=1 << 20
        ).run()
        np.testing.assert_array_equal(w, blocked)


@pytest.mark.parametrize("rule", [SGD(coupled_decay=True, decay="aligned"),
                                  AdaBelief(coupled_decay=True, decay="aligned")])  # fmt: skip
def test_decay_in_the_moments_cannot_be_left_out(rule):
    with pytest.raises(ValueError, match="needs decoupled decay"):
        Optimizer(rule)


def test_an_unknown_word():
    with pytest.raises(ValueError, match="decay='cautious' is none of 'all', 'aligned'"):
        Optimizer(AdamW(decay="cautious"))


def test_it_is_given_by_name_only():
    assert AdamW(0.8, 0.9, 1e-6).decay == "all"
    with pytest.raises(TypeError):
        AdamW(0.8, 0.9, 1e-6, "standard", "aligned")


def test_a_rule_cannot_have_a_decay_of_its_own():
    @dataclass(frozen=True)
    class Forgetting(Given):
        decay: float = 0.9

    with pytest.raises(ValueError, match="has a field 'decay', but it is taken"):
        check_names(Forgetting)
    check_names(AdamW)
