"""The public functions of selection: the mask of the selected coordinates (P2 to P5)."""

from __future__ import annotations

import math
from typing import Literal, get_args

from ._typing import Array
from .numerics.backend import backend_for
from .selection.counting import counting_mask
from .selection.partition import partition_mask
from .selection.reference import argsort_mask, slices, top_count

Method = Literal["auto", "argsort", "counting", "partition"]


def rank_mask(scores: Array, k: int, *, stacked_dims: int = 0, method: Method = "auto") -> Array:
    """The mask of exactly ``k`` selected coordinates in each slice (P2, P4, P5).

    The largest scores are selected, and among equal scores those with the lowest flat index. NaN
    ranks below every number.

    Args:
        scores: real floating, any shape; the function makes them canonical first.
        k: the number to select in each slice; clipped to [0, d].
        stacked_dims: the number of leading axes whose indices are slices of their own.
        method: ``"argsort"`` (the reference), ``"counting"``, ``"partition"`` (NumPy arrays
            only), or ``"auto"``. All give the same mask.

    Returns:
        bool, the shape of ``scores``.

    Raises:
        ValueError: for another ``method``, or ``stacked_dims`` that the array does not have.

    >>> import numpy as np
    >>> rank_mask(np.array([1.0, 3.0, 3.0, np.nan]), 1)
    array([False,  True, False, False])
    """
    be = backend_for(scores)
    rows = slices(be.flush(be.cast(scores, be.dtype), be.tiny_score), be.xp, stacked_dims)
    k = max(0, min(int(k), rows.shape[-1]))
    if method == "auto":
        mask = be.rank_mask(rows, k)
    elif method == "argsort":
        mask = argsort_mask(be.xp, rows, k)
    elif method == "counting":
        mask = counting_mask(be.xp, rows, k)
    elif method == "partition":
        mask = partition_mask(rows, k)
    else:
        raise ValueError(f"method={method!r} is none of {', '.join(map(repr, get_args(Method)))}.")
    return be.xp.reshape(mask, scores.shape)


def rank(scores: Array, tau: float, *, stacked_dims: int = 0) -> Array:
    """The mask of the top ``floor(tau * d)`` of each slice (P3 to P5), bool.

    >>> import numpy as np
    >>> rank(np.array([4.0, 1.0, 3.0, 2.0]), 0.5)
    array([ True, False,  True, False])
    """
    d = math.prod(scores.shape[stacked_dims:])
    return rank_mask(scores, top_count(tau, d), stacked_dims=stacked_dims)
