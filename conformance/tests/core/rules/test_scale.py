"""SCALE: the official equations, unit rows, no trace of the gradient's scale, roles and axes.

It checks P1, R0, P11.
"""

from __future__ import annotations

import numpy as np
import pytest

from mgup_core import MGUP, SCALE, Optimizer, SignMGUP

from .textbook import MATRICES, assert_follows, data, follow

AVERAGED = {"matrix": (1, 2, 3), "last": (1, 2, 3), "embedding": (0,)}


def scale(params, grads, lr, decay, *, role, momentum=0.9):
    """OptimAI-Lab/Minimalist_LLM_Pretraining, in PyTorch's layout; more axes are flattened."""
    params = [w.copy() for w in params]
    m = [np.zeros_like(w) for w in params]
    for one in grads:
        for i, g in enumerate(one):
            m[i] = momentum * m[i] + (1 - momentum) * g
            x = (m[i] if role == "last" else g).reshape(g.shape[0], -1)
            axis = 0 if role == "embedding" else 1
            s = np.maximum(np.sqrt((x**2).mean(axis=axis, keepdims=True)), 1e-8)
            params[i] *= 1 - lr * decay
            params[i] -= lr * (x / s).reshape(g.shape)
    return params


@pytest.mark.parametrize("role", ["matrix", "last", "embedding"])
def test_it_is_the_official_code(role):
    shapes = MATRICES[:2] if role == "embedding" else MATRICES
    params, grads = data(shapes)
    expected = scale(params, grads, 0.1, 0.3, role=role)
    assert_follows(SCALE(role=role), expected, params, grads, weight_decay=0.3)


@pytest.mark.parametrize("role", ["matrix", "last", "embedding"])
@pytest.mark.parametrize("out_axis", [0, -1])
def test_each_output_unit_has_unit_rms(role, out_axis):
    """An embedding's units are its features, on the last axis whatever out_axis is."""
    params, grads = data(((8, 5),), steps=1)
    (moved,), _ = follow(SCALE(role=role, out_axis=out_axis), params, grads, lr=1.0)
    averaged = 0 if role == "embedding" or out_axis == -1 else 1
    rms = np.sqrt(((params[0] - moved) ** 2).mean(axis=averaged))
    np.testing.assert_allclose(rms, 1.0, rtol=1e-13)


def test_the_scale_of_the_gradient_does_not_matter():
    """u(c*g) = u(g), exactly for powers of two, as long as no row's rms is below eps."""
    params, grads = data(MATRICES)
    for role in AVERAGED:
        larger = [[2.0**20 * g for g in one] for one in grads]
        ours, _ = follow(SCALE(role=role), params, grads, MGUP())
        theirs, _ = follow(SCALE(role=role), params, larger, MGUP())
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one, other)


def test_without_momentum_the_last_layer_is_a_hidden_one():
    params, grads = data(MATRICES)
    for policy in (None, MGUP()):
        ours, _ = follow(SCALE(role="last", momentum=0.0), params, grads, policy)
        theirs, _ = follow(SCALE(), params, grads, policy)
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one, other)


def test_hidden_layers_always_score_positive():
    """So sign mode amplifies all coordinates of hidden layers, and some of the last layer."""
    params, grads = data(MATRICES)
    optimizers = [Optimizer(SCALE(role=role), SignMGUP()) for role in ("matrix", "last")]
    states = [optimizer.init(params) for optimizer in optimizers]
    for t, one in enumerate(grads):
        shares = []
        for i, optimizer in enumerate(optimizers):
            _, states[i], measured = optimizer.step_with_statistics(params, one, states[i])
            shares.append([float(m.positive) for m in measured.values()])
        assert shares[0] == [1.0] * 3
        assert t == 0 or max(shares[1]) < 1.0


def test_rows_without_a_gradient_stay():
    """Rows of zeros give 0 / eps = 0, and nothing is divided by 0."""
    w, g = np.ones((3, 4)), np.zeros((3, 4))
    g[1] = [1.0, -1.0, 1.0, -1.0]
    (moved,), _ = follow(SCALE(), [w], [[g]], MGUP())
    np.testing.assert_array_equal(moved[[0, 2]], 1.0)
    assert (moved[1] != 1.0).all()


def test_state():
    """Only the last layer has state, its momentum."""
    params = data(MATRICES)[0]
    for role in AVERAGED:
        state = Optimizer(SCALE(role=role)).init(params).arrays[0]
        assert set(state) == ({"momentum_buffer"} if role == "last" else set())


def test_bad_input():
    with pytest.raises(
        ValueError, match="role='head' is none of SCALE's: 'matrix', 'embedding', 'last'"
    ):
        SCALE(role="head")
    with pytest.raises(ValueError, match=r"momentum=1\.0"):
        SCALE(momentum=1.0)
    with pytest.raises(ValueError, match=r"SCALE trains matrices, not shape \(6,\).*AdamW"):
        Optimizer(SCALE()).init([np.ones(6)])
    with pytest.raises(ValueError, match="out_axis=-3 is no axis"):
        Optimizer(SCALE(out_axis=-3)).init([np.ones((4, 6))])
    Optimizer(SCALE(role="embedding", out_axis=-3)).init([np.ones((4, 6))])
    with pytest.raises(ValueError, match="SCALE measures whole tensors"):
        Optimizer(SCALE(), stacked_dims=1).init([np.ones((2, 4, 6))])
