"""The search for the place where a falling count crosses a target; selection by counting uses it.

Places are integers: keys of scores, or flat indices. The search narrows a bracket of two places,
and requests the counts at one or several places at once. Several counts cost little more than one
where a compiler fuses them into one pass over the data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import array_api_compat

from .._typing import Array

Loop = Callable[..., Any]

DEVIATIONS = 2.5  # of a random count, to each side: one guess in 100 misses, and costs a pass


def device(x: Array) -> Any:
    """The device of ``x``; ``None`` for an array without one, as under the vmap of JAX 0.6."""
    try:
        return array_api_compat.device(x)
    except AttributeError:
        return None


def columns(x: Array) -> list[Array]:
    """The m columns (n, 1) of ``x`` (n, m)."""
    m = x.shape[-1]
    return [x] if m == 1 else [x[:, i : i + 1] for i in range(m)]


class Bracket(NamedTuple):
    """Places low < high, (n, 1), whose counts enclose a target: at_low >= target > at_high."""

    low: Array
    high: Array
    at_low: Array
    at_high: Array

    def narrowed(self, xp: Any, target: Array, places: Array, counts: list[Array]) -> Bracket:
        """The bracket after the counts (n, 1) at each column of ``places`` (n, m) became known."""
        low, high, at_low, at_high = self
        for place, n in zip(columns(places), counts, strict=True):
            enough = n >= target
            low = xp.where(enough, xp.maximum(low, place), low)
            high = xp.where(enough, high, xp.minimum(high, place))
            at_low = xp.where(enough, xp.minimum(at_low, n), at_low)
            at_high = xp.where(enough, at_high, xp.maximum(at_high, n))
        return Bracket(low, high, at_low, at_high)

    def finished(self, target: Array) -> Array:
        """Whether the ends are neighbours, or the count at ``low`` is the target: (n, 1) bool."""
        return (self.at_low == target) | (self.high <= self.low + 1)

    def shares(self, xp: Any, target: Array, m: int, dtype: Any) -> Array:
        """The next places as shares of the bracket, (n, m), from 0 at ``low`` to 1 at ``high``.

        If the counts fall evenly, the target lies at one share. The m shares lie on both sides of
        it, at most some standard deviations of random counts away.
        """
        size = xp.astype(self.at_low - self.at_high, dtype) + 1.0
        share = (xp.astype(self.at_low - target, dtype) + 0.5) / size
        reach = DEVIATIONS * xp.sqrt(share * (1.0 - share) / size)
        shares = share + reach * _spread(xp, m, share)
        return xp.minimum(xp.maximum(shares, xp.zeros_like(share)), xp.ones_like(share))

    def between(self, xp: Any, m: int) -> Array:
        """Places (n, m) that divide the bracket about evenly; float32 rounds them."""
        low, high = self.low >> 1, self.high >> 1  # halves, whose difference cannot overflow
        reach = xp.astype(high - low, xp.float32)
        return low + high + xp.astype(reach * _spread(xp, m, reach), low.dtype)

    def inside(self, xp: Any, target: Array, places: Array) -> Array:
        """``places`` (n, m) moved between the ends; if finished, ``low``, whose count is known."""
        places = xp.maximum(xp.minimum(places, self.high - 1), self.low + 1)
        return xp.where(self.finished(target), self.low, places)


def _spread(xp: Any, m: int, like: Array) -> Array:
    """Evenly spaced numbers between -1 and 1, (1, m), of the dtype of ``like``."""
    row = [2.0 * i / (m + 1) - 1.0 for i in range(1, m + 1)]
    return xp.asarray([row], dtype=like.dtype, device=device(like))


def search(
    xp: Any,
    count: Callable[[Array], list[Array]],
    target: Array,
    start: Bracket,
    guess: Callable[[Bracket], Array],
    *,
    first: Array | None,
    steps: int,
    ways: int,
    loop: Loop,
    while_loop: Loop | None,
    min_passes: int,
) -> Bracket:
    """Narrow a bracket until its ends are neighbours, or the count at ``low`` is the target.

    Args:
        count: gives the m counts (n, 1) at places (n, m).
        target: integers (n, 1).
        start: the bracket to narrow.
        guess: gives the next places (n, ways) for a bracket; used with ``while_loop`` only.
        first: the first places (n, ways); by default a guess.
        steps: the number of halvings that make any bracket's ends neighbours.
        ways: the number of places counted at once with ``while_loop``.
        loop, while_loop: as in :func:`mgup_core.selection.counting.counting_mask`.
        min_passes: with ``while_loop``, the number of passes before its condition is first checked.
    """

    def halve(bracket: tuple[Array, ...]) -> tuple[Array, ...]:
        low, high, at_low, at_high = bracket
        # The midpoint of neighbours is low, so that they stay as they are.
        middle = low // 2 + high // 2 + (low % 2 + high % 2) // 2
        (n,) = count(middle)
        enough = n >= target
        return (
            xp.where(enough, middle, low),
            xp.where(enough, high, middle),
            xp.where(enough, n, at_low),
            xp.where(enough, at_high, n),
        )

    if while_loop is None:
        return Bracket(*loop(steps, halve, tuple(start)))

    def unfinished(carry: tuple[Array, ...]) -> Array:
        return xp.any(~Bracket(*carry[1:]).finished(target))

    def proceed(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        places, bracket = carry[0], Bracket(*carry[1:])
        new = bracket.narrowed(xp, target, places, count(places))
        # A pass that did not halve the difference of the counts is followed by one that divides the
        # bracket evenly.
        halved = new.at_low - new.at_high <= (bracket.at_low - bracket.at_high) >> 1
        places = xp.where(halved, guess(new), new.between(xp, ways))
        return new.inside(xp, target, places), *new

    places = start.inside(xp, target, guess(start) if first is None else first)
    carry = loop(min_passes, proceed, (places, *start))
    return Bracket(*while_loop(unfinished, proceed, carry)[1:])
