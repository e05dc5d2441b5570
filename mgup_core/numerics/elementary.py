"""Functions made of sums, products and quotients, which give the same bits on every backend.

No two libraries round ``tanh`` or ``exp`` alike, but all round sums, products and quotients alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import zip_longest

import numpy as np

from .._typing import Arithmetic, Array


def polynomial(be: Arithmetic, coefficients: Sequence[float], x: Array) -> Array:
    """``c0 + c1*x + c2*x^2 + …``, by Horner's rule."""
    value = be.scalar(coefficients[-1])
    for c in reversed(coefficients[:-1]):
        value = be.mul(value, x) + be.scalar(c)
    return value


def _fraction(levels: int) -> tuple[list[float], list[float]]:
    """Lambert's ``tanh(x) / x = 1 / (1 + s / (3 + s / (5 + …)))``, ``s = x^2``, as a quotient.

    Returns:
        (numerator, denominator), polynomials in s with positive coefficients, the first of them 1.
    """
    above, below = [1], [2 * levels - 1]
    for odd in range(2 * levels - 3, 0, -2):  # odd + s * above / below
        shifted = [0, *above]
        longer = [odd * c for c in below] + [0] * (len(shifted) - len(below))
        above, below = below, [c + d for c, d in zip_longest(longer, shifted, fillvalue=0)]
    return [c / below[0] for c in above], [c / below[0] for c in below]


_TANH, _ONE_FROM = (_fraction(17), _fraction(36)), (9.1, 19.1)
"""For float32 and float64: a fraction exact to rounding, and the x from which tanh rounds to 1."""


def tanh(be: Arithmetic, x: Array) -> Array:
    """The hyperbolic tangent, within 12 units in the last place, never beyond 1; NaN stays NaN."""
    xp = be.xp
    beyond = xp.abs(x) > be.scalar(_ONE_FROM[be.host_dtype is np.float64])
    value = tanh_inside(be, xp.where(beyond, be.scalar(0.0), x))
    return xp.where(beyond | (xp.abs(value) > be.scalar(1.0)), xp.sign(x), value)


def tanh_inside(be: Arithmetic, x: Array) -> Array:
    """The hyperbolic tangent of ``|x|`` below 9.1, or below 19.1 in float64."""
    above, below = _TANH[be.host_dtype is np.float64]
    square = be.mul(x, x)
    return be.div(be.mul(x, polynomial(be, above, square)), polynomial(be, below, square))


def sinh_squared(be: Arithmetic, x: Array, bound: float) -> Array:
    """``sinh(x)^2`` where ``|x| <= bound``, within ``4 * max(1, bound)`` units in the last place.

    The series of ``(cosh(2y) - 1) / 2`` gives ``s = sinh(y)^2`` at ``y = x / 2^k``, at most 1; then
    ``s <- 4s(1 + s)`` doubles y, k times.
    """
    doublings = max(0, math.ceil(math.log2(bound))) if bound > 0 else 0
    y = be.mul(x, be.scalar(2.0**-doublings))
    square = be.mul(y, y)
    terms = 12 if be.host_dtype is np.float64 else 7
    series = tuple(2.0 ** (2 * k + 1) / math.factorial(2 * k + 2) for k in range(terms))
    value = be.mul(square, polynomial(be, series, square))
    for _ in range(doublings):
        value = be.mul(be.mul(be.scalar(4.0), value), be.scalar(1.0) + value)
    return value
