"""Prodigy: the package's loop, one estimate for all parameters, and its invariance (R0)."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mgup_core import MGUP, Optimizer, Prodigy, check_rule

from .textbook import data

OPTIONS = [
    {},
    {"bias_correction": True},
    {"safeguard_warmup": True},
    {"growth_rate": 1.5},
    {"d_coef": 2.0, "memory": 0.9, "d0": 1e-4},
]


def official(params, targets, steps, lr, decay, memory=None, d0=1e-6, d_coef=1.0,
             growth_rate=math.inf, bias_correction=False, safeguard_warmup=False,
             b1=0.9, b2=0.999, eps=1e-8):  # fmt: skip
    """``prodigyopt.Prodigy`` on quadratics, with w_0 - w as it is; (parameters, d)."""
    params = [w.copy() for w in params]
    memory = math.sqrt(b2) if memory is None else memory
    m, v, s, back = ([np.zeros_like(w) for w in params] for _ in range(4))
    d, most, numerator = d0, d0, 0.0
    for t in range(1, steps + 1):
        corrected = math.sqrt(1 - b2**t) / (1 - b1**t) if bias_correction else 1.0
        dlr = d * lr * corrected
        numerator *= memory
        for i, w in enumerate(params):
            g = w - targets[i]
            numerator += d / d0 * dlr * (g * back[i]).sum()
            m[i] = b1 * m[i] + d * (1 - b1) * g
            v[i] = b2 * v[i] + d * d * (1 - b2) * g * g
            s[i] = memory * s[i] + d / d0 * (d if safeguard_warmup else dlr) * g
        found = d_coef * numerator / sum(np.abs(one).sum() for one in s)
        d = max(d, found) if d == d0 else d
        most = max(most, found)
        d = min(most, d * growth_rate)
        for i in range(len(params)):
            step = dlr * (m[i] / (np.sqrt(v[i]) + d * eps) + decay * params[i])
            params[i] = params[i] - step
            back[i] = back[i] + step
    return params, d


def quadratics(rule, params, targets, steps, policy=None, **options):
    optimizer = Optimizer(rule, policy, **options)
    state = optimizer.init(params)
    for _ in range(steps):
        grads = [w - target for w, target in zip(params, targets, strict=True)]
        params, state = optimizer.step(params, grads, state)
    return params, state


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_official_loop(options, decay):
    """Until d has grown from 1e-6 to the size of the problem."""
    params, (targets,) = data(steps=1)
    expected, d = official(params, targets, 40, 1.0, decay, **options)
    ours, state = quadratics(Prodigy(**options), params, targets, 40, weight_decay=decay)
    rule = Prodigy(**options)
    assert d > 0.1
    assert float(state.arrays[0]["relative"]) * rule.d0 == pytest.approx(d, rel=1e-9)
    for x, y in zip(ours, expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-10)


def test_all_parameters_have_one_estimate():
    params, (targets,) = data(steps=1)
    _, state = quadratics(Prodigy(), params, targets, 30, MGUP())
    estimates = {float(one["relative"]) for one in state.arrays.values()}
    assert len(estimates) == 1
    assert estimates.pop() > 1e5


def test_gradients_of_another_size_take_the_same_steps():
    """Multiplying the loss changes nothing but eps."""
    params, grads = data(steps=12)
    moved = []
    for size in (1.0, 64.0):
        optimizer = Optimizer(Prodigy(eps=1e-30, d0=1e-2), None)
        w, state = params, optimizer.init(params)
        for one in grads:
            w, state = optimizer.step(w, [g * size for g in one], state)
        moved.append(w)
    for x, y in zip(*moved, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-12)


def test_zero_gradients_move_nothing():
    params, _ = data(steps=1)
    optimizer = Optimizer(Prodigy())
    zeros = [np.zeros_like(w) for w in params]
    after, state = optimizer.step(params, zeros, optimizer.init(params))
    for x, y in zip(after, params, strict=True):
        np.testing.assert_array_equal(x, y)
    assert state.arrays[0]["relative"] == 1.0


def test_the_linter_finds_no_error():
    assert check_rule(Prodigy).ok, str(check_rule(Prodigy))


@pytest.mark.parametrize(
    "bad",
    [{"d0": 0.0}, {"d_coef": -1.0}, {"growth_rate": 0.5}, {"memory": 1.0}, {"eps": 0.0}],
    ids=str,
)
def test_bad_input(bad):
    with pytest.raises(ValueError, match=f"{next(iter(bad))}="):
        Prodigy(**bad)
