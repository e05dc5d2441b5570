"""When two arrays are the same (N1), when two directions agree (N7), and how they differ."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from .protocol import Array

N7_FROBENIUS = 1e-4  # of the norm
N7_LARGEST = 2e-4  # of the largest entry: 2 to 4 times the worst measured between BLAS libraries


@dataclass
class Mismatch(AssertionError):
    """The first difference found, with what is needed to look for its cause."""

    what: str
    """For example ``parameter``, ``state exp_avg``, ``multiplier``."""
    detail: str
    """How the two differ."""
    step: int | None = None
    parameter: int | None = None
    coordinate: tuple[int, ...] | None = None
    expected: str | None = None
    actual: str | None = None
    near: str | None = None
    """Where the score lay, seen from the threshold."""
    setting: str = ""
    """What was being compared, within the case."""

    def __str__(self) -> str:
        place = [self.setting] if self.setting else []
        place += [f"step {self.step}"] if self.step is not None else []
        place += [f"parameter {self.parameter}"] if self.parameter is not None else []
        place += [f"coordinate {list(self.coordinate)}"] if self.coordinate is not None else []
        lines = [f"{self.what}: {self.detail}", "  at " + ", ".join(place)]
        if self.expected is not None:
            lines.append(f"  expected {self.expected}\n  got      {self.actual}")
        if self.near:
            lines.append(f"  {self.near}")
        return "\n".join(lines)


def wide(x: Array) -> Array:
    """float16 and bfloat16 as float32, exactly; the rest as it is."""
    return x if x.dtype in (np.float32, np.float64) else x.astype(np.float32)


def canonical(x: Array) -> Array:
    """One representative of each class of N1: equal bits here are identity there."""
    x = np.ascontiguousarray(wide(x))
    tiny = 2.0**-967 if x.dtype == np.float64 else 2.0**-100
    x = np.where(np.abs(x) < tiny, x.dtype.type(0), x)
    return np.where(np.isnan(x), x.dtype.type(np.nan), x)


def _bits(x: Array) -> Array:
    return canonical(x).view(np.uint64 if x.dtype == np.float64 else np.uint32)


def digest(*arrays: Array, exact: bool = False) -> bytes:
    """Equal for arrays that are identical by N1 and have the same shapes and dtypes.

    With ``exact``, only for the same bits: less than N1 asks, and several times as fast to check.
    """
    seen = hashlib.blake2b(digest_size=16)
    for x in arrays:
        seen.update(f"{x.dtype.name}{x.shape}".encode())
        seen.update((np.ascontiguousarray(x) if exact else canonical(x)).tobytes())
    return seen.digest()


def show(x: Any) -> str:
    """A number in hex and decimal."""
    value = float(x)
    return f"{value.hex()} ({value:.9g})"


def check_identical(what: str, expected: Array, actual: Array, **place: Any) -> None:
    """Raise :class:`Mismatch` at the first coordinate that N1 does not call identical."""
    expected, actual = np.asarray(expected), np.asarray(actual)
    if actual.dtype != expected.dtype or actual.shape != expected.shape:
        raise Mismatch(
            what,
            f"{actual.dtype.name} {actual.shape} instead of {expected.dtype.name} {expected.shape}",
            **place,
        )
    different = _bits(expected) != _bits(actual)
    if not different.any():
        return
    at = tuple(int(i) for i in np.argwhere(different)[0])
    raise Mismatch(
        what,
        f"{int(different.sum())} of {different.size} values differ",
        coordinate=at,
        expected=show(expected[at]),
        actual=show(actual[at]),
        **place,
    )


def check_close(what: str, expected: Array, actual: Array, **place: Any) -> None:
    """Raise :class:`Mismatch` unless a direction is within the norms of N7."""
    expected, error = expected.astype(np.float64), actual.astype(np.float64) - expected
    if expected.size == 0:
        return
    norm, norm_of_error = np.linalg.norm(expected), np.linalg.norm(error)
    largest, largest_error = np.max(np.abs(expected)), np.max(np.abs(error))
    # Not as quotients: a direction of zeros is close to zeros only, and NaN to nothing.
    if norm_of_error <= N7_FROBENIUS * norm and largest_error <= N7_LARGEST * largest:
        return
    at = tuple(int(i) for i in np.unravel_index(np.argmax(np.abs(error)), error.shape))
    raise Mismatch(
        what,
        f"error {norm_of_error:.2e} in a norm of {norm:.2e} ({N7_FROBENIUS:.0e} of it allowed), "
        f"at most {largest_error:.2e} with entries to {largest:.2e} ({N7_LARGEST:.0e} allowed)",
        coordinate=at,
        expected=show(expected[at]),
        actual=show(actual[at]),
        **place,
    )


def nearness(scores: Array, mask: Array, row: int, column: int, *, ranked: bool) -> str:
    """Whether a score lay near the threshold, so that a slip of a bit could flip its mask."""
    own = scores[row, column]
    if np.isnan(own):
        return "its score is NaN"
    if not ranked:
        return f"its score is {show(own)}, {'at' if own == 0 else 'not at'} the threshold 0"
    chosen = scores[row][mask[row]]
    if chosen.size == 0:
        return f"its score is {show(own)}; nothing is selected in its slice"
    threshold = np.nanmin(chosen)
    between = np.sort([own, threshold])
    places = int(np.count_nonzero((scores[row] >= between[0]) & (scores[row] <= between[1])))
    near = own == threshold or places <= 3
    return (
        f"its score {show(own)} is {'NEAR' if near else 'not near'} the threshold "
        f"{show(threshold)}: {places} scores lie between them, both included"
    )
