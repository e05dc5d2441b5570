"""Exact selection by counts of the scores that are at least x, for many x.

It needs no sort of the scores, no index and no data-dependent shape, so that the search runs inside
a compiled graph. Counts add up, so with an ``all_reduce`` of counts it also ranks an array whose
parts lie on many devices. The search tries keys, which are integers in the order of the floats;
arithmetic decodes them, since the array API has no bit cast.

The search halves a bracket of keys, 33 times for float32. With a ``while_loop`` it guesses keys
instead: first the quantiles of a small sample, then interpolations between the counts. It stops
when a count says that exactly K scores are at least x. The guesses decide only how many passes over
the scores the search takes, since counts prove every result.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from .._typing import Array
from .bisection import DEVIATIONS, Bracket, Loop, columns, search
from .bisection import device as device
from .ordered_keys import Keys
from .sampling import sample_stride

Reduce = Callable[[Array], Array]
Counts = Callable[[list[Array]], list[Array]]

SAMPLE = 1 << 13
"""The largest number of a row's scores that are sorted to guess its threshold."""
_ONE_IN, _FEWEST = 1 << 10, 64  # sorting one score costs as much as counting many
_FEW, _WAYS = 2, 7
"""How many thresholds are counted at once: one on each side, or more where they take one pass."""


def cumulative_count(xp: Any, mask: Array, total: int | None = None) -> Array:
    """The number of true values in each row of ``mask`` (n, d): integers (n, 1).

    Args:
        total: the length of the whole row, if ``mask`` is one device's part of it.
    """
    dtype = index_dtype(xp, mask.shape[-1] if total is None else total)
    # A sum of int32 is int64 where int64 is the default integer, so the sum is cast again.
    return xp.astype(xp.sum(xp.astype(mask, dtype), axis=-1, keepdims=True), dtype)


def index_dtype(xp: Any, d: int) -> Any:
    """int32 where it can count to d, since JAX has no int64 by default."""
    return xp.int32 if d < 2**31 - 1 else xp.int64


def _python_loop(n: int, body: Callable[[Any], Any], carry: Any) -> Any:
    for _ in range(n):
        carry = body(carry)
    return carry


def python_while(condition: Callable[[Any], Any], body: Callable[[Any], Any], carry: Any) -> Any:
    """A ``while_loop`` for :func:`counting_mask` where nothing is traced."""
    while condition(carry):
        carry = body(carry)
    return carry


class _Rows(NamedTuple):
    """Rows of scores (n, d), or one device's part of them, and the operations of the search."""

    xp: Any
    scores: Array
    total: int
    """d, the length of a whole row."""
    reduce: Reduce
    counts: Counts | None
    loop: Loop
    while_loop: Loop | None
    min_passes: int
    keys: type[Keys]

    @property
    def ways(self) -> int:
        return _FEW if self.counts is None else _WAYS

    def counted(self, masks: list[Array]) -> list[Array]:
        """The number of true values in each whole row of each mask: integers (n, 1)."""
        if self.counts is not None:
            return [self.reduce(count) for count in self.counts(masks)]
        return [self.reduce(cumulative_count(self.xp, mask, self.total)) for mask in masks]

    def search(
        self,
        count: Callable[[Array], list[Array]],
        target: Array,
        start: Bracket,
        guess: Callable[[Bracket], Array],
        steps: int,
        first: Array | None = None,
    ) -> Bracket:
        return search(
            self.xp,
            count,
            target,
            start,
            guess,
            first=first,
            steps=steps,
            ways=self.ways,
            loop=self.loop,
            while_loop=self.while_loop,
            min_passes=self.min_passes,
        )


def _quantiles(xp: Any, keys: Keys, sample: Array, k: int, total: int, m: int) -> Array:
    """Keys (n, m) likely on both sides of the K-th largest score, from a sample of each row."""
    lowest = xp.asarray(-xp.inf, dtype=sample.dtype, device=device(sample))
    ordered = xp.sort(xp.where(sample == sample, sample, lowest), axis=-1)
    n, share = sample.shape[-1], k / total
    position = n - max(1, min(n, round(n * share)))
    margin = 0.0
    if n < total:
        margin = DEVIATIONS * math.sqrt(n * share * (1.0 - share)) + 2.0
    offsets = [round(margin * (2 * i / (m - 1) - 1.0)) for i in range(m)]
    places = [max(0, min(n - 1, position + offset)) for offset in offsets]
    found = keys.encode(xp.take(ordered, xp.asarray(places, device=device(sample)), axis=-1))
    # Keys above the middle are one larger, so that they enclose a threshold with many ties at once.
    further = [int(2 * i >= m) for i in range(m)]
    found = found + xp.asarray(further, dtype=found.dtype, device=device(sample))
    return xp.minimum(found, xp.full_like(found, keys.infinity))


