"""NAMO and NAMO-D: the official equations with their float32 statistics, and their limits.

It checks R0, R4, P11.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from mgup_core import MGUP, NAMO, NAMOD, Muon, Optimizer, SignMGUP

from .textbook import assert_follows, data, follow, newton_schulz

MATRICES = ((4, 6), (7, 3), (5, 5))
single = np.float32


def corrected(lr, t, momentum=0.95, mu2=0.99):
    return lr * math.sqrt(1 - mu2**t) / (1 - momentum**t + 1e-12)


def namo(params, grads, lr, decay, *, nesterov=True, mu2=0.99):
    """The code of minxin-zhg/namo in float64."""
    params, v = [w.copy() for w in params], [single(0)] * len(params)
    m = [np.zeros_like(w) for w in params]
    for t, one in enumerate(grads, start=1):
        for i, g in enumerate(one):
            m[i] = m[i] + 0.05 * (g - m[i])
            b = g + 0.95 * (m[i] - g) if nesterov else m[i]
            v[i] = single(float(v[i] * single(mu2)) + (1 - mu2) * np.linalg.norm(g) ** 2)
            root = float(np.sqrt(v[i]) + single(1e-8))
            rate = corrected(lr, t, mu2=mu2) * np.linalg.norm(b) / root
            params[i] *= 1 - decay * min(rate, 1)
            step = min(rate * 0.2 * math.sqrt(max(g.shape)), 1)
            params[i] -= step * newton_schulz(b)
    return params


def namo_d(params, grads, lr, decay, *, clamp):
    params, v = [w.copy() for w in params], [np.zeros(w.shape[1], single) for w in params]
    m = [np.zeros_like(w) for w in params]
    for t, one in enumerate(grads, start=1):
        for i, g in enumerate(one):
            norms = np.linalg.norm(g, axis=0).astype(single)
            v[i] = v[i] * single(0.99) + single(1 - 0.99) * norms * norms
            m[i] = m[i] + 0.05 * (g - m[i])
            b = g + 0.95 * (m[i] - g)
            s = np.linalg.norm(b, axis=0).astype(single) / (np.sqrt(v[i]) + single(1e-8))
            if clamp:
                s = np.clip(s, s.mean() * single(clamp), s.mean() / single(clamp))
            base = corrected(lr, t)
            kept = 1 - np.minimum(s * single(base), single(1)) * single(decay)
            assert kept.dtype == single
            params[i] *= np.maximum(kept, 0)
            shaped = single(base * 0.2 * math.sqrt(max(g.shape)))
            params[i] -= newton_schulz(b) * np.minimum(s * shaped, single(1))
    return params


@pytest.mark.parametrize("lr", [0.01, 5.0], ids=["free", "at its bound"])
@pytest.mark.parametrize("nesterov", [False, True])
def test_namo_is_the_official_code(nesterov, lr):
    params, grads = data(MATRICES)
    expected = namo(params, grads, lr, 0.1, nesterov=nesterov)
    assert_follows(NAMO(nesterov=nesterov), expected, params, grads, lr=lr, weight_decay=0.1)


@pytest.mark.parametrize("lr", [0.01, 5.0], ids=["free", "at its bound"])
@pytest.mark.parametrize("decay", [0.1, 3.0])
@pytest.mark.parametrize("clamp", [0.0, 0.01])
def test_namo_d_is_the_official_code(clamp, decay, lr):
    """A decay of 3 at the bound of the rate reaches the other bound: no weight turns its sign."""
    params, grads = data(MATRICES)
    expected = namo_d(params, grads, lr, decay, clamp=clamp)
    assert_follows(NAMOD(clamp=clamp), expected, params, grads, lr=lr, weight_decay=decay)


def test_namo_d_clamps_as_the_official_code():
    """The results agree to float32 rounding, since the mean over columns has another order."""
    params, grads = data(MATRICES)
    ours, _ = follow(NAMOD(clamp=0.95), params, grads, lr=0.01, weight_decay=0.1)
    free, _ = follow(NAMOD(clamp=0.0), params, grads, lr=0.01, weight_decay=0.1)
    expected = namo_d(params, grads, 0.01, 0.1, clamp=0.95)
    for mine, other, theirs in zip(ours, free, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-8)
        assert np.abs(other - theirs).max() > 1e-4


def test_the_first_step_size_is_known():
    """t = 1: ``lr`` without Nesterov, ``(1 + momentum)*lr`` with it."""
    params, grads = data(((4, 6),), steps=1)
    for nesterov, factor in ((False, 1.0), (True, 1.95)):
        decayed = [
            follow(NAMO(nesterov=nesterov), params, grads, lr=0.01, weight_decay=decay)[0][0]
            for decay in (0.0, 0.5)
        ]
        np.testing.assert_allclose(
            decayed[0] - decayed[1], 0.01 * factor * 0.5 * params[0], rtol=1e-6
        )


def test_clamp_1_gives_all_columns_the_mean():
    """Each column of the step is NS(b)'s, times one number."""
    _, grads = data(((4, 6),), steps=3)
    zero, ones = [np.zeros((4, 6))], MGUP(alpha=1.0, gamma=1.0)
    (before,), _ = follow(NAMOD(clamp=1.0), zero, grads[:2], ones, lr=0.01)
    (after,), _ = follow(NAMOD(clamp=1.0), zero, grads, ones, lr=0.01)
    (muon_before,), _ = follow(Muon(), zero, grads[:2], lr=0.01)
    (muon_after,), _ = follow(Muon(), zero, grads, lr=0.01)
    ratio = (after - before) / (muon_after - muon_before)
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-5)


