"""The few operations that the array API lacks, as one small class with portable defaults.

A rule and a policy are written against a :class:`Backend`. The default implementation uses only the
array API standard, so any conforming namespace works with it unchanged; an adapter overrides a
method where its framework needs help to give the same bits (spec, N1 to N7).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

import array_api_compat
import numpy as np

from .._typing import Array, Decider, Split
from ..selection.counting import cumulative_count, device
from ..selection.partition import partition_mask
from ..selection.reference import argsort_mask, slices
from .products import exact_product
from .scalars import traced_correction
from .sums import folded_sum

Carry = TypeVar("Carry")

_MOST_SCALARS = 256


class Backend:
    """Array operations bound to one namespace, compute dtype and device.

    Args:
        xp: an array-API namespace.
        dtype: the compute dtype in that namespace, float32 or float64.
        device: where new 0-d arrays are made; ``None`` is the namespace's default.
    """

    def __init__(self, xp: Any, dtype: Any, device: Any = None) -> None:
        self.xp = xp
        self.dtype = dtype
        self.device = device
        wide = dtype == xp.float64
        self.host_dtype: Any = np.float64 if wide else np.float32
        # Twice the smallest normal number (P2). And eight times the least number whose last bit is
        # normal, so that no sum of numbers above it is subnormal (N1, N6).
        self.tiny_score = 2.0**-1021 if wide else 2.0**-125
        self.tiny_moment = 2.0**-967 if wide else 2.0**-100
        self._scalars: dict[float, Array] = {}

    # -- scalars and casts -------------------------------------------------------------------

    def scalar(self, value: Any) -> Array:
        """A 0-d array of the compute dtype, rounded once (N2). Arrays are cast, not rebuilt."""
        if isinstance(value, (int, float, np.generic)):
            return self._known(float(value))
        return self.cast(value, self.dtype)

    def _known(self, value: float) -> Array:
        """The array of a number, made once for a few hundred numbers: a schedule has more."""
        known = self._scalars.get(value)
        if known is None:
            if len(self._scalars) >= _MOST_SCALARS:
                self._scalars.clear()
            known = self._scalars[value] = self._filled(value)
        return known

    def _filled(self, value: float) -> Array:
        return self.xp.asarray(value, dtype=self.dtype, device=self.device)

    def cast(self, x: Array, dtype: Any) -> Array:
        """``x`` in ``dtype``, rounded to nearest even (R5); ``x`` itself if it has it already."""
        return x if x.dtype == dtype else self.xp.astype(x, dtype)

    def zeros_like(self, x: Array) -> Array:
        """Zeros of the shape and device of ``x``, in the compute dtype."""
        return self.xp.zeros_like(x, dtype=self.dtype)

    # -- arithmetic that must give the same bits everywhere -----------------------------------

    def mul(self, a: Array, b: Array) -> Array:
        """The product, rounded. Override to fence it where a compiler would contract it (N5)."""
        return a * b

    def div(self, a: Array, b: Array) -> Array:
        """The correctly rounded quotient (N4)."""
        return a / b

    def sqrt(self, x: Array) -> Array:
        """The correctly rounded square root (N4)."""
        return self.xp.sqrt(x)

    def correction(self, beta: float, t: Array) -> Array:
        """``1 - beta^t`` of a 0-d integer array ``t`` (N3)."""
        return traced_correction(self, beta, t)

    def total(self, x: Array, axis: int | None = None) -> Array:
        """The sum over ``axis``, kept with length 1, or over all axes (0-d), in one order."""
        return folded_sum(self.xp, x, axis)

    def matmul(self, a: Array, b: Array, dtype: str | None = None) -> Array:
        """The matrix product (N7), or with ``dtype="exact"`` that of the same bits (N9).

        Override the first alone: the second is made of it.
        """
        return exact_product(self, a, b) if dtype == "exact" else self.xp.matmul(a, b)

    def products(
        self, function: Callable[[Array], Array], x: Array, dtype: str | None = None
    ) -> Array:
        """``function(x)``, a polynomial in ``x`` and its transpose without a constant (N7).

        Override where matrix products have a dtype or shapes of their own: rows and columns of
        zeros added to ``x`` are zeros in the result.
        """
        return function(x)

    def add_product(
        self, beta: float, x: Array, alpha: float, a: Array, b: Array, dtype: str | None = None
    ) -> Array:
        """``beta*x + alpha*(a @ b)`` (N7). Override where one operation does all of it."""
        product = self.matmul(a, b, dtype)
        if alpha != 1.0:
            product = self.mul(self.scalar(alpha), product)
        return self.mul(self.scalar(beta), x) + product

    def flush(self, x: Array, below: float | None = None) -> Array:
        """``x`` with every ``|x| < below`` replaced by +0 (N6); NaN stays. Default 2^-100."""
        below = self.tiny_moment if below is None else below
        tiny = self.xp.abs(x) < self.scalar(below)
        return self.xp.where(tiny, self.scalar(0.0), x)

    def whole(self, function: Callable[[Array], Array], x: Array) -> Array:
        """``function(x)``, which is no function of each coordinate: it must see all of an array.

        Override where ``x`` is one device's part, to give that part of the result.
        """
        return function(x)

    # -- selection ------------------------------------------------------------------------------

    def decide(self, policy: Decider, scores: Array, stacked_dims: int = 0) -> Split:
        """The split of canonical ``scores`` of any shape, by default of them as rows (P5).

        Override where an array must not be flattened: the mask may have the shape of ``scores``,
        when both factors broadcast with it.
        """
        return policy.decide(self, slices(scores, self.xp, stacked_dims))

    def rank_mask(self, scores: Array, k: int) -> Array:
        """The mask of the k largest in each row of canonical ``scores`` (n, d), by P4.

        The default sorts, which is the reference; the counting search and numpy.partition give
        the same mask (``mgup_core.rank_mask`` names them).
        """
        return argsort_mask(self.xp, scores, k)

    def length(self, rows: Array) -> Any:
        """d, the length of the slices of which ``rows`` (n, d) holds all, or one device's part."""
        return rows.shape[-1]

    def count(self, mask: Array) -> Array:
        """How many are true in each row of ``mask`` (n, d), as exact integers of shape (n, 1)."""
        return cumulative_count(self.xp, mask)

    def loop(self, n: int, body: Callable[[Carry], Carry], carry: Carry) -> Carry:
        """``body`` applied n times. Override where a compiler should not see it unrolled."""
        for _ in range(n):
            carry = body(carry)
        return carry


