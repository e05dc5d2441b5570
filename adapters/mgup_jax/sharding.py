"""Parameters with shardings in their types: the partitioner is left to place the work."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec


def automatic(update: Callable[..., tuple[Any, Any]]) -> Callable[..., tuple[Any, Any]]:
    """An update function that also takes arrays of a mesh with explicit axes.

    Ranking flattens a parameter, which no explicit sharding of the result could describe for every
    parameter; so these axes become automatic inside, and what leaves has the shardings of what
    came.
    """

    @wraps(update)
    def wrapped(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        leaves = jax.tree.leaves((updates, state, params))
        meshes = [mesh for mesh in map(_mesh, leaves) if mesh.explicit_axes]
        if not meshes:
            return update(updates, state, params, **extra)

        def sharding(x: Any) -> NamedSharding:
            spec = jax.typeof(x).sharding.spec if _mesh(x).explicit_axes else PartitionSpec()
            return NamedSharding(meshes[0], spec)

        kept = jax.tree.map(sharding, (updates if params is None else params, state))

        def inside(updates: Any, state: Any, params: Any) -> tuple[Any, Any]:
            return update(updates, state, params, **extra)

        return jax.sharding.auto_axes(inside, out_sharding=kept)(updates, state, params)

    return wrapped


def _mesh(x: Any) -> Any:
    return jax.typeof(x).sharding.mesh
