"""AdaBelief: the official equations in both forms, its first step, and rectification.

It checks R0, P11, N3.
"""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
import pytest

from mgup_core import AdaBelief, Optimizer
from mgup_core.numerics.backend import backend_for
from mgup_core.numerics.rectification import rectification

from .textbook import assert_follows, data, follow


def official(params, grads, lr, decay, *, rectify, degenerate, coupled, eps, b1=0.9, b2=0.999):
    """adabelief-pytorch 0.2.1."""
    params = [w.copy() for w in params]
    m, s = ([np.zeros_like(w) for w in params] for _ in range(2))
    end = 2 / (1 - b2) - 1
    for t, one in enumerate(grads, start=1):
        c1, c2 = 1 - b1**t, 1 - b2**t
        rho = end - 2 * t * b2**t / c2
        for i, g in enumerate(one):
            if coupled:
                g = g + decay * params[i]
            else:
                params[i] *= 1 - lr * decay
            m[i] = b1 * m[i] + (1 - b1) * g
            s[i] = b2 * s[i] + (1 - b2) * (g - m[i]) ** 2 + eps
            if not rectify:
                params[i] -= lr / c1 * m[i] / (np.sqrt(s[i]) / np.sqrt(c2) + eps)
            elif rho >= 5:
                r = (rho - 4) / (end - 4) * (rho - 2) / (end - 2) * end / rho
                params[i] -= lr / c1 * np.sqrt(c2 * r) * m[i] / (np.sqrt(s[i]) + eps)
            elif degenerate:
                params[i] -= lr / c1 * m[i]
    return params


@pytest.mark.parametrize("eps", [1e-16, 1e-8])
@pytest.mark.parametrize("coupled", [False, True])
@pytest.mark.parametrize(("rectify", "degenerate"), [(True, True), (True, False), (False, True)])
def test_the_official_code(rectify, degenerate, coupled, eps):
    params, grads = data(steps=9)
    kinds = {"rectify": rectify, "coupled": coupled, "eps": eps}
    expected = official(params, grads, 0.01, 0.3, degenerate=degenerate, **kinds)
    rule = AdaBelief(rectify=rectify, degenerated_to_sgd=degenerate, coupled_decay=coupled, eps=eps)
    assert_follows(rule, expected, params, grads, lr=0.01, weight_decay=0.3)


def test_the_first_surprise():
    """At the first step, g - m is b1*g, so that s is (1 - b2) * b1^2 * g^2 + eps."""
    params, grads = data(steps=1)
    _, state = follow(AdaBelief(eps=1e-8), params, grads)
    for i, g in enumerate(grads[0]):
        expected = 0.001 * 0.81 * g * g + 1e-8
        np.testing.assert_allclose(state.arrays[i]["exp_avg_var"], expected, rtol=1e-12)


def test_belief_grows_under_a_constant_gradient():
    """After t steps, g - m is b1^t * g, so that the steps lengthen."""
    optimizer = Optimizer(AdaBelief(rectify=False), None, lr=1.0, weight_decay=0.0)
    params = [np.zeros(3)]
    state, lengths = optimizer.init(params), []
    for _ in range(30):
        before = params[0]
        params, state = optimizer.step(params, [np.array([1.0, -10.0, 100.0])], state)
        lengths.append(np.abs(params[0] - before))
    assert np.all(np.diff(lengths, axis=0) > 0)


def exact(beta, t):
    """(R or None, in 60 digits)."""
    with localcontext() as context:
        context.prec = 60
        b = Decimal(beta)
        end, power = 2 / (1 - b) - 1, b**t
        rho = end - 2 * t * power / (1 - power)
        if rho < 5:
            return None
        r = (rho - 4) * (rho - 2) * end / ((end - 4) * (end - 2) * rho)
        return float(((1 - power) * r).sqrt())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("beta", [0.0, 0.6, 0.9, 0.999, 0.99999])
def test_rectification(beta, dtype):
    """R is exact to rounding even where the published formula cancels; a traced t agrees (N3)."""
    be = backend_for(np.zeros(1, dtype))
    tolerance = 1e-6 if dtype == np.float32 else 1e-12
    for t in [*range(1, 20), 100, 499, 501, 1000, 5001, 10**5, 10**7]:
        factor, defined = rectification(be, beta, t)
        traced = rectification(be, beta, np.asarray(t))
        assert (factor, defined) == traced
        expected = exact(beta, t)
        assert bool(defined) == (expected is not None)
        if expected is not None:
            assert abs(float(factor) / expected - 1) < tolerance


@pytest.mark.parametrize("bad", [{"b1": 1.0}, {"b2": -0.1}, {"eps": -1e-8}])
def test_bad_input(bad):
    with pytest.raises(ValueError, match=f"{next(iter(bad))}="):
        AdaBelief(**bad)
