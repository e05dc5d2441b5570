"""Whether a slice may take its step in one pass: a bracket that holds the threshold, verified.

In one pass (:mod:`one_pass <.one_pass>`) most coordinates are written before the last score is
read. That is right only if the threshold, the K-th largest score of the slice, lies in the
bracket; so the bracket must be beyond doubt before anything is written. What is proved here:

    The probability that a bracket is accepted and does not hold the threshold is below
    :data:`MISS_PROBABILITY`, 2e-17 a slice and step, whatever the scores are.

*Proof.* n chunks of c neighbouring scores are drawn, independently and each of the slice's d // c
chunks as likely as any other, by Philox from a count of steps and the number of the slice, neither
of which depends on the scores. Let t be the threshold, the K-th largest score: at least K scores
are >= t, and fewer than K are > t. Call P(A) the share of the slice in a set A of scores, p(A) that
of the sample, and V(A) the variance of the latter among chunks. The shares of drawn chunks are
independent, in [0, 1], and their mean is P(A) up to c / d. So by the empirical Bernstein bound
(Maurer and Pontil 2009, theorem 11), applied to the two fixed sets {>= t} and {> t}, but for a
probability of 2 exp(-L) each,

    P(>= t) <= p(>= t) + e(>= t)   and   p(> t) - e(> t) <= P(> t),
    e(A) = sqrt(2 L V(A) / n) + 7 L / (3 (n - 1)) + c / d.

Suppose both. For an edge z let margin(z) = sqrt(2 L V(> z) / n) + 3 L / (n - 1) + c / d.

- If p(> z) + margin(z) <= K/d, then t <= z. Otherwise t > z, and p(> z) = p(>= t) + q with q the
  share in (z, t). A chunk's share there is at most 1, so that its square is no larger, and by the
  triangle inequality sqrt(V(>= t)) <= sqrt(V(> z)) + sqrt(q n / (n - 1)). Hence K/d <= P(>= t) <=
  p(> z) - q + sqrt(2 L q / (n - 1)) + sqrt(2 L V(> z) / n) + 7 L / (3 (n - 1)) + c / d, where
  -q + sqrt(2 L q / (n - 1)) is at most L / (2 (n - 1)), and 7/3 + 1/2 < 3: a contradiction.
- If p(> z) - margin(z) >= K/d, then t > z: otherwise p(> z) = p(> t) - q with q the share in
  (t, z], and in the same way P(> t) >= K/d, but fewer than K scores are > t.

This holds for all edges at once, however they were found. The bracket is the closest pair of edges
for which the one and the other hold; it has no upper end if the first holds for no edge.

Only this step's scores decide, so that neither a scheduler nor a jump of the gradients can mislead
the bracket. Many equal scores at the threshold make it too wide for the list, and rows of unlike
scale raise V and widen it. A slice without a verified bracket keeps the two reads of
:mod:`radix_select <.radix_select>`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import triton
import triton.language as tl

from . import layout
from .ordered_keys import HIGHEST, LOWEST, key_of, score_of
from .sample_bracket import set_search_range

LOCAL_LENGTH = tl.constexpr(layout.LOCAL_LENGTH)
K = tl.constexpr(layout.K)
CAPACITY = tl.constexpr(layout.CAPACITY)
SAMPLE_CHUNKS = tl.constexpr(layout.SAMPLE_CHUNKS)
FIRST_SAMPLER = tl.constexpr(layout.FIRST_SAMPLER)

GUESS_LOW = tl.constexpr(layout.GUESS_LOW)
GUESS_HIGH = tl.constexpr(layout.GUESS_HIGH)
RECORD = tl.constexpr(layout.RECORD)
VERIFIED = tl.constexpr(layout.VERIFIED)
LIST_LENGTH = tl.constexpr(layout.LIST_LENGTH)
LIKELY_THRESHOLD = tl.constexpr(layout.LIKELY_THRESHOLD)
DEFERRED = tl.constexpr(layout.DEFERRED)

EFFORT = 1.2
"""The factor of the number of chunks, measured: more cost more than a narrower bracket saves."""
LOG_ODDS = 40.0
"""L in the proof."""
MISS_PROBABILITY = float(4 * np.exp(-LOG_ODDS))
_L = tl.constexpr(LOG_ODDS)


def sample_sizes(sizes: Any, chunk: int, least: int) -> Any:
    """How many chunks to draw from slices: as many as save what they cost.

    Args:
        sizes: (slices,) int64.
        chunk: coordinates of a chunk.
        least: the size of the shortest slice that is sampled; shorter ones get 0.
    """
    n = np.where(sizes >= least, EFFORT * sizes ** (2 / 3) * (8 / chunk) ** 0.6, 0)
    return n.astype(np.int64)


def half_width(n: Any, share: Any, chunk: int) -> Any:
    """The margin of the proof if neighbours are independent, as a share of the slice.

    Args:
        n: the number of chunks.
        share: K / d.
        chunk: coordinates of a chunk.
    """
    n = np.maximum(n, 2)
    variance = np.maximum(share * (1 - share), 0.01) / chunk
    return np.sqrt(2 * LOG_ODDS * variance / n) + 3 * LOG_ODDS / (n - 1)


@triton.jit
def _edges(record, spread, EDGES: tl.constexpr):
    """(EDGES,) float32: evenly spaced scores, ascending, ``spread`` times as wide as the guess."""
    low = score_of(tl.load(record + GUESS_LOW).to(tl.int32))
    high = score_of(tl.load(record + GUESS_HIGH).to(tl.int32))
    at = tl.arange(0, EDGES).to(tl.float32) * (2.0 / (EDGES - 1)) - 1.0
    middle = 0.5 * low + 0.5 * high
    edges = middle + at * ((0.5 * high - 0.5 * low) * spread)
    return edges + 0.0  # -0 is no score


@triton.jit
def _can_verify(row, record):
    """Whether the slice is sampled at all and its guess has more than one key, not just ties."""
    sampled = tl.load(row + SAMPLE_CHUNKS) > 0
    return sampled & (tl.load(record + GUESS_LOW) + 1 < tl.load(record + GUESS_HIGH))


@triton.jit
def _edge_spread(row, CHUNK: tl.constexpr, GUESSED: tl.constexpr):
    """How much wider the edges lie than the guess.

    Args:
        CHUNK: coordinates of a chunk.
        GUESSED: the ranks that the guess spans at tau = 1/2, as a share of the sample.
    """
    n = tl.load(row + SAMPLE_CHUNKS).to(tl.float32)
    return (tl.sqrt(20.0 / CHUNK / n) + 120.0 / n) * 2.6 / GUESSED + 1.05


@triton.jit
def _count_above(pair, edges):
    """How many of two neighbours of each chunk are above each edge: (chunks, edges) int32."""
    one, other = tl.split(pair)
    return (one[:, None] > edges).to(tl.int32) + (other[:, None] > edges).to(tl.int32)


@triton.jit(do_not_specialize=["first_sampler"])
def count_sample(
    slice_table, search_records, slice_scalars, table_stride, scalars_stride, sampler_slice,
    first_sampler, sample_sums, samples_drawn,
    STATISTIC: tl.constexpr, CHUNK: tl.constexpr, WIDTH: tl.constexpr, EDGES: tl.constexpr,
    GUESSED: tl.constexpr, DIVISOR: tl.constexpr,
):  # fmt: skip
    """One program for WIDTH chunks: how many of their scores are above each edge.

    Args:
        sampler_slice: (programs,) int32: the slice that each program draws from.
        sample_sums: (slices, 2, EDGES) int32: the sums over the chunks of their counts, and of the
            squares of these; zero between launches.
        samples_drawn: (1,) int64: how many samples were drawn in earlier steps.
    """
    program = first_sampler + tl.program_id(0)
    i = tl.load(sampler_slice + program).to(tl.int64)
    row = slice_table + i * table_stride
    record = search_records + i * RECORD
    if _can_verify(row, record):
        d = tl.load(row + LOCAL_LENGTH)
        chunk = (program - tl.load(row + FIRST_SAMPLER)).to(tl.int32) * WIDTH + tl.arange(0, WIDTH)
        inside = chunk < tl.load(row + SAMPLE_CHUNKS)
        upper, lower, _, _ = tl.randint4x((tl.load(samples_drawn) << 32) + i, chunk)
        random = (upper.to(tl.uint64) << 32) | lower.to(tl.uint32, bitcast=True).to(tl.uint64)
        first = tl.umulhi(random, (d // CHUNK).to(tl.uint64)).to(tl.int32) * CHUNK
        coordinates = first[:, None] + tl.arange(0, CHUNK)[None, :]
        inside = inside[:, None] & (coordinates < tl.multiple_of(d, DIVISOR))
        scores = STATISTIC(row, slice_scalars + i * scalars_stride, 0, coordinates, inside)
        scores = tl.where(inside, scores, float("nan"))
        even, odd = tl.split(tl.reshape(scores, [WIDTH, 4, 2]))
        first, second = tl.split(tl.reshape(even, [WIDTH, 2, 2]))
        third, fourth = tl.split(tl.reshape(odd, [WIDTH, 2, 2]))
        edges = _edges(record, _edge_spread(row, CHUNK, GUESSED), EDGES)[None, :]
        counts = _count_above(first, edges) + _count_above(second, edges)
        counts += _count_above(third, edges) + _count_above(fourth, edges)
        edge_sums = sample_sums + i * (2 * EDGES) + tl.arange(0, EDGES)
        tl.atomic_add(edge_sums, tl.sum(counts, 0), sem="relaxed")
        tl.atomic_add(edge_sums + EDGES, tl.sum(counts * counts, 0), sem="relaxed")


@triton.jit(do_not_specialize=["first_slice"])
def verify_bracket(
    slice_table, search_records, table_stride, first_slice, sample_sums, batch_flags,
    CHUNK: tl.constexpr, EDGES: tl.constexpr, GUESSED: tl.constexpr, FILL: tl.constexpr,
):  # fmt: skip
    """One program a slice: take the closest edges beyond doubt, if the list has room for them.

    Args:
        FILL: the share of the list's entries that the bracket is expected to need, at most.
    """
    i = first_slice + tl.program_id(0)
    row = slice_table + i * table_stride
    record = search_records + i * RECORD
    verified = tl.full([], 0, tl.int64)
    capacity = tl.load(row + CAPACITY)
    if _can_verify(row, record):
        edge_sums = sample_sums + i * (2 * EDGES) + tl.arange(0, EDGES)
        n = tl.load(row + SAMPLE_CHUNKS).to(tl.float64)
        d = tl.load(row + LOCAL_LENGTH).to(tl.float64)
        share = tl.load(row + K).to(tl.float64) / d
        p = tl.load(edge_sums).to(tl.float64) / (n * CHUNK)
        square = tl.load(edge_sums + EDGES).to(tl.float64) / (n * CHUNK * CHUNK)
        variance = tl.maximum(square - p * p, 0.0) * (n / (n - 1))
        margin = tl.sqrt(2 * _L * variance / n) + 3 * _L / (n - 1) + CHUNK / d
        edges = _edges(record, _edge_spread(row, CHUNK, GUESSED), EDGES)
        keys = key_of(edges)
        finite = tl.abs(edges) < float("inf")
        over = finite & (p + margin <= share)  # the threshold is at or below such an edge
        under = finite & (p - margin >= share)  # the threshold is above such an edge
        top = tl.min(tl.where(over, keys, HIGHEST), 0)
        below = tl.max(tl.where(under, keys, LOWEST), 0)
        share_over = tl.max(tl.where(over, p, 0.0), 0)
        share_under = tl.min(tl.where(under, p, 1.0), 0)
        room = (share_under - share_over) * d < FILL * capacity.to(tl.float64)
        if (below > LOWEST) & room & (tl.load(row + K) > 0):
            verified += 1
            set_search_range(record, below.to(tl.int64), top.to(tl.int64) + 1)
            # The shares are nearly linear between the two edges around the threshold's rank.
            low = tl.max(tl.where(finite & (p >= share), edges, float("-inf")), 0)
            high = tl.min(tl.where(finite & (p < share), edges, float("inf")), 0)
            share_low = tl.min(tl.where(finite & (p >= share), p, 1.0), 0)
            share_high = tl.max(tl.where(finite & (p < share), p, 0.0), 0)
            part = ((share_low - share) / tl.maximum(share_low - share_high, 1e-9)).to(tl.float32)
            likely = key_of(low + (high - low) * part).to(tl.int64)
            likely = tl.minimum(tl.maximum(likely, below), top)
            tl.store(record + LIKELY_THRESHOLD, likely)
        else:  # a slice that is read twice may have a doubtful bracket; a closer one copies less
            doubt = 4 * tl.sqrt(variance / n) + CHUNK / d
            top = tl.min(tl.where(finite & (p + doubt <= share), keys, HIGHEST), 0)
            below = tl.max(tl.where(finite & (p - doubt >= share), keys, LOWEST), 0)
            if (below > LOWEST) & (below < top):
                set_search_range(record, below.to(tl.int64), top.to(tl.int64) + 1)
        zero = tl.zeros([EDGES], tl.int32)
        tl.store(edge_sums, zero)
        tl.store(edge_sums + EDGES, zero)
    tl.store(record + VERIFIED, verified)
    tl.store(record + LIST_LENGTH, capacity)
    if verified == 0:
        tl.atomic_add(batch_flags + DEFERRED, 1, sem="relaxed")
