"""MARS: the authors' code, and the rules that it becomes.

It checks R0 and P11; the equations are those of the authors' code.
"""

from __future__ import annotations

import numpy as np
import pytest

from mgup_core import MGUP, AdamW, MARSAdamW, MARSLion, Optimizer, Signum, check_rule

from .textbook import assert_follows, data, follow


def official(params, grads, lr, decay, kind, b1=0.95, b2=0.99, eps=1e-8, gamma=0.025):
    """AGI-Arena/MARS, is_approx and optimize_1d."""
    moved = []
    for i, w in enumerate(params):
        m, v, before = np.zeros_like(w), np.zeros_like(w), np.zeros_like(w)
        for t, one in enumerate(grads, start=1):
            g = one[i]
            c = (g - before) * (gamma * (b1 / (1 - b1))) + g
            length = np.linalg.norm(c)
            c = c / length if length > 1 else c
            m = b1 * m + (1 - b1) * c
            v = b2 * v + (1 - b2) * c * c
            root = (np.sqrt(v) / np.sqrt(1 - b2**t) + eps) * (1 - b1**t)
            u = m / root if kind is MARSAdamW else np.sign(m)
            w = w - lr * (decay * w + u)
            before = g
        moved.append(w)
    return moved


@pytest.mark.parametrize("size", [1.0, 1e-2])
@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("kind", [MARSAdamW, MARSLion])
def test_the_official_code(kind, decay, size):
    """With gradients longer than 1 and shorter."""
    params, grads = data(steps=10)
    grads = [[g * size for g in one] for one in grads]
    expected = official(params, grads, 0.1, decay, kind)
    assert_follows(kind(), expected, params, grads, weight_decay=decay)


@pytest.mark.parametrize("policy", [None, MGUP()], ids=["plain", "mgup"])
@pytest.mark.parametrize(
    ("rule", "limit"),
    [
        (MARSAdamW(gamma_=0.0), AdamW(b1=0.95, b2=0.99)),
        (MARSAdamW(b1=0.0), AdamW(b1=0.0, b2=0.99)),
        (MARSLion(gamma_=0.0), Signum(momentum=0.95)),
    ],
    ids=["AdamW", "no momentum", "Signum"],
)
def test_limits_that_are_another_rule(rule, limit, policy):
    """Zero tolerance, with gradients shorter than 1."""
    params, grads = data()
    grads = [[g * 1e-2 for g in one] for one in grads]
    ours, theirs = (
        follow(one, params, grads, policy, weight_decay=0.2)[0] for one in (rule, limit)
    )
    for x, y in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("kind", [MARSAdamW, MARSLion])
def test_the_state_keeps_the_gradient_as_it_came(kind):
    params, grads = data()
    _, state = follow(kind(), params, grads)
    for i, g in enumerate(grads[-1]):
        np.testing.assert_array_equal(state.arrays[i]["previous_grad"], g)


@pytest.mark.parametrize("kind", [MARSAdamW, MARSLion])
def test_the_linter_finds_no_error(kind):
    assert check_rule(kind).ok, str(check_rule(kind))


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        (MARSAdamW, {"b1": 1.0}),
        (MARSAdamW, {"gamma_": -0.1}),
        (MARSLion, {"momentum": 1.0}),
        (MARSLion, {"gamma_": float("nan")}),
    ],
    ids=str,
)
def test_bad_input(kind, bad):
    with pytest.raises(ValueError, match=f"{next(iter(bad))}="):
        kind(**bad)


@pytest.mark.parametrize("kind", [MARSAdamW, MARSLion])
def test_a_stack_is_refused(kind):
    """The norm is that of the whole tensor."""
    optimizer = Optimizer(kind(), None, stacked_dims=1)
    with pytest.raises(ValueError, match="stacked_dims=1 is not available"):
        optimizer.init([np.zeros((2, 3))])
