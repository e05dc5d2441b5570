"""The rank mask (P4): by NumPy in host memory, by kernels on a GPU, or by PyTorch's operations."""

from __future__ import annotations

import array_api_compat.torch as xp
import torch
from torch import Tensor

from mgup_core import counting_mask
from mgup_core.selection.counting import python_while
from mgup_core.selection.partition import partition_mask

from .kernels import unavailable

_LONGEST = 2**31 - 1  # the row that PyTorch sorts on a GPU, and that the kernels rank


def select(scores: Tensor, k: int) -> Tensor:
    """The mask of the k largest of each row of canonical scores (n, d), bool (n, d)."""
    return _select_op(scores, k) if torch.compiler.is_compiling() else _select(scores, k)


def _select(scores: Tensor, k: int) -> Tensor:
    if scores.device.type == "cpu":
        return torch.from_numpy(partition_mask(scores.detach().contiguous().numpy(), k))
    if scores.shape[-1] > _LONGEST:
        return counted_mask(scores, k)
    if _have_kernels(scores) and 0 < k <= scores.shape[-1] and scores.numel():
        from .kernels.rank_mask import rank_mask

        return rank_mask(scores, k)
    return sorted_mask(scores, k)


def _have_kernels(scores: Tensor) -> bool:
    """Whether the kernels of the fused step can rank these scores."""
    # Inside a CUDA graph of the caller, the slice table would have to live as long as that graph.
    return (
        scores.dtype == torch.float32
        and unavailable(scores.device) is None
        and not torch.cuda.is_current_stream_capturing()
    )


@torch.library.custom_op("mgup::rank_mask", mutates_args=())
def _select_op(scores: Tensor, k: int) -> Tensor:
    """Selection as one opaque operation, inside which a compiled graph would gain nothing."""
    return _select(scores, k)


@_select_op.register_fake
def _(scores: Tensor, k: int) -> Tensor:
    return scores.new_empty(scores.shape, dtype=torch.bool)


def sorted_mask(scores: Tensor, k: int) -> Tensor:
    """The mask of the k largest of each row of canonical scores (n, d), on an accelerator (P4).

    The sort gives the threshold only. Ties are broken by index, since PyTorch promises no order of
    equal elements.
    """
    if k == 0 or scores.numel() == 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    nan = scores != scores
    filled = scores.masked_fill(nan, -torch.inf)
    threshold = filled.sort(dim=-1, descending=True).values[:, k - 1 : k]
    mask = filled > threshold
    need = k - mask.sum(-1, keepdim=True)
    for ties in (scores == threshold, nan & (threshold == -torch.inf)):
        place = ties.cumsum(-1)
        mask |= ties & (place <= need)
        need = need - place[:, -1:]
    return mask


def counted_mask(scores: Tensor, k: int) -> Tensor:
    """The same mask of rows too long to sort, by passes that count; each waits for the device."""
    mask: Tensor = counting_mask(xp, scores, k, while_loop=python_while, counts=_counts)
    return mask


def _counts(masks: list[Tensor]) -> list[Tensor]:
    """The number of true values in each row, int64, without converting a mask to integers."""
    return [mask.count_nonzero(-1)[:, None] for mask in masks]
