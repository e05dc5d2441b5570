"""Hybrid-AuON: the official equations, and what it shares with AuON and Muon.

It checks P1, R0, R4, P11, N7.
"""

from __future__ import annotations

import numpy as np
import pytest

from mgup_core import MGUP, AuON, HybridAuON, Muon, Optimizer

from .textbook import assert_follows, data, follow, newton_schulz

SHAPES = ((4, 6), (7, 3), (5,))


def hybrid_auon(params, grads, lr, decay, *, ns_steps=5, gamma_c=1.5, paper=False):
    """The code of ryyzn9/AuON, or the paper's division."""
    params = [w.copy() for w in params]
    m = [np.zeros_like(w) for w in params]
    for one in grads:
        for i, g in enumerate(one):
            params[i] *= 1 - lr * decay
            m[i] = 0.95 * m[i] + 0.05 * g
            x = 0.05 * g + 0.95 * m[i]
            x = newton_schulz(x, ns_steps) if x.ndim > 1 else x
            unit = x / (np.linalg.norm(x) + 1e-7)
            x, z = (unit, unit) if paper else (x, gamma_c * unit)
            params[i] -= lr * x / (np.sqrt(np.mean(np.cosh(z) ** 2)) + 1e-8)
    return params


@pytest.mark.parametrize("options", [{}, {"ns_steps": 1}, {"gamma_c": 5.0}], ids=str)
def test_it_is_the_official_code(options):
    params, grads = data(SHAPES)
    expected = hybrid_auon(params, grads, 0.1, 0.3, **options)
    assert_follows(HybridAuON(**options), expected, params, grads, weight_decay=0.3)


def test_it_is_the_paper():
    """One step of the iteration; the normalised matrix is divided."""
    params, grads = data(SHAPES)
    expected = hybrid_auon(params, grads, 0.1, 0.3, ns_steps=1, paper=True)
    rule = HybridAuON(ns_steps=1, normalize=True)
    assert_follows(rule, expected, params, grads, weight_decay=0.3)


def test_a_vector_is_trained_by_auon():
    params, grads = data(((5,),))
    ours, _ = follow(HybridAuON(), params, grads, MGUP())
    theirs, _ = follow(AuON(), params, grads, MGUP())
    np.testing.assert_array_equal(ours[0], theirs[0])


def test_without_gamma_it_is_muon():
    """The root is 1; Muon's factor for the shape is undone."""
    params, grads = data(((4, 6),))
    ours, _ = follow(HybridAuON(gamma_c=0.0), params, grads)
    theirs, _ = follow(Muon(), params, grads, lr=0.1 / (0.2 * np.sqrt(6)))
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-7)


def test_the_mask_is_that_of_auon():
    """a = D, before orthogonalisation, as elementwise and identical as there (N7)."""
    params, grads = data(((8, 8),))
    measured = []
    for rule in (HybridAuON(), AuON()):
        optimizer = Optimizer(rule, MGUP(0.3))
        state = optimizer.init(params)
        for one in grads:
            _, state, statistics = optimizer.step_with_statistics(params, one, state)
        measured.append(statistics[0])
    assert measured[0] == measured[1]


def test_no_gradient_no_step():
    w = np.ones((3, 4))
    (moved,), _ = follow(HybridAuON(), [w], [[np.zeros_like(w)]], MGUP(), weight_decay=0.5)
    np.testing.assert_array_equal(moved, w - 0.1 * 0.5 * w)


def test_bad_values():
    with pytest.raises(ValueError, match=r"ns_steps=100 is outside \[1, 99\]"):
        HybridAuON(ns_steps=100)
    with pytest.raises(ValueError, match="ns_dtype='float16'"):
        HybridAuON(ns_dtype="float16")
    with pytest.raises(ValueError, match="HybridAuON measures whole tensors"):
        Optimizer(HybridAuON(), stacked_dims=1).init([np.ones((2, 3, 4))])