def test_steady_gradients_make_muon():
    """A constant gradient makes s = 1, so that the step is Muon's but for the eps."""
    _, (g,) = data(((4, 6),), steps=1)
    w = [np.zeros((4, 6))]
    ours, _ = follow(NAMO(nesterov=False), w, [g] * 5, lr=0.01)
    muon, _ = follow(Muon(), w, [g] * 5, lr=0.01)
    np.testing.assert_allclose(ours[0], muon[0], rtol=1e-4)


def test_columns_are_inputs_in_either_layout():
    params, grads = data(((4, 6),))
    there, _ = follow(NAMOD(), params, grads, MGUP(), lr=0.01, weight_decay=0.1)
    turned = [[g.T for g in one] for one in grads]
    rule = NAMOD(out_axis=-1)
    back, _ = follow(rule, [w.T for w in params], turned, SignMGUP(), lr=0.01, weight_decay=0.1)
    there, _ = follow(NAMOD(), params, grads, SignMGUP(), lr=0.01, weight_decay=0.1)
    np.testing.assert_allclose(there[0], back[0].T, rtol=1e-12)
    other, _ = follow(NAMOD(), [w.T for w in params], turned, SignMGUP(), lr=0.01, weight_decay=0.1)
    assert np.abs(other[0] - back[0]).max() > 1e-4


@pytest.mark.parametrize("rule", [NAMO(), NAMOD(), NAMOD(out_axis=-1)], ids=str)
def test_a_stack_is_its_matrices(rule):
    params, grads = data(((3, 4, 6),))
    optimizer = Optimizer(rule, MGUP(), stacked_dims=1)
    state = optimizer.init(params)
    alone = Optimizer(rule, MGUP())
    apart = [params[0][i] for i in range(3)]
    own = alone.init(apart)
    for one in grads:
        params, state = optimizer.step(params, one, state)
        apart, own = alone.step(apart, list(one[0]), own)
    np.testing.assert_allclose(params[0], np.stack(apart), rtol=1e-12)


def test_bad_values():
    with pytest.raises(ValueError, match=r"clamp=1.5 is outside \[0, 1\]"):
        NAMOD(clamp=1.5)
    with pytest.raises(ValueError, match="out_axis=1 is neither 0"):
        NAMOD(out_axis=1)
    with pytest.raises(ValueError, match=r"mu2=1\.0"):
        NAMO(mu2=1.0)
    with pytest.raises(ValueError, match=r"ns_steps=0 is outside \[1, 99\]"):
        NAMO(ns_steps=0)
    with pytest.raises(ValueError, match=r"NAMO trains matrices, not shape \(3,\)"):
        Optimizer(NAMO()).init([np.ones(3)])
