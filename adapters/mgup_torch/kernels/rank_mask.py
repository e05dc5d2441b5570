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

from . import layout as table
from .codegen import Functions
from .cuda_graph import Launcher
from .ordered_keys import chosen
from .plan import Plan, Slice

_SCORES = tl.constexpr(table.POINTERS)
_MASK = tl.constexpr(table.POINTERS + 1)
_KEPT = 64  # plans: one for each shape and stream
_ALIGNMENT = 16


@triton.jit
def _before(row, positive, uniforms, inside):
    pass


@triton.jit
def _scores(row, start, offsets, inside, ALIGNMENT: tl.constexpr):
    address = tl.load(row + _SCORES).to(tl.pointer_type(tl.float32))
    address = tl.multiple_of(address, ALIGNMENT)
    return tl.load(address + start + offsets, mask=inside, other=0.0)


@triton.jit
def _store(row, start, offsets, inside, record, earlier, ALIGNMENT: tl.constexpr):
    mask = chosen(_scores(row, start, offsets, inside, ALIGNMENT), inside, record, earlier)
    address = tl.multiple_of(tl.load(row + _MASK).to(tl.pointer_type(tl.int8)), ALIGNMENT)
    tl.store(address + start + offsets, mask.to(tl.int8), mask=inside)


@triton.jit
def _seen(row, uniforms, start, offsets, inside):
    return _scores(row, start, offsets, inside, 1)


@triton.jit
def _seen_aligned(row, uniforms, start, offsets, inside):
    return _scores(row, start, offsets, inside, 16)


@triton.jit
def _update(row, uniforms, start, offsets, inside, record, earlier):
    _store(row, start, offsets, inside, record, earlier, 1)


@triton.jit
def _update_aligned(row, uniforms, start, offsets, inside, record, earlier):
    _store(row, start, offsets, inside, record, earlier, 16)


class _Ranking:
    """Rows of one length, of which as many are selected each."""

    def __init__(self, n: int, d: int, k: int, device: torch.device, *, aligned: bool) -> None:
        seen, update = (_seen_aligned, _update_aligned) if aligned else (_seen, _update)
        self.plan = Plan(
            [Slice(d, d, k)] * n,
            Functions(_before, None, seen, update, 0, Numbers(())),
            2,
            device,
            rules=1,
            ranks=True,
            aligned=aligned,
        )
        self.launcher = Launcher(self.plan, device)
        self.offsets = np.arange(n)[:, None] * d * np.array([4, 1])

    def mask(self, scores: Tensor) -> Tensor:
        mask = torch.empty(scores.shape, dtype=torch.bool, device=scores.device)
        addresses = np.array([scores.data_ptr(), mask.data_ptr()])
        self.plan.rows[:, table.POINTERS :] = addresses + self.offsets
        self.launcher.upload()
        self.launcher.launch()
        return mask


_rankings: OrderedDict[object, _Ranking] = OrderedDict()
_lock = threading.Lock()


def rank_mask(scores: Tensor, k: int) -> Tensor:
    """The mask of the k largest of each row; returns before it is found.

    Of NaN and -inf, which no policy amplifies (P7), it leaves out any: fewer than k may be left.

    Args:
        scores: canonical, float32 (n, d) on a GPU, n and d from 1 on, d below 2^31.
        k: from 1 to d.
    """
    n, d = scores.shape
    scores = scores.contiguous()
    aligned = d % _ALIGNMENT == 0 and scores.data_ptr() % _ALIGNMENT == 0
    # A plan's memory is used again by the next that takes it, so that each stream has its own.
    stream = torch.cuda.current_stream(scores.device).cuda_stream
    key = n, d, k, scores.device, aligned, stream
    with _lock:
        if key not in _rankings:
            _rankings[key] = _Ranking(n, d, k, scores.device, aligned=aligned)
            if len(_rankings) > _KEPT:
                _rankings.popitem(last=False)
        _rankings.move_to_end(key)
        return _rankings[key].mask(scores)
