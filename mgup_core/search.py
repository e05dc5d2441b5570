"""Where a falling count crosses a target: the search that selection by counting is made of.

It narrows a bracket of places, integers, and asks for the counts at one or several places at once.
Several cost little more than one where a compiler makes them one pass over the data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import array_api_compat

Array = Any
Loop = Callable[..., Any]

DEVIATIONS = 2.5  # of a count, to either side: one guess in a hundred misses, and costs a pass


def device(x: Array) -> Any:
    """Where ``x`` is; ``None`` where it does not say, as under the vmap of JAX 0.6."""
    try:
        return array_api_compat.device(x)
    except AttributeError:
        return None


def columns(x: Array) -> list[Array]:
    """The columns (n, 1) of ``x`` (n, m)."""
    m = x.shape[-1]
    return [x] if m == 1 else [x[:, i : i + 1] for i in range(m)]


class Bracket(NamedTuple):
    """Places low < high, (n, 1), where a falling count is known: at_low >= target > at_high."""

    low: Array
    high: Array
    at_low: Array
    at_high: Array

    def narrowed(self, xp: Any, target: Array, places: Array, counts: list[Array]) -> Bracket:
        """The bracket with the counts (n, 1) at each column of ``places`` (n, m) in it."""
        low, high, at_low, at_high = self
        for place, n in zip(columns(places), counts, strict=True):
            enough = n >= target
            low = xp.where(enough, xp.maximum(low, place), low)
            high = xp.where(enough, high, xp.minimum(high, place))
            at_low = xp.where(enough, xp.minimum(at_low, n), at_low)
            at_high = xp.where(enough, at_high, xp.maximum(at_high, n))
        return Bracket(low, high, at_low, at_high)

    def finished(self, target: Array) -> Array:
        """Whether the ends are neighbours, or the count at ``low`` is the target."""
        return (self.at_low == target) | (self.high <= self.low + 1)

    def shares(self, xp: Any, target: Array, m: int, dtype: Any) -> Array:
        """Where between the ends to look, (n, m), from 0 to 1, if the counts fall evenly.

        The target then lies at a share of its own, give or take the scatter of random counts.
        """
        size = xp.astype(self.at_low - self.at_high, dtype) + 1.0
        share = (xp.astype(self.at_low - target, dtype) + 0.5) / size
        reach = DEVIATIONS * xp.sqrt(share * (1.0 - share) / size)
        below = xp.maximum(share - reach, xp.zeros_like(share))
        above = xp.minimum(share + reach, xp.ones_like(share))
        return below + (above - below) * (_upto(xp, m, share) / (m + 1))

    def between(self, xp: Any, m: int) -> Array:
        """Places (n, m) evenly between the ends, without overflow; ends where there are fewer."""
        i, parts = _upto(xp, m, self.low), m + 1
        whole = self.low // parts * (parts - i) + self.high // parts * i
        return whole + (self.low % parts * (parts - i) + self.high % parts * i) // parts


def _upto(xp: Any, m: int, like: Array) -> Array:
    """1, ..., m as a row of the dtype of ``like``; a number where m is 1."""
    if m == 1:
        return 1
    return xp.reshape(
        xp.asarray(list(range(1, m + 1)), dtype=like.dtype, device=device(like)), (1, m)
    )


def search(
    xp: Any,
    count: Callable[[Array], list[Array]],
    target: Array,
    start: Bracket,
    guess: Callable[[Bracket], Array],
    *,
    steps: int,
    ways: int,
    loop: Loop,
    while_loop: Loop | None,
) -> Bracket:
    """Narrow a bracket until its ends are neighbours, or the count at ``low`` is the target.

    Args:
        count: of places (n, m): m falling counts, (n, 1) each.
        guess: of ``ways`` places to try, (n, ways); used with ``while_loop`` only.
        steps: how many times an interval must be halved at most.
    """

    def halve(bracket: tuple[Array, ...]) -> tuple[Array, ...]:
        low, high, at_low, at_high = bracket
        # Neighbours stay as they are: their midpoint is low, which is enough.
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
        guessed, bracket = carry[0], Bracket(*carry[1:])
        places = xp.where(guessed, guess(bracket), bracket.between(xp, ways))
        places = xp.maximum(xp.minimum(places, bracket.high - 1), bracket.low + 1)
        places = xp.where(bracket.finished(target), bracket.low, places)
        new = bracket.narrowed(xp, target, places, count(places))
        # After a guess that did not halve the counts, by the places alone until they are.
        return new.at_low - new.at_high <= (bracket.at_low - bracket.at_high) // 2, *new

    guessed = start.at_low == start.at_low
    return Bracket(*while_loop(unfinished, proceed, (guessed, *start))[1:])
