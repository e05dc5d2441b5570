"""Delta Momentum: equation 48 as printed, the normalised form, and why it is normalised.

It checks R0, R4, P11.
"""

from __future__ import annotations

import numpy as np
import pytest

from mgup_core import MGUP, SGD, DeltaMomentum, Optimizer, SignMGUP

from .textbook import assert_follows, data, follow

MATRICES = ((4, 6), (7, 3), (5,))


def delta_momentum(params, grads, lr, *, momentum=0.9, unit=True):
    """Equations 48 and 49 of Behrouz et al., with the learning rate in the momentum."""
    params = [w.copy() for w in params]
    m = [np.zeros_like(np.atleast_2d(w)) for w in params]
    for one in grads:
        for i, g in enumerate(np.atleast_2d(g) for g in one):
            k = g / (np.linalg.norm(g) + 1e-8) if unit else g
            m[i] = m[i] @ (momentum * np.eye(g.shape[1]) - k.T @ k) - lr * g
            params[i] += m[i].reshape(params[i].shape)
    return params


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_it_is_the_equation_with_keys_of_length_1(momentum):
    params, grads = data(MATRICES)
    expected = delta_momentum(params, grads, 0.1, momentum=momentum)
    assert_follows(DeltaMomentum(momentum), expected, params, grads)


def test_it_is_the_equation_as_printed():
    params, grads = data(MATRICES)
    grads = [[0.3 * g for g in one] for one in grads]
    expected = delta_momentum(params, grads, 0.1, unit=False)
    assert_follows(DeltaMomentum(normalize=False), expected, params, grads)


def test_small_gradients_forget_nothing_as_printed():
    """Where g'g vanishes, the rule is the heavy ball method."""
    params, grads = data(MATRICES)
    grads = [[1e-7 * g for g in one] for one in grads]
    ours, _ = follow(DeltaMomentum(normalize=False), params, grads, lr=1e6)
    theirs, _ = follow(SGD(), params, grads, lr=1e6)
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-10)


def test_large_gradients_need_keys_of_length_1():
    """As printed, a singular value above sqrt(1 + momentum) makes the momentum grow each step."""
    params, grads = data(((4, 6),), steps=1)
    for scale in (1.0, 1e4):
        held = [[scale * g for g in grads[0]]] * 50
        _, state = follow(DeltaMomentum(), params, held)
        largest = np.linalg.norm(state.arrays[0]["momentum_buffer"])
        assert largest <= 10 * np.linalg.norm(held[0][0])
    _, state = follow(DeltaMomentum(normalize=False), params, grads * 50)
    assert np.linalg.norm(state.arrays[0]["momentum_buffer"]) > 1e10


def test_a_vector_forgets_all_along_its_gradient():
    """For a matrix of one row k k' is a projection: with momentum 1 it would keep the rest."""
    g, rest = np.zeros(4), np.zeros(4)
    g[0], rest[1] = 3.0, 5.0
    _, state = follow(DeltaMomentum(0.5), [np.zeros(4)], [[g + rest], [g]])
    np.testing.assert_allclose(
        state.arrays[0]["momentum_buffer"], [3.0 + (0.5 - 1.0) * 3.0, 0.5 * 5.0, 0, 0], rtol=1e-7
    )


def test_inputs_erase_in_either_layout():
    params, grads = data(((4, 6),))
    turned = [[g.T for g in one] for one in grads]
    there, _ = follow(DeltaMomentum(), params, grads, SignMGUP())
    back, _ = follow(DeltaMomentum(out_axis=-1), [w.T for w in params], turned, SignMGUP())
    np.testing.assert_allclose(there[0], back[0].T, rtol=1e-12)
    other, _ = follow(DeltaMomentum(), [w.T for w in params], turned, SignMGUP())
    assert np.abs(other[0] - back[0]).max() > 1e-4


def test_a_stack_is_its_matrices():
    params, grads = data(((3, 4, 6),))
    stacked, _ = follow(DeltaMomentum(), params, grads)
    apart, _ = follow(DeltaMomentum(), list(params[0]), [list(one[0]) for one in grads])
    np.testing.assert_allclose(stacked[0], np.stack(apart), rtol=1e-12)


def test_bad_values():
    with pytest.raises(ValueError, match=r"momentum=1\.0"):
        DeltaMomentum(1.0)
    with pytest.raises(ValueError, match="out_axis=1 is neither 0"):
        DeltaMomentum(out_axis=1)
    with pytest.raises(ValueError, match="DeltaMomentum trains matrices"):
        Optimizer(DeltaMomentum(), MGUP()).init([np.ones(())])