class _Cut(NamedTuple):
    """The cut of each row; all arrays are (n, 1)."""

    among_nan: Array
    """Whether all numbers are selected, so that the scores that tie are the NaN."""
    threshold: Array
    """Otherwise, the K-th largest score, or any value that exactly K scores reach."""
    at_least: Array
    """The count of scores that reach the threshold."""
    above: Array
    """The count of scores above the threshold, unless ``at_least`` is K, where it is not used."""
    wanted: Array
    """K."""


def _cut(rows: _Rows, k: Any, sample: Array | None) -> _Cut:
    """The cut for the k largest.

    Args:
        k: an integer, or integers (n, 1).
        sample: some scores of each row, from which the search guesses; ``k`` is then an integer.
    """
    xp, scores, ways = rows.xp, rows.scores, rows.ways
    keys = rows.keys(xp, scores.dtype, device(scores))
    lowest = -keys.infinity - 1  # the key of NaN, which ranks below every number (P2)
    none = xp.full(
        (scores.shape[0], 1), 0, dtype=index_dtype(xp, rows.total), device=device(scores)
    )
    wanted = xp.full_like(none, k)

    def count(places: Array) -> list[Array]:
        return rows.counted([scores >= value for value in columns(keys.decode(places))])

    def guess(bracket: Bracket) -> Array:
        low, high = keys.decode(bracket.low), keys.decode(bracket.high)
        zero = xp.zeros_like(low)
        finite = (xp.abs(low) < xp.inf) & (xp.abs(high) < xp.inf)
        shares = bracket.shares(xp, wanted, ways, scores.dtype)
        low, high = xp.where(finite, low, zero), xp.where(finite, high, zero)
        values = low * (1.0 - shares) + high * shares
        return xp.where(finite, keys.encode(values), bracket.between(xp, ways))

    first = None if sample is None else _quantiles(xp, keys, sample, k, rows.total, ways)
    start = Bracket(
        xp.full_like(none, lowest, dtype=keys.int_dtype),
        xp.full_like(none, keys.infinity + 1, dtype=keys.int_dtype),
        xp.full_like(none, rows.total),
        none,
    )
    found = rows.search(count, wanted, start, guess, keys.steps, first)
    among_nan = found.low == lowest
    return _Cut(among_nan, keys.decode(found.low), found.at_low, found.at_high, wanted)


def _first(xp: Any, ties: Array, need: Array) -> Array:
    """The first ``need`` (n, 1) true values of each row of ``ties`` (n, d)."""
    dtype = index_dtype(xp, ties.shape[-1])
    return ties & (xp.cumulative_sum(xp.astype(ties, dtype), axis=-1) <= need)


