"""Adafactor: the form of PyTorch, its limits, and that ranking without momentum is by size (R0)."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest

from mgup_core import (
    MGUP,
    SCALE,
    SGD,
    Adafactor,
    AdamW,
    Optimizer,
    SignMGUP,
    backend_for,
    check_rule,
)
from mgup_core.rules.adafactor import decay_of
from mgup_core.rules.base import initial_state

from .textbook import SHAPES, assert_follows, data, follow


def official(w, grads, lr, decay, momentum=0.0, eps=2.0**-23, least=1e-3, clip=1.0):
    """The loop of torch.optim.Adafactor, with a momentum of the updates."""
    rows = cols = v = m = 0.0
    for t, g in enumerate(grads, start=1):
        k = t**-0.8
        rate = max(least, math.sqrt((w * w).mean())) * min(lr, 1 / math.sqrt(t))
        w = w * (1 - lr * decay)
        if w.ndim > 1:
            rows = rows + k * ((g * g).mean(axis=-1, keepdims=True) - rows)
            cols = cols + k * ((g * g).mean(axis=-2, keepdims=True) - cols)
            v = rows * cols / np.maximum(rows.mean(axis=-2, keepdims=True), eps)
        else:
            v = v + k * (g * g - v)
        u = g / np.sqrt(np.maximum(v, eps * eps))
        u = u / max(1.0, math.sqrt((u * u).mean()) / clip)
        m = momentum * m + (1 - momentum) * u
        w = w - rate * (m if momentum else u)
    return w


@pytest.mark.parametrize(
    "options", [{}, {"momentum": 0.9}, {"clip": 0.5}, {"least": 10.0, "eps": 0.1}], ids=str
)
def test_the_official_loop(options):
    params, grads = data(steps=10)
    expected = [
        official(w, [one[i] for one in grads], 0.1, 0.3, **options) for i, w in enumerate(params)
    ]
    own = {"least_scale" if name == "least" else name: x for name, x in options.items()}
    assert_follows(Adafactor(**own), expected, params, grads, weight_decay=0.3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_power_of_the_step(dtype):
    """t^(-0.8), the same bits whether the step is traced or not, for all counts of steps (N3)."""
    be = backend_for(np.zeros(1, dtype))
    for t in (1, 2, 3, 10, 1000, 12345, 10**7, 2**31 - 1):
        value = decay_of(be, t)
        assert value == decay_of(be, np.asarray(t))
        assert float(value) == pytest.approx(t**-0.8, rel=float(8 * np.finfo(dtype).eps))


def test_a_matrix_of_rank_one_squares_is_not_rounded_off():
    """Where |g| is an outer product, the two sums hold all of g^2: every update is a sign."""
    rng = np.random.default_rng(0)
    g = np.outer(rng.uniform(1, 2, 4), rng.uniform(1, 2, 6)) * rng.choice([-1.0, 1.0], (4, 6))
    after, _ = follow(Adafactor(least_scale=1.0), [np.zeros((4, 6))], [[g]], lr=0.1)
    # Nothing cancels: sums of squares, quotients and roots in float64, a few units each.
    np.testing.assert_allclose(after[0], -0.1 * np.sign(g), rtol=1e-12)


def test_the_state_is_as_small_as_it_should_be():
    state = Optimizer(Adafactor(), None).init([np.zeros(s) for s in SHAPES])
    shapes = [{n: x.shape for n, x in state.arrays[i].items()} for i in range(2)]
    assert shapes == [{"row_var": (4, 1), "col_var": (1, 6)}, {"row_var": (5,), "col_var": ()}]


BY_SIZE = [Adafactor(), SCALE(), SGD(momentum=0.0), AdamW(b1=0.0)]


@pytest.mark.parametrize("rule", BY_SIZE, ids=lambda rule: type(rule).__name__)
def test_ranking_by_size_is_said_once(rule):
    """Where there is no momentum and something ranks."""
    with pytest.warns(UserWarning, match="ranks by size alone.*mode='off'") as caught:
        Optimizer(rule, MGUP())
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for policy in (None, SignMGUP()):
            Optimizer(rule, policy)


@pytest.mark.parametrize(
    "rule", [Adafactor(momentum=0.9), SCALE(role="last"), SGD(), AdamW()],
    ids=lambda rule: type(rule).__name__,
)  # fmt: skip
def test_rules_with_momentum_say_nothing(rule):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Optimizer(rule, MGUP())


def test_the_linter_finds_no_error():
    assert check_rule(Adafactor).ok, str(check_rule(Adafactor))


@pytest.mark.parametrize(
    "bad", [{"momentum": 1.0}, {"eps": -1.0}, {"least_scale": -1.0}, {"clip": 0.0}], ids=str
)
def test_bad_input(bad):
    with pytest.raises(ValueError, match=f"{next(iter(bad))}="):
        Adafactor(**bad)


class Shared(SGD):
    """A rule that hands out one array twice, and the parameter itself."""

    def init(self, be, w):
        zeros = be.zeros_like(w)
        return {"one": zeros, "two": zeros, "three": w}


@pytest.mark.parametrize("rule", [Adafactor(momentum=0.9), Shared()], ids=["adafactor", "shared"])
def test_no_two_states_are_one_array(rule):
    """A driver that writes into its state would change both: Adafactor's did for a vector."""
    w = np.ones(7, np.float32)
    arrays = [w, *initial_state(backend_for(w), rule, w).values()]
    assert len(arrays) > 2
    for a, b in itertools.combinations(arrays, 2):
        assert a is not b
        assert not (a.size and np.shares_memory(a, b))
