"""Ported rules beside those of torch.optim, after ten steps in float64.

It checks P11, and the equations of the rules' clauses.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mgup_core import Adafactor, AdamW, AMSGrad, Grams, NAdamW, Optimizer, RAdam, StableAdamW

SHAPES = ((4, 6), (5,))


@pytest.fixture(autouse=True)
def wide():
    """torch.optim.NAdam keeps its product of momenta in the default dtype."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def both(rule, theirs, *, weight_decay=0.1):
    """(our parameters, torch's) after ten steps of one stream of gradients."""
    rng = np.random.default_rng(1)
    ours = [rng.standard_normal(shape) for shape in SHAPES]
    other = [torch.nn.Parameter(torch.tensor(w)) for w in ours]
    optimizer = Optimizer(rule, None, lr=0.01, weight_decay=weight_decay)
    peer = theirs(other, lr=0.01, weight_decay=weight_decay)
    state = optimizer.init(ours)
    for _ in range(10):
        grads = [rng.standard_normal(shape) for shape in SHAPES]
        ours, state = optimizer.step(ours, grads, state)
        for p, g in zip(other, grads, strict=True):
            p.grad = torch.tensor(g)
        peer.step()
    return np.concatenate([w.ravel() for w in ours]), np.concatenate(
        [p.detach().numpy().ravel() for p in other]
    )


def amsgrad(params, **options):
    return torch.optim.AdamW(params, amsgrad=True, **options)


def adafactor(params, **options):
    return torch.optim.Adafactor(params, eps=(2.0**-23, 1e-3), **options)


def radam(params, **options):
    return torch.optim.RAdam(params, decoupled_weight_decay=True, **options)


def nadam(params, momentum_decay, **options):
    return torch.optim.NAdam(
        params, momentum_decay=momentum_decay, decoupled_weight_decay=True, **options
    )


def warmed_up(params, **options):
    """Its momentum is ``b1 * (1 - 0.96^(t*momentum_decay) / 2)``: b1 from the first step on."""
    return nadam(params, 1e6, **options)


def warming_up(params, **options):
    return nadam(params, 4e-3, **options)


@pytest.mark.parametrize(
    ("rule", "theirs"),
    [(AMSGrad(), amsgrad), (RAdam(), radam), (NAdamW(), warmed_up), (Adafactor(), adafactor)],
    ids=["AMSGrad", "RAdam", "NAdamW", "Adafactor"],
)
def test_the_same_after_ten_steps(rule, theirs):
    ours, other = both(rule, theirs)
    np.testing.assert_allclose(ours, other, rtol=0, atol=1e-13)


def test_the_same_as_in_pytorch_optimizer():
    """Where that package is installed: it has what torch.optim has not."""
    package = pytest.importorskip("pytorch_optimizer")
    peers = [
        (Grams(), lambda p, **o: package.Grams(p, eps=1e-8, weight_decouple=True, **o)),
        (StableAdamW(eps=1e-8), lambda p, **o: package.StableAdamW(p, eps=1e-8, **o)),
    ]
    for rule, theirs in peers:
        ours, other = both(rule, theirs)
        np.testing.assert_allclose(ours, other, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("rule", "theirs"),
    [(AdamW(), amsgrad), (NAdamW(), warming_up), (NAdamW(form="timm"), warmed_up)],
    ids=["amsgrad", "momentum schedule", "timm"],
)
def test_other_forms_are_told_apart(rule, theirs):
    ours, other = both(rule, theirs)
    assert np.abs(ours - other).max() > 1e-7