def _bound_in_blocks(rows: _Rows, is_tie: Callable[[Array], Array], need: Array) -> Array:
    """The least index (n, 1) below which each row has ``need`` ties, found block by block.

    One pass over the scores counts the ties of every block. The block that holds the index is then
    searched alone. Where no row needs a tie, nothing is counted.
    """
    xp, scores, dtype = rows.xp, rows.scores, need.dtype
    n, d = scores.shape
    size = 1 << (d.bit_length() // 2)
    blocks = d // size  # the remainder is one more block, whose count is not needed

    def find(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        need, _ = carry
        ties = xp.reshape(is_tie(scores[:, : blocks * size]), (n, blocks, size))
        counts = xp.sum(xp.astype(ties, dtype), axis=-1)
        before = xp.astype(xp.cumulative_sum(counts, axis=-1), dtype)
        short = before < need
        block = cumulative_count(xp, short, d)
        left = need - xp.max(xp.where(short, before, 0 * before), axis=-1, keepdims=True)
        index = block * size + xp.arange(size, dtype=dtype, device=device(scores))
        inside = xp.take_along_axis(scores, xp.minimum(index, 0 * index + (d - 1)), axis=-1)
        ties = xp.astype(is_tie(inside) & (index < d), dtype)
        before = xp.astype(xp.cumulative_sum(ties, axis=-1), dtype)
        bound = block * size + cumulative_count(xp, before < left, d) + 1
        return 0 * need, xp.where(need > 0, bound, 0 * need)

    assert rows.while_loop is not None
    # A while_loop of one turn is a branch, which the array API does not have.
    return rows.while_loop(lambda carry: xp.any(carry[0] > 0), find, (need, 0 * need))[1]


def _bound_by_counts(
    rows: _Rows, is_tie: Callable[[Array], Array], need: Array, ties: Array, index: Array
) -> Array:
    """The least index (n, 1) below which each row has ``need`` of its ``ties`` (n, 1), by counts.

    It serves rows of which one device holds a part.
    """
    xp, scores, ways = rows.xp, rows.scores, rows.ways
    need = xp.astype(need, index.dtype)

    def count(bounds: Array) -> list[Array]:
        masks = [is_tie(scores) & (index < bound) for bound in columns(bounds)]
        return [-n for n in rows.counted(masks)]  # negated, since the search needs a falling count

    def guess(bracket: Bracket) -> Array:
        dtype = xp.float32  # a rounded guess is still a guess
        way = xp.astype(bracket.high - bracket.low, dtype)
        way = way * bracket.shares(xp, -need, ways, dtype)
        return bracket.low + xp.astype(way, bracket.low.dtype)

    none = 0 * need
    start = Bracket(none, none + (rows.total + 1), none, -ties - 1)
    return rows.search(count, -need, start, guess, (rows.total + 1).bit_length() + 1).low


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
    min_passes: int = 0,
    counts: Counts | None = None,
    keys: type[Keys] = Keys,
) -> Array:
    """The mask of the k largest of each row of canonical scores (n, d), by counting (P4).

    Args:
        scores: (n, d), or this device's part of the rows.
        k: the number to select in each whole row.
        all_reduce: sums integer counts (n, 1) over all devices; ``None`` for one device.
        index: with ``all_reduce``, the flat index in the whole row of each local coordinate,
            integers (d,).
        total: with ``all_reduce``, the length of the whole row.
        sample: with ``all_reduce``, some scores (n, m) of each whole row, the same on all devices;
            the search guesses from them. Without ``all_reduce``, the sample comes from ``scores``.
        loop: ``loop(n, body, carry)``, for compilers that have one.
        while_loop: ``while_loop(condition, body, carry)``, likewise; it makes the search several
            times faster.
        min_passes: with ``while_loop``, the number of passes that the search first takes by
            ``loop``, for devices that wait for the host at each condition.
        counts: gives the number of true values in each row of each mask (n, d) of a list: a list of
            integers (n, 1) of :func:`index_dtype`. Give it where the compiler makes it one pass
            over the scores; the search then takes few passes.
        keys: the conversion of floats to keys, for frameworks that have a bit cast.

    Returns:
        bool, the shape of ``scores``.

    Raises:
        ValueError: for ``all_reduce`` without ``index`` or ``total``.
    """
    if all_reduce is not None and (index is None or total is None):
        raise ValueError("counting_mask with all_reduce needs `index` and `total` to break ties.")
    length = scores.shape[-1] if total is None else total
    if length == 0:
        return scores == scores
    reduce = all_reduce or (lambda x: x)
    rows = _Rows(xp, scores, length, reduce, counts, loop, while_loop, min_passes, keys)
    if while_loop is None:
        sample = None
    elif all_reduce is None:  # not every tracer has slices with a stride, so only here
        apart = sample_stride(length, one_in=_ONE_IN, fewest=_FEWEST, most=SAMPLE)
        sample = scores[:, ::apart]
    cut = _cut(rows, k, sample)
    whole = cut.at_least <= cut.wanted  # all scores equal to the threshold are selected
    need = cut.wanted - cut.above

    def is_tie(x: Array) -> Array:
        return xp.where(cut.among_nan, x != x, x == cut.threshold)

    above = xp.where(cut.among_nan, scores == scores, scores > cut.threshold)
    ties = is_tie(scores)
    if index is None and while_loop is None:
        return above | (ties & whole) | _first(xp, ties & ~whole, need)
    need = xp.where(whole, 0 * need, need)
    if all_reduce is None and while_loop is not None:
        index = xp.arange(length, dtype=need.dtype, device=device(scores))
        bound = _bound_in_blocks(rows, is_tie, need)
    else:
        bound = _bound_by_counts(rows, is_tie, need, cut.at_least - cut.above, index)
    return above | (ties & (whole | (index < bound)))
