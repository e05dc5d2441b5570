"""Adan: the official equations, what becomes of a constant gradient, Adam as a limit (R0, P11)."""

from __future__ import annotations

import numpy as np
import pytest

from mgup_core import AdamW, Adan

from .textbook import assert_follows, data, follow


def official(params, grads, lr, decay, *, no_prox, b1=0.98, b2=0.92, b3=0.99, eps=1e-8):
    """The code of sail-sg/Adan."""
    params = [w.copy() for w in params]
    m, d, n = ([np.zeros_like(w) for w in params] for _ in range(3))
    before = grads[0]
    for t, one in enumerate(grads, start=1):
        for i, g in enumerate(one):
            z = g - before[i]
            m[i] = b1 * m[i] + (1 - b1) * g
            d[i] = b2 * d[i] + (1 - b2) * z
            n[i] = b3 * n[i] + (1 - b3) * (g + b2 * z) ** 2
            root = np.sqrt(n[i]) / np.sqrt(1 - b3**t) + eps
            u = (m[i] / (1 - b1**t) + b2 * d[i] / (1 - b2**t)) / root
            if no_prox:
                params[i] = params[i] * (1 - lr * decay) - lr * u
            else:
                params[i] = (params[i] - lr * u) / (1 + lr * decay)
        before = one
    return params


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("no_prox", [False, True])
def test_the_official_code(no_prox, decay):
    params, grads = data(steps=8)
    expected = official(params, grads, 0.1, decay, no_prox=no_prox)
    assert_follows(Adan(no_prox=no_prox), expected, params, grads, weight_decay=decay)


def test_a_constant_gradient_gives_its_sign():
    """u = g / (|g| + eps) at every step."""
    params, grads = data(steps=1)
    moved, _ = follow(Adan(), params, grads * 7, lr=0.1)
    for w, g, new in zip(params, grads[0], moved, strict=True):
        np.testing.assert_allclose(new, w - 0.7 * g / (np.abs(g) + 1e-8), rtol=1e-12)


def test_without_looking_ahead_it_is_adam():
    params, grads = data()
    ours, _ = follow(Adan(b1=0.9, b2=0.0, b3=0.999), params, grads)
    adam, _ = follow(AdamW(), params, grads)
    for x, y in zip(ours, adam, strict=True):
        np.testing.assert_array_equal(x, y)


def test_the_state_keeps_the_gradient():
    params, grads = data()
    _, state = follow(Adan(), params, grads)
    for i, g in enumerate(grads[-1]):
        np.testing.assert_array_equal(state.arrays[i]["previous_grad"], g)


@pytest.mark.parametrize("bad", [{"b2": 1.0}, {"b3": -0.1}, {"eps": -1e-8}])
def test_bad_input(bad):
    with pytest.raises(ValueError, match=f"{next(iter(bad))}="):
        Adan(**bad)
