"""The controls: policies that select as many coordinates as MGUP does, but others (P13).

Each is :class:`mgup_core.MGUP` with another order: the same tau, alpha and gamma, so the same mean
multiplier. What MGUP gains over them is what alignment gains.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mgup_core import MGUP, Backend, Context, Split, safeguard


@dataclass(frozen=True)
class RandomMask(MGUP):
    """K coordinates of each slice by the largest 32-bit hash of (seed, key, t, flat index).

    Args:
        seed: of the masks, 0 to 2^32 - 1.
    """

    seed: int = 0

    def decide(self, be: Backend, scores: Any, context: Context | None = None) -> Split:
        assert context is not None
        xp = be.xp
        t = xp.astype(xp.asarray(context.t), xp.int32)
        words = (self.seed, context.key, t, xp.astype(context.index, xp.int32))
        chosen = largest(xp, hashed(xp, words), self.top(scores.shape[-1]))
        return Split(safeguard(chosen, scores), *self.factors(be, None, scores.shape[-1]))


@dataclass(frozen=True)
class BottomMask(MGUP):
    """The K lowest scores of each slice: the least aligned step farthest."""

    def decide(self, be: Backend, scores: Any, context: Context | None = None) -> Split:
        return ranked(self, be, scores, be.flush(-scores, be.tiny_score))


@dataclass(frozen=True)
class MagnitudeMask(MGUP):
    """The K largest ``|u|`` of each slice, whatever the gradient says."""

    def decide(self, be: Backend, scores: Any, context: Context | None = None) -> Split:
        assert context is not None
        return ranked(self, be, scores, be.flush(be.xp.abs(context.u), be.tiny_score))


def ranked(policy: MGUP, be: Backend, scores: Any, order: Any) -> Split:
    """The split that gives alpha to the K largest of ``order``."""
    d = scores.shape[-1]
    mask = safeguard(be.rank_mask(order, policy.top(d)), scores)
    return Split(mask, *policy.factors(be, None, d))


def hashed(xp: Any, words: Any) -> Any:
    """A 32-bit hash of 32-bit words, as int32: Murmur3's mixing, whose products wrap around.

    Args:
        words: numbers, or integer arrays that broadcast; the last is an int32 array.
    """
    *first, last = words
    state = xp.zeros_like(last)
    for word in (*first, last):
        if isinstance(word, int):
            word = xp.full_like(last, _signed(word))
        state = _mixed(xp, state ^ word)
    return state


def _mixed(xp: Any, x: Any) -> Any:
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        x = (x ^ _shifted(x, shift)) * _signed(factor)
    # The constant is odd and keeps (0, 0, …) from being a fixed point.
    return (x ^ _shifted(x, 16)) + _signed(0x9E3779B9)


def _shifted(x: Any, by: int) -> Any:
    """The bits of an int32, ``by`` places lower, with zeros above."""
    return (x >> by) & ((1 << (32 - by)) - 1)


def _signed(word: int) -> int:
    return (word + (1 << 31)) % (1 << 32) - (1 << 31)


def largest(xp: Any, values: Any, k: int) -> Any:
    """The mask of the k largest integers of each row (n, d); of equal ones the first."""
    if k == 0:
        return values != values
    from_top = values.shape[-1] - k
    threshold = xp.sort(values, axis=-1)[:, from_top : from_top + 1]
    above, equal = values > threshold, values == threshold
    need = k - xp.sum(xp.astype(above, xp.int32), axis=-1, keepdims=True, dtype=xp.int32)
    place = xp.cumulative_sum(xp.astype(equal, xp.int32), axis=-1, dtype=xp.int32)
    return above | (equal & (place <= need))
