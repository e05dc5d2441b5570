"""Refusals that name the argument, its value, the allowed range and the remedy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def check_range(name: str, value: Any, interval: str, remedy: str) -> None:
    """Refuse a number outside an interval such as ``"[0, 1)"`` or ``"[0, inf)"``.

    Arrays pass, since they are scheduled or traced values, which cannot be read here.

    >>> check_range("beta", 1.0, "[0, 1)", "a moving average forgets at this rate.")
    Traceback (most recent call last):
    ValueError: beta=1.0 is outside [0, 1): a moving average forgets at this rate.
    """
    if not isinstance(value, (int, float, np.generic)):
        if hasattr(value, "dtype"):
            return
        raise TypeError(f"{name}={value!r} is not a number: {remedy}")
    low, high = (float(end) for end in interval[1:-1].split(","))
    number = float(value)
    above = low <= number if interval[0] == "[" else low < number
    below = number <= high if interval[-1] == "]" else number < high
    if not (above and below):  # false for NaN as well
        raise ValueError(f"{name}={value!r} is outside {interval}: {remedy}")


def check_beta(name: str, value: Any) -> None:
    """Refuse a decay rate outside [0, 1)."""
    check_range(name, value, "[0, 1)", "a moving average forgets at this rate.")


def check_eps(name: str, value: Any) -> None:
    """Refuse a negative or non-finite eps."""
    check_range(name, value, "[0, inf)", "it keeps a quotient finite.")


def check_rate(name: str, value: Any) -> None:
    """Refuse a negative or non-finite learning rate or decay."""
    check_range(name, value, "[0, inf)", "it must be finite and not negative.")


def check_fits(values: Mapping[str, Any], dtype: Any) -> None:
    """Refuse finite numbers that are infinite in a parameter's compute dtype (N2).

    Args:
        values: hyperparameters by name; all that are not numbers pass.
        dtype: ``numpy.float32`` or ``numpy.float64``.

    >>> check_fits({"lr": 1e39}, np.float32)
    Traceback (most recent call last):
    ValueError: lr=1e+39 is beyond float32, in which this parameter is computed: give a value \
below 3.4e+38, or a float64 parameter.
    """
    most = float(np.finfo(dtype).max)
    for name, value in values.items():
        if isinstance(value, (int, float, np.generic)) and most < abs(float(value)) < np.inf:
            raise ValueError(
                f"{name}={value!r} is beyond {np.dtype(dtype)}, in which this parameter is "
                f"computed: give a value below {most:.2g}, or a float64 parameter."
            )


def check_flag(name: str, value: Any) -> None:
    """Refuse what is neither true nor false, such as a word or an empty list.

    >>> check_flag("nesterov", "no")
    Traceback (most recent call last):
    TypeError: nesterov='no' is neither True nor False.
    """
    known = isinstance(value, (int, np.integer, np.bool_)) and value in (0, 1)
    if not (known or hasattr(value, "dtype")):
        raise TypeError(f"{name}={value!r} is neither True nor False.")


def axis_refusal(name: str, axis: int, shape: tuple[int, ...]) -> str | None:
    """Why an array of this shape has no such axis, with the remedy; ``None`` if it has.

    >>> axis_refusal("out_axis", 2, (4, 3))
    'out_axis=2 is no axis of shape (4, 3): give one from -2 to 1.'
    """
    n = len(shape)
    if isinstance(axis, int) and -n <= axis < n:
        return None
    return f"{name}={axis!r} is no axis of shape {tuple(shape)}: give one from {-n} to {n - 1}."


def check_real(name: str, x: Any, xp: Any) -> None:
    """Refuse anything but a real floating array (R6)."""
    # The other dtypes are named, since no version of the standard has bfloat16 and float16.
    names = ["bool", *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64))]
    names += ["complex64", "complex128"]
    if x.dtype in [getattr(xp, name) for name in names if hasattr(xp, name)]:
        raise TypeError(f"{name} has dtype {x.dtype}; only real floating arrays can be trained.")
