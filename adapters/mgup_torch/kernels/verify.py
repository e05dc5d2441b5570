"""Whether a slice may take its step in one pass: a bracket that holds the threshold, verified.

In one pass (:mod:`one_pass <.one_pass>`) most coordinates are written before the last score has
been seen. That is right only if the threshold, the K-th largest score of the slice, lies in the
bracket; so the bracket must be beyond doubt before anything is written. What is proved here:

    The probability that a bracket is accepted and does not hold the threshold is below
    :data:`DOUBT`, 2e-17 a slice and step, whatever the scores are.

*Proof.* n chunks of c neighbouring scores are drawn, independently and each of the slice's d // c
chunks as likely as any other, by Philox from a count of steps and the number of the slice: the
scores know nothing of it. Let t be the threshold, the K-th largest score: at least K scores are
>= t, and fewer than K are > t. Call P(A) the share of the slice in a set A of scores, p(A) that of
the sample, and V(A) the variance of the latter among chunks. The shares of drawn chunks are
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
for which the one and the other hold; its upper end is open where the first holds for none.

Since this step's scores decide, neither a scheduler nor a jump of the gradients can mislead it; a
crowd of equal scores at the threshold makes the bracket too wide for the list, and rows of unlike
scale raise V and widen it. What is not accepted keeps the two reads of :mod:`rank <.rank>`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import triton
import triton.language as tl

from . import layout as table
from .ordered_keys import HIGHEST, LOWEST, ordered, score_of
from .sample_bracket import enclose_keys

D = tl.constexpr(table.D)
K = tl.constexpr(table.K)
CAPACITY = tl.constexpr(table.CAPACITY)
DRAWS = tl.constexpr(table.DRAWS)
FIRST_DRAW = tl.constexpr(table.FIRST_DRAW)

LOW = tl.constexpr(table.LOW)
HIGH = tl.constexpr(table.HIGH)
RECORD = tl.constexpr(table.RECORD)
VERIFIED = tl.constexpr(table.VERIFIED)
WRITTEN = tl.constexpr(table.WRITTEN)
MIDDLE = tl.constexpr(table.MIDDLE)
WAITING = tl.constexpr(table.WAITING)

EFFORT = 1.2
L = 40.0
DOUBT = float(4 * np.exp(-L))
_L = tl.constexpr(L)


def draws(sizes: Any, chunk: int, least: int) -> Any:
    """How many chunks to draw: where a wider sample costs what a narrower bracket saves."""
    n = np.where(sizes >= least, EFFORT * sizes ** (2 / 3) * (8 / chunk) ** 0.6, 0)
    return n.astype(np.int64)


def half_width(n: Any, share: Any, chunk: int) -> Any:
    """The margin where neighbours are independent, as a share of the slice."""
    n = np.maximum(n, 2)
    variance = np.maximum(share * (1 - share), 0.01) / chunk
    return np.sqrt(2 * L * variance / n) + 3 * L / (n - 1)


@triton.jit
def _edges(record, spread, EDGES: tl.constexpr):
    """Ascending scores around the first guess, evenly spaced."""
    low = score_of(tl.load(record + LOW).to(tl.int32))
    high = score_of(tl.load(record + HIGH).to(tl.int32))
    at = tl.arange(0, EDGES).to(tl.float32) * (2.0 / (EDGES - 1)) - 1.0
    middle = 0.5 * low + 0.5 * high
    edges = middle + at * ((0.5 * high - 0.5 * low) * spread)
    return edges + 0.0  # -0 is no score


@triton.jit
def _hopeful(row, record):
    """Whether there is anything to verify: a slice that is long enough, and no crowd of ties."""
    return (tl.load(row + DRAWS) > 0) & (tl.load(record + LOW) + 1 < tl.load(record + HIGH))


@triton.jit
def _spread(row, CHUNK: tl.constexpr, GUESSED: tl.constexpr):
    """How much wider the edges lie than the first guess, which spans GUESSED ranks, a share."""
    n = tl.load(row + DRAWS).to(tl.float32)
    return (tl.sqrt(20.0 / CHUNK / n) + 120.0 / n) * 2.6 / GUESSED + 1.05


@triton.jit
def _above(pair, edges):
    """Of two neighbours in each chunk, how many are above each edge: (chunks, edges)."""
    one, other = tl.split(pair)
    return (one[:, None] > edges).to(tl.int32) + (other[:, None] > edges).to(tl.int32)


@triton.jit(do_not_specialize=["first_draw"])
def count_sample(
    tables, records, uniforms, columns, scalars, draw_slice, first_draw, sums, drawn,
    SEEN: tl.constexpr, CHUNK: tl.constexpr, WIDTH: tl.constexpr, EDGES: tl.constexpr,
    GUESSED: tl.constexpr, DIVISOR: tl.constexpr,
):  # fmt: skip
    """One program for WIDTH chunks: how many of their scores are above each edge.

    Args:
        sums: (slices, 2, EDGES), int32: of the counts of the chunks, and of their squares.
        drawn: how many samples have been drawn before.
    """
    program = first_draw + tl.program_id(0)
    i = tl.load(draw_slice + program).to(tl.int64)
    row = tables + i * columns
    record = records + i * RECORD
    if _hopeful(row, record):
        d = tl.load(row + D)
        number = (program - tl.load(row + FIRST_DRAW)).to(tl.int32) * WIDTH + tl.arange(0, WIDTH)
        inside = number < tl.load(row + DRAWS)
        one, other, _, _ = tl.randint4x((tl.load(drawn) << 32) + i, number)
        random = (one.to(tl.uint64) << 32) | other.to(tl.uint32, bitcast=True).to(tl.uint64)
        first = tl.umulhi(random, (d // CHUNK).to(tl.uint64)).to(tl.int32) * CHUNK
        places = first[:, None] + tl.arange(0, CHUNK)[None, :]
        inside = inside[:, None] & (places < tl.multiple_of(d, DIVISOR))
        scores = SEEN(row, uniforms + i * scalars, 0, places, inside)
        scores = tl.where(inside, scores, float("nan"))
        even, odd = tl.split(tl.reshape(scores, [WIDTH, 4, 2]))
        first, second = tl.split(tl.reshape(even, [WIDTH, 2, 2]))
        third, fourth = tl.split(tl.reshape(odd, [WIDTH, 2, 2]))
        edges = _edges(record, _spread(row, CHUNK, GUESSED), EDGES)[None, :]
        counts = _above(first, edges) + _above(second, edges)
        counts += _above(third, edges) + _above(fourth, edges)
        mine = sums + i * (2 * EDGES) + tl.arange(0, EDGES)
        tl.atomic_add(mine, tl.sum(counts, 0), sem="relaxed")
        tl.atomic_add(mine + EDGES, tl.sum(counts * counts, 0), sem="relaxed")


@triton.jit(do_not_specialize=["first_slice"])
def verify_bracket(
    tables, records, columns, first_slice, sums, flags,
    CHUNK: tl.constexpr, EDGES: tl.constexpr, GUESSED: tl.constexpr, FILL: tl.constexpr,
):  # fmt: skip
    """One program a slice: the closest edges that are beyond doubt, if their list has room."""
    i = first_slice + tl.program_id(0)
    row = tables + i * columns
    record = records + i * RECORD
    verified = tl.full([], 0, tl.int64)
    capacity = tl.load(row + CAPACITY)
    if _hopeful(row, record):
        mine = sums + i * (2 * EDGES) + tl.arange(0, EDGES)
        n = tl.load(row + DRAWS).to(tl.float64)
        d = tl.load(row + D).to(tl.float64)
        share = tl.load(row + K).to(tl.float64) / d
        p = tl.load(mine).to(tl.float64) / (n * CHUNK)
        square = tl.load(mine + EDGES).to(tl.float64) / (n * CHUNK * CHUNK)
        variance = tl.maximum(square - p * p, 0.0) * (n / (n - 1))
        margin = tl.sqrt(2 * _L * variance / n) + 3 * _L / (n - 1) + CHUNK / d
        edges = _edges(record, _spread(row, CHUNK, GUESSED), EDGES)
        keys = ordered(edges)
        finite = tl.abs(edges) < float("inf")
        over = finite & (p + margin <= share)
        under = finite & (p - margin >= share)
        top = tl.min(tl.where(over, keys, HIGHEST), 0)
        below = tl.max(tl.where(under, keys, LOWEST), 0)
        beyond = tl.max(tl.where(over, p, 0.0), 0)
        reached = tl.min(tl.where(under, p, 1.0), 0)
        room = (reached - beyond) * d < FILL * capacity.to(tl.float64)
        if (below > LOWEST) & room & (tl.load(row + K) > 0):
            verified += 1
            enclose_keys(record, below.to(tl.int64), top.to(tl.int64) + 1)
            # Between the edges next to the threshold's rank the shares are nearly linear.
            before = tl.max(tl.where(finite & (p >= share), edges, float("-inf")), 0)
            after = tl.min(tl.where(finite & (p < share), edges, float("inf")), 0)
            reach = tl.min(tl.where(finite & (p >= share), p, 1.0), 0)
            rest = tl.max(tl.where(finite & (p < share), p, 0.0), 0)
            part = ((reach - share) / tl.maximum(reach - rest, 1e-9)).to(tl.float32)
            middle = ordered(before + (after - before) * part).to(tl.int64)
            middle = tl.minimum(tl.maximum(middle, below), top)
            tl.store(record + MIDDLE, middle)
        else:  # what is read twice may be doubted, and the closer a bracket, the fewer copies
            doubt = 4 * tl.sqrt(variance / n) + CHUNK / d
            top = tl.min(tl.where(finite & (p + doubt <= share), keys, HIGHEST), 0)
            below = tl.max(tl.where(finite & (p - doubt >= share), keys, LOWEST), 0)
            if (below > LOWEST) & (below < top):
                enclose_keys(record, below.to(tl.int64), top.to(tl.int64) + 1)
        zero = tl.zeros([EDGES], tl.int32)
        tl.store(mine, zero)
        tl.store(mine + EDGES, zero)
    tl.store(record + VERIFIED, verified)
    tl.store(record + WRITTEN, capacity)
    if verified == 0:
        tl.atomic_add(flags + WAITING, 1, sem="relaxed")
