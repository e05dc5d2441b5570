"""What JAX lends the core: products and quotients that XLA rounds as written, and selection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mgup_core import Backend, Policy, Split, counting_mask, register
from mgup_core.numerics.runtime import Number
from mgup_core.numerics.scalars import host_correction
from mgup_core.selection.counting import cumulative_count

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


class JaxBackend(Backend):
    """Whole arrays, eager or traced.

    Args:
        dtype: the compute dtype, float32 or float64.
        selection: see :func:`mgup_jax.selection.select`.
        where: for the leading axes of an array, the axes of the mesh over which the ``shard_map``
            around the program cuts them.
    """

    def __init__(self, dtype: Any, selection: str = "auto", where: tuple[Axes, ...] = ()) -> None:
        super().__init__(jnp, jnp.dtype(dtype))
        self.selection = selection
        self.where = where
        self._corrections: dict[Any, tuple[Any, Any]] = {}

    def scalar(self, value: Any) -> Any:
        # NumPy's scalars are constants in every trace, and an array made in one belongs to it.
        if isinstance(value, (int, float, np.generic)):
            with np.errstate(over="ignore"):
                return self.host_dtype(value)
        if isinstance(value, Number):
            return rounded(value, self.dtype)
        return self.cast(jnp.asarray(value), self.dtype)

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
        return jnp.where(of == of, x, self.host_dtype(np.nan))

    def mul(self, a: Any, b: Any) -> Any:
        with np.errstate(all="ignore"):  # two scalars of the host
            return self._fence(a * b)

    def div(self, a: Any, b: Any) -> Any:
        if isinstance(a, np.generic) and isinstance(b, np.generic):
            with np.errstate(all="ignore"):
                return a / b
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
        """``1 - beta^t``, once for all parameters that share this backend."""
        key = beta.expression if isinstance(beta, Number) else beta
        known, c = self._corrections.get(key, (None, None))
        if known is not t:
            if isinstance(beta, Number):
                c = on_host(self._host_correction, beta, self.dtype, t)
            else:
                # Unsigned, since for signed integers // and % take a dozen operations each.
                c = super().correction(beta, t.astype(jnp.uint32))
            self._corrections[key] = t, c
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

    def decide(self, policy: Policy, scores: Any, stacked_dims: int = 0) -> Split:
        if scores.ndim and not (policy.ranks or policy.counts):
            return policy.decide(self, scores)  # each coordinate by itself
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
        return select(scores, k, self.selection)

    def loop(self, n: int, body: Callable[[Any], Any], carry: Any) -> Any:
        return repeat(n, body, carry)


def backend_of(x: Any) -> JaxBackend:
    """What the core does with an array, or the tracer of one, of any dtype (N10)."""
    return JaxBackend(compute_dtype(x.dtype))


register("jax", backend_of)


class _Coordinate(JaxBackend):
    def __init__(self, dtype: Any, whole: Whole) -> None:
        super().__init__(dtype)
        self.whole = whole

    def length(self, rows: Any) -> int:
        return self.whole.length

    def count(self, mask: Any) -> Any:
        return self.whole.add(cumulative_count(jnp, mask, self.whole.length))

    def rank_mask(self, scores: Any, k: int) -> Any:
        return counting_mask(
            jnp,
            scores,
            k,
            all_reduce=self.whole.add,
            index=self.whole.index,
            total=self.whole.length,
            sample=self.whole.sample,
            while_loop=self.whole.while_loop,
            keys=BitKeys,
        )
