"""What a step is given, leaf by leaf: checked, and in the order of the parameters that init saw."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax

from mgup_core import Rule

from .pytrees import check_fit, flat, per_leaf
from .settings import NO_PARAMS, Settings, Step
from .state import MGUPState, by_leaf, check_state


class Given(NamedTuple):
    """The arguments of a step; every list has an entry for each leaf."""

    treedef: Any
    grads: list[Any]
    weights: list[Any]
    """``None`` where the parameters were not passed."""
    moments: list[dict[str, Any]]
    stacks: list[int]
    decayed: list[bool]
    now: Step


def given(rule: Rule, settings: Settings, updates: Any, state: MGUPState, params: Any) -> Given:
    """The leaves of the trees that a step is called with.

    Args:
        params: ``None`` if they were not passed.

    Raises:
        ValueError: for trees, shapes or values that do not fit, and for want of the parameters.
    """
    check_state(rule, state)
    like = updates if params is None else params
    treedef: Any = jax.tree.structure(next(iter(state.moments.values()), like))
    grads, moments = flat("updates", updates, treedef), by_leaf(state.moments, treedef)
    weights = [None] * len(grads) if params is None else flat("params", params, treedef)
    check_fit(updates, grads, weights, moments, rule)
    now = settings.at(state.count, grads if params is None else weights)
    stacks = per_leaf("stacked_dims", settings.stacked_dims, like, treedef)
    mask = per_leaf("mask", settings.mask, like, treedef)
    decayed = [settings.decays and bool(one) for one in mask]
    if params is None and (rule.reads_parameters or any(decayed)):
        raise ValueError(NO_PARAMS)
    return Given(treedef, grads, weights, moments, stacks, decayed, now)
