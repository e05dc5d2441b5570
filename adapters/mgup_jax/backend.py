"""What JAX lends the core: products and quotients that XLA rounds as written, and selection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mgup_core import Backend, Policy, Split, counting_mask, register
from mgup_core._typing import Decider
from mgup_core.numerics.runtime import Number
from mgup_core.numerics.scalars import host_correction
from mgup_core.selection.counting import cumulative_count
from mgup_core.selection.reference import slices

from . import rounding
from .mesh_axes import Axes, Whole, check_length, decide_in_place
from .numbers import on_host, rounded
from .selection import BitKeys, flattens, repeat, select

DTYPES = (jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64)


def compute_dtype(dtype: Any) -> Any:
    """float64 for float64, else float32."""
    return jnp.dtype(jnp.float64 if dtype == jnp.float64 else jnp.float32)


def is_traced(x: Any) -> bool:
    """Whether the value of ``x`` is unknown, since a program is being made of it."""
    return isinstance(x, jax.core.Tracer)


def _rounds(given: Any, wanted: Any) -> bool:
    """Whether a conversion between these dtypes is one to a float of fewer digits."""
    if not (jnp.issubdtype(wanted, jnp.floating) and jnp.issubdtype(given, jnp.floating)):
        return False
    digits, before = (jnp.finfo(dtype).nmant for dtype in (wanted, given))  # type: ignore[no-untyped-call]
    return bool(digits < before)


class Known(NamedTuple):
    """The corrections that all parameters of a step share, by beta: a pytree."""

    t: Any
    """The step, traced; ``None`` where it is a number or not told."""
    corrections: dict[str, Any]
    """``1 - beta^t``"""
    reciprocals: dict[str, Any]
    """of the corrections"""


def _key(beta: Any) -> str:
    """The name of a beta, of a kind that sorts, as the keys of a pytree must."""
    return f"number {id(beta.expression)}" if isinstance(beta, Number) else repr(beta)


class JaxBackend(Backend):
    """Whole arrays, eager or traced.

    Args:
        dtype: the compute dtype, float32 or float64.
        selection: see :func:`mgup_jax.selection.select`.
        where: for the leading axes of an array, the axes of the mesh over which the ``shard_map``
            around the program cuts them.
        known: of the step for which this backend is made.
    """

    def __init__(
        self,
        dtype: Any,
        selection: str = "auto",
        where: tuple[Axes, ...] = (),
        known: Known | None = None,
    ) -> None:
        super().__init__(jnp, jnp.dtype(dtype))
        self.selection = selection
        self.where = where
        self.known = Known(None, {}, {}) if known is None else known

    def scalar(self, value: Any) -> Any:
        # NumPy's scalars are constants in every trace, and an array made in one belongs to it.
        if isinstance(value, (int, float, np.generic)):
            with np.errstate(over="ignore"):
                return self.host_dtype(value)
        if isinstance(value, Number):
            return rounded(value, self.dtype)
        return self.cast(jnp.asarray(value), self.dtype)

    def cast(self, x: Any, dtype: Any) -> Any:
        # On GPUs XLA drops a rounding whose result is made wide again in the same program.
        narrow = super().cast(x, dtype)
        return self._fence(narrow) if _rounds(x.dtype, narrow.dtype) else narrow

    def _fence(self, x: Any, of: Any = None) -> Any:
        """``x``, behind a selection that LLVM does not see through.

        Without it, x contracts with a sum that it enters (N5). Barriers do not help: XLA drops
        them before LLVM makes the fused multiply-add.

        Args:
            of: what makes ``x`` NaN where it is; by default x. XLA does not fuse what is expensive
                and used twice.
        """
        if not is_traced(x):
            return x
        of = x if of is None else of
        return jnp.where(of == of, x, np.asarray(np.nan, x.dtype))

    def mul(self, a: Any, b: Any) -> Any:
        with np.errstate(all="ignore"):  # two scalars of the host
            return self._fence(a * b)

    def div(self, a: Any, b: Any) -> Any:
        if isinstance(a, np.generic) and a == 1:
            for beta, c in self.known.corrections.items():
                if c is b:
                    if beta not in self.known.reciprocals:
                        self.known.reciprocals[beta] = self._quotient(a, b)
                    return self.known.reciprocals[beta]
        return self._quotient(a, b)

    def _quotient(self, a: Any, b: Any) -> Any:
        if isinstance(a, np.generic) and isinstance(b, np.generic):
            with np.errstate(all="ignore"):
                return np.divide(a, b)
        shape = np.broadcast_shapes(np.shape(a), np.shape(b))
        if shape == () or np.shape(b) != shape:
            # XLA divides by one number for all by multiplying with its reciprocal. It does not
            # look behind a barrier. The selection lets b follow a into a vmap.
            b = jnp.where(a == a, b, self.host_dtype(np.nan))
            b = lax.optimization_barrier(b) if is_traced(a) or is_traced(b) else b
        of = a if np.shape(a) else b
        # Behind a fence, since (x / y) / z would become x / (y * z). A quotient of two numbers is
        # better not fused: each fusion would make its divisor anew.
        quotient = rounding.quotient(*jnp.broadcast_arrays(a, b))
        return self._fence(quotient, of if shape else None)

    def sqrt(self, x: Any) -> Any:
        # x / sqrt(y) would become x * rsqrt(y)
        return self._fence(rounding.square_root(x), x)

    def correction(self, beta: Any, t: Any) -> Any:
        """``1 - beta^t``, once for all parameters that share what is known."""
        key, mine = _key(beta), t is self.known.t
        if mine and key in self.known.corrections:
            return self.known.corrections[key]
        if isinstance(beta, Number):
            c = on_host(self._host_correction, beta, self.dtype, t)
        else:
            # Unsigned, since for signed integers // and % take a dozen operations each.
            c = super().correction(beta, t.astype(jnp.uint32))
        if mine:
            self.known.corrections[key] = c
        return c

    def _host_correction(self, beta: float, t: Any) -> Any:
        return host_correction(self.host_dtype, beta, int(t))

    def matmul(self, a: Any, b: Any, dtype: str | None = None) -> Any:
        if dtype == "exact":
            return super().matmul(a, b, dtype)
        narrow = jnp.dtype(dtype or self.dtype)
        if narrow == jnp.float32:
            narrow = self.dtype
        product = jnp.matmul(
            self.cast(a, narrow),
            self.cast(b, narrow),
            precision=lax.Precision.HIGHEST,
            preferred_element_type=self.dtype,
        )
        return self.cast(product, self.dtype)

    def orthogonal_factor(self, x: Any, dtype: str | None = None) -> Any:
        return super().orthogonal_factor(x) if dtype == "exact" else jnp.linalg.qr(x)[0]

    def eigenvectors(self, x: Any, dtype: str | None = None) -> Any:
        return super().eigenvectors(x) if dtype == "exact" else jnp.linalg.eigh(x)[1]

    def when(self, condition: Any, body: Callable[[Any], Any], carry: Any) -> Any:
        if not is_traced(condition):
            return body(carry) if condition else carry
        return lax.cond(condition, body, lambda carry: carry, carry)

    def decide(self, policy: Decider, scores: Any, stacked_dims: int = 0) -> Split:
        if scores.ndim and not (policy.ranks or policy.counts):
            alone: Split = policy.decide(self, scores)  # each coordinate by itself
            return alone
        if scores.size and (not flattens(self.selection) or any(self.where)):
            return decide_in_place(self, policy, scores, stacked_dims, self.where)
        split = super().decide(policy, scores, stacked_dims)
        if stacked_dims:
            return split
        # In the array's own shape, without which XLA does not fuse the step with the moments.
        return Split(
            *(jnp.reshape(x, s) for x, s in zip(split, (scores.shape, (), ()), strict=True))
        )

    def coordinate(self, whole: Whole) -> Backend:
        """A backend for rows of one coordinate, the rest of whose slice lies elsewhere."""
        return _Coordinate(self.dtype, whole)

    def rank_mask(self, scores: Any, k: int) -> Any:
        check_length(scores.shape[-1])
        return select([scores], [k], self.selection)[0]

    def decide_all(self, policy: Policy, scores: list[Any], stacked_dims: list[int]) -> list[Split]:
        """:meth:`decide` for many arrays, which share a search where they can."""
        joined = (
            policy.ranks and type(policy).decide is Policy.decide
            and flattens(self.selection) and not any(self.where)
        )  # fmt: skip
        if not joined:
            return [self.decide(policy, *one) for one in zip(scores, stacked_dims, strict=True)]
        rows = [slices(x, jnp, n) for x, n in zip(scores, stacked_dims, strict=True)]
        for x in rows:
            check_length(x.shape[-1])
        masks = select(rows, [policy.top(x.shape[-1]) for x in rows], self.selection)
        answers = zip(masks, scores, stacked_dims, strict=True)
        return [_Answered(self, mask).decide(policy, x, n) for mask, x, n in answers]

    def loop(self, n: int, body: Callable[[Any], Any], carry: Any) -> Any:
        return repeat(n, body, carry)


class _Answered(JaxBackend):
    """A backend for rows whose mask is already known."""

    def __init__(self, be: JaxBackend, mask: Any) -> None:
        super().__init__(be.dtype, be.selection)
        self.mask = mask

    def rank_mask(self, scores: Any, k: int) -> Any:
        return self.mask


def backend_of(x: Any) -> JaxBackend:
    """The backend for an array, or the tracer of one, of any dtype (N10)."""
    return JaxBackend(compute_dtype(x.dtype))


register("jax", backend_of)


class _Coordinate(JaxBackend):
    def __init__(self, dtype: Any, whole: Whole) -> None:
        super().__init__(dtype)
        self.slice = whole

    def length(self, rows: Any) -> int:
        return self.slice.length

    def count(self, mask: Any) -> Any:
        return self.slice.add(cumulative_count(jnp, mask, self.slice.length))

    def rank_mask(self, scores: Any, k: int) -> Any:
        return counting_mask(
            jnp,
            scores,
            k,
            all_reduce=self.slice.add,
            index=self.slice.index,
            total=self.slice.length,
            sample=self.slice.sample,
            while_loop=self.slice.while_loop,
            keys=BitKeys,
        )
