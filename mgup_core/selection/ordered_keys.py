"""Floats as integers in the same order, by arithmetic, since the array API has no bit cast."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._typing import Array


class Keys:
    """Integers in the order of the floats of one dtype. Subnormals have none: P2 removes them."""

    def __init__(self, xp: Any, dtype: Any, device: Any) -> None:
        wide = dtype == xp.float64
        self.xp, self.dtype = xp, dtype
        self.int_dtype = xp.int64 if wide else xp.int32
        self.mantissa_bits = 52 if wide else 23
        bias, top = (1023, 2047) if wide else (127, 255)
        self.subnormals = (1 << self.mantissa_bits) - 1  # have no keys: key 1 is the least normal
        self.infinity = (top << self.mantissa_bits) - self.subnormals
        self.steps = 1 + (2 * self.infinity + 2).bit_length()
        powers = np.zeros(top + 1)
        powers[1:top] = np.ldexp(1.0, np.arange(1, top) - bias)
        powers[top] = np.inf
        self.bias, self.top, self.device = bias, top, device
        # The table maps exponent e to 2^(e - bias); e = 0 is zero, and e = top is infinity.
        self.powers = self._table(powers)

    def _table(self, values: Any) -> Array:
        values = values.astype(np.float64 if self.mantissa_bits == 52 else np.float32)
        return self.xp.asarray(values, dtype=self.dtype, device=self.device)

    def _look_up(self, table: Array, places: Array) -> Array:
        # The standard's `take` accepts indices of one dimension only.
        found = self.xp.take(table, self.xp.reshape(places, (-1,)), axis=0)
        return self.xp.reshape(found, places.shape)

    def decode(self, key: Array) -> Array:
        """The float of each key, exact, since every product has a power of two as a factor."""
        xp = self.xp
        size = xp.where(key == 0, key, xp.abs(key) + self.subnormals)
        exponent = size // (1 << self.mantissa_bits)
        fraction = xp.astype(size - exponent * (1 << self.mantissa_bits), self.dtype)
        value = (1.0 + fraction * 2.0**-self.mantissa_bits) * self._look_up(self.powers, exponent)
        return xp.where(key < 0, -value, value)

    def encode(self, x: Array) -> Array:
        """The key of each number: the inverse of :meth:`decode`. The key of NaN is undefined."""
        xp, size = self.xp, self.xp.abs(x)
        normal = (size >= self.powers[1]) & (size < xp.inf)
        scaled = xp.where(normal, size, xp.ones_like(size))
        exponent = xp.astype(xp.floor(xp.log2(scaled)), self.int_dtype) + self.bias
        exponent = xp.minimum(exponent, xp.full_like(exponent, self.top - 1))
        # 2^(bias - e) would be subnormal for the largest e, so it is applied in two factors.
        powers = np.arange(self.top + 1) - self.bias
        for part in (powers // 2, powers - powers // 2):
            scaled = scaled * self._look_up(self._table(np.ldexp(1.0, -part)), exponent)
        # The rounded logarithm may lie on the other side of a power of two.
        over, under = scaled >= 2.0, scaled < 1.0
        scaled = xp.where(over, scaled * 0.5, xp.where(under, scaled * 2.0, scaled))
        moved = xp.astype(over, self.int_dtype) - xp.astype(under, self.int_dtype)
        fraction = xp.astype((scaled - 1.0) * 2.0**self.mantissa_bits, self.int_dtype)
        key = (exponent + moved) * (1 << self.mantissa_bits) + fraction - self.subnormals
        infinite = xp.where(size >= xp.inf, self.infinity + 0 * key, 0 * key)
        key = xp.where(normal, key, infinite)
        return xp.where(x < 0, -key, key)
