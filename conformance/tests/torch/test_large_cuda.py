"""Slices of about 2^31 coordinates on a GPU; skipped where there is none, or too little memory.

It checks P4.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mgup_torch import MGUPLion

from .support import ON_GPU
from .test_fused import fused

GIGABYTE = 1 << 30

pytestmark = [*ON_GPU, pytest.mark.slow]


def selected(g: Tensor, k: int) -> list[Tensor]:
    """The mask of the k largest of |g|, bfloat16, the first of equals first (P4); in pieces."""
    pieces = g.view(torch.int16).split(1 << 28)
    keys = [piece & 0x7FFF for piece in pieces]  # the bits of |g| are in its order
    counts = sum(torch.bincount(key, minlength=1 << 15) for key in keys)
    at_least = counts.flip(0).cumsum(0).flip(0)
    threshold = int((at_least >= k).sum()) - 1
    left = k - int(at_least[threshold] - counts[threshold])
    masks = []
    for key in keys:
        ties = key == threshold
        masks.append((key > threshold) | (ties & (ties.cumsum(0) <= left)))
        left -= int(ties.sum())
    return masks


@pytest.mark.parametrize(("d", "kernels", "gigabytes"), [(2**31 - 8, 1, 20), (2**31 + 8, 0, 130)])
def test_a_slice_of(d, kernels, gigabytes):
    """P4, on either side of the longest slice that the kernels rank; most scores are ties.

    A first step of Lion from zero is -(lr * phi) * sign(g), and its scores are |g|.
    """
    if torch.cuda.get_device_properties(0).total_memory < gigabytes * GIGABYTE:
        pytest.skip(f"needs {gigabytes} GB of GPU memory")
    g = torch.randn(d, dtype=torch.bfloat16, device="cuda")
    p = torch.zeros_like(g).requires_grad_()
    p.grad = g
    optimizer = MGUPLion([p], lr=1.0)
    optimizer.step()
    assert fused(optimizer) == kernels
    for mask, w in zip(selected(g, d // 2), p.detach().split(1 << 28), strict=True):
        assert torch.equal(mask, w.abs() == 2.0)
