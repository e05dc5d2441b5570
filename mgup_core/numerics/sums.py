"""Sums in one order, so that rules with norms give the same bits on every backend.

``xp.sum`` adds in the order that is fastest on its hardware. :func:`folded_sum` adds the halves of
an axis until one element is left. These elementwise additions have the same results on every
backend, and the small error of a pairwise sum, for about twice the memory traffic.
"""

from __future__ import annotations

from typing import Any

from .._typing import Arithmetic, Array


def folded_sum(xp: Any, x: Array, axis: int | None = None) -> Array:
    """The sum over ``axis``, kept with length 1; without ``axis`` over all axes, as a 0-d array.

    Each step is ``x[:h] + x[h:]``, where ``h`` is the largest power of two below the length; in the
    first step, ``x[h:]`` may be shorter than ``h``.
    """
    if axis is None:
        return xp.reshape(folded_sum(xp, xp.reshape(x, (-1,)), 0), ())
    axis %= x.ndim
    n = x.shape[axis]
    if n == 0:
        return xp.zeros((*x.shape[:axis], 1, *x.shape[axis + 1 :]), dtype=x.dtype)

    half = 1 << (n - 1).bit_length() >> 1
    if half and n < 2 * half:
        rest = n - half
        front = part(x, axis, 0, rest) + part(x, axis, half, n)
        x = xp.concat([front, part(x, axis, rest, half)], axis=axis)
    elif half:
        x = part(x, axis, 0, half) + part(x, axis, half, n)
    while half > 1:
        half //= 2
        x = part(x, axis, 0, half) + part(x, axis, half, 2 * half)
    return x


def part(x: Array, axis: int, start: int, stop: int) -> Array:
    """``x`` from ``start`` to ``stop`` of one axis."""
    if (start, stop) == (0, x.shape[axis]):
        return x
    spans = [slice(None)] * x.ndim
    spans[axis] = slice(start, stop)
    return x[tuple(spans)]


def dot(be: Arithmetic, x: Array, y: Array, axis: int | None = None) -> Array:
    """The inner product over ``axis`` (kept, with length 1), or over all axes (0-d).

    Products below 2^-100 count as 0, since some backends flush them (N6). Sums of the others are
    never subnormal.
    """
    return be.total(be.flush(be.mul(x, y)), axis)


def dots_along(be: Arithmetic, x: Array, y: Array, axis: int) -> Array:
    """The inner product over all axes but ``axis``, which are kept with length 1."""
    products = be.flush(be.mul(x, y))
    for other in reversed(range(x.ndim)):
        if other != axis % x.ndim:
            products = be.total(products, other)
    return products


def norm(be: Arithmetic, x: Array, axis: int | None = None) -> Array:
    """The Euclidean norm over ``axis`` (kept, with length 1), or over all axes (0-d)."""
    return be.sqrt(dot(be, x, x, axis))
