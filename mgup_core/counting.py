"""Exact selection by counting: "how many scores are at least x?" is all it asks.

No sort of the scores, no index, no data-dependent shape: the search runs inside a compiled graph,
and since counts add up it also ranks an array whose parts lie on many devices, given an
``all_reduce`` of counts. The thresholds tried are keys, integers in the order of the floats,
decoded by arithmetic, since the array API has no bit cast.

The search halves a bracket of keys, 33 times for float32. Given a ``while_loop``, it guesses
instead: first the quantiles of a small sample, then by interpolation between the counts, and it
stops as soon as the counts say that exactly K scores are above. The guesses decide only how many
passes over the scores it takes; every answer is proved by counts.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import array_api_compat
import numpy as np

Array = Any
Reduce = Callable[[Array], Array]
Loop = Callable[..., Any]

SAMPLE = 1 << 13
"""How many scores of a row are sorted to guess its threshold."""
_DEVIATIONS = 3.5  # of the sample's quantile: a few guesses in ten thousand miss


def device(x: Array) -> Any:
    """Where ``x`` is; ``None`` where it does not say, as under the vmap of JAX 0.6."""
    try:
        return array_api_compat.device(x)
    except AttributeError:
        return None


def cumulative_count(xp: Any, mask: Array, total: int | None = None) -> Array:
    """How many are true in each row of ``mask`` (n, d): integers of shape (n, 1).

    Args:
        total: the length of the whole row, when ``mask`` is one device's part of it.
    """
    dtype = _index_dtype(xp, mask.shape[-1] if total is None else total)
    # Cast again: a sum of int32 is int64 where the default integer is.
    return xp.astype(xp.sum(xp.astype(mask, dtype), axis=-1, keepdims=True), dtype)


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
        self.subnormals = (1 << self.mantissa_bits) - 1  # left out: key 1 is the smallest normal
        self.infinity = (top << self.mantissa_bits) - self.subnormals
        self.steps = 1 + (2 * self.infinity + 2).bit_length()
        powers = np.zeros(top + 1)
        powers[1:top] = np.ldexp(1.0, np.arange(1, top) - bias)
        powers[top] = np.inf
        self.bias, self.top, self.device = bias, top, device
        # Exponent e -> 2^(e - bias); 0 stands for zero and the subnormals, `top` for infinity.
        self.powers = self._table(powers)

    def _table(self, values: Any) -> Array:
        values = values.astype(np.float64 if self.mantissa_bits == 52 else np.float32)
        return self.xp.asarray(values, dtype=self.dtype, device=self.device)

    def decode(self, key: Array) -> Array:
        """The float of each key (n,): exact, since only powers of two are multiplied."""
        xp = self.xp
        size = xp.where(key == 0, key, xp.abs(key) + self.subnormals)
        exponent = size // (1 << self.mantissa_bits)
        fraction = xp.astype(size - exponent * (1 << self.mantissa_bits), self.dtype)
        value = (1.0 + fraction * 2.0**-self.mantissa_bits) * xp.take(self.powers, exponent, axis=0)
        return xp.where(key < 0, -value, value)

    def encode(self, x: Array) -> Array:
        """The key of each number (n,), the inverse of :meth:`decode`; NaN gives any key."""
        xp, size = self.xp, self.xp.abs(x)
        reached = xp.reshape(size, (-1, 1)) >= self.powers[1:]
        exponent = xp.astype(xp.sum(xp.astype(reached, self.int_dtype), axis=-1), self.int_dtype)
        # 2^(bias - e) would be subnormal for the largest e, so it comes in two factors.
        powers = np.arange(self.top + 1) - self.bias
        for part in (powers // 2, powers - powers // 2):
            size = size * xp.take(self._table(np.ldexp(1.0, -part)), exponent, axis=0)
        normal = (exponent > 0) & (size >= 1.0) & (size < 2.0)  # else 0, infinity or NaN
        fraction = xp.where(normal, (size - 1.0) * 2.0**self.mantissa_bits, xp.zeros_like(size))
        key = exponent * (1 << self.mantissa_bits) + xp.astype(fraction, self.int_dtype)
        key = xp.maximum(key - self.subnormals, xp.zeros_like(key))
        return xp.where(x < 0, -key, key)


def _python_loop(n: int, body: Callable[[Any], Any], carry: Any) -> Any:
    for _ in range(n):
        carry = body(carry)
    return carry


def _midpoint(low: Array, high: Array) -> Array:
    """floor((low + high) / 2) without overflow."""
    return low // 2 + high // 2 + (low % 2 + high % 2) // 2


class _Bracket(NamedTuple):
    """Places low < high, (n,), where a falling count is known: at_low >= target > at_high."""

    low: Array
    high: Array
    at_low: Array
    at_high: Array

    def share(self, target: Array, dtype: Any, xp: Any) -> Array:
        """Where the target lies between the counts, from 0 to 1."""
        fallen = xp.astype(self.at_low - target, dtype) + 0.5
        return fallen / (xp.astype(self.at_low - self.at_high, dtype) + 1.0)


def _search(
    xp: Any,
    count: Callable[[Array], Array],
    target: Array,
    start: _Bracket,
    guess: Callable[[Array, _Bracket], Array],
    *,
    steps: int,
    loop: Loop,
    while_loop: Loop | None,
) -> _Bracket:
    """Narrow a bracket until its ends are neighbours, or the count at ``low`` is the target.

    Args:
        count: of places (n,), falling.
        guess: ``guess(turn, bracket)`` of the place to try; used with ``while_loop`` only.
        steps: how many times an interval must be halved at most.
    """

    def narrow(bracket: tuple[Array, ...], middle: Array) -> tuple[Array, ...]:
        low, high, at_low, at_high = bracket
        n = count(middle)
        enough = n >= target
        return (
            xp.where(enough, middle, low),
            xp.where(enough, high, middle),
            xp.where(enough, n, at_low),
            xp.where(enough, at_high, n),
        )

    def halve(bracket: tuple[Array, ...]) -> tuple[Array, ...]:
        # Neighbours stay as they are: their midpoint is low, which is enough.
        return narrow(bracket, _midpoint(*bracket[:2]))

    if while_loop is None:
        return _Bracket(*loop(steps, halve, tuple(start)))

    def finished(bracket: _Bracket) -> Array:
        return (bracket.at_low == target) | (bracket.high <= bracket.low + 1)

    def unfinished(carry: tuple[Array, ...]) -> Array:
        return xp.any(~finished(_Bracket(*carry[1:])))

    def proceed(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        turn, bracket = carry[0], _Bracket(*carry[1:])
        low, high = bracket.low, bracket.high
        middle = xp.maximum(xp.minimum(guess(turn, bracket), high - 1), low + 1)
        # Every third turn halves, whatever the guesses are worth.
        middle = xp.where(turn % 3 == 2, _midpoint(low, high), middle)
        return turn + 1, *narrow(bracket, xp.where(finished(bracket), low, middle))

    turn = xp.zeros((), dtype=xp.int32, device=device(target))
    return _Bracket(*while_loop(unfinished, proceed, (turn, *start))[1:])


def stride(total: int) -> int:
    """How far apart are the scores of a sample of ``total``; :data:`SAMPLE` of them at most."""
    return -(-total // SAMPLE) | 1  # odd, not to walk along one column of a matrix


def _quantiles(xp: Any, keys: _Keys, sample: Array, k: int, total: int) -> tuple[Array, Array]:
    """Keys (n,) that likely lie on both sides of the K-th largest, from a sample of each row."""
    lowest = xp.asarray(-xp.inf, dtype=sample.dtype, device=device(sample))
    ordered = xp.sort(xp.where(sample == sample, sample, lowest), axis=-1)
    n, share = sample.shape[-1], k / total
    position = n - max(1, min(n, round(n * share)))
    margin = 0
    if n < total:
        margin = round(_DEVIATIONS * math.sqrt(n * share * (1.0 - share))) + 2
    below = keys.encode(ordered[:, max(position - margin, 0)])
    above = keys.encode(ordered[:, min(position + margin, n - 1)])
    return below, xp.maximum(above, below + 1)


def _threshold(
    xp: Any,
    scores: Array,
    k: Array,
    numbers: Array,
    *,
    sample: Array | None,
    share: int,
    reduce: Reduce,
    total: int,
    loop: Loop,
    while_loop: Loop | None,
) -> tuple[Array, Array, Array]:
    """(threshold, count at it, count above it) of each row, each of shape (n, 1).

    Exactly k scores are at least the threshold, or it is the k-th largest.

    Args:
        k: integers (n, 1), at most ``numbers``, how many in the row are not NaN.
        sample: some scores of each row, to guess from.
        share: K of the whole row, for the sample's quantile.
    """
    keys = _Keys(xp, scores.dtype, device(scores))
    rows = (scores.shape[0],)
    target = xp.reshape(k, rows)

    def count(key: Array) -> Array:
        at_least = scores >= xp.reshape(keys.decode(key), (-1, 1))
        return xp.reshape(reduce(cumulative_count(xp, at_least, total)), rows)

    def guess(turn: Array, bracket: _Bracket) -> Array:
        low, high = keys.decode(bracket.low), keys.decode(bracket.high)
        zero = xp.zeros_like(low)
        finite = (xp.abs(low) < xp.inf) & (xp.abs(high) < xp.inf)
        share = xp.where(finite, bracket.share(target, scores.dtype, xp), zero)
        value = xp.where(finite, low, zero) * (1.0 - share) + xp.where(finite, high, zero) * share
        middle = xp.where(finite, keys.encode(value), _midpoint(bracket.low, bracket.high))
        if quantiles is None:
            return middle
        return xp.where(turn == 0, quantiles[0], xp.where(turn == 1, quantiles[1], middle))

    quantiles = None
    if while_loop is not None and sample is not None:
        quantiles = _quantiles(xp, keys, sample, share, total)
    start = _Bracket(
        xp.full(rows, -keys.infinity, dtype=keys.int_dtype, device=device(scores)),
        xp.full(rows, keys.infinity + 1, dtype=keys.int_dtype, device=device(scores)),
        xp.reshape(numbers, rows),
        xp.zeros_like(target),
    )
    found = _search(
        xp, count, target, start, guess, steps=keys.steps, loop=loop, while_loop=while_loop
    )
    column = (-1, 1)
    return (
        xp.reshape(keys.decode(found.low), column),
        xp.reshape(found.at_low, column),
        xp.reshape(found.at_high, column),
    )


def _first(xp: Any, ties: Array, need: Array) -> Array:
    """The first ``need`` (n, 1) true values of each row, in index order."""
    dtype = _index_dtype(xp, ties.shape[-1])
    return ties & (xp.cumulative_sum(xp.astype(ties, dtype), axis=-1) <= need)


def _first_by_index(
    xp: Any,
    ties: Array,
    need: Array,
    index: Array,
    *,
    reduce: Reduce,
    total: int,
    loop: Loop,
    while_loop: Loop | None,
) -> Array:
    """The same by counting: the least bound J with ``need`` ties of an index below it."""
    rows = (ties.shape[0],)
    target = -xp.reshape(need, rows)  # the count must fall

    def count(bound: Array) -> Array:
        before = ties & (index < xp.reshape(bound, (-1, 1)))
        return -xp.reshape(reduce(cumulative_count(xp, before, total)), rows)

    def guess(turn: Array, bracket: _Bracket) -> Array:
        low, high = bracket.low, bracket.high
        dtype = xp.float32  # a guess that is off by its rounding is still a guess
        way = xp.astype(high - low, dtype) * bracket.share(target, dtype, xp)
        return low + xp.astype(way, low.dtype)

    zero = xp.zeros_like(target, dtype=index.dtype)
    start = _Bracket(zero, zero + (total + 1), xp.zeros_like(target), target - 1)
    if while_loop is not None:
        everywhere = reduce(cumulative_count(xp, ties, total))
        start = start._replace(at_high=-xp.reshape(everywhere, rows) - 1)
    found = _search(
        xp,
        count,
        target,
        start,
        guess,
        steps=(total + 1).bit_length() + 1,
        loop=loop,
        while_loop=while_loop,
    )
    return ties & (index < xp.reshape(found.low, (-1, 1)))


def counting_mask(
    xp: Any,
    scores: Array,
    k: int,
    *,
    all_reduce: Reduce | None = None,
    index: Array | None = None,
    total: int | None = None,
    sample: Array | None = None,
    loop: Loop = _python_loop,
    while_loop: Loop | None = None,
) -> Array:
    """The mask of the k largest of each row of canonical scores (n, d), by counting (P4).

    Args:
        scores: (n, d), or this device's part of the rows.
        k: how many to select in each whole row.
        all_reduce: sums integer counts of shape (n, 1) over all devices; ``None`` for one device.
        index: with ``all_reduce``, the flat index in the whole row of each local coordinate,
            integers (d,).
        total: with ``all_reduce``, the length of the whole row.
        sample: with ``all_reduce``, some scores (n, m) of each whole row, the same on all devices;
            the search guesses from them. Without, it takes them from ``scores``.
        loop: ``loop(n, body, carry)``, for compilers that have one.
        while_loop: ``while_loop(condition, body, carry)``, likewise; the search is several times
            faster with it.
    """
    if all_reduce is not None and (index is None or total is None):
        raise ValueError("counting_mask with all_reduce needs `index` and `total` to break ties.")
    length = scores.shape[-1] if total is None else total
    if length == 0:
        return scores == scores
    how: dict[str, Any] = {
        "reduce": all_reduce or (lambda x: x),
        "total": length,
        "loop": loop,
        "while_loop": while_loop,
    }
    if while_loop is not None and all_reduce is None:  # not every tracer has slices with a step
        sample = scores[:, :: stride(length)]
    number = scores == scores
    numbers = how["reduce"](cumulative_count(xp, number, length))
    wanted = xp.full_like(numbers, k)
    threshold, at_least, greater = _threshold(
        xp,
        scores,
        xp.minimum(wanted, numbers),
        numbers,
        sample=sample,
        share=k,
        **how,
    )
    # When k exceeds the numbers, all of them are in, and the ties are among the NaN.
    among_nan = numbers < wanted
    whole = at_least <= wanted  # all that equal the threshold are in
    equal = scores == threshold
    above = xp.where(among_nan, number, (scores > threshold) | (equal & whole))
    ties = xp.where(among_nan, ~number, equal & ~whole)
    need = xp.where(among_nan, wanted - numbers, xp.where(whole, 0 * wanted, wanted - greater))
    if index is None and while_loop is None:
        return above | _first(xp, ties, need)
    if index is None:
        index = xp.arange(length, dtype=_index_dtype(xp, length + 1), device=device(scores))
    return above | _first_by_index(xp, ties, need, index, **how)
