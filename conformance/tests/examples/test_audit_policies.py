"""Policies of one's own (P13): the audit's controls, on every backend and by every driver."""

from __future__ import annotations

import math

import array_api_compat.numpy as xp
import array_api_strict
import numpy as np
import pytest
import torch

pytest.importorskip("audit", reason="the examples are not beside the tests")

from audit.policies import BottomMask, MagnitudeMask, RandomMask, largest
from mgup_core import MGUP, AdamW, Context, NumPyBackend, Optimizer, SignMGUP, parameter_key
from mgup_core.selection.reference import argsort_mask
from mgup_torch import MGUPAdamW, wrapper

BE = NumPyBackend(xp, np.float32)
SHAPES = {"blocks": (3, 4, 5), "head.weight": (7, 6), "bias": (9,)}
STACKED = {"blocks": 1}
CONTROLS = [RandomMask(0.3, 3.0, 0.4, seed=5), BottomMask(), MagnitudeMask(0.25)]
BACKENDS = {
    "numpy": np.asarray,
    "strict": array_api_strict.asarray,
    "torch": torch.from_numpy,
    "jax": lambda x: pytest.importorskip("jax").numpy.asarray(x),
}

pytestmark = pytest.mark.filterwarnings("ignore:.*none is selected:UserWarning")


def draws(n: int, seed: int = 0) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [
        {name: rng.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}
        for _ in range(n)
    ]


def followed(policy, convert) -> dict[str, np.ndarray]:
    """The parameters after three steps of the reference optimizer."""
    optimizer = Optimizer(AdamW(), policy, lr=0.1, stacked_dims=STACKED)
    params, *gradients = [{n: convert(x) for n, x in one.items()} for one in draws(4)]
    state = optimizer.init(params)
    for g in gradients:
        params, state = optimizer.step(params, g, state)
    return {name: np.asarray(x) for name, x in params.items()}


def scalar_hash(*words: int) -> int:
    """The hash of P13's random mask with Python's own integers."""
    state, most = 0, (1 << 32) - 1
    for word in words:
        x = state ^ word
        x = ((x ^ x >> 16) * 0x85EBCA6B) & most
        x = ((x ^ x >> 13) * 0xC2B2AE35) & most
        state = ((x ^ x >> 16) + 0x9E3779B9) & most
    return state - (1 << 32) if state >= 1 << 31 else state


