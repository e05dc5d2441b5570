"""Lion-K and Signum: their equations, and Lion between them (R0, R2, P11)."""

from __future__ import annotations

import numpy as np
import pytest

from mgup_core import Lion, LionK, Signum

from .textbook import assert_follows, data, follow

KERNELS = {"sign": np.sign, "clip": lambda c: np.clip(c, -1, 1), "tanh": np.tanh}


@pytest.mark.parametrize("sharpness", [1.0, 3.0])
@pytest.mark.parametrize("kernel", KERNELS)
def test_the_equations(kernel, sharpness):
    params, grads = data(steps=6)
    expected, momenta = [w.copy() for w in params], [np.zeros_like(w) for w in params]
    for one in grads:
        for i, g in enumerate(one):
            c = sharpness * (0.9 * momenta[i] + (1 - 0.9) * g)
            expected[i] = expected[i] - 0.1 * (KERNELS[kernel](c) + 0.3 * expected[i])
            momenta[i] = 0.99 * momenta[i] + (1 - 0.99) * g
    rule = LionK(kernel=kernel, sharpness=sharpness)
    assert_follows(rule, expected, params, grads, weight_decay=0.3)


@pytest.mark.parametrize("rule", [LionK(0.95, 0.98), LionK(0.95, 0.98, "clip", 1e30)])
def test_sign_and_endless_sharpness_are_lion(rule):
    params, grads = data()
    for ours, lion in zip(
        follow(rule, params, grads)[0], follow(Lion(0.95, 0.98), params, grads)[0], strict=True
    ):
        np.testing.assert_array_equal(ours, lion)


def test_signum_is_lion_with_equal_betas():
    params, grads = data()
    for ours, lion in zip(
        follow(Signum(0.8), params, grads)[0], follow(Lion(0.8, 0.8), params, grads)[0], strict=True
    ):
        np.testing.assert_array_equal(ours, lion)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_signum_is_its_equations(momentum):
    """The cases include momentum 0, which is signSGD."""
    params, grads = data()
    expected, m = [w.copy() for w in params], [np.zeros_like(w) for w in params]
    for one in grads:
        for i, g in enumerate(one):
            m[i] = momentum * m[i] + (1 - momentum) * g
            expected[i] = expected[i] * (1 - 0.1 * 0.3) - 0.1 * np.sign(m[i])
    assert_follows(Signum(momentum), expected, params, grads, weight_decay=0.3)


@pytest.mark.parametrize(
    "bad", [{"kernel": "soft"}, {"sharpness": 0.0}, {"sharpness": np.inf}, {"b1": 1.0}]
)
def test_bad_input(bad):
    with pytest.raises(ValueError, match=f"{next(iter(bad))}="):
        LionK(**bad)


def test_bad_momentum():
    with pytest.raises(ValueError, match="momentum="):
        Signum(momentum=1.0)
