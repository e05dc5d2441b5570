"""Trees of parameters, gradients and settings: their structure, shapes and dtypes."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mgup_core import Rule
from mgup_core._notices import damped_text, warn

from .backend import DTYPES, JaxBackend
from .settings import Settings


def check_leaves(name: str, tree: Any) -> None:
    """Refuse anything but real floating arrays (R6), naming the leaf."""
    for path, x in jax.tree_util.tree_leaves_with_path(tree):
        dtype = getattr(x, "dtype", None)
        # Not `in` alone: None equals float64, NumPy's default dtype.
        if dtype is None or dtype not in [jnp.dtype(known) for known in DTYPES]:
            kind = f"type {type(x).__name__}" if dtype is None else f"dtype {dtype}"
            raise TypeError(
                f"{name}{jax.tree_util.keystr(path)} has {kind}; only real floating arrays can be "
                "trained. Leave it out with optax.masked or optax.partition."
            )


def flat(name: str, tree: Any, treedef: Any) -> list[Any]:
    """The leaves of a tree that must have the structure that ``init`` saw; None stays None."""
    try:
        leaves: list[Any] = treedef.flatten_up_to(tree)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{name} has not the structure of the parameters that init saw: {error}"
        ) from None
    for leaf in leaves:
        if leaf is not None and not jax.tree_util.all_leaves([leaf]):
            raise ValueError(
                f"{name} has a {type(leaf).__name__} where the parameters that init saw have an "
                "array."
            )
    check_leaves(name, tree)
    return leaves


def check_fit(
    tree: Any,
    grads: list[Any],
    weights: list[Any],
    moments: list[Any],
    rule: Rule | None = None,
) -> None:
    """Refuse gradients, parameters and state of different shapes, naming the leaf."""
    paths = jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda x: x is None)
    names = [jax.tree_util.keystr(path) for path, _ in paths]
    names = names if len(names) == len(grads) else list(map(str, range(len(grads))))
    for name, g, w, own in zip(names, grads, weights, moments, strict=True):
        if g is None:
            continue
        shapes = dict.fromkeys(("parameter", *own), jnp.shape(g)) | _state_shapes(rule, g)
        for what, x in {"parameter": w, **own}.items():
            if x is not None and jnp.shape(x) != shapes[what]:
                raise ValueError(
                    f"updates{name} has shape {jnp.shape(g)}, but its {what} has "
                    f"{jnp.shape(x)}, where {shapes[what]} would fit."
                )


def _state_shapes(rule: Rule | None, g: Any) -> dict[str, tuple[int, ...]]:
    """The shapes of those state arrays that need not have the parameter's shape."""
    if rule is None or rule.elementwise:
        return {}
    like = jax.ShapeDtypeStruct(jnp.shape(g), jnp.float32)
    state = jax.eval_shape(lambda w: rule.init(JaxBackend(jnp.float32), w), like)
    return {name: x.shape for name, x in state.items()}


def made_for(tree: Any, value: Any) -> Any:
    """``value``, or what it makes of ``tree`` if it is a function.

    As in ``optax.masked``, a function is what has nothing but functions as leaves: a module that
    can be called is a tree.
    """
    leaves = jax.tree.leaves(value)
    return value(tree) if leaves and all(map(callable, leaves)) else value


def per_leaf(name: str, value: Any, tree: Any, treedef: Any) -> list[Any]:
    """One value for each leaf of ``tree``, whose structure is ``treedef``.

    Args:
        value: one for all, a tree of values for whole subtrees, or a function from ``tree`` to
            either.
    """
    value = made_for(tree, value)
    if isinstance(value, (bool, int)):
        return [value] * treedef.num_leaves
    try:
        spread = jax.tree.map(lambda one, part: jax.tree.map(lambda _: one, part), value, tree)
        return list(treedef.flatten_up_to(spread))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{name} has not the structure of the parameters, or of their upper part: {error}"
        ) from None


def check_slices(rule: Rule | None, settings: Settings, params: Any) -> None:
    """Refuse shapes that the rule or ``stacked_dims`` does not fit; warn where K = 0 (P3)."""
    stacks = per_leaf("stacked_dims", settings.stacked_dims, params, jax.tree.structure(params))
    policy = settings.policy_of(settings.mode, 1.0, 1.0)  # the factors do not matter here
    leaves = jax.tree_util.tree_leaves_with_path(params)
    damped = []
    for (path, w), stacked in zip(leaves, stacks, strict=True):
        name = f"params{jax.tree_util.keystr(path)}"
        if not isinstance(stacked, int) or not 0 <= stacked <= w.ndim:
            raise ValueError(
                f"stacked_dims={stacked!r} is no number of leading axes of {name}, whose shape is "
                f"{w.shape}: give 0 to {w.ndim}."
            )
        if reason := rule and rule.accepts(w.shape, stacked):
            raise ValueError(f"{name}: {reason}")
        d = math.prod(w.shape[stacked:])
        if policy is not None and policy.ranks and d > 0 and policy.top(d) == 0:
            damped.append((name, d, settings.tau))
    if damped:
        remedy = "give them a transformation with mode='off' by optax.partition"
        warn(damped_text(damped, remedy), __file__, jax.__file__, optax.__file__)