@pytest.mark.parametrize("policy", CONTROLS, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_same_mask_on_every_backend(policy, backend):
    """P13: with NumPy, strictly, with PyTorch's and JAX's arrays."""
    wanted, found = followed(policy, np.asarray), followed(policy, BACKENDS[backend])
    for name in SHAPES:
        assert np.array_equal(wanted[name], found[name]), name


@pytest.mark.parametrize("policy", CONTROLS, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("implementation", ["auto", "reference"])
def test_the_same_mask_in_torch(policy, named, implementation):
    """P13: an optimizer of PyTorch and the reference, by name and by place."""
    start, *gradients = draws(4)
    tensors = {name: torch.tensor(x, requires_grad=True) for name, x in start.items()}
    groups = [
        {"params": [(n, p) if named else p], "stacked_dims": STACKED.get(n, 0)}
        for n, p in tensors.items()
    ]
    ours = MGUPAdamW(groups, lr=0.1, mode=policy, implementation=implementation)
    keys = list(start) if named else list(range(len(start)))
    rename = dict(zip(start, keys, strict=True))
    reference = Optimizer(
        AdamW(), policy, lr=0.1, stacked_dims={rename[n]: k for n, k in STACKED.items()}
    )
    params = {rename[n]: x for n, x in start.items()}
    state = reference.init(params)
    for g in gradients:
        for name, p in tensors.items():
            p.grad = torch.tensor(g[name])
        ours.step()
        params, state = reference.step(params, {rename[n]: x for n, x in g.items()}, state)
    for name, p in tensors.items():
        assert np.array_equal(p.detach().numpy(), params[rename[name]]), name
    assert {row.executor for row in ours.explain()} == {"whole"}
    assert f"{type(policy).__name__} decides by itself" in str(ours.explain())


def test_the_hash_and_the_count():
    """P13: exactly K of each slice, by the hash of (seed, parameter, t, flat index)."""
    policy, rows = RandomMask(0.29, seed=2**32 - 1), (2, 100)
    index = np.arange(200, dtype=np.int32).reshape(rows)
    key = parameter_key("blocks.0.weight")
    context = Context(7, key, index, np.ones(rows, np.float32))
    mask = policy.decide(BE, np.ones(rows, np.float32), context).mask
    for row, chosen in zip(index, mask, strict=True):
        values = [scalar_hash(2**32 - 1, key, 7, int(i)) for i in row]
        assert sorted(values, reverse=True)[:29] == sorted(
            (v for v, c in zip(values, chosen, strict=True) if c), reverse=True
        )
        assert chosen.sum() == 29


def test_masks_of_steps_parameters_and_seeds_differ():
    """P13: each is as good as drawn anew, so that they share as much as chance gives."""
    index = np.arange(10_000, dtype=np.int32)[None]
    ones = np.ones(index.shape, np.float32)

    def mask(seed, key, t):
        return RandomMask(seed=seed).decide(BE, ones, Context(t, key, index, ones)).mask

    base = mask(0, 0, 1)
    for other in (mask(1, 0, 1), mask(0, 1, 1), mask(0, 0, 2)):
        # The share is 1/2 with a standard deviation of 0.005.
        assert abs((base & other).sum() / base.sum() - 0.5) < 0.03


@pytest.mark.parametrize("k", [0, 1, 4, 7])
def test_the_largest_of_equal_integers_are_the_first(k):
    values = np.random.default_rng(k).integers(-3, 3, (5, 7)).astype(np.int32)
    wanted = argsort_mask(xp, values.astype(np.float32), k)
    assert np.array_equal(largest(xp, values, k), wanted)


def test_a_random_mask_never_amplifies_what_is_not_finite():
    """P7 holds of the controls, too."""
    scores = np.array([[np.nan, -np.inf, np.inf, 1.0]], np.float32)
    context = Context(1, 0, np.arange(4, dtype=np.int32)[None], np.ones((1, 4), np.float32))
    for policy in (RandomMask(1.0), BottomMask(1.0), MagnitudeMask(1.0)):
        split = policy.decide(BE, scores, context)
        assert split.mask.tolist() == [[False, False, True, True]]
        assert math.isclose(float(split.high), 1.0)


def test_a_policy_of_the_library_as_an_object():
    """P13: what a mode names may be given as a policy, and takes the same path."""
    start, g = draws(2)
    found = []
    for given in ({"mode": SignMGUP(1.5, 0.7)}, {"mode": "sign", "alpha": 1.5, "gamma": 0.7}):
        p = torch.tensor(start["head.weight"], requires_grad=True)
        p.grad = torch.tensor(g["head.weight"])
        optimizer = MGUPAdamW([p], lr=0.1, **given)
        assert "by itself" not in str(optimizer.explain())
        optimizer.step()
        found.append(p.detach())
    assert torch.equal(*found)


def test_a_wrapped_optimizer_refuses_a_policy_that_asks_for_the_rule():
    p = torch.ones(3, requires_grad=True)
    with pytest.raises(ValueError, match=r"decides by itself.*MGUPAdamW"):
        wrapper.MGUP(torch.optim.SGD([p], lr=0.1), mode=BottomMask())
    wrapper.MGUP(torch.optim.SGD([p], lr=0.1), mode=MGUP(0.3))


def test_checkpoints_keep_a_policy(tmp_path):
    p = torch.ones(4, requires_grad=True)
    optimizer = MGUPAdamW([p], mode=RandomMask(seed=3))
    torch.save(optimizer.state_dict(), tmp_path / "checkpoint.pt")
    loaded = MGUPAdamW([p])
    loaded.load_state_dict(torch.load(tmp_path / "checkpoint.pt", weights_only=False))
    assert loaded.param_groups[0]["mode"] == RandomMask(seed=3)
