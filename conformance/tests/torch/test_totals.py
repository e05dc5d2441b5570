"""Sums over all parameters (Rule.totals): one beta for every group, as in the reference.

It checks R6.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mgup_core import AMSGD, MGUP, Optimizer
from mgup_torch import MGUPAMSGD, MGUPProdigy

SHAPES = ((4, 6), (5,), (3, 2, 2))


def run(parameters, optimizer, grads):
    for one in grads:
        for p, g in zip(parameters, one, strict=True):
            p.grad = None if g is None else torch.from_numpy(g.copy())
        optimizer.step()
    return [p.detach().numpy() for p in parameters]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_groups_share_one_beta(dtype):
    """However they are grouped; a parameter without a gradient takes no part (R6)."""
    rng = np.random.default_rng(0)
    start = [rng.standard_normal(shape).astype(dtype) for shape in SHAPES]
    grads = [[rng.standard_normal(shape).astype(dtype) for shape in SHAPES] for _ in range(5)]
    grads[2][1] = None
    reference = Optimizer(AMSGD(), MGUP(), lr=0.1, weight_decay=0.1)
    expected, state = start, reference.init(start)
    for one in grads:
        expected, state = reference.step(expected, one, state)
    for split in (0, 1, 2):
        parameters = [torch.nn.Parameter(torch.from_numpy(w.copy())) for w in start]
        groups = [{"params": part} for part in (parameters[:split], parameters[split:]) if part]
        ours = run(parameters, MGUPAMSGD(groups, lr=0.1, weight_decay=0.1), grads)
        for one, other in zip(expected, ours, strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_group_with_a_beta_of_its_own_takes_no_part():
    """beta_scope is a group's: the others step as they do without it."""
    rng = np.random.default_rng(0)
    start = [rng.standard_normal(shape) for shape in SHAPES]
    grads = [[rng.standard_normal(shape) for shape in SHAPES] for _ in range(4)]
    apart = [torch.nn.Parameter(torch.from_numpy(w.copy())) for w in start]
    groups = [{"params": apart[:1], "beta_scope": "tensor"}, {"params": apart[1:]}]
    ours = run(apart, MGUPAMSGD(groups), grads)
    alone = [torch.nn.Parameter(torch.from_numpy(w.copy())) for w in start[1:]]
    theirs = run(alone, MGUPAMSGD(alone), [one[1:] for one in grads])
    for one, other in zip(ours[1:], theirs, strict=True):
        np.testing.assert_array_equal(one, other)


def test_prodigy_refuses_several_learning_rates_before_anything_moves():
    """One estimate for all: as its package does. A learning rate of 0 is no other."""
    rng = np.random.default_rng(0)
    start = [rng.standard_normal(shape) for shape in SHAPES]
    parameters = [torch.nn.Parameter(torch.from_numpy(w.copy())) for w in start]
    optimizer = MGUPProdigy([{"params": parameters[:1], "lr": 0.5}, {"params": parameters[1:]}])
    for p in parameters:
        p.grad = torch.ones_like(p)
    with pytest.raises(ValueError, match=r"lr=0\.5, and parameter .* lr=1\.0.*one learning rate"):
        optimizer.step()
    for p, w in zip(parameters, start, strict=True):
        np.testing.assert_array_equal(p.detach().numpy(), w)
    optimizer.param_groups[0]["lr"] = 0.0
    optimizer.step()
    np.testing.assert_array_equal(parameters[0].detach().numpy(), start[0])


def test_prodigy_beside_its_package():
    """After ten steps; the package forms w_0 - w by a difference, which loses digits."""
    package = pytest.importorskip("prodigyopt")
    rng = np.random.default_rng(0)
    start = [rng.standard_normal(shape) for shape in SHAPES]
    ours, theirs = ([torch.nn.Parameter(torch.tensor(w)) for w in start] for _ in range(2))
    pair = MGUPProdigy(ours, mode="off", d0=1e-3), package.Prodigy(theirs, d0=1e-3)
    for parameters, optimizer in zip((ours, theirs), pair, strict=True):
        run(parameters, optimizer, [start] * 10)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one.detach(), other.detach(), rtol=1e-9)
