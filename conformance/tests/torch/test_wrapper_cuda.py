"""The kernels rescale the step of an inner optimizer with the bits of the core (R0, N1)."""

from __future__ import annotations

import array_api_compat.numpy as numpy_xp
import numpy as np
import pytest
import torch

from mgup_core.frontend import modes
from mgup_core.numerics.backend import NumPyBackend
from mgup_core.step import rescale
from mgup_torch import MGUP

from .support import (
    ON_GPU,
)


def _rescaled(before, after, g, group):
    """Where :func:`mgup_core.step.rescale` says that a parameter goes, on the host."""
    be = NumPyBackend(numpy_xp, np.float32)
    own = {name: group["mgup_" + name] for name in modes.DEFAULTS}
    before, after, g = (x.detach().float().cpu().numpy() for x in (before, after, g))
    done = rescale(
        be, modes.policy_of(**own), before, after, -g if group["maximize"] else g,
        lr=group["lr"], weight_decay=group["weight_decay"],
        decay=group["mgup_decay"], stacked_dims=group["mgup_stacked_dims"],
    )  # fmt: skip
    return torch.from_numpy(done.w)


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=ON_GPU)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tau": 0.2, "alpha": 3.0, "decay": "aligned"},
        {"stacked_dims": 1},
        {"mode": "sign"},
        {"mode": "adaptive"},
        {"mode": "off"},
    ],
    ids=str,
)
@pytest.mark.parametrize("maximize", [False, True])
def test_kernels_rescale_what_was_read_off(options, maximize, dtype, device):
    """R0, N1: on a GPU the bits of the core's rescaling, in one pass over a large tensor too."""
    shapes = [(3000, 3000), (40, 30), *([] if "stacked_dims" in options else [(7,), (5, 1)])]
    generator = torch.Generator(device).manual_seed(0)
    params = [
        torch.nn.Parameter(torch.randn(s, generator=generator, device=device).to(dtype))
        for s in shapes
    ]
    twins = [torch.nn.Parameter(p.detach().clone()) for p in params]
    given = {"lr": 0.02, "maximize": maximize}
    wrapped = MGUP(torch.optim.AdamW(params, weight_decay=0.1, **given), **options)
    moving = torch.optim.AdamW(twins, weight_decay=0.0, **given)
    for _ in range(4):
        for p, q in zip(params, twins, strict=True):
            p.grad = torch.randn(p.shape, generator=generator, device=device).to(dtype)
            p.grad[..., ::3] = 0.0
            q.grad = p.grad.clone()
            q.data.copy_(p.data)
        before = [p.detach().clone() for p in params]
        moving.step()
        wrapped.step()
        assert {row.executor for row in wrapped.explain()} == {"cuda"}
        group = wrapped.param_groups[0]
        for p, q, old in zip(params, twins, before, strict=True):
            expected = _rescaled(old, q, q.grad, group).to(dtype)
            assert torch.equal(p.detach().cpu(), expected)
