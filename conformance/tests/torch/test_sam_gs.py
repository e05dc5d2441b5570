"""SAM-GS in front of MGUPAdamW, on tensors.

No clause: the paper and the official code decide.
"""

from __future__ import annotations

import numpy as np
import torch

import mgup_core as core
from mgup_torch import MGUPAdamW


def losses(params, x):
    hidden = torch.tanh(x @ params[0])
    return [
        (hidden @ params[1] - 1).square().mean(),
        30 * (hidden.sum(1) - x[:, 0]).square().mean(),
    ]


def test_mgup_adamw_behind_it_takes_the_cores_steps():
    """N10: the gradients are NumPy's, and the parameters the reference optimizer's, to the bit."""
    torch.manual_seed(0)
    params = [torch.randn(3, 4, requires_grad=True), torch.randn(4, 1, requires_grad=True)]
    x = torch.randn(32, 3)
    surgery, optimizer = core.SAMGS(threshold=0.6), MGUPAdamW(params, lr=0.02)
    arrays = [p.detach().numpy().copy() for p in params]
    reference = core.Optimizer(core.AdamW(), core.MGUP(), lr=0.02)
    moments = reference.init(arrays)
    state, other = None, None
    for _ in range(40):
        values = losses(params, x)
        tasks = [
            torch.autograd.grad(
                loss, params, retain_graph=True, allow_unused=True, materialize_grads=True
            )
            for loss in values
        ]
        plain = [[g.detach().numpy() for g in task] for task in tasks]
        state, other = state or surgery.init(tasks), other or surgery.init(plain)
        gradient, state = surgery.aggregate(tasks, state)
        expected, other = surgery.aggregate(plain, other)
        for p, g, e in zip(params, gradient, expected, strict=True):
            np.testing.assert_array_equal(g.detach().numpy(), e)
            p.grad = g
        arrays, moments = reference.step(arrays, [g.detach().numpy() for g in gradient], moments)
        optimizer.step()
        for p, w in zip(params, arrays, strict=True):
            np.testing.assert_array_equal(p.detach().numpy(), w)
