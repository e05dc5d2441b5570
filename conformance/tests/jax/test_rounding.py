"""Quotients, roots and conversions that are rounded as written, wherever they run (N4, R5)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from mgup_conformance.backends.jax import enable_x64
from mgup_jax.backend import JaxBackend
from mgup_jax.rounding import divided, root

N = 200_000


def numbers(seed: int, kind: str) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if kind == "spread":
        return (rng.standard_normal(N) * np.exp2(rng.integers(-60, 60, N))).astype(np.float32)
    bits = rng.integers(0, 1 << 23, N).astype(np.uint32)
    bits[:2000] = np.r_[0x7FFFFF - np.arange(1000), np.arange(1000)]  # the ends of a binade
    return rng.permutation(bits | 0x3F800000).view(np.float32)


def off_by(units: int, operation):
    """The operation of a device that misses by so many units in the last place."""

    def near(*args):
        bits = lax.bitcast_convert_type(operation(*args), jnp.int32)
        return lax.bitcast_convert_type(bits + units, jnp.float32)

    return near


@pytest.mark.parametrize("units", [-2, -1, 0, 1, 2])
@pytest.mark.parametrize("kind", ["spread", "mantissas"])
def test_quotients(kind, units):
    a, b = numbers(0, kind), numbers(1, kind)
    quotient = jax.jit(lambda a, b: divided(a, b, off_by(units, lax.div)))(a, b)
    np.testing.assert_array_equal(np.asarray(quotient), a / b)


@pytest.mark.parametrize("units", [-2, -1, 0, 1, 2])
@pytest.mark.parametrize("kind", ["spread", "mantissas"])
def test_roots(kind, units):
    """Over an even and an odd binade, and over all."""
    a = np.abs(numbers(0, kind))
    for x in (a, a * np.float32(2)):
        found = jax.jit(lambda x: root(x, off_by(units, lax.sqrt)))(x)
        np.testing.assert_array_equal(np.asarray(found), np.sqrt(x))


def test_what_is_left_to_the_device():
    """Zeros, infinities, NaN and quotients beyond the range."""
    values = np.array([0.0, -0.0, 1.0, -3.0, np.inf, -np.inf, np.nan, 3e38, 2e-38], np.float32)
    a, b = map(np.ravel, np.meshgrid(values, values))
    with np.errstate(all="ignore"):
        expected = a / b
        roots = np.sqrt(values)

    def flushed(x):  # as XLA does on the CPU, and not on a GPU
        return np.where(np.abs(x) < 2.0**-126, np.copysign(np.float32(0), x), x)

    found = np.asarray(jax.jit(divided)(a, b))
    np.testing.assert_array_equal(flushed(found), flushed(expected))
    np.testing.assert_array_equal(np.asarray(jax.jit(root)(values)), roots)


@pytest.mark.parametrize("narrow", ["bfloat16", "float16", "float32"])
def test_a_rounding_is_kept_in_one_program(narrow):
    """R5. XLA on GPUs drops a conversion whose result is made wide again: run this on one, too."""
    wide = jnp.float64 if narrow == "float32" else jnp.float32
    with enable_x64(True):
        be = JaxBackend(wide)
        x = jnp.asarray(numbers(0, "mantissas"), wide) * wide(1.0 + 2.0**-13)
        rounded = jax.jit(lambda x: be.cast(x, narrow))(x)
        kept = jax.jit(lambda x: be.cast(be.cast(x, narrow), wide))(x)
    assert rounded.dtype == narrow
    np.testing.assert_array_equal(np.asarray(kept), np.asarray(rounded).astype(wide))
    assert (np.asarray(kept) != np.asarray(x)).any()
