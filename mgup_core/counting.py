"""Exact selection by counting: "how many scores are at least x?" is all it asks.

No sort, no index, no data-dependent shape: the search runs inside a compiled graph, and since
counts add up it also ranks an array whose parts lie on many devices, given an ``all_reduce`` of
counts. A bisection over the ordered integer keys of the floats finds the K-th largest score
exactly; the thresholds are decoded from keys to floats by arithmetic, since the array API has no
bit cast.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from array_api_compat import device

Array = Any
Reduce = Callable[[Array], Array]
Loop = Callable[..., Any]


def cumulative_count(xp: Any, mask: Array, total: int | None = None) -> Array:
    """How many are true in each row of ``mask`` (n, d): integers of shape (n, 1).

    Args:
        total: the length of the whole row, when ``mask`` is one device's part of it.
    """
    dtype = _index_dtype(xp, mask.shape[-1] if total is None else total)
    return xp.sum(xp.astype(mask, dtype), axis=-1, keepdims=True)


def _index_dtype(xp: Any, d: int) -> Any:
    """int32 where it can count d things, since JAX has no other by default."""
    return xp.int32 if d < 2**31 - 1 else xp.int64


class _Keys:
    """Integers in the order of the floats of one dtype, subnormals left out (P2 removes them)."""

    def __init__(self, xp: Any, dtype: Any, device: Any) -> None:
        wide = dtype == xp.float64
        self.xp, self.dtype = xp, dtype
        self.int_dtype = xp.int64 if wide else xp.int32
        self.mantissa_bits = 52 if wide else 23
        bias, top = (1023, 2047) if wide else (127, 255)
        self.infinity = top << self.mantissa_bits
        self.steps = 1 + (2 * self.infinity + 2).bit_length()
        powers = np.zeros(top + 1)
        powers[1:top] = np.ldexp(1.0, np.arange(1, top) - bias)
        powers[top] = np.inf
        # Exponent e -> 2^(e - bias); 0 stands for zero and the subnormals, `top` for infinity.
        self.powers = xp.asarray(
            powers.astype(np.float64 if wide else np.float32), dtype=dtype, device=device
        )

    def decode(self, key: Array) -> Array:
        """The float of each key (n,): exact, since only powers of two are multiplied."""
        xp = self.xp
        size = xp.abs(key)
        exponent = size // (1 << self.mantissa_bits)
        fraction = xp.astype(size - exponent * (1 << self.mantissa_bits), self.dtype)
        value = (1.0 + fraction * 2.0**-self.mantissa_bits) * xp.take(self.powers, exponent, axis=0)
        return xp.where(key < 0, -value, value)


def _python_loop(n: int, body: Callable[[Any], Any], carry: Any) -> Any:
    for _ in range(n):
        carry = body(carry)
    return carry


def _midpoint(low: Array, high: Array) -> Array:
    """floor((low + high) / 2) without overflow."""
    return low // 2 + high // 2 + (low % 2 + high % 2) // 2


def kth_largest(
    xp: Any,
    scores: Array,
    k: Array,
    *,
    all_reduce: Reduce | None = None,
    total: int | None = None,
    loop: Loop = _python_loop,
) -> Array:
    """The k-th largest number of each row of canonical scores (n, d), NaN not counted.

    Args:
        k: integers (n, 1), between 1 and the number of numbers in the row.
        all_reduce: sums integer counts (n, 1) over the devices that share the rows.
        total: with ``all_reduce``, the length of the whole row.

    Returns:
        Thresholds of shape (n, 1).
    """
    reduce = all_reduce or (lambda x: x)
    keys = _Keys(xp, scores.dtype, device(scores))
    # Invariant: count(s >= decode(low)) >= k > count(s >= decode(high)).
    rows = (scores.shape[0],)
    low = xp.full(rows, -keys.infinity, dtype=keys.int_dtype, device=device(scores))
    high = xp.full(rows, keys.infinity + 1, dtype=keys.int_dtype, device=device(scores))

    def halve(bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = _midpoint(low, high)
        threshold = xp.reshape(keys.decode(middle), (-1, 1))
        enough = reduce(cumulative_count(xp, scores >= threshold, total)) >= k
        enough = xp.reshape(enough, rows)
        # low + 1 == high stays as it is: its midpoint is low, which is enough by the invariant.
        return xp.where(enough, middle, low), xp.where(enough, high, middle)

    low, _ = loop(keys.steps, halve, (low, high))
    return xp.reshape(keys.decode(low), (-1, 1))


def _first(xp: Any, ties: Array, need: Array) -> Array:
    """The first ``need`` (n, 1) true values of each row, in index order."""
    dtype = _index_dtype(xp, ties.shape[-1])
    return ties & (xp.cumulative_sum(xp.astype(ties, dtype), axis=-1) <= need)


def _first_by_index(
    xp: Any, ties: Array, need: Array, index: Array, total: int, reduce: Reduce, loop: Loop
) -> Array:
    """The same over all devices: the least bound J with ``count(ties and index < J) >= need``."""
    low = xp.zeros_like(need, dtype=index.dtype)
    high = xp.full_like(low, total)

    def halve(bounds: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bounds
        middle = _midpoint(low, high)
        enough = reduce(cumulative_count(xp, ties & (index < middle), total)) >= need
        return xp.where(enough, low, middle + 1), xp.where(enough, middle, high)

    # When low meets high, the midpoint is `high`, which is enough, so both stay.
    low, high = loop(total.bit_length() + 1, halve, (low, high))
    return ties & (index < high)


def counting_mask(
    xp: Any,
    scores: Array,
    k: int,
    *,
    all_reduce: Reduce | None = None,
    index: Array | None = None,
    total: int | None = None,
    loop: Loop = _python_loop,
) -> Array:
    """The mask of the k largest of each row of canonical scores (n, d), by counting (P4).

    Args:
        scores: (n, d), or this device's part of the rows.
        k: how many to select in each whole row.
        all_reduce: sums integer counts of shape (n, 1) over all devices; ``None`` for one device.
        index: with ``all_reduce``, the flat index in the whole row of each local coordinate,
            integers (d,).
        total: with ``all_reduce``, the length of the whole row.
        loop: ``loop(n, body, carry)``, for compilers that have one.
    """
    if scores.shape[-1] == 0 and all_reduce is None:
        return scores == scores
    reduce = all_reduce or (lambda x: x)
    number = scores == scores
    numbers = reduce(cumulative_count(xp, number, total))
    wanted = xp.full_like(numbers, k)
    threshold = kth_largest(
        xp, scores, xp.minimum(wanted, numbers), all_reduce=all_reduce, total=total, loop=loop
    )
    # When k exceeds the numbers, all of them are in, and the ties are among the NaN.
    among_nan = numbers < wanted
    above = xp.where(among_nan, number, scores > threshold)
    ties = xp.where(among_nan, ~number, scores == threshold)
    need = wanted - reduce(cumulative_count(xp, above, total))
    if all_reduce is None:
        return above | _first(xp, ties, need)
    if index is None or total is None:
        raise ValueError("counting_mask with all_reduce needs `index` and `total` to break ties.")
    return above | _first_by_index(xp, ties, need, index, total, reduce, loop)
