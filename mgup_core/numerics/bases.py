"""Orthogonal bases that are the same bits on every backend (N9).

Libraries factorize in blocks, and so round differently; where eigenvalues are nearly equal, or a
matrix has no full rank, their bases have nothing in common. Here are elementwise operations and
sums in one order only, at the price of as many small steps as a matrix has columns, or more.
"""

from __future__ import annotations

from math import prod
from typing import Any

from .._typing import Array, Looping
from .sums import dot, part

SWEEPS = 6
"""Of each pair of coordinates, and one more whenever their number doubles."""
MOST_COTANGENT = 2.0**60  # whose square is a number of float32


def identity(be: Looping, x: Array, axis: int) -> Array:
    """I of the length of an axis of ``x``, for each matrix of a stack."""
    n = x.shape[axis]
    eye = be.xp.eye(n, dtype=be.dtype, device=be.device)
    return be.xp.broadcast_to(eye, (*x.shape[:-2], n, n)) + be.scalar(0.0)


def householder(be: Looping, x: Array) -> Array:
    """Q of ``x = QR``, (..., n, n), by reflections; orthogonal whatever the rank of ``x``.

    Golub and Van Loan, Matrix Computations, section 5.2, with LAPACK's signs: no entry of R's
    diagonal has the sign of the entry that was reflected there. Where a column has nothing left
    below the diagonal, nothing is reflected.
    """
    n, xp = x.shape[-1], be.xp
    if x.size == 0:
        return x
    one, two = be.scalar(1.0), be.scalar(2.0)
    eye = xp.eye(n, dtype=be.dtype, device=be.device)

    def reflect(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        """Of the next column: ``here`` is 1 at its index, ``left`` from there on, else 0."""
        x, q, here, left = carry
        column = be.mul(be.total(be.mul(x, xp.matrix_transpose(here)), -1), left)
        size, head = be.sqrt(dot(be, column, column, -2)), be.total(be.mul(column, here), -2)
        v = column + be.mul(here, xp.where(head < be.scalar(0.0), -size, size))
        square = dot(be, v, v, -2)
        nothing = square == be.scalar(0.0)
        factor = be.div(two, xp.where(nothing, one, square))
        scaled, across = be.mul(factor, v), xp.matrix_transpose(v)
        scaled = xp.where(nothing, be.scalar(0.0), scaled)
        x = be.flush(x - be.mul(scaled, dot(be, v, x, -2)))
        q = be.flush(q - be.mul(dot(be, q, across, -1), xp.matrix_transpose(scaled)))
        return x, q, _rolled(xp, here, -2), left - here

    scaled = be.flush(be.div(x, _largest(be, x)))
    ones = be.zeros_like(part(eye, -1, 0, 1)) + one
    start = scaled, identity(be, x, -1), part(eye, -1, 0, 1), ones
    return be.loop(n - 1, reflect, start)[1]  # of the last column nothing is left below


def jacobi(be: Looping, x: Array, sweeps: int | None = None) -> Array:
    """Eigenvectors of symmetric ``x``, (..., n, n), as the columns of an orthogonal matrix.

    By Jacobi's rotations of n/2 pairs of coordinates at a time (Golub and Van Loan, section 8.5):
    in every sweep each pair has its turn, as the players of a round robin. Sweeps enough for
    rounding; the columns are in no order.
    """
    n, xp = x.shape[-1], be.xp
    if n < 2 or x.size == 0:
        return identity(be, x, -1)
    half = (n + 1) // 2
    zero, one, two = be.scalar(0.0), be.scalar(1.0), be.scalar(2.0)
    if n % 2:  # a coordinate that no rotation moves
        x = xp.concat([x, be.zeros_like(part(x, -1, 0, 1))], axis=-1)
        x = xp.concat([x, be.zeros_like(part(x, -2, 0, 1))], axis=-2)
    eye = xp.eye(2 * half, dtype=be.dtype, device=be.device)
    corner = part(part(eye, -1, 0, half), -2, 0, half)

    def diagonal(block: Array) -> Array:
        return be.total(be.mul(block, corner), -1)

    def turned(x: Array, axis: int, c: Array, s: Array) -> Array:
        """The pairs along an axis rotated, and seated for the next round."""
        first, second = part(x, axis, 0, half), part(x, axis, half, 2 * half)
        first, second = (
            be.flush(be.mul(c, first) - be.mul(s, second)),
            be.flush(be.mul(s, first) + be.mul(c, second)),
        )
        return _seated(xp, first, second, axis)

    def rotate(carry: tuple[Array, ...]) -> tuple[Array, ...]:
        x, q = carry
        upper, lower = part(x, -2, 0, half), part(x, -2, half, 2 * half)
        a, b = diagonal(part(upper, -1, 0, half)), diagonal(part(upper, -1, half, 2 * half))
        d = diagonal(part(lower, -1, half, 2 * half))
        apart = b == zero
        cotangent = be.div(d - a, be.mul(two, xp.where(apart, one, b)))
        size = xp.minimum(xp.abs(cotangent), be.scalar(MOST_COTANGENT))
        tangent = be.div(one, size + be.sqrt(be.mul(size, size) + one))
        tangent = xp.where(cotangent < zero, -tangent, tangent)
        tangent = xp.where(apart, zero, tangent)
        c = be.div(one, be.sqrt(be.mul(tangent, tangent) + one))
        s = be.mul(tangent, c)
        x = turned(x, -2, c, s)
        c, s = xp.matrix_transpose(c), xp.matrix_transpose(s)
        return turned(x, -1, c, s), turned(q, -1, c, s)

    scaled = be.flush(be.div(x, _largest(be, x)))
    sweeps = SWEEPS + n.bit_length() if sweeps is None else sweeps
    rounds = max(2 * half - 1, 1) * sweeps
    _, q = be.loop(rounds, rotate, (scaled, identity(be, x, -1)))
    return part(part(q, -1, 0, n), -2, 0, n)


def descending(be: Looping, values: Array) -> Array:
    """The order of ``values`` (..., n) from the largest down, as int32; equal ones keep theirs."""
    xp, n = be.xp, values.shape[-1]
    one, zero = be.scalar(1.0), be.scalar(0.0)
    index = xp.asarray([float(i) for i in range(n)], dtype=be.dtype, device=be.device)
    down, across = xp.reshape(index, (n, 1)), xp.reshape(index, (1, n))
    mine = xp.reshape(values, (*values.shape, 1))
    other = xp.reshape(values, (*values.shape[:-1], 1, n))
    before = (other > mine) | ((other == mine) & (across < down))
    place = be.total(xp.where(before, one, zero), -1)
    order = be.total(xp.where(place == across, down + be.mul(place, zero), zero), -2)
    return be.cast(xp.reshape(order, values.shape), xp.int32)


def permuted(be: Looping, x: Array, order: Array) -> Array:
    """The rows of ``x`` (..., n, m) in an order (..., n) that :func:`descending` gave."""
    xp, (n, m) = be.xp, x.shape[-2:]
    stack = prod(x.shape[:-2])
    flat = xp.reshape(order, (-1,))
    if stack > 1:
        starts = [n * i for i in range(stack) for _ in range(n)]
        flat = flat + xp.asarray(starts, dtype=xp.int32, device=be.device)
    return xp.reshape(xp.take(xp.reshape(x, (-1, m)), flat, axis=0), x.shape)


def _largest(be: Looping, x: Array) -> Array:
    """The largest magnitude of each matrix, (..., 1, 1), or 1 for zeros."""
    size = be.xp.max(be.xp.max(be.xp.abs(x), axis=-1, keepdims=True), axis=-2, keepdims=True)
    return be.xp.where(size == be.scalar(0.0), be.scalar(1.0), size)


def _rolled(xp: Any, x: Array, axis: int) -> Array:
    """``x`` with its last entry first."""
    n = x.shape[axis]
    return x if n == 1 else xp.concat([part(x, axis, n - 1, n), part(x, axis, 0, n - 1)], axis=axis)


def _seated(xp: Any, first: Array, second: Array, axis: int) -> Array:
    """Both halves joined, all but the first coordinate one place on around the table."""
    half = first.shape[axis]
    if half == 1:
        return xp.concat([first, second], axis=axis)
    pieces = [
        part(first, axis, 0, 1), part(second, axis, 0, 1), part(first, axis, 1, half - 1),
        part(second, axis, 1, half), part(first, axis, half - 1, half),
    ]  # fmt: skip
    return xp.concat([x for x in pieces if x.shape[axis]], axis=axis)
