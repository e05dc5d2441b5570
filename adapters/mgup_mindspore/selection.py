"""The rank mask (P4): by partition in host memory, by pairs or the counting search anywhere."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import mindspore as ms
from mindspore import Tensor, nn

from mgup_core import counting_mask
from mgup_core.selection.pairwise import pairwise_mask
from mgup_core.selection.partition import partition_mask

from .emitter import Recorder
from .program import Program, held

_PAIRS = 1 << 16  # beyond that the loop is as fast


def on_host() -> bool:
    """Whether tensors lie in host memory, where NumPy sees them without a copy."""
    return bool(ms.get_context("device_target") == "CPU")


def search(shape: tuple[int, ...], dtype: Any) -> Program:
    """The mask of canonical scores (n, d), for any k (n, 1): ``search(scores, k)``.

    It counts in a loop, which takes MindSpore milliseconds to run; in short rows it compares all
    pairs.
    """
    xp = Recorder()
    n, d = shape
    scores = xp.symbol("scores", shape, dtype)
    k = xp.symbol("k", (n, 1), ms.int32)
    if n * d * d <= _PAIRS:
        return xp.cell("scores, k", [pairwise_mask(xp, scores, k)])
    return xp.cell("scores, k", [counting_mask(xp, scores, k, loop=xp.loop)])


# One for all parameters of a shape, compiled once, whatever the k.
_shared = lru_cache(maxsize=256)(search)


def select(scores: Tensor, k: int, wanted: Tensor) -> Tensor:
    """The mask of the k largest of each row of canonical scores (n, d); ``wanted`` is k, (n, 1)."""
    if on_host():
        return Tensor.from_numpy(partition_mask(scores.asnumpy(), k))
    return _shared(scores.shape, scores.dtype).compiled(scores, wanted)[0]


class Selection(nn.Cell):
    """The mask of the k largest of each row of canonical scores (n, d).

    A graph takes in :meth:`construct`. PyNative calls :meth:`__call__`, which never works
    operation by operation: it would wait for the device at each turn of the search.
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any, k: int) -> None:
        super().__init__(auto_prefix=False)
        self.k = k
        self.wanted = held([([[k]] * shape[0], ms.int32)])
        # Not the shared one: a graph that holds one cell with constants twice compiles wrongly.
        self.search = search(shape, dtype)

    def __call__(self, scores: Tensor) -> Tensor:
        return select(scores, self.k, self.wanted[0])

    def construct(self, scores: Tensor) -> Tensor:
        return self.search(scores, self.wanted[0])[0]
