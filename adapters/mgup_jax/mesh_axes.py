"""Sharded parameters: decided where they lie, so that counts travel and no array is gathered (P4).

Under ``jit`` an array is one whole, whatever its sharding, and XLA places the work. But it flattens
a sharded array by gathering it. So a policy is mapped over the coordinates of an array in its own
shape, each a row of its own, and what the rows have to say of their slice is added up over the
mapped axes: sums, of which every device does its part. Inside a user's ``shard_map`` the same sums
also run over the axes of the mesh.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial, wraps
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from mgup_core import Backend, Split
from mgup_core._typing import Decider
from mgup_core.selection.counting import SAMPLE
from mgup_core.selection.sampling import sample_stride

try:
    from jax.sharding import auto_axes
except ImportError:  # JAX 0.6
    from jax.experimental.shard import (  # type: ignore[import-not-found, no-redef]
        auto_axes,
    )

_FEWEST = 64  # a smaller sample guesses no better than the counts

Axes = tuple[str, ...]
"""Names of axes of a mesh."""


class Whole(NamedTuple):
    """What a coordinate knows of its slice."""

    add: Callable[[Any], Any]
    """The sum of what all coordinates say."""
    while_loop: Callable[..., Any]
    length: int
    index: Any
    """The flat index of the coordinate, (1,)."""
    sample: Any
    """Some scores of the slice, (1, m), or ``None``."""


class CoordinateLender(Protocol):
    """Makes a backend for rows of one coordinate, whose slice is spread over many rows."""

    def coordinate(self, whole: Whole) -> Backend: ...


def decide_in_place(
    lender: CoordinateLender,
    policy: Decider,
    scores: Any,
    stacked_dims: int,
    where: tuple[Axes, ...],
) -> Split:
    """The split of canonical ``scores``, not flattened.

    Args:
        lender: gives the backend of one coordinate.
        where: for the leading axes of ``scores``, the axes of the mesh over which a ``shard_map``
            has cut them.
    """
    stack, shape = scores.shape[:stacked_dims], scores.shape[stacked_dims:]
    where = (*where, *((),) * (scores.ndim - len(where)))
    loop = partial(_while_loop, frozenset(sum(where[:stacked_dims], ())))
    where = where[stacked_dims:]
    whole = [n * _parts(names) for n, names in zip(shape, where, strict=True)]
    length = math.prod(whole)
    check_length(length)
    index = _indices(shape, whole, where)
    cut = sum(where, ())
    sample = _sample(scores, stacked_dims, cut)
    add = _adding(len(shape), cut)

    def decide(score: Any, index: Any, sample: Any) -> Split:
        row = None if sample is None else sample[None]
        one = lender.coordinate(Whole(add, loop, length, index[None], row))
        split = policy.decide(one, score[None, None])
        return Split(*(jnp.reshape(x, ()) for x in split))

    along = Split(0, None, None)  # the factors are the same along a slice
    for _ in shape:
        decide = jax.vmap(decide, (0, 0, None), along)
    for _ in stack:
        decide = jax.vmap(decide, (0, None, 0))
    mask, *factors = decide(scores, index, sample)
    high, low = (jnp.reshape(x, stack + (1,) * len(shape) if stack else ()) for x in factors)
    return Split(mask, high, low)


def _adding(levels: int, cut: Axes) -> Callable[[Any], Any]:
    """The sum over the next ``levels`` of vmap, and over axes of a mesh.

    Not ``psum`` over named axes of the vmaps, which a ``shard_map`` with ``check_vma`` refuses.
    """

    def over_mesh(x: Any) -> Any:
        return lax.psum(x, cut) if cut else x

    if levels == 0:
        return over_mesh
    add = jax.custom_batching.custom_vmap(over_mesh)

    @add.def_vmap
    def over_level(size: int, batched: Any, x: Any) -> tuple[Any, bool]:
        del size, batched
        return _adding(levels - 1, cut)(jnp.sum(x, axis=0, dtype=x.dtype)), False

    return add


def _while_loop(names: frozenset[str], condition: Any, body: Any, carry: Any) -> Any:
    """A loop whose values come to differ over axes of a mesh, as its types must say beforehand."""

    def differs(x: Any) -> Any:
        new = tuple(names - varying(x))
        if not new:
            return x
        # The one replaced the other in JAX 0.9.
        return lax.pcast(x, new, to="varying") if hasattr(lax, "pcast") else lax.pvary(x, new)  # type: ignore[attr-defined]

    return lax.while_loop(condition, body, jax.tree.map(differs, carry))


def varying(x: Any) -> frozenset[str]:
    """The axes of a ``shard_map`` over which ``x`` is known to differ."""
    kind = jax.typeof(x)
    manual = getattr(kind, "manual_axis_type", None)
    names: frozenset[str] = kind.vma if manual is None else manual.varying
    return names


def check_length(d: int) -> None:
    """Refuse slices that are longer than JAX can count to."""
    if d >= 2**31 - 2 and not jax.config.jax_enable_x64:  # type: ignore[attr-defined]
        raise ValueError(
            f"a slice has {d} coordinates, more than int32 can count: rank parts of it with "
            "stacked_dims, or set jax_enable_x64."
        )


def _parts(names: Axes) -> int:
    return int(lax.psum(1, names)) if names else 1


def _indices(shape: tuple[int, ...], whole: list[int], where: tuple[Axes, ...]) -> Any:
    """The flat index of each coordinate in the whole slice."""
    dtype = jnp.int32 if math.prod(whole) < 2**31 - 2 else jnp.int64
    flat = jnp.zeros(shape, dtype)
    for axis, (n, names) in enumerate(zip(shape, where, strict=True)):
        first = lax.axis_index(names).astype(dtype) * n if names else 0
        flat = flat * whole[axis] + (lax.broadcasted_iota(dtype, shape, axis) + first)
    return flat


def _sample(scores: Any, stacked_dims: int, cut: Axes) -> Any:
    """Scores (..., m) from all over each slice, the same on all devices; or ``None``.

    Each device looks up those that it has. All samples of an array together are one of its size.
    """
    stack, shape = scores.shape[:stacked_dims], scores.shape[stacked_dims:]
    d, parts = math.prod(shape), _parts(cut)
    apart = sample_stride(scores.size * parts, one_in=1, fewest=1, most=SAMPLE)
    if d * parts < _FEWEST * apart:
        return None
    places = jnp.unravel_index(jnp.arange(0, d, apart), shape)
    every = (slice(None),) * stacked_dims
    sample = scores.at[(*every, *places)].get(mode="promise_in_bounds")
    if cut:
        mine = jnp.zeros((parts, *sample.shape), sample.dtype).at[lax.axis_index(cut)].set(sample)
        sample = jnp.moveaxis(lax.psum(mine, cut), 0, -1)
    return jnp.reshape(sample, (*stack, -1))


def automatic(update: Callable[..., tuple[Any, Any]]) -> Callable[..., tuple[Any, Any]]:
    """An update function that also takes arrays of a mesh with explicit axes.

    These axes become automatic inside, where the partitioner is left to place the work, and what
    leaves has the shardings of what came.
    """

    @wraps(update)
    def wrapped(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        leaves = [x for x in jax.tree.leaves((updates, state, params)) if hasattr(x, "dtype")]
        meshes = [mesh for mesh in map(_mesh, leaves) if mesh.explicit_axes]
        if not meshes:
            return update(updates, state, params, **extra)

        def sharding(x: Any) -> NamedSharding:
            spec = jax.typeof(x).sharding.spec if _mesh(x).explicit_axes else PartitionSpec()
            return NamedSharding(meshes[0], spec)

        kept = jax.tree.map(sharding, (updates if params is None else params, state))

        def inside(updates: Any, state: Any, params: Any) -> tuple[Any, Any]:
            return update(updates, state, params, **extra)

        done: tuple[Any, Any] = auto_axes(inside, out_sharding=kept)(updates, state, params)
        return done

    return wrapped


def _mesh(x: Any) -> Any:
    return jax.typeof(x).sharding.mesh
