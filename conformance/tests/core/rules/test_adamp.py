"""AdamP and SGDP: the official equations, their limits, and steps that stay beside the weights.

It checks P1, R0, P11.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from mgup_core import MGUP, SGD, SGDP, AdamP, AdamW, Optimizer

from .textbook import SHAPES, assert_follows, data, follow


def projected(p, g, w, *, eps, delta):
    """The code of clovaai/AdamP: (p, the view that was projected)."""
    if w.ndim > 1:
        for view in ((w.shape[0], -1), (1, -1)):
            g2, w2 = g.reshape(view), w.reshape(view)
            norms = np.maximum(np.linalg.norm(g2, axis=1), eps)
            norms = norms * np.maximum(np.linalg.norm(w2, axis=1), eps)
            if (np.abs((g2 * w2).sum(1)) / norms).max() < delta / math.sqrt(w2.shape[1]):
                n = w2 / (np.linalg.norm(w2, axis=1, keepdims=True) + eps)
                p2 = p.reshape(view)
                return (p2 - n * (n * p2).sum(1, keepdims=True)).reshape(w.shape), view
    return p, None


def adamp(params, grads, lr, decay, *, nesterov, delta, b1=0.9, b2=0.999, eps=1e-8, ratio=0.1):
    params, views = [w.copy() for w in params], set()
    m, v = ([np.zeros_like(w) for w in params] for _ in range(2))
    for t, one in enumerate(grads, start=1):
        for i, g in enumerate(one):
            m[i] = b1 * m[i] + (1 - b1) * g
            v[i] = b2 * v[i] + (1 - b2) * g * g
            denominator = np.sqrt(v[i]) / math.sqrt(1 - b2**t) + eps
            p = (b1 * m[i] + (1 - b1) * g if nesterov else m[i]) / denominator
            p, view = projected(p, g, params[i], eps=eps, delta=delta)
            views.add(view and view[0])
            params[i] *= 1 - lr * decay * (ratio if view else 1)
            params[i] -= lr / (1 - b1**t) * p
    return params, views


def sgdp(params, grads, lr, decay, *, nesterov, delta, momentum, damping, eps=1e-8, ratio=0.1):
    params = [w.copy() for w in params]
    m = [np.zeros_like(w) for w in params]
    for one in grads:
        for i, g in enumerate(one):
            m[i] = momentum * m[i] + (1 - damping) * g
            p = g + momentum * m[i] if nesterov else m[i]
            p, view = projected(p, g, params[i], eps=eps, delta=delta)
            params[i] *= 1 - lr * decay * (ratio if view else 1) / (1 - momentum)
            params[i] -= lr * p
    return params


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize(("delta", "seen"), [(0.1, {1}), (1.0, {1, 3, 4}), (2.4, {3, 4})])
def test_adamp_is_the_official_code(delta, seen, nesterov):
    """Steps that are free, projected as a whole (one row), and projected by rows (3 or 4)."""
    params, grads = data(steps=6)
    expected, views = adamp(params, grads, 0.05, 0.3, nesterov=nesterov, delta=delta)
    rule = AdamP(nesterov=nesterov, delta=delta)
    assert_follows(rule, expected, params, grads, lr=0.05, weight_decay=0.3)
    assert views == seen | {None}


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("delta", [0.1, 1.0, 2.4])
def test_sgdp_is_the_official_code(delta, nesterov):
    """The official code without its aliased buffer, so that the momentum is never projected."""
    params, grads = data(steps=6)
    options = {"nesterov": nesterov, "delta": delta, "momentum": 0.9}
    expected = sgdp(params, grads, 0.05, 0.3, damping=0.2, **options)
    rule = SGDP(dampening=0.2, **options)
    assert_follows(rule, expected, params, grads, lr=0.05, weight_decay=0.3)


@pytest.mark.parametrize("policy", [None, MGUP()], ids=str)
@pytest.mark.parametrize(
    ("rule", "limit"), [(AdamP(delta=0.0), AdamW()), (SGDP(0.0, delta=0.0, momentum=0.9), SGD())]
)
def test_without_delta_it_is_the_unprojected_rule(rule, limit, policy):
    """delta = 0: AdamW with its decay, and SGD without decay, bit for bit, with MGUP too."""
    decay = 0.3 if isinstance(limit, AdamW) else 0.0
    ours, _ = follow(rule, *data(), policy, weight_decay=decay)
    theirs, _ = follow(limit, *data(), policy, weight_decay=decay)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


def radial(step, w, view):
    """The share of a step along the weights, for each row of a view."""
    step, w = step.reshape(view), w.reshape(view)
    return np.abs((step * w).sum(1)) / (np.linalg.norm(step, axis=1) * np.linalg.norm(w, axis=1))


@pytest.mark.parametrize("rule", [AdamP(delta=10.0), SGDP(delta=10.0, momentum=0.9)], ids=str)
@pytest.mark.parametrize("policy", [None, MGUP(), MGUP(0.25, 4.0, 0.1)], ids=str)
def test_a_projected_step_is_orthogonal_to_its_rows(rule, policy):
    """Also after the multiplier, which by itself would bring a radial part back.

    To the eps of the published normal vector, some 1e-8 of what was taken out.
    """
    params, grads = data()
    optimizer = Optimizer(rule, policy, weight_decay=0.0, lr=0.1)
    state = optimizer.init(params)
    for one in grads:
        moved, state = optimizer.step(params, one, state)
        for i in (0, 2):
            assert radial(moved[i] - params[i], params[i], (SHAPES[i][0], -1)).max() < 1e-6
        params = moved


@pytest.mark.parametrize("rule", [AdamP(), SGDP(momentum=0.9)], ids=str)
def test_a_step_projected_as_a_whole_is_orthogonal_as_a_whole(rule):
    """One row points along its gradient, so only the view of the whole is invariant."""
    w = np.array([[1.0, 0.0, 0.0, 0.0], [0.0, 3.0, 0.0, 0.0]])
    g = np.array([[3.0, 1.0, 2.0, 0.5], [0.5, -1.0, 1.0, 2.0]])
    for policy in (None, MGUP()):
        (moved,), _ = follow(rule, [w], [[g]], policy)
        step = moved - w
        assert radial(step, w, (1, -1)).max() < 1e-7
        assert radial(step, w, (2, -1)).min() > 0.1
    (free,), _ = follow(SGDP(delta=0.0), [w], [[g]])
    assert radial(free - w, w, (2, -1)).min() > 0.1


def test_the_multiplier_leaves_its_mark_on_a_projected_step():
    """MGUP's step loses only the radial part that the multiplier brought back."""
    params, grads = data(steps=1)
    plain, _ = follow(AdamP(delta=10.0), params, grads)
    ours, _ = follow(AdamP(delta=10.0), params, grads, MGUP())
    w, u = params[0], (params[0] - plain[0]) / 0.1
    scores = (u * grads[0][0]).ravel()
    phi = np.full(scores.size, 0.5)
    phi[np.argsort(-scores, kind="stable")[: scores.size // 2]] = 2.0
    masked = phi.reshape(w.shape) * u
    n = w / np.linalg.norm(w, axis=1, keepdims=True)
    masked = masked - n * (n * masked).sum(1, keepdims=True)
    np.testing.assert_allclose(w - ours[0], 0.1 * masked, atol=1e-8)


def test_out_axis_names_the_rows():
    """Transposed arrays with the other axis take transposed steps."""
    params, grads = data(((4, 6), (6, 4)), steps=4)
    turned = [w.T for w in params], [[g.T for g in one] for one in grads]
    for rule in (AdamP, SGDP):
        ours, _ = follow(rule(delta=2.0), params, grads, MGUP())
        theirs, _ = follow(rule(delta=2.0, out_axis=-1), *turned, MGUP())
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(one, other.T, rtol=1e-12)


def test_weights_of_zero_are_not_projected():
    """Weights of zero have no direction: the cosine is 0, and so is the normal vector."""
    grads = data(((4, 6),))[1]
    zeros = [np.zeros((4, 6))]
    ours, _ = follow(AdamP(), zeros, grads[:1])
    theirs, _ = follow(AdamW(), zeros, grads[:1])
    np.testing.assert_array_equal(ours[0], theirs[0])


@pytest.mark.parametrize(
    ("rule", "values", "message"),
    [
        (AdamP, {"delta": -0.1}, r"delta=-0.1 is outside \[0, inf\)"),
        (AdamP, {"wd_ratio": math.nan}, "wd_ratio=nan"),
        (AdamP, {"b2": 1.0}, r"b2=1.0 is outside \[0, 1\)"),
        (AdamP, {"eps": -1.0}, "eps=-1.0"),
        (SGDP, {"momentum": 1.0}, "momentum=1.0"),
        (SGDP, {"dampening": 2.0}, r"dampening=2.0 is outside \[0, 1\]"),
    ],
)
def test_bad_values(rule, values, message):
    with pytest.raises(ValueError, match=message):
        rule(**values)


def test_bad_shapes():
    """A missing axis and stacks are refused with the remedy."""
    optimizer = Optimizer(AdamP(out_axis=2))
    with pytest.raises(ValueError, match=r"out_axis=2 is no axis of shape \(4, 6\): give one from"):
        optimizer.init([np.ones((4, 6))])
    optimizer.init([np.ones(6)])  # vectors are not projected
    with pytest.raises(ValueError, match=r"SGDP measures whole tensors.*a parameter of its own"):
        Optimizer(SGDP(), stacked_dims=1).init([np.ones((2, 4, 6))])
