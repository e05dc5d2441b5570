"""AdEMAMix: the official equations with and without warm-up, and AdamW as a limit (R0, P11, N3)."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mgup_core import AdamW, AdEMAMix
from mgup_core.numerics.backend import backend_for

from .textbook import assert_follows, data, follow


def warm_mix(t, mix, steps):
    return mix * min(t / steps, 1) if steps else mix


def warm_beta(t, first, last, steps):
    """linear_hl_warmup_scheduler of apple/ml-ademamix, without its 1e-8 in the logarithm."""
    if not steps or t >= steps:
        return last
    at = t / steps
    life = (1 - at) * math.log(0.5) / math.log(first) + at * math.log(0.5) / math.log(last)
    return 0.5 ** (1 / life)


def official(params, grads, lr, decay, mix=2.0, mix_warmup=0, beta3_warmup=0):
    """The code of apple/ml-ademamix."""
    b1, b2, b3, eps = 0.9, 0.999, 0.9999, 1e-8
    params = [w.copy() for w in params]
    fast, slow, v = ([np.zeros_like(w) for w in params] for _ in range(3))
    for t, one in enumerate(grads, start=1):
        b, a = warm_beta(t, b1, b3, beta3_warmup), warm_mix(t, mix, mix_warmup)
        for i, g in enumerate(one):
            fast[i] = b1 * fast[i] + (1 - b1) * g
            slow[i] = b * slow[i] + (1 - b) * g
            v[i] = b2 * v[i] + (1 - b2) * g * g
            root = np.sqrt(v[i]) / math.sqrt(1 - b2**t) + eps
            u = (fast[i] / (1 - b1**t) + a * slow[i]) / root
            params[i] = params[i] - lr * (u + decay * params[i])
    return params


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mix": 8.0},
        {"mix_warmup": 4},
        {"beta3_warmup": 6},
        {"mix_warmup": 20, "beta3_warmup": 20},
    ],
    ids=str,
)
def test_the_official_code(options):
    params, grads = data(steps=8)
    expected = official(params, grads, 0.1, 0.3, **options)
    assert_follows(AdEMAMix(**options), expected, params, grads, weight_decay=0.3)


def test_nothing_mixed_in_is_adamw():
    params, grads = data()
    ours, adam = (follow(rule, params, grads)[0] for rule in (AdEMAMix(mix=0.0), AdamW()))
    for x, y in zip(ours, adam, strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_slow_decay_warms_up_to_rounding(dtype):
    """So does its complement, which float32 would lose, with a known and a traced t (N3)."""
    rule, be = AdEMAMix(beta3_warmup=10_000), backend_for(np.zeros(1, dtype))
    tolerance = 2e-6 if dtype == np.float32 else 1e-12
    for t in (1, 2, 10, 500, 5000, 9999, 10_000, 10**6):
        beta, weight = rule._slow(be, t)
        assert (beta, weight) == rule._slow(be, np.asarray(t))
        expected = warm_beta(t, 0.9, 0.9999, 10_000)
        assert abs(float(beta) - expected) < tolerance * expected
        assert abs(float(weight) - (1 - expected)) < tolerance * (1 - expected)


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("b3", {"b3": 1.0}),
        ("mix", {"mix": -1.0}),
        ("mix_warmup", {"mix_warmup": -1}),
        ("beta3_warmup", {"beta3_warmup": 2.5}),
        ("b1", {"beta3_warmup": 5, "b1": 0.0}),
        ("b1", {"beta3_warmup": 5, "b3": 0.5}),
    ],
)
def test_bad_input(name, bad):
    with pytest.raises(ValueError, match=f"^{name}="):
        AdEMAMix(**bad)
