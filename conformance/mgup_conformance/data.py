"""The data of the cases: scores that are hard to rank, and gradients that are hard to follow."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence

import ml_dtypes
import numpy as np

from .protocol import Array

Generator = np.random.Generator
Shape = tuple[int, ...]


def dtype_of(name: str) -> np.dtype:
    """The NumPy dtype of a name of the protocol."""
    return np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)


def generator(*key: object) -> Generator:
    """Random numbers that depend on a name and nothing else."""
    return np.random.default_rng(zlib.crc32(repr(key).encode()))


def _spread(rng: Generator, d: int, low: float, high: float) -> Array:
    """Both signs, magnitudes log-uniform in [2^low, 2^high]."""
    x: Array = np.ldexp(rng.uniform(1, 2, d), rng.uniform(low, high, d).astype(int))
    return x * _signs(rng, d)


def _signs(rng: Generator, d: int) -> Array:
    return rng.choice([-1.0, 1.0], d)


def _sprinkle(rng: Generator, x: Array, share: float, values: Sequence[float]) -> Array:
    chosen = rng.random(x.size) < share
    return np.where(chosen, rng.choice(values, x.size), x)


# NaN of both signs: their order differs between libraries that sort by bits.
NANS = (float("nan"), float(np.copysign(np.nan, -1.0)))

SCORES: dict[str, Callable[[Generator, int, bool], Array]] = {
    "normal": lambda rng, d, wide: rng.standard_normal(d),
    "ties": lambda rng, d, wide: rng.integers(-3, 4, d).astype(float),
    "equal": lambda rng, d, wide: np.full(d, 0.75),
    "signs": lambda rng, d, wide: _signs(rng, d),
    "rare_positive": lambda rng, d, wide: np.where(np.arange(d) == d // 2, 1.0, -1.0),
    "zeros": lambda rng, d, wide: _sprinkle(rng, rng.standard_normal(d), 0.9, (0.0, -0.0)),
    "signed_zeros": lambda rng, d, wide: np.copysign(0.0, _signs(rng, d)),
    "infinities": lambda rng, d, wide: _sprinkle(
        rng, rng.standard_normal(d), 0.6, (np.inf, -np.inf)
    ),
    "nan": lambda rng, d, wide: _sprinkle(rng, rng.integers(-9, 9, d).astype(float), 0.1, NANS),
    "mostly_nan": lambda rng, d, wide: _sprinkle(rng, rng.standard_normal(d), 0.7, NANS),
    "all_nan": lambda rng, d, wide: rng.choice(NANS, d),
    "tiny": lambda rng, d, wide: _sprinkle(
        rng, _spread(rng, d, *((-1074, -1018) if wide else (-149, -122))), 0.2, (0.0, -0.0)
    ),
    "ascending": lambda rng, d, wide: np.sort(rng.standard_normal(d)),
    "descending": lambda rng, d, wide: -np.sort(rng.standard_normal(d)),
    "narrow": lambda rng, d, wide: 1.0 + rng.integers(0, 5, d) * (2.0**-52 if wide else 2.0**-23),
    "huge": lambda rng, d, wide: _sprinkle(
        rng, _spread(rng, d, *((900, 1023) if wide else (100, 127))), 0.1, (np.inf,)
    ),
    "mixed": lambda rng, d, wide: _sprinkle(
        rng, _spread(rng, d, -140, 120), 0.4, (0.0, -0.0, np.inf, -np.inf, 1.0, -1.0, *NANS)
    ),
}
"""Scores by name: (generator, how many, whether for float64) -> float64 values."""


def operands(pattern: str, dtype: str, shape: Shape, seed: object = 0) -> tuple[Array, Array]:
    """An alignment operand and a gradient whose products follow a pattern of :data:`SCORES`."""
    d = int(np.prod(shape))
    rng = generator(pattern, dtype, shape, seed)
    scores = SCORES[pattern](rng, d, dtype == "float64")
    if pattern == "normal":  # products that must be rounded
        a, g = scores, rng.standard_normal(d)
    else:  # products that are exact
        g = _signs(rng, d)
        a = scores * g
    with np.errstate(over="ignore"):
        kind = dtype_of(dtype)
        return a.astype(kind).reshape(shape), g.astype(kind).reshape(shape)


def chaotic(noise: Array, w: Array, strength: float = 1.0) -> Array:
    """A gradient that depends on the parameter, so that one wrong bit spreads."""
    with np.errstate(all="ignore"):
        return (noise + strength * w.astype(noise.dtype)).astype(w.dtype)


def noises(key: object, shapes: Sequence[Shape], dtype: str) -> Iterator[list[Array]]:
    """Normal noise for each parameter, step after step, in the compute dtype."""
    rng = generator("noise", key)
    kind = np.float64 if dtype == "float64" else np.float32
    while True:
        yield [rng.standard_normal(shape).astype(kind) for shape in shapes]


def tiny_gradients(key: object, shapes: Sequence[Shape], dtype: str) -> Iterator[list[Array]]:
    """Both signs, magnitudes log-uniform down to the smallest subnormal, 30 % zeros."""
    rng = generator("tiny", key)
    lowest = {"float64": -1074, "float16": -24}.get(dtype, -149)
    kind = dtype_of(dtype)
    while True:
        flat = [_spread(rng, int(np.prod(shape)), lowest, 7) for shape in shapes]
        yield [
            _sprinkle(rng, x, 0.3, (0.0, -0.0)).astype(kind).reshape(shape)
            for x, shape in zip(flat, shapes, strict=True)
        ]


def initial(key: object, shapes: Sequence[Shape], dtype: str) -> list[Array]:
    """Initial parameters."""
    rng = generator("initial", key)
    return [rng.standard_normal(shape).astype(dtype_of(dtype)) for shape in shapes]
