"""The local step of FedAvg-M: its equation, its limits, and one round (R0, P11)."""

from __future__ import annotations

import numpy as np
import pytest

from mgup_core import SGD, AnchoredSGD, Optimizer

from .textbook import assert_follows, data, follow


def anchored(rule, params, anchors, grads, lr=0.1):
    """The parameters after these gradients, with given anchors."""
    optimizer = Optimizer(rule, None, lr=lr, weight_decay=0.0)
    state = optimizer.init(params)
    for arrays, anchor in zip(state.arrays.values(), anchors, strict=True):
        arrays["anchor"] = anchor
    for one in grads:
        params, state = optimizer.step(params, one, state)
    return params, state


def test_the_equation():
    params, grads = data()
    anchors, grads = grads[0], grads[1:]
    moved, state = anchored(AnchoredSGD(beta=0.3), params, anchors, grads)
    for i, w in enumerate(params):
        expected = w - 0.1 * sum(0.3 * one[i] + (1 - 0.3) * anchors[i] for one in grads)
        np.testing.assert_allclose(moved[i], expected, rtol=1e-12)
        np.testing.assert_array_equal(state.arrays[i]["anchor"], anchors[i])


def test_without_an_anchor():
    params, grads = data()
    expected = [w - 0.1 * 0.3 * sum(one[i] for one in grads) for i, w in enumerate(params)]
    assert_follows(AnchoredSGD(beta=0.3), expected, params, grads)


def test_beta_one_is_plain_sgd():
    """Without the anchor, rounds of the rule are FedAvg."""
    params, grads = data()
    moved, _ = anchored(AnchoredSGD(beta=1.0), params, [np.ones_like(w) for w in params], grads)
    plain, _ = follow(SGD(momentum=0.0), params, grads)
    for ours, theirs in zip(moved, plain, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_one_client_and_one_step_are_averaged_momentum():
    """N = K = 1 and a server rate of lr: SGD whose momentum weighs the gradient by beta."""
    params, grads = data(steps=6)
    w, anchor = params, [np.zeros_like(x) for x in params]
    for one in grads:
        y, _ = anchored(AnchoredSGD(beta=0.2), w, anchor, [one])
        anchor = [(x - z) / 0.1 for x, z in zip(w, y, strict=True)]
        w = [x - 0.1 * g for x, g in zip(w, anchor, strict=True)]
    m = [np.zeros_like(x) for x in params]
    for one in grads:
        m = [0.8 * old + 0.2 * g for old, g in zip(m, one, strict=True)]
        params = [x - 0.1 * g for x, g in zip(params, m, strict=True)]
    for ours, theirs in zip(w, params, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-11)


@pytest.mark.parametrize("beta", [0.0, 1.5, -0.1])
def test_bad_beta(beta):
    with pytest.raises(ValueError, match="beta="):
        AnchoredSGD(beta=beta)


def test_an_anchor_of_another_shape():
    with pytest.raises(ValueError, match="anchor"):
        anchored(AnchoredSGD(), [np.zeros((2, 3))], [np.zeros(3)], [[np.ones((2, 3))]])
