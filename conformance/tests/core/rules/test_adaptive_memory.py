"""AM-SGD and AM-AdamW: the derived equations, their limits, and sums over all parameters.

It checks R0, R6, P11.
"""

from __future__ import annotations

import numpy as np
import pytest

from mgup_core import AMSGD, MGUP, SGD, AdamW, AMAdamW, Optimizer

from .textbook import assert_follows, data, follow


def ratio(above, below, most):
    return 0.0 if below == 0 else min(max(above / below, 0.0), most)


def am_sgd(params, grads, lr, decay, *, scope="all", lam=0.1, beta_max=0.9, coupled=False):
    """beta by the first of its two derived forms; the rule computes the second."""
    params, d, betas = [w.copy() for w in params], None, []
    for one in grads:
        one = [g + decay * w if coupled else g for g, w in zip(one, params, strict=True)]
        if d is None:
            d = [g.copy() for g in one]
        else:
            above, below = [], []
            for g, m in zip(one, d, strict=True):
                above.append((1 + lam) * (g * m).sum() - ((m - g) * (g + lam * m)).sum())
                below.append(((m - g) ** 2).sum())
            if scope == "all":
                above, below = [sum(above)] * len(d), [sum(below)] * len(d)
            beta = [ratio(a, b, beta_max) for a, b in zip(above, below, strict=True)]
            betas += beta
            d = [
                ((b + lam) * m + (1 - b) * g) / (1 + lam)
                for b, m, g in zip(beta, d, one, strict=True)
            ]
        for w, m in zip(params, d, strict=True):
            w *= 1 - (0 if coupled else lr * decay)
            w -= lr * m
    return params, betas


def am_adamw(params, grads, lr, decay, *, b1=0.89, b2=0.999, eps=1e-8, lam=0.1):
    params, betas = [w.copy() for w in params], []
    d, v = ([np.zeros_like(w) for w in params] for _ in range(2))
    product = [1.0] * len(params)
    for t, one in enumerate(grads, start=1):
        for i, g in enumerate(one):
            v[i] = b2 * v[i] + (1 - b2) * g * g
            p = (1 - b1 * product[i]) * (np.sqrt(v[i] / (1 - b2**t)) + eps)
            s = 1 / (p * (1 + lam * p))
            above = (g * d[i] / p).sum() - ((d[i] - g) * s * (g + lam * p * d[i])).sum()
            below = ((d[i] - g) * s * (d[i] - g)).sum()
            beta = b1 if t == 1 else ratio(above, below, b1)
            betas.append(beta)
            d[i] = ((1 - beta) * g + (lam * p + beta) * d[i]) / (1 + lam * p)
            product[i] *= beta
            params[i] *= 1 - lr * decay
            params[i] -= lr * d[i] / p
    return params, betas


@pytest.mark.parametrize("options", [{}, {"lam": 0.0}, {"lam": 1.0, "beta_max": 0.99}], ids=str)
@pytest.mark.parametrize("scope", ["all", "tensor"])
def test_am_sgd_is_its_derivation(scope, options):
    params, grads = data(steps=6)
    expected, betas = am_sgd(params, grads, 0.1, 0.3, scope=scope, **options)
    rule = AMSGD(beta_scope=scope, **options)
    assert_follows(rule, expected, params, grads, weight_decay=0.3)
    assert any(0 < beta < rule.beta_max for beta in betas)


@pytest.mark.parametrize("scope", ["all", "tensor"])
def test_coupled_decay_enters_the_products(scope):
    params, grads = data(steps=6)
    expected, _ = am_sgd(params, grads, 0.1, 0.3, scope=scope, coupled=True)
    rule = AMSGD(beta_scope=scope, coupled_decay=True)
    assert_follows(rule, expected, params, grads, weight_decay=0.3)


@pytest.mark.parametrize("options", [{}, {"lam": 0.0}, {"lam": 1.0, "b1": 0.99}], ids=str)
def test_am_adamw_is_its_derivation(options):
    params, grads = data(steps=6)
    expected, betas = am_adamw(params, grads, 0.1, 0.3, **options)
    rule = AMAdamW(**options)
    assert_follows(rule, expected, params, grads, weight_decay=0.3)
    assert any(0 < beta < rule.b1 for beta in betas)


