"""Schedule-Free: the package's loop with z and x, and what the average must satisfy (R0, R8)."""

from __future__ import annotations

import numpy as np
import pytest

from mgup_core import (
    MGUP,
    Optimizer,
    ScheduleFreeAdamW,
    ScheduleFreeRAdam,
    ScheduleFreeSGD,
    check_rule,
)

from .textbook import data, follow

KINDS = [ScheduleFreeAdamW, ScheduleFreeSGD]


def official(w, grads, rule, lr, decay, factor=1.0, b2=0.999, eps=1e-8):
    """The loop of ``schedulefree``, which keeps z and moves y; (y, x, z) of one parameter.

    Args:
        factor: of each coordinate's step of z.
    """
    b1 = rule.share
    y, z, v, total, most = w, w, np.zeros_like(w), 0.0, 0.0
    for t, g in enumerate(grads, start=1):
        rate = lr * min(t / rule.warmup_steps, 1.0) if rule.warmup_steps else lr
        most = max(most, rate)
        total += most**2
        c = most**2 / total
        v = b2 * v + (1 - b2) * g * g
        u = g if isinstance(rule, ScheduleFreeSGD) else g / (np.sqrt(v / (1 - b2**t)) + eps)
        step = rate * (factor * u + decay * y)
        y = y + c * (z - y) + (b1 * (1 - c) - 1) * step
        z = z - step
    return y, (y - (1 - b1) * z) / b1, z


