"""Compares a rule with a plain loop of its published equations, in float64."""

from __future__ import annotations

import numpy as np

from mgup_core import MGUP, Optimizer

SHAPES = ((4, 6), (5,), (3, 2, 2, 2))
MATRICES = ((4, 6), (6, 3), (3, 2, 2, 2))


def data(shapes=SHAPES, steps=5, seed=0):
    """Parameters, and gradients for some steps."""
    rng = np.random.default_rng(seed)
    params = [rng.standard_normal(shape) for shape in shapes]
    return params, [[rng.standard_normal(shape) for shape in shapes] for _ in range(steps)]


def follow(rule, params, grads, policy=None, *, lr=0.1, weight_decay=0.0):
    """(the parameters after these gradients, the state)."""
    optimizer = Optimizer(rule, policy, lr=lr, weight_decay=weight_decay)
    state = optimizer.init(params)
    for one in grads:
        params, state = optimizer.step(params, one, state)
    return params, state


def assert_follows(rule, expected, params, grads, *, lr=0.1, weight_decay=0.0):
    """The rule gives ``expected`` to rounding; with alpha = gamma = 1, its own bits (P11)."""
    plain, _ = follow(rule, params, grads, lr=lr, weight_decay=weight_decay)
    ones = MGUP(alpha=1.0, gamma=1.0)
    also, _ = follow(rule, params, grads, ones, lr=lr, weight_decay=weight_decay)
    for ours, same, theirs in zip(plain, also, expected, strict=True):
        np.testing.assert_array_equal(ours, same)
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-13)


def newton_schulz(x, steps=5):
    """R4 in plain NumPy, of one matrix."""
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (np.sqrt((x * x).sum()) + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.T if tall else x
