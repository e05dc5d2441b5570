"""FISMO: the equations with eigendecompositions, and the iteration that stands for them.

It checks P1, R0, R4, R6, P11.
"""

from __future__ import annotations

import numpy as np
import pytest

from mgup_core import FISMO, MGUP, Optimizer, backend_for
from mgup_core.rules.contrib.fismo import inverse_root

from .textbook import assert_follows, data, follow

MATRICES = ((4, 6), (7, 3), (5, 5))
EXACT = {"ns_coefficients": (1.875, -1.25, 0.375), "ns_steps": 40, "root_steps": 40}


def power(x, exponent):
    values, vectors = np.linalg.eigh(x)
    return (vectors * values**exponent) @ vectors.T


def polar(x):
    u, _, v = np.linalg.svd(x, full_matrices=False)
    return u @ v


def fismo(params, grads, lr, *, b1=0.95, b2=0.95, damping=1e-3):
    """The equations of Xu, Yan and Zhang, by LAPACK."""
    params = [w.copy() for w in params]
    p, q = ([np.eye(w.shape[side]) for w in params] for side in (0, 1))
    m = [np.zeros_like(w) for w in params]
    for one in grads:
        for i, g in enumerate(one):
            rows, cols = g.shape
            left = g @ power(q[i], -1) @ g.T / cols
            p[i] = b2 * p[i] + (1 - b2) * (left + damping * np.trace(p[i]) / rows * np.eye(rows))
            p[i] *= rows / np.trace(p[i])
            right = g.T @ power(p[i], -1) @ g / rows
            q[i] = b2 * q[i] + (1 - b2) * (right + damping * np.trace(q[i]) / cols * np.eye(cols))
            q[i] *= cols / np.trace(q[i])
            a, b = power(p[i], -0.5), power(q[i], -0.5)
            m[i] = b1 * m[i] + (1 - b1) * a @ g @ b
            params[i] -= lr * a @ polar(m[i]) @ b
    return params, p, q


@pytest.mark.parametrize("options", [{}, {"b1": 0.5, "b2": 0.3}, {"damping": 0.1}], ids=str)
def test_it_is_the_equations(options):
    """The polar factor is exact but for the 1e-7 beside the norm, whose effect is below 1e-6."""
    params, grads = data(MATRICES)
    expected, p, q = fismo(params, grads, 0.1, **options)
    ours, state = follow(FISMO(**EXACT, **options), params, grads)
    for i, theirs in enumerate(expected):
        np.testing.assert_allclose(ours[i], theirs, rtol=1e-10, atol=1e-11)
        np.testing.assert_allclose(state.arrays[i]["left"], p[i], rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(state.arrays[i]["right"], q[i], rtol=1e-10, atol=1e-12)


def test_factors_keep_their_trace_and_symmetry():
    """tr P = rows and tr Q = columns after every step."""
    params, grads = data(MATRICES)
    optimizer = Optimizer(FISMO())
    state = optimizer.init(params)
    for one in grads:
        params, state = optimizer.step(params, one, state)
        for arrays in state.arrays.values():
            for side in ("left", "right"):
                np.testing.assert_allclose(np.trace(arrays[side]), len(arrays[side]))
                np.testing.assert_array_equal(arrays[side], arrays[side].T)


def test_factors_that_stay_are_muon_with_the_polar_factor():
    """b2 near 1 keeps P = Q = I: the polar factor of an average of gradients."""
    params, grads = data(MATRICES)
    rule = FISMO(b2=1.0 - 2.0**-53, **EXACT)
    expected, m = [w.copy() for w in params], [np.zeros_like(w) for w in params]
    for one in grads:
        for i, g in enumerate(one):
            m[i] = 0.95 * m[i] + 0.05 * g
            expected[i] -= 0.1 * polar(m[i])
    ours, _ = follow(rule, params, grads)
    for mine, theirs in zip(ours, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-10, atol=1e-11)


def test_alpha_and_gamma_1_change_no_bit():
    """P11: alpha = gamma = 1 gives the bits of the base rule."""
    params, grads = data(MATRICES)
    plain, _ = follow(FISMO(), params, grads, weight_decay=0.1)
    assert_follows(FISMO(), plain, params, grads, weight_decay=0.1)


@pytest.mark.parametrize("condition", [1e1, 1e3, 1e5, 1e6])
@pytest.mark.parametrize("n", [4, 32, 100])
def test_inverse_root_is_that_of_eigh(n, condition):
    """In float64 as good as eigh; in float32 ``5e-8 * condition`` at most, or 1e-6."""
    rng = np.random.default_rng(n)
    vectors, _ = np.linalg.qr(rng.standard_normal((n, n)))
    values = np.geomspace(1, 1 / condition, n)
    x, exact = ((vectors * values**e) @ vectors.T for e in (1.0, -0.5))
    for dtype, bound in ((np.float64, 1e-10), (np.float32, max(1e-6, 5e-8 * condition))):
        given = x.astype(dtype)
        ours = inverse_root(backend_for(given), given, FISMO().root_steps)
        assert np.linalg.norm(ours - exact) <= bound * np.linalg.norm(exact)


def test_a_stack_is_its_matrices():
    params, grads = data(((3, 4, 6),))
    stacked, _ = follow(FISMO(), params, grads)
    apart, _ = follow(FISMO(), list(params[0]), [list(one[0]) for one in grads])
    np.testing.assert_allclose(stacked[0], np.stack(apart), rtol=1e-12)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (2, 0, 3)])
def test_nothing_to_train_is_no_op(shape):
    """R6: a parameter without coordinates is a no-op."""
    (w,), _ = follow(FISMO(), [np.ones(shape)], [[np.ones(shape)]], MGUP())
    assert w.shape == shape


def test_the_mask_is_that_of_the_coloured_momentum():
    """a = P^-1/2 M Q^-1/2, in the gradient's own coordinates."""
    params, grads = data(((4, 6),))
    before, state = follow(FISMO(), params, grads[:4])
    plain, _ = Optimizer(FISMO(), None, lr=0.1).step(before, grads[4], state)
    ours, state = Optimizer(FISMO(), MGUP(), lr=0.1).step(before, grads[4], state)
    high = np.isclose((before[0] - ours[0]) / (before[0] - plain[0]), 2.0)
    arrays = state.arrays[0]
    a = arrays["left_root"] @ arrays["momentum_buffer"] @ arrays["right_root"]
    scores = a * grads[4][0]
    assert high.sum() == 12
    assert scores[high].min() > scores[~high].max()


def test_bad_values():
    with pytest.raises(ValueError, match=r"damping=-1 is outside \[0, inf\)"):
        FISMO(damping=-1)
    with pytest.raises(ValueError, match=r"root_steps=0 is outside \[1, 99\]"):
        FISMO(root_steps=0)
    with pytest.raises(ValueError, match="three numbers"):
        FISMO(ns_coefficients=(1.0, 2.0))
    with pytest.raises(ValueError, match="FISMO trains matrices"):
        Optimizer(FISMO()).init([np.ones(3)])
