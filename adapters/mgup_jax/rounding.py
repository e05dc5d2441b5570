"""Correctly rounded quotients and roots in float32 where the device only comes near (N4).

On GPUs XLA's are off by a unit or two. The residual of a candidate is exact, so it tells the way to
the right one. Mantissas are divided, so that nothing over- or underflows on the way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

_FRACTION, _EXPONENT, _SIGN = map(np.uint32, (0x007FFFFF, 0x7F800000, 0x80000000))
_ONE = np.uint32(0x3F800000)


def _bits(x: Any) -> Any:
    return lax.bitcast_convert_type(x, jnp.uint32)


def _number(bits: Any) -> Any:
    return lax.bitcast_convert_type(bits, jnp.float32)


def _residual(x: Any, a: Any, b: Any) -> Any:
    """``x - a * b``, exact where the product is within a unit of ``x`` (Dekker, 1971).

    The halves' products are exact too, so it does not matter whether a compiler contracts them.
    """
    a_high, b_high = (lax.reduce_precision(y, 8, 11) for y in (a, b))
    a_low, b_low = a - a_high, b - b_high
    product = a * b
    product = jnp.where(product == product, product, jnp.float32(jnp.nan))  # rounded, as below
    error = ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low
    return (x - product) - error


def _stepped(x: Any, up: Any, down: Any) -> Any:
    """The next float of a positive ``x`` where so told."""
    bits = lax.bitcast_convert_type(x, jnp.int32)
    moved = bits + up.astype(jnp.int32) - down.astype(jnp.int32)
    return lax.bitcast_convert_type(moved, jnp.float32)


def divided(a: Any, b: Any, divide: Callable[[Any, Any], Any] = lax.div) -> Any:
    """``a / b`` correctly rounded, float32 of one shape, if ``divide`` is off by two units at most.

    Zeros, subnormal and non-finite numbers and results are left to ``divide``.
    """
    a_bits, b_bits = _bits(a), _bits(b)
    x, y = (_number((bits & _FRACTION) | _ONE) for bits in (a_bits, b_bits))
    q = divide(x, y)  # from 1/2 to 2
    q = q + divide(_residual(x, q, y), y)  # now within a unit
    left = _residual(x, q, y)
    half = jnp.where(q < 1.0, jnp.float32(2.0**-25), jnp.float32(2.0**-24)) * y
    q = _stepped(q, left > half, left < -half)
    exponents = [(bits & _EXPONENT) >> 23 for bits in (a_bits, b_bits)]
    scale = 127 + exponents[0] - exponents[1]  # unsigned: what is below zero is large
    usual = (scale > 1) & (scale < 254)
    for exponent in exponents:
        usual &= (exponent > 0) & (exponent < 255)
    signed = _number(_bits(q * _number(scale << 23)) | ((a_bits ^ b_bits) & _SIGN))
    return jnp.where(usual, signed, divide(a, b))


def root(a: Any, sqrt: Callable[[Any], Any] = lax.sqrt) -> Any:
    """The correctly rounded square root, float32, if ``sqrt`` is off by two units at most."""
    bits = _bits(a)
    exponent = (bits & _EXPONENT) >> 23
    odd = (exponent & 1) ^ 1  # of the unbiased exponent
    x = _number((bits & _FRACTION) | (_ONE + (odd << 23)))  # from 1 to 4
    s = sqrt(x)
    s = s + _residual(x, s, s) * (jnp.float32(0.5) / s)  # now within a unit
    left, unit = _residual(x, s, s), jnp.float32(2.0**-23) * s
    s = _stepped(s, left > unit, left <= -unit)
    half = (exponent - odd + 127) >> 1  # of the result
    usual = (a > 0) & (exponent > 0) & (exponent < 255)
    return jnp.where(usual, s * _number(half << 23), sqrt(a))


@jax.custom_jvp
@jax.jit
def quotient(a: Any, b: Any) -> Any:
    """``a / b`` of one shape, correctly rounded wherever it runs.

    Compiled apart, so that it is traced and lowered once for each shape.
    """
    if a.dtype != jnp.float32:
        return lax.div(a, b)
    return lax.platform_dependent(a, b, cuda=divided, default=lax.div)


@quotient.defjvp
def _quotient_jvp(x: tuple[Any, Any], tangents: tuple[Any, Any]) -> tuple[Any, Any]:
    """By plain quotients: the bits that :func:`divided` works on have no derivative."""
    (a, b), (da, db) = x, tangents
    q = quotient(a, b)
    return q, lax.div(da - q * db, b)


@jax.custom_jvp
@jax.jit
def square_root(a: Any) -> Any:
    """The correctly rounded square root wherever it runs, likewise."""
    if a.dtype != jnp.float32:
        return lax.sqrt(a)
    return lax.platform_dependent(a, cuda=root, default=lax.sqrt)


@square_root.defjvp
def _square_root_jvp(x: tuple[Any], tangents: tuple[Any]) -> tuple[Any, Any]:
    """0 at 0, where a moment is one that was flushed, a constant (N6)."""
    (a,), (da,) = x, tangents
    s = square_root(a)
    zero = s == 0
    slope = lax.div(jnp.full_like(s, 0.5), jnp.where(zero, jnp.ones_like(s), s))
    return s, da * jnp.where(zero, jnp.zeros_like(s), slope)
