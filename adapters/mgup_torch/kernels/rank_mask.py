"""The rank mask of any scores (P4), by the kernels that rank for the fused step."""

from __future__ import annotations

import threading
from collections import OrderedDict

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from mgup_core.trace.tracer import Numbers
from mgup_kernels import layout
from mgup_kernels.batches import Slice
from mgup_kernels.codegen import Functions
from mgup_kernels.ordered_keys import selected_in_block
from mgup_kernels.plan import Plan

from .cuda_graph import Launcher
from .device import TorchDevice

_SCORES = tl.constexpr(layout.ADDRESSES)
_MASK = tl.constexpr(layout.ADDRESSES + 1)
_MOST_PLANS = 64  # one for each shape and stream
_ALIGNMENT = 16


@triton.jit
def _no_scalars(row, positive_count, scalars, inside):
    pass


@triton.jit
def _scores(row, start, offsets, inside, ALIGNMENT: tl.constexpr):
    address = tl.load(row + _SCORES).to(tl.pointer_type(tl.float32))
    address = tl.multiple_of(address, ALIGNMENT)
    return tl.load(address + start + offsets, mask=inside, other=0.0)


@triton.jit
def _store_mask(row, start, offsets, inside, record, earlier_ties, ALIGNMENT: tl.constexpr):
    scores = _scores(row, start, offsets, inside, ALIGNMENT)
    mask = selected_in_block(scores, inside, record, earlier_ties)
    address = tl.multiple_of(tl.load(row + _MASK).to(tl.pointer_type(tl.int8)), ALIGNMENT)
    tl.store(address + start + offsets, mask.to(tl.int8), mask=inside)


@triton.jit
def _statistic(row, scalars, start, offsets, inside):
    return _scores(row, start, offsets, inside, 1)


@triton.jit
def _aligned_statistic(row, scalars, start, offsets, inside):
    return _scores(row, start, offsets, inside, 16)


@triton.jit
def _update(row, scalars, start, offsets, inside, record, earlier_ties):
    _store_mask(row, start, offsets, inside, record, earlier_ties, 1)


@triton.jit
def _aligned_update(row, scalars, start, offsets, inside, record, earlier_ties):
    _store_mask(row, start, offsets, inside, record, earlier_ties, 16)


class _Ranking:
    """The plan for n rows of d scores, of each of which k are selected."""

    def __init__(self, n: int, d: int, k: int, device: torch.device, *, aligned: bool) -> None:
        statistic, update = _statistic, _update
        if aligned:
            statistic, update = _aligned_statistic, _aligned_update
        self.plan = Plan(
            [Slice(d, d, k)] * n,
            Functions(_no_scalars, None, statistic, update, 0, Numbers(())),
            2,
            TorchDevice(device),
            rules=1,
            ranks=True,
            aligned=aligned,
        )
        self.launcher = Launcher(self.plan, device)
        self.offsets = np.arange(n)[:, None] * d * np.array([4, 1])

    def mask(self, scores: Tensor) -> Tensor:
        mask = torch.empty(scores.shape, dtype=torch.bool, device=scores.device)
        addresses = np.array([scores.data_ptr(), mask.data_ptr()])
        self.plan.rows[:, layout.ADDRESSES :] = addresses + self.offsets
        self.launcher.upload()
        self.launcher.launch()
        return mask


_rankings: OrderedDict[object, _Ranking] = OrderedDict()
_lock = threading.Lock()


def rank_mask(scores: Tensor, k: int) -> Tensor:
    """The mask of the k largest scores of each row; returns before the device has found it.

    NaN and -inf, which no policy amplifies (P7), may be missing from the mask, which then has fewer
    than k coordinates of that row.

    Args:
        scores: canonical, float32 (n, d) on a GPU; 1 <= n and 1 <= d < 2^31.
        k: from 1 to d.

    Returns:
        bool, (n, d).
    """
    n, d = scores.shape
    scores = scores.contiguous()
    aligned = d % _ALIGNMENT == 0 and scores.data_ptr() % _ALIGNMENT == 0
    # Each stream has its own plans, since a plan's next step overwrites the memory of the last.
    stream = torch.cuda.current_stream(scores.device).cuda_stream
    key = n, d, k, scores.device, aligned, stream
    with _lock:
        if key not in _rankings:
            _rankings[key] = _Ranking(n, d, k, scores.device, aligned=aligned)
            if len(_rankings) > _MOST_PLANS:
                _rankings.popitem(last=False)
        _rankings.move_to_end(key)
        return _rankings[key].mask(scores)
