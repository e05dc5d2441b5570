"""AuON: both published forms, their limits, and the series that stands for cosh (P1, R0, P11)."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mgup_core import MGUP, AuON, Optimizer, backend_for
from mgup_core.numerics.elementary import sinh_squared

from .textbook import assert_follows, data, follow


def auon(params, grads, lr, decay, *, paper, momentum=0.95, gamma_c=1.5):
    """The code of ryyzn9/AuON, or the paper's division."""
    params = [w.copy() for w in params]
    m = [np.zeros_like(w) for w in params]
    for one in grads:
        for i, g in enumerate(one):
            params[i] *= 1 - lr * decay
            m[i] = momentum * m[i] + (1 - momentum) * g
            d = (1 - momentum) * g + momentum * m[i]
            unit = d / (np.linalg.norm(d) + 1e-7)
            x, z = (unit, unit) if paper else (d, gamma_c * unit)
            params[i] -= lr * x / (np.sqrt(np.mean(np.cosh(z) ** 2)) + 1e-8)
    return params


@pytest.mark.parametrize("options", [{}, {"gamma_c": 5.0}, {"momentum": 0.5}], ids=str)
def test_it_is_the_official_code(options):
    params, grads = data()
    expected = auon(params, grads, 0.1, 0.3, paper=False, **options)
    assert_follows(AuON(**options), expected, params, grads, weight_decay=0.3)


def test_it_is_the_paper():
    params, grads = data()
    expected = auon(params, grads, 0.1, 0.3, paper=True)
    assert_follows(AuON(normalize=True), expected, params, grads, weight_decay=0.3)


def test_without_gamma_it_is_nesterov_sgd_of_an_average():
    """With gamma_c = 0 the root is 1, and the divisor is 1 + 1e-8."""
    params, grads = data()
    m = [np.zeros_like(w) for w in params]
    expected = [w.copy() for w in params]
    for one in grads:
        for i, g in enumerate(one):
            m[i] = 0.95 * m[i] + 0.05 * g
            expected[i] -= 0.1 * (0.05 * g + 0.95 * m[i]) / (1.0 + 1e-8)
    assert_follows(AuON(gamma_c=0.0), expected, params, grads)


def test_the_paper_forgets_the_gradients_scale_and_the_code_does_not():
    """|U| < 1 and U(c*g) = U(g) but for the 1e-7."""
    params, grads = data(((20, 30),), steps=3)
    larger = [[1024.0 * g for g in one] for one in grads]
    ours, theirs = (follow(AuON(normalize=True), params, gs, lr=1.0)[0] for gs in (grads, larger))
    np.testing.assert_allclose(ours[0], theirs[0], atol=1e-6)
    (moved,), _ = follow(AuON(normalize=True), params, grads[:1], lr=1.0)
    assert 0.99 < np.linalg.norm(params[0] - moved) < 1.0
    ours, theirs = (follow(AuON(), params, gs, lr=1.0)[0] for gs in (grads, larger))
    assert np.abs(ours[0] - theirs[0]).max() > 1.0


def test_the_brake_is_nearly_open():
    """For 2000 entries the root is 1.00056, as the docstring says."""
    params, grads = data(((40, 50),), steps=1)
    (free,), _ = follow(AuON(gamma_c=0.0), params, grads)
    (braked,), _ = follow(AuON(), params, grads)
    ratio = (params[0] - free) / (params[0] - braked)
    np.testing.assert_allclose(ratio, math.sqrt(1.0 + 1.5**2 / 2000), rtol=1e-6)


def test_the_mask_is_that_of_the_momentum():
    """a = D: the root is one number for all and changes no rank."""
    params, grads = data()
    plain = follow(AuON(), params, grads[:1])[0]
    ours = follow(AuON(), params, grads[:1], MGUP())[0]
    for w, p, o, g in zip(params, plain, ours, grads[0], strict=True):
        ratio = np.round((w - o) / (w - p), 9)
        order = np.argsort(-(g * g).ravel(), kind="stable")
        expected = np.full(g.size, 0.5)
        expected[order[: g.size // 2]] = 2.0
        np.testing.assert_array_equal(ratio.ravel(), expected)


def test_no_gradient_no_step():
    w = np.ones((3, 4))
    for rule in (AuON(), AuON(normalize=True)):
        (moved,), _ = follow(rule, [w], [[np.zeros_like(w)]], MGUP(), weight_decay=0.5)
        np.testing.assert_array_equal(moved, w - 0.1 * 0.5 * w)


@pytest.mark.parametrize("bound", [0.5, 1.0, 1.5, 7.0, 40.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sinh_squared(dtype, bound):
    """At most ``4 * max(1, bound)`` units in the last place off, on 100001 points."""
    x = np.linspace(-bound, bound, 100_001).astype(dtype)
    ours = sinh_squared(backend_for(x), x, bound)
    exact = np.sinh(x.astype(np.longdouble)) ** 2
    error = np.abs(ours - exact) / np.spacing(exact.astype(dtype))
    assert error[exact > np.finfo(dtype).tiny].max() <= 4.0 * max(1.0, bound)


def test_bad_values():
    with pytest.raises(ValueError, match=r"gamma_c=41 is outside \[0, 40\]"):
        AuON(gamma_c=41)
    with pytest.raises(ValueError, match=r"momentum=-0\.1"):
        AuON(momentum=-0.1)
    with pytest.raises(ValueError, match="AuON measures whole tensors"):
        Optimizer(AuON(), stacked_dims=1).init([np.ones((2, 3))])
