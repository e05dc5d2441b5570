"""Matrix products that are the same bits in any order of summation (N9).

Libraries add the terms of an entry in orders of their own, and so round differently. Here both
factors are cut into slices of so few digits that every partial sum of a product of two slices is a
number of the dtype: whatever the order, nothing is rounded. What is rounded, the sum of these
products, is written down in one order. Ozaki, Ogita, Oishi and Rump, Error-free transformations of
matrix multiplication by using fast routines of matrix multiplication, Numer. Algorithms 59, 2012.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from functools import reduce

import numpy as np

from .._typing import Array, Multiplying
from .sums import part

LONGEST = 4096
"""Terms of an entry that are added as one; a longer inner axis is cut into blocks."""


def exact_product(be: Multiplying, a: Array, b: Array) -> Array:
    """``a @ b`` of (..., n, k) and (..., k, m), within a few units of rounding, by N9.

    A row of ``a`` or a column of ``b`` that holds a non-finite number makes NaN of its row or
    column of the product. Entries below 2^-100 (2^-967) count as 0, of the factors as of the
    product (N6).
    """
    k = a.shape[-1]
    if 0 in (*a.shape, *b.shape):
        return be.matmul(a, b)
    spans = ((start, min(start + LONGEST, k)) for start in range(0, k, LONGEST))
    return _added(_block(be, part(a, -1, *span), part(b, -2, *span)) for span in spans)


def digits(k: int, wide: bool) -> tuple[int, int]:
    """(bits of a slice, slices) for k terms, in float64 or else float32.

    Two slices' products are below 2^(2 * bits), and k of them add up to no more than 2^24 (2^53).
    In float32 the bits are 8 at most, so that a device may take the factors as bfloat16 or TF32.
    """
    precision = 53 if wide else 24
    bits = (precision - (k - 1).bit_length()) // 2
    bits = bits if wide else min(bits, 8)
    return bits, -(-(precision + 2) // bits)


def _block(be: Multiplying, a: Array, b: Array) -> Array:
    bits, count = digits(a.shape[-1], be.host_dtype is np.float64)
    a, b = be.flush(a), be.flush(b)
    a_size, b_size = _sizes(be, a, -1), _sizes(be, b, -2)
    a_slices = _slices(be, be.div(a, a_size), bits, count)
    b_slices = _slices(be, be.div(b, b_size), bits, count)

    def product(i: int, j: int) -> Array:
        # The units are multiplied in afterwards. A compiler that sees a product and a sum side by
        # side makes one operation of them (inductor: `addmm`), within which libraries may round.
        unit = be.scalar(2.0 ** (2 - (i + j + 2) * bits))
        return be.mul(be.matmul(a_slices[i], b_slices[j]), unit)

    total = _added(
        product(i, last - i)
        for last in reversed(range(count))  # the least first; what is less still is left out
        for i in range(last + 1)
    )
    return be.flush(be.mul(total, be.mul(a_size, b_size)))


def _added(terms: Iterable[Array]) -> Array:
    """Their sum, in their order."""
    return reduce(operator.add, terms)


def _sizes(be: Multiplying, x: Array, axis: int) -> Array:
    """For each row or column, the power of two at or below its largest magnitude, or 1 for zeros.

    Rump, Ogita and Oishi, Accurate floating-point summation, 2008, algorithm 3.6, of numbers far
    from both ends of the range.
    """
    most = be.xp.max(be.xp.abs(x), axis=axis, keepdims=True)
    precision = 53 if be.host_dtype is np.float64 else 24
    less = be.mul(most, be.scalar(2.0**-precision))
    large = be.mul(less, be.scalar(2.0 ** (precision - 1) + 1))
    power = be.xp.abs(large - be.mul(large, be.scalar(1 - 2.0**-precision)))
    size = be.mul(power, be.scalar(2.0**precision))
    return be.xp.where(most == 0, be.scalar(1.0), size)


def _slices(be: Multiplying, rest: Array, bits: int, count: int) -> list[Array]:
    """``rest``, below 2 in magnitude, as slices: slice i in units of 2^(1 - (i + 1)*bits).

    None but the first is larger than 2^(bits - 1), and that no larger than 2^bits.
    """
    slices = []
    for i in range(1, count + 1):
        unit = 2.0 ** (1 - i * bits)
        slices.append(be.xp.round(be.mul(rest, be.scalar(1 / unit))))
        rest = rest - be.mul(slices[-1], be.scalar(unit))
    return slices
