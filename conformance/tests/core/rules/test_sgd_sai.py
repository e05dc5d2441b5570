"""SGD-SaI: the official equations, a ratio that is kept, and tensors that have none.

It checks P5, R0, R6, P11.
"""

from __future__ import annotations

import numpy as np
import pytest

from mgup_core import MGUP, Optimizer, SGDSaI

from .textbook import assert_follows, data, follow


def official(params, grads, lr, decay, momentum=0.9, eps=1e-8):
    """The code of AnonymousAlethiometer/SGD_SaI."""
    params, m, ratios = [w.copy() for w in params], list(grads[0]), []
    for g in grads[0]:
        ratios.append(np.linalg.norm(g.ravel()) / (g.std(ddof=1) + eps))
    for t, one in enumerate(grads, start=1):
        for i, g in enumerate(one):
            if t > 1:
                m[i] = momentum * m[i] + (1 - momentum) * g
            params[i] = params[i] * (1 - lr * decay) - lr * ratios[i] * m[i]
    return params


def test_the_official_code():
    params, grads = data()
    expected = official(params, grads, 0.1, 0.3)
    assert_follows(SGDSaI(), expected, params, grads, weight_decay=0.3)


def test_the_ratio_does_not_depend_on_the_size_of_the_gradient():
    params, grads = data(steps=1)
    kept = [follow(SGDSaI(eps=0.0), params, [[c * g for g in grads[0]]])[1] for c in (1, 64)]
    for i in range(len(params)):
        assert kept[0].arrays[i]["gsnr"] == kept[1].arrays[i]["gsnr"]


def test_the_ratio_is_kept_through_a_loaded_state():
    """The ratio is read from the state, and never measured again."""
    params, grads = data()
    _, state = follow(SGDSaI(), params, grads[:1])
    optimizer = Optimizer(SGDSaI(), None, lr=0.1, weight_decay=0.0)
    for arrays in state.arrays.values():
        arrays["gsnr"] = np.asarray(1.0)
    moved, after = optimizer.step(params, grads[1], state)
    for i, (w, g0, g1) in enumerate(zip(params, *grads[:2], strict=True)):
        np.testing.assert_allclose(moved[i], w - 0.1 * (0.9 * g0 + (1 - 0.9) * g1), rtol=1e-12)
        assert after.arrays[i]["gsnr"] == 1.0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [0.0, 0.1, 3e5])
@pytest.mark.parametrize("shape", [(1,), (7, 11)])
def test_without_noise_the_ratio_is_that_of_noise(shape, value, dtype):
    """One element, equal elements, no gradient yet: the published ratio is 0 or near |g| / eps."""
    optimizer = Optimizer(SGDSaI(), MGUP())
    params = [np.zeros(shape, dtype)]
    state = optimizer.init(params)
    _, state = optimizer.step(params, [np.full(shape, value, dtype)], state)
    np.testing.assert_allclose(state.arrays[0]["gsnr"], np.sqrt(params[0].size), rtol=1e-6)


def test_an_empty_parameter_is_left_alone():
    """R6: a parameter without coordinates is a no-op."""
    moved, _ = follow(SGDSaI(), [np.zeros((0, 3))], [[np.zeros((0, 3))]] * 2)
    assert moved[0].shape == (0, 3)


def test_stacks_are_refused():
    with pytest.raises(ValueError, match="SGDSaI measures whole tensors"):
        Optimizer(SGDSaI(), stacked_dims=1).init([np.zeros((2, 3))])


@pytest.mark.parametrize("bad", [{"momentum": 1.0}, {"eps": -1e-8}])
def test_bad_input(bad):
    with pytest.raises(ValueError, match=f"{next(iter(bad))}="):
        SGDSaI(**bad)
