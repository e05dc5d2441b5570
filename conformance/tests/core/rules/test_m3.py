"""M3: Algorithm 1, its limits, and the one example that is published (P1, R0, P11)."""

from __future__ import annotations

import array_api_strict as xps
import numpy as np
import pytest

from mgup_core import M3, MGUP, Optimizer, update_array

from ..support import strictly
from .textbook import assert_follows, data, follow, newton_schulz

MATRICES = ((4, 6), (7, 3), (5, 5))


def m3(params, grads, lr, *, chunk, inside, b=(0.9, 0.999, 0.9), slow_weight=1.0, eps=1e-8):
    """Algorithm 1 of Behrouz et al., section 7.2."""
    params = [w.copy() for w in params]
    zeros = [np.zeros_like(w) for w in params]
    m1, m2, v, c, o = (list(zeros) for _ in range(5))
    for t, one in enumerate(grads, start=1):
        for i, g in enumerate(one):
            m1[i], v[i], c[i] = m1[i] + b[0] * g, v[i] + b[1] * g * g, c[i] + g
            root = np.sqrt(v[i] + eps) if inside else np.sqrt(v[i]) + eps
            params[i] -= lr * (newton_schulz(m1[i]) + slow_weight * o[i]) / root
            if t % chunk == 0:
                m2[i] = m2[i] + b[2] * c[i]
                c[i], o[i] = zeros[i], newton_schulz(m2[i])
    return params


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("chunk", [1, 2, 3, 100])
def test_it_is_algorithm_1(chunk, inside):
    params, grads = data(MATRICES, steps=7)
    expected = m3(params, grads, 0.1, chunk=chunk, inside=inside, eps=1e-3)
    assert_follows(M3(chunk=chunk, eps=1e-3, eps_inside=inside), expected, params, grads)


def test_the_unofficial_example():
    """Scalar w = 0, g = 1 twice, all of lr, b1, b3, slow_weight and eps 1, b2 = 0: w = -3."""
    rule = M3(b1=1.0, b2=0.0, b3=1.0, slow_weight=1.0, eps=1.0, chunk=2, ns_steps=0)
    one = [np.ones((1, 1))]
    (w,), _ = follow(rule, [np.zeros((1, 1))], [one, one], lr=1.0)
    assert w.item() == -3.0


def test_without_squares_and_slow_momentum_it_is_muon_on_a_sum():
    """slow_weight = 0, v = 1 (here by eps): newton_schulz of the sum of gradients."""
    params, grads = data(((4, 6),))
    rule = M3(b1=1.0, b2=0.0, slow_weight=0.0, eps=1.0)
    expected = params[0].copy()
    for i in range(len(grads)):
        expected -= 0.1 * newton_schulz(sum(one[0] for one in grads[: i + 1]))
    assert_follows(rule, [expected], params, grads)


def test_sums_never_decay():
    """After T steps of one gradient, v = T * b2 * g^2 and m1 = T * b1 * g."""
    params, grads = data(((4, 6),), steps=1)
    _, state = follow(M3(), params, grads * 9)
    g = grads[0][0]
    np.testing.assert_allclose(state.arrays[0]["sum_sq"], 9 * 0.999 * g * g)
    np.testing.assert_allclose(state.arrays[0]["fast"], 9 * 0.9 * g)


def test_a_traced_step_is_the_same_step():
    """t is an array whose value cannot be read."""
    rng = np.random.default_rng(0)
    rule, shape = M3(chunk=3), (4, 6)
    w, optimizer = rng.standard_normal(shape), Optimizer(M3(chunk=3), MGUP())
    state, params = optimizer.init([w]), [w]
    with strictly():
        be = optimizer.backend(xps.asarray(w))
        ours = {name: xps.asarray(x) for name, x in state.arrays[0].items()}
        u = xps.asarray(w)
        for t in range(1, 8):
            g = rng.standard_normal(shape)
            params, state = optimizer.step(params, [g], state, lr=0.1)
            step = update_array(be, rule, MGUP(), u, xps.asarray(g), ours, xps.asarray(t), lr=0.1)
            u, ours = u - step.delta, step.state
            np.testing.assert_allclose(np.asarray(u), params[0], rtol=1e-12)


def test_the_mask_is_that_of_the_fast_momentum():
    """a = m1, whatever the slow direction."""
    params, grads = data(((4, 6),), steps=5)
    rule = M3(chunk=2)
    before, state = follow(rule, params, grads[:4], MGUP())
    plain, _ = Optimizer(rule, None, lr=0.1).step(before, grads[4], state)
    ours, state = Optimizer(rule, MGUP(), lr=0.1).step(before, grads[4], state)
    high = np.isclose((before[0] - ours[0]) / (before[0] - plain[0]), 2.0)
    scores = state.arrays[0]["fast"] * grads[4][0]
    assert high.sum() == 12
    assert scores[high].min() > scores[~high].max()


def test_bad_values():
    for chunk in (0, 2.5):
        with pytest.raises(ValueError, match=f"chunk={chunk} must be an int >= 1"):
            M3(chunk=chunk)
    with pytest.raises(ValueError, match=r"b2=1.5 is outside \[0, 1\]"):
        M3(b2=1.5)
    with pytest.raises(ValueError, match="slow_weight=-1"):
        M3(slow_weight=-1)
    with pytest.raises(ValueError, match="M3 trains matrices"):
        Optimizer(M3()).init([np.ones(3)])
