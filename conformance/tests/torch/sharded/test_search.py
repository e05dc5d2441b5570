"""The search by digits, with pretend devices: the mask of the whole, by P4, bit for bit."""

from __future__ import annotations

import threading

import array_api_compat.numpy as xp
import numpy as np
import pytest
import torch

from mgup_conformance.data import SCORES, generator
from mgup_core.selection.reference import argsort_mask
from mgup_torch.backend import TorchBackend
from mgup_torch.distributed.radix_select import MOST_BYTES, Rows, digit_bits, order_keys, select

from ..support import DEVICES


class Together:
    """An all-reduce over threads that stand for devices."""

    def __init__(self, n: int) -> None:
        self.given: dict[int, torch.Tensor] = {}
        self.barrier = threading.Barrier(n, timeout=600)
        self.sizes: list[int] = []

    def all_reduce_sum(self, place: int):
        def reduce(counts):
            self.given[place] = counts.clone()
            self.barrier.wait()
            found = sum(self.given.values())
            self.barrier.wait()
            if place == 0:
                self.sizes.append(counts.numel())
            return found

        return reduce


def canonical(pattern: str, d: int, dtype) -> torch.Tensor:
    wide = dtype == torch.float64
    with np.errstate(all="ignore"):
        scores = SCORES[pattern](generator(pattern, d), d, wide)
        scores = torch.from_numpy(scores.astype(np.float64 if wide else np.float32))
    be = TorchBackend(dtype)
    return be.flush(scores, be.tiny_score)


def searched(rows, ks, owners, bits, device="cpu"):
    """The masks of some tensors' rows (n, d), each of whose coordinates some thread owns."""
    together = Together(3)
    masks = [torch.zeros(x.shape, dtype=torch.bool) for x in rows]

    def work(place):
        try:
            parts, at = [], []
            for x, k, owner in zip(rows, ks, owners, strict=True):
                index = torch.from_numpy(np.flatnonzero(owner == place)).to(device)
                at.append(index.cpu())
                keys = order_keys(x.to(device)[:, index])
                parts.append(Rows(keys, k, x.shape[-1], index.to))
            found = select(parts, together.all_reduce_sum(place), bits=bits)
            for mask, index, mine in zip(masks, at, found, strict=True):
                mask[:, index] = mine.cpu()
        except BaseException:
            together.barrier.abort()
            raise

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return masks, together.sizes


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_every_pattern(dtype, bits, device):
    """P2, P4: all patterns of scores at once, every K that is an edge, parts of any size."""
    rng = np.random.default_rng(0)
    rows, ks, owners = [], [], []
    for pattern in SCORES:
        for d in (0, 1, 2, 17, 300) if bits == 8 else (300,):
            for k in sorted({0, d // 2, max(d - 1, 0), d}) if bits == 8 else (d // 2,):
                rows.append(torch.stack([canonical(pattern, d, dtype)] * 2).flip(0))
                rows[-1][1] = rows[-1][0].flip(-1)
                ks.append(k)
                owners.append(rng.integers(0, 2 if d == 17 else 3, d))
    masks, sizes = searched(rows, ks, owners, bits, device)
    for x, k, mask in zip(rows, ks, masks, strict=True):
        expected = argsort_mask(xp, x.numpy(), k)
        np.testing.assert_array_equal(mask.numpy(), expected, err_msg=f"{x}, k={k}")
    key_bits = 32 if dtype == torch.float32 else 64
    assert len(sizes) == -(-key_bits // bits) + -(-9 // bits)  # 300 is below 2^9
    assert set(sizes) == {2 * len(rows) * (2**bits - 1)}


def test_a_huge_row():
    """An index of 32 bits and counts of as many: all equal, dealt out to 2^20 devices in turn."""
    copies, here, k = 2**20, 4096, 3 * 2**30 + 5

    def index(dtype):
        return (torch.arange(here) * copies).to(dtype)

    rows = Rows(order_keys(torch.ones(1, here)), k, here * copies, index)
    (mask,) = select([rows], lambda counts: counts * copies, bits=8)
    assert mask.sum() == k // copies + 1


def test_keys_are_in_the_order_of_the_scores():
    """P2: NaN of either sign below all, no two zeros, infinities at the ends."""
    for dtype in (torch.float32, torch.float64):
        tiny, inf, nan = torch.finfo(dtype).tiny, torch.inf, torch.nan
        scores = torch.tensor([-inf, -3e38, -1.0, -tiny, 0.0, tiny, 1.0, 3e38, inf], dtype=dtype)
        keys = order_keys(scores)
        assert (keys.diff() > 0).all()
        assert (order_keys(torch.tensor([nan, -nan], dtype=dtype)) < keys.min()).all()


def test_digits_keep_within_the_limit():
    """64 KB a tensor, on one mesh dimension or two, until its slices are too many."""
    for slices in range(1, 50):
        for levels in (1, 2):
            bits = digit_bits(slices, 32, levels)
            rounds = -(-32 // bits) + -(-40 // bits)
            assert slices * levels * rounds * (2**bits - 1) * 8 <= MOST_BYTES
    assert digit_bits(1, 32, 1) == 8
    assert digit_bits(10**6, 32, 1) == 1
