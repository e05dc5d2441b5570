"""The selections by operations of PyTorch, which step in where no kernel does (P2, P4)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import mgup_core as core
from mgup_core.selection import counting
from mgup_torch.selection import counted_mask, sorted_mask

from .support import DEVICES
from .test_cuda import adversarial


@pytest.fixture(autouse=True)
def as_in_long_rows(monkeypatch):
    """Those for which counting is there are counted in int64."""
    monkeypatch.setattr(counting, "index_dtype", lambda xp, d: xp.int64)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("select", [sorted_mask, counted_mask])
@pytest.mark.parametrize("d", [1, 2, 7, 1000, 5003])
@pytest.mark.parametrize("kind", adversarial(1))
def test_masks_of_adversarial_scores(kind, d, select, device):
    """P2, P4: each equals the reference mask."""
    scores = np.stack([adversarial(d)[kind], adversarial(d)[kind][::-1]])
    for k in sorted({0, 1, d // 3, d // 2, d - 1, d}):
        expected = core.rank_mask(scores, k, stacked_dims=1, method="argsort")
        mask = select(torch.from_numpy(scores.copy()).to(device), k)
        assert np.array_equal(mask.cpu().numpy(), expected), f"k={k}"


@pytest.mark.parametrize("select", [sorted_mask, counted_mask])
def test_double_precision(select):
    scores = np.random.default_rng(0).standard_normal((2, 999)).round(2)
    expected = core.rank_mask(scores, 400, stacked_dims=1, method="argsort")
    assert np.array_equal(select(torch.from_numpy(scores), 400).numpy(), expected)
