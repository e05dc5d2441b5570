"""Inside a user's ``shard_map``: over which axes of the mesh an array's parts are spread."""

from __future__ import annotations

from typing import Any

import jax
from jax import lax
from jax.sharding import PartitionSpec

from mgup_core import Policy, Rule

from .mesh_axes import Axes, varying
from .pytrees import per_leaf


def placements(
    tree: Any,
    leaves: list[Any],
    stacks: list[int],
    param_specs: Any,
    treedef: Any,
    policy: Policy | None,
    rule: Rule | None = None,
) -> list[tuple[Axes, ...]]:
    """For each leaf and its leading axes, the axes of the mesh over which they are sharded.

    Args:
        tree: of structure ``treedef``, for ``param_specs`` to be spread over.
        leaves: arrays or ``None``.
        param_specs: ``PartitionSpec``s as the user told them, a tree like the parameters or its
            upper part; or ``None``.
        policy, rule: what is to be done; where neither asks for whole slices, nothing is refused.

    Raises:
        ValueError: if a spec does not fit, if an array may be a part and no spec says of what, or
            if it is a part and the rule needs whole ones.
    """
    specs = [None] * len(leaves)
    if param_specs is not None:
        specs = per_leaf("param_specs", param_specs, tree, treedef)
    inside = frozenset(jax.sharding.get_abstract_mesh().manual_axes)
    needs_whole = rule is not None and not rule.elementwise
    if not needs_whole and not (policy is not None and (policy.ranks or policy.counts)):
        return [()] * len(leaves)
    paths = jax.tree_util.tree_leaves_with_path(treedef.unflatten(range(len(leaves))))
    found = []
    for (path, _), x, stacked, spec in zip(paths, leaves, stacks, specs, strict=True):
        name = f"updates{jax.tree_util.keystr(path)}"
        where = () if x is None else _placement(name, x, spec, inside)
        if needs_whole and any(where[stacked:]):
            raise ValueError(
                f"{type(rule).__name__} needs whole parameters, but param_specs says that "
                f"{name} is cut by {spec}: call update outside of the "
                "shard_map, where XLA brings the parts together."
            )
        found.append(where)
    return found


def _placement(
    name: str, x: Any, spec: PartitionSpec | None, inside: frozenset[str]
) -> tuple[Axes, ...]:
    axes = () if spec is None else tuple(spec)
    where = tuple((one,) if isinstance(one, str) else tuple(one or ()) for one in axes)
    named = frozenset(sum(where, ()))
    if len(where) > x.ndim or not named <= inside:
        raise ValueError(
            f"param_specs has {spec} for {name} of shape {x.shape}, but the axes of the shard_map "
            f"around update are {sorted(inside)}: give the specs with which the parameters enter "
            "that shard_map, or none if there is none."
        )
    unknown = varying(x) - named
    if spec is None and inside and not any(varying(lax.axis_index(axis)) for axis in inside):
        unknown = inside  # with check_vma=False nothing tells whether x varies
    if unknown:
        raise ValueError(
            f"inside a shard_map over {sorted(unknown)}, {name} of shape {x.shape} may be one "
            "device's part of a parameter, and to rank parts by themselves would be another rule: "
            "call update outside of the shard_map, or pass param_specs, the specs with which the "
            "parameters enter it (PartitionSpec() where every device has the whole)."
        )
    return where