class NumPyBackend(Backend):
    """NumPy arrays: selection by ``numpy.partition``, and a flush that is cheap when idle."""

    def rank_mask(self, scores: Array, k: int) -> Array:
        return partition_mask(scores, k)

    def count(self, mask: Array) -> Array:
        return np.count_nonzero(mask, axis=-1, keepdims=True)

    def flush(self, x: Array, below: float | None = None) -> Array:
        below = self.tiny_moment if below is None else below
        keep = np.abs(x) >= self.scalar(below)
        if keep.all():
            return x
        # NaN * 0 is NaN. Not `where` on the common mask: a branch that the processor cannot
        # predict costs ten times as much as this product.
        with np.errstate(invalid="ignore"):
            return x * keep.view(np.uint8).astype(x.dtype) + self.scalar(0.0)  # -0 + 0 is +0


ENTRY_POINTS = "mgup_core.backends"
"""The group of entry points in which a package lends a framework's arrays their backend: the name
is the framework's top-level package, the value a function as for :func:`register`."""


def backend_for(x: Array) -> Backend:
    """The backend of an array, bound to its compute dtype and device (N10).

    It is the one registered for the package that the array's class comes from, or else named by an
    entry point of the group ``mgup_core.backends``, as PyTorch's, JAX's and MindSpore's are by this
    library's adapters: they need not be imported before. An array of any other package gets the
    portable operations on its own namespace, whose square root, division and contractions are that
    namespace's business (N4, N5).
    """
    return _maker(type(x))(x)


def register(package: str, make: Callable[[Array], Backend]) -> None:
    """Lend the arrays of a framework a backend, for all that the core does with them (N10).

    Args:
        package: the top-level package of the arrays' class, or of a class above it: ``"torch"``.
        make: gives the backend of an array of any dtype, whose compute dtype is float64 for float64
            and else float32.
    """
    _makers[package] = make


def _maker(kind: type) -> Callable[[Array], Backend]:
    for base in kind.__mro__:
        package = base.__module__.partition(".")[0]
        if package not in _makers and package in _installed():
            register(package, _installed()[package].load())
        if package in _makers:
            return _makers[package]
    return _portable


@cache
def _installed() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def _portable(x: Array, kind: type[Backend] = Backend) -> Backend:
    xp = array_api_compat.array_namespace(x)
    return kind(xp, xp.float64 if x.dtype == xp.float64 else xp.float32, device(x))


def _numpy(x: Array) -> Backend:
    return _portable(x, NumPyBackend)


_makers: dict[str, Callable[[Array], Backend]] = {"numpy": _numpy}
