"""The few operations that the array API lacks, as one small class with portable defaults.

Rules and policies call a :class:`Backend`. Its default implementation uses only the array API
standard, so that any conforming namespace works with it unchanged. An adapter overrides a method
where its framework needs help to give the same bits (N1 to N7).
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
from .bases import householder, jacobi
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
        device: the device of new 0-d arrays; ``None`` is the namespace's default.
    """

    def __init__(self, xp: Any, dtype: Any, device: Any = None) -> None:
        self.xp = xp
        self.dtype = dtype
        self.device = device
        wide = dtype == xp.float64
        self.host_dtype: Any = np.float64 if wide else np.float32
        # A tiny score is below twice the smallest normal number (P2). A tiny moment is below eight
        # times the least number whose last bit is normal, so that no sum of larger numbers is
        # subnormal (N1, N6).
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
        """The 0-d array of a number; a few hundred are cached, since a schedule has more."""
        known = self._scalars.get(value)
        if known is None:
            if len(self._scalars) >= _MOST_SCALARS:
                self._scalars.clear()
            known = self._scalars[value] = self._filled(value)
        return known

    def _filled(self, value: float) -> Array:
        return self.xp.asarray(value, dtype=self.dtype, device=self.device)

    def cast(self, x: Array, dtype: Any) -> Array:
        """``x`` in ``dtype``, rounded to nearest even (R5); ``x`` itself if it has this dtype."""
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

        Override where matrix products need another dtype or padded shapes: rows and columns of
        zeros added to ``x`` are zeros in the result.
        """
        return function(x)

    def add_product(
        self, beta: float, x: Array, alpha: float, a: Array, b: Array, dtype: str | None = None
    ) -> Array:
        """``beta*x + alpha*(a @ b)`` (N7). Override where the framework has it as one operation."""
        product = self.matmul(a, b, dtype)
        if alpha != 1.0:
            product = self.mul(self.scalar(alpha), product)
        return self.mul(self.scalar(beta), x) + product

    def orthogonal_factor(self, x: Array, dtype: str | None = None) -> Array:
        """Q of ``x = QR`` (..., n, n); with ``dtype="exact"`` of the same bits everywhere (N9).

        Override the first alone, where the framework has it; here both are the second.
        """
        return householder(self, x)

    def eigenvectors(self, x: Array, dtype: str | None = None) -> Array:
        """Those of symmetric ``x`` as columns, in any order; see :meth:`orthogonal_factor`."""
        return jacobi(self, x)

    def flush(self, x: Array, below: float | None = None) -> Array:
        """``x`` with every ``|x| < below`` replaced by +0 (N6); NaN stays. Default 2^-100."""
        below = self.tiny_moment if below is None else below
        tiny = self.xp.abs(x) < self.scalar(below)
        return self.xp.where(tiny, self.scalar(0.0), x)

    def whole(self, function: Callable[[Array], Array], x: Array) -> Array:
        """``function(x)``, where the function is not elementwise and so needs the whole array.

        Override where ``x`` is one device's part; it then returns that part of the result.
        """
        return function(x)

    # -- selection ------------------------------------------------------------------------------

    def decide(self, policy: Decider, scores: Array, stacked_dims: int = 0) -> Split:
        """The policy's split of canonical ``scores`` of any shape, by default as rows (P5).

        Override where an array must not be flattened: the mask may have the shape of ``scores`` if
        both factors broadcast with it.
        """
        return policy.decide(self, slices(scores, self.xp, stacked_dims))

    def rank_mask(self, scores: Array, k: int) -> Array:
        """The mask of the k largest in each row of canonical ``scores`` (n, d), by P4.

        The default is the reference, a stable sort. The counting search and numpy.partition give
        the same mask (``mgup_core.rank_mask`` has them by name).
        """
        return argsort_mask(self.xp, scores, k)

    def length(self, rows: Array) -> Any:
        """d, the length of whole slices, of which ``rows`` may hold one device's part."""
        return rows.shape[-1]

    def count(self, mask: Array) -> Array:
        """The number of true values in each row of ``mask`` (n, d): exact integers (n, 1)."""
        return cumulative_count(self.xp, mask)

    def loop(self, n: int, body: Callable[[Carry], Carry], carry: Carry) -> Carry:
        """``carry`` after n calls of ``body``. Override where a compiler would unroll the loop."""
        for _ in range(n):
            carry = body(carry)
        return carry

    def when(self, condition: Any, body: Callable[[Carry], Carry], carry: Carry) -> Carry:
        """``body(carry)`` where the condition holds, else ``carry``, a tuple of arrays.

        Override where a graph can leave out what it need not compute.

        Args:
            condition: a bool, or a 0-d array of one.
        """
        if isinstance(condition, (bool, np.bool_)):
            return body(carry) if condition else carry
        pairs: Any = zip(body(carry), carry, strict=True)  # type: ignore[call-overload]
        chosen: Any = tuple(self.xp.where(condition, new, old) for new, old in pairs)
        return chosen  # type: ignore[no-any-return]


class NumPyBackend(Backend):
    """NumPy arrays: ranks by ``numpy.partition``; a flush costs little if nothing is tiny."""

    def rank_mask(self, scores: Array, k: int) -> Array:
        return partition_mask(scores, k)

    def count(self, mask: Array) -> Array:
        return np.count_nonzero(mask, axis=-1, keepdims=True)

    def orthogonal_factor(self, x: Array, dtype: str | None = None) -> Array:
        return super().orthogonal_factor(x) if dtype == "exact" else np.linalg.qr(x)[0]

    def eigenvectors(self, x: Array, dtype: str | None = None) -> Array:
        return super().eigenvectors(x) if dtype == "exact" else np.linalg.eigh(x)[1]

    def flush(self, x: Array, below: float | None = None) -> Array:
        below = self.tiny_moment if below is None else below
        keep = np.abs(x) >= self.scalar(below)
        if keep.all():
            return x
        # A product keeps NaN (NaN * 0), and is ten times as fast as `where`, since the processor
        # cannot predict the branch of a selection.
        with np.errstate(invalid="ignore"):
            return x * keep.view(np.uint8).astype(x.dtype) + self.scalar(0.0)  # -0 + 0 is +0


ENTRY_POINTS = "mgup_core.backends"
"""The group of entry points by which a package registers a backend for a framework's arrays. The
name of an entry point is the framework's top-level package; its value is a function as in
:func:`register`."""


def backend_for(x: Array) -> Backend:
    """The backend of an array, bound to its compute dtype and device (N10).

    The package that defines the array's class decides it: the backend is the one registered for
    this package, or the one that an entry point of the group ``mgup_core.backends`` names. This
    library's adapters have such entry points for PyTorch, JAX and MindSpore, so they need not be
    imported before. An array of any other package gets the portable operations on its own
    namespace, which then decides how square roots and quotients round, and whether products are
    contracted (N4, N5).
    """
    return _maker(type(x))(x)


def register(package: str, make: Callable[[Array], Backend]) -> None:
    """Register the backend that the core uses for the arrays of a framework (N10).

    Args:
        package: the top-level package of the arrays' class, or of one of its bases: ``"torch"``.
        make: gives the backend of an array of any dtype. Its compute dtype is float64 for float64
            arrays, and float32 for all others.
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