def test_fixed_beta_without_lam_is_an_average():
    """AM-SGD is SGD with dampening = momentum, and AM-AdamW is AdamW, also with MGUP."""
    params, grads = data()
    for policy in (None, MGUP()):
        for rule, limit in (
            (AMSGD(lam=0.0, beta=0.9), SGD(momentum=0.9, dampening=0.9)),
            (AMAdamW(lam=0.0, beta=0.9), AdamW(b1=0.9)),
        ):
            ours, _ = follow(rule, params, grads, policy, weight_decay=0.1)
            theirs, _ = follow(limit, params, grads, policy, weight_decay=0.1)
            for one, other in zip(ours, theirs, strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-14)


def test_without_lam_beta_is_a_ratio_of_lengths():
    """beta = |g|^2 / |d - g|^2, here 1 / 4, so that d = 0.25*(-1) + 0.75*1 = 0.5."""
    w, g = np.zeros(3), np.ones(3)
    (moved,), state = follow(AMSGD(lam=0.0), [w], [[-g], [g]], lr=1.0)
    np.testing.assert_array_equal(state.arrays[0]["momentum_buffer"], 0.5)
    np.testing.assert_array_equal(moved, 0.5)


def test_the_same_gradient_again_keeps_the_direction():
    """Where d = g, beta is 0 and not 0 / 0."""
    g = [np.array([1.0, -2.0])]
    _, state = follow(AMSGD(), [np.zeros(2)], [g, g, g])
    np.testing.assert_allclose(state.arrays[0]["momentum_buffer"], g[0], rtol=1e-15)


def test_one_parameter_is_all_parameters():
    """For a single parameter, both scopes give the same bits."""
    params, grads = data(((4, 6),))
    ours, theirs = (
        follow(AMSGD(beta_scope=s), params, grads, MGUP())[0] for s in ("all", "tensor")
    )
    np.testing.assert_array_equal(ours[0], theirs[0])


def test_all_parameters_are_one_vector():
    """Parameters split or joined take the same step, since only their products couple them."""
    rng = np.random.default_rng(0)
    joined = [rng.standard_normal(8)], [[rng.standard_normal(8)] for _ in range(5)]
    split = np.split(joined[0][0], [3]), [np.split(g, [3]) for (g,) in joined[1]]
    ours, _ = follow(AMSGD(), *joined)
    theirs, _ = follow(AMSGD(), *split)
    np.testing.assert_allclose(ours[0], np.concatenate(theirs), rtol=1e-13)
    apart, _ = follow(AMSGD(beta_scope="tensor"), *split)
    assert np.abs(ours[0] - np.concatenate(apart)).max() > 1e-3


def test_a_parameter_without_gradient_takes_no_part():
    """R6: a parameter without gradient adds nothing to the sums, nor does one at its first step."""
    params, grads = data(((4, 6), (5,)), steps=4)
    alone, _ = follow(AMSGD(), params[:1], [one[:1] for one in grads])
    late = [[g, None] for g, _ in grads[:3]] + grads[3:]
    both, state = follow(AMSGD(), params, late)
    np.testing.assert_array_equal(alone[0], both[0])
    np.testing.assert_array_equal(state.arrays[1]["momentum_buffer"], grads[3][1])


def test_beta_is_one_for_all_only_where_it_is_asked_for():
    """The rule asks for sums only with ``beta_scope="all"`` and no fixed beta."""
    assert AMSGD().couples_parameters
    assert not AMSGD(beta_scope="tensor").couples_parameters
    assert not AMSGD(beta=0.5).couples_parameters
    assert AMSGD.experimental
    assert AMAdamW.experimental


def test_bad_values():
    with pytest.raises(ValueError, match="beta_scope='layer' is neither 'all' nor 'tensor'"):
        AMSGD(beta_scope="layer")
    for rule in (AMSGD, AMAdamW):
        with pytest.raises(ValueError, match=r"lam=-1.0 is outside \[0, inf\)"):
            rule(lam=-1.0)
        with pytest.raises(ValueError, match=r"beta=1.0 is outside \[0, 1\)"):
            rule(beta=1.0)
    with pytest.raises(ValueError, match=r"beta_max=1\.0"):
        AMSGD(beta_max=1.0)
    with pytest.raises(ValueError, match="AMAdamW measures whole tensors"):
        Optimizer(AMAdamW(), stacked_dims=1).init([np.ones((2, 3))])