@pytest.mark.parametrize("warmup", [0, 1, 4, 50])
@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("kind", KINDS)
def test_the_official_loop(kind, decay, warmup):
    """At y while training and at x in evaluation; the multiplier acts on z alone."""
    params, grads = data(steps=10)
    rule = kind(warmup_steps=warmup)
    policies = {1.0: None, 1.5: MGUP(tau=1.0, alpha=1.5)}
    for factor, policy in policies.items():
        ours, state = follow(rule, params, grads, policy, weight_decay=decay)
        there = Optimizer(rule).evaluation(ours, state)
        for i, w in enumerate(params):
            y, x, _ = official(w, [one[i] for one in grads], rule, 0.1, decay, factor)
            np.testing.assert_allclose(ours[i], y, rtol=1e-12, atol=1e-13)
            np.testing.assert_allclose(there[i], x, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_ones_are_the_plain_rule(kind):
    """P11."""
    params, grads = data()
    ours, theirs = (
        follow(kind(), params, grads, policy, weight_decay=0.2)[0]
        for policy in (None, MGUP(alpha=1.0, gamma=1.0))
    )
    for x, y in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("warmup", [0, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_x_stays_the_average_of_z_whatever_the_policy(kind, warmup):
    """x is the weighted mean of all z; a multiplier on y's step would move it away."""
    params, grads = data(steps=12)
    rule = kind(warmup_steps=warmup)
    optimizer = Optimizer(rule, MGUP(), lr=0.1, weight_decay=0.1)
    state, share = optimizer.init(params), rule.share
    mean, total = 0.0, 0.0
    for t, one in enumerate(grads, start=1):
        params, state = optimizer.step(params, one, state)
        x = optimizer.evaluation(params, state)[0]
        z = x - state.arrays[0]["to_average"] / (1 - share)
        weight = min(t / warmup, 1.0) ** 2 if warmup else 1.0
        total += weight
        mean = mean + weight / total * (z - mean)
        # z is found back as a difference from x, which costs a digit or two.
        np.testing.assert_allclose(x, mean, rtol=1e-11, atol=1e-12)


def rectified(t, b2):
    """R_t of the package, 0 in its silent phase."""
    rho = 2 / (1 - b2) - 1
    at = rho - 2 * t * b2**t / (1 - b2**t)
    if at <= 4:
        return 0.0
    return np.sqrt((at - 4) * (at - 2) * rho / ((rho - 4) * (rho - 2) * at))


def official_radam(w, grads, lr, decay, factor=1.0, b1=0.9, b2=0.999):
    """``RAdamScheduleFree``: (y, x) of one parameter."""
    y, z, v, total, most = w, w, np.zeros_like(w), 0.0, 0.0
    for t, g in enumerate(grads, start=1):
        rate = lr * rectified(t, b2)
        most = max(most, rate)
        total += most**2
        c = most**2 / total if total else 0.0
        v = b2 * v + (1 - b2) * g * g
        step = rate * (factor * g / (np.sqrt(v / (1 - b2**t)) + 1e-8) + decay * y)
        y = y + c * (z - y) + (b1 * (1 - c) - 1) * step
        z = z - step
    return y, (y - (1 - b1) * z) / b1


@pytest.mark.parametrize("b2", [0.999, 0.9, 0.65])
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_the_official_radam(decay, b2):
    """Silent steps first, whose number b2 decides; the multiplier acts on z alone."""
    params, grads = data(steps=12)
    rule = ScheduleFreeRAdam(b2=b2)
    for factor, policy in {1.0: None, 1.5: MGUP(tau=1.0, alpha=1.5)}.items():
        ours, state = follow(rule, params, grads, policy, weight_decay=decay)
        there = Optimizer(rule).evaluation(ours, state)
        for i, w in enumerate(params):
            y, x = official_radam(w, [one[i] for one in grads], 0.1, decay, factor, b2=b2)
            # rho is the difference of two numbers near 2/(1 - b2), here 2000 at most.
            np.testing.assert_allclose(ours[i], y, rtol=1e-11, atol=1e-12)
            np.testing.assert_allclose(there[i], x, rtol=1e-11, atol=1e-12)


def test_radam_ranks_by_u_until_there_is_an_average():
    """P1: through the silent steps and two more."""
    params, grads = data(steps=7)
    rule = ScheduleFreeRAdam()
    optimizer = Optimizer(rule, MGUP(), lr=0.1, weight_decay=0.0)
    plain = Optimizer(rule, None, lr=0.1, weight_decay=0.0)
    state = optimizer.init(params)
    for t, one in enumerate(grads, start=1):
        e = [state.arrays[i]["to_average"] for i in range(len(params))]
        moved, after = optimizer.step(params, one, state)
        base, _ = plain.step(params, one, state)
        if t <= 4:
            for x, y in zip(moved, params, strict=True):
                np.testing.assert_array_equal(x, y)
        elif t in (5, 7):
            r = np.array([rectified(i, 0.999) for i in range(1, t + 1)])
            c = r[-1] ** 2 / (r**2).sum()
            for i, g in enumerate(one):
                back = 9 * c * e[i]
                share = (params[i] - moved[i] - back) / (params[i] - base[i] - back)
                score = ((e[i] if t == 7 else params[i] - base[i]) * g).ravel()
                chosen = np.zeros(score.size, bool)
                chosen[np.argsort(-score, kind="stable")[: score.size // 2]] = True
                # A quotient of differences: of sixteen digits it keeps eight, and needs one.
                np.testing.assert_allclose(share.ravel(), np.where(chosen, 2.0, 0.5), rtol=1e-8)
        params, state = moved, after


def test_without_a_share_of_x_it_is_the_plain_step():
    """momentum = 0: y is z, and the average follows without being trained at."""
    params, grads = data(steps=6)
    ours, state = follow(ScheduleFreeSGD(momentum=0.0), params, grads)
    for i, w in enumerate(params):
        visited = w - 0.1 * np.cumsum([one[i] for one in grads], axis=0)
        np.testing.assert_allclose(ours[i], visited[-1], rtol=1e-12, atol=1e-13)
        x = Optimizer(ScheduleFreeSGD()).evaluation(ours, state)[i]
        np.testing.assert_allclose(x, visited.mean(axis=0), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
def test_it_ranks_by_the_way_from_z_to_the_average(kind):
    """P1: by u while there is no such way, which is two steps."""
    params, grads = data(steps=5)
    optimizer = Optimizer(kind(), MGUP(), lr=0.1, weight_decay=0.0)
    plain = Optimizer(kind(), None, lr=0.1, weight_decay=0.0)
    state = optimizer.init(params)
    for t, one in enumerate(grads, start=1):
        e = [state.arrays[i]["to_average"] for i in range(len(params))]
        moved, after = optimizer.step(params, one, state)
        base, _ = plain.step(params, one, state)
        for i, g in enumerate(one):
            back = rule_back(optimizer.rule, e[i], t)
            share = (params[i] - moved[i] - back) / (params[i] - base[i] - back)
            u = params[i] - base[i] - back
            score = ((e[i] if t > 2 else u) * g).ravel()
            top = np.argsort(-score, kind="stable")[: score.size // 2]
            chosen = np.zeros(score.size, bool)
            chosen[top] = True
            np.testing.assert_allclose(share.ravel(), np.where(chosen, 2.0, 0.5), rtol=1e-9)
        params, state = moved, after


def rule_back(rule, e, t):
    """What y moves by without a gradient: towards z."""
    return rule.share / (1 - rule.share) / t * e


@pytest.mark.parametrize("kind", [*KINDS, ScheduleFreeRAdam])
def test_the_linter_finds_no_error(kind):
    assert check_rule(kind).ok, str(check_rule(kind))


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        (ScheduleFreeAdamW, {"b1": 1.0}),
        (ScheduleFreeAdamW, {"eps": -1.0}),
        (ScheduleFreeAdamW, {"warmup_steps": -1}),
        (ScheduleFreeRAdam, {"b1": 1.0}),
        (ScheduleFreeRAdam, {"b2": 0.6}),
        (ScheduleFreeSGD, {"momentum": 1.0}),
        (ScheduleFreeSGD, {"warmup_steps": 2.0}),
    ],
    ids=str,
)
def test_bad_input(kind, bad):
    with pytest.raises(ValueError, match=f"{next(iter(bad))}="):
        kind(**bad)
