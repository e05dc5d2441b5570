"""Rules of the core as optax transformations."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mgup_core import Rule, contribution, summed, update_array
from mgup_core.forms import runtime_fields
from mgup_core.modes import bind

from .backend import compute_dtype, is_traced
from .leaves import check_fit, check_leaves, check_slices, flat, per_leaf
from .manual import placements
from .numbers import with_numbers
from .settings import Settings, check_params
from .sharding import automatic
from .state import MGUPState, by_leaf, by_name, initial


def rule_transformation(rule: Rule, settings: Settings) -> optax.GradientTransformationExtraArgs:
    """The transformation of one rule with all its settings made."""
    rule = with_numbers(rule)

    def init(params: Any) -> MGUPState:
        check_leaves("params", params)
        check_slices(rule, settings, params)
        return initial(rule, params, settings.mu_dtype, settings.state_dtype)

    def update(
        updates: Any, state: MGUPState, params: Any = None, **extra: Any
    ) -> tuple[Any, MGUPState]:
        del extra
        treedef = jax.tree.structure(next(iter(state.moments.values()), updates))
        grads, moments = flat("updates", updates, treedef), by_leaf(state.moments, treedef)
        weights = [None] * len(grads) if params is None else flat("params", params, treedef)
        check_fit(updates, grads, weights, moments, rule)
        step = settings.at(state.count)
        like = updates if params is None else params
        stacks = per_leaf("stacked_dims", settings.stacked_dims, like, treedef)
        decayed = per_leaf("mask", settings.mask, like, treedef)
        count = optax.safe_increment(state.count)
        t = count if is_traced(count) else int(count)

        cuts = placements(like, grads, stacks, settings.param_specs, treedef, step.policy, rule)
        backends = lru_cache(settings.backend)  # one for each dtype and placement

        def given(g: Any, w: Any, decays: bool, where: Any = ()) -> tuple[Any, Any, Any]:
            """(backend, parameter, decay) of a leaf."""
            be = backends(compute_dtype((g if w is None else w).dtype), where)
            if rule.reads_parameters or (decays and settings.decays):
                check_params(w)
            if w is None:  # no rule can read a value from this
                w = jax.ShapeDtypeStruct(g.shape, be.dtype)
            return be, w, step.weight_decay if decays else 0.0

        def sums() -> dict[str, Any] | None:
            if not rule.couples_parameters:
                return None
            parts = []
            for g, w, own, decays in zip(grads, weights, moments, decayed, strict=True):
                if g is not None:
                    be, w, decay = given(g, w, decays)
                    parts.append(contribution(be, rule, w, g, own, t, weight_decay=decay))
            return summed(parts)

        totals = sums()

        def move(
            g: Any, w: Any, own: Any, stacked: int, decays: bool, where: Any
        ) -> tuple[Any, Any]:
            if g is None:  # R6
                return None if w is None else jnp.zeros_like(w), own
            be, w, decay = given(g, w, decays, where)
            done = update_array(
                be,
                rule,
                step.policy,
                w,
                g,
                own,
                t,
                lr=step.learning_rate,
                weight_decay=decay,
                stacked_dims=stacked,
                totals=totals,
            )
            # In the compute dtype, so that optax.apply_updates rounds the sum once (R5).
            return -done.delta, done.state

        jobs = zip(grads, weights, moments, stacks, decayed, cuts, strict=True)
        deltas, states = zip(*(move(*job) for job in jobs), strict=True) if grads else ((), ())
        kept = by_name(list(states), state.moments, treedef)
        return treedef.unflatten(deltas), MGUPState(count, kept)

    return optax.GradientTransformationExtraArgs(init, automatic(update))


def transformation(
    rule_class: type[Rule],
    *,
    name: str | None = None,
    positional: tuple[str, ...] = ("learning_rate",),
    defaults: dict[str, Any] | None = None,
) -> Callable[..., optax.GradientTransformationExtraArgs]:
    """A function that makes ``optax.GradientTransformation`` objects of a rule.

    Args:
        rule_class: a :class:`mgup_core.Rule`; its fields become arguments.
        name: the function's name; by default ``mgup_`` and the rule's.
        positional: the arguments that may be given by position, in order.
        defaults: of arguments, where they are not the rule's.

    The function takes ``learning_rate``, the rule's fields, ``weight_decay``, ``mask`` and the
    MGUP arguments described in the JAX guide. For ``optax.inject_hyperparams``, its attribute
    ``static_args`` names all that are no schedules; ``structural_args`` those that shape the
    program: without the betas, momentum and eps, which may then change at every step (R7).
    """
    title = name or f"mgup_{rule_class.__name__.lower()}"
    own = tuple(f.name for f in fields(rule_class))
    signature = _signature(rule_class, positional, defaults or {})

    def make(*args: Any, **kwargs: Any) -> optax.GradientTransformationExtraArgs:
        values = bind(title, signature, *args, **kwargs)
        hyperparameters = {field: values.pop(field) for field in own}
        settings = Settings(**values)
        return rule_transformation(settings.rule_of(rule_class, hyperparameters), settings)

    make.__name__ = make.__qualname__ = title
    make.__module__ = "mgup_jax"
    make.__signature__ = signature  # type: ignore[attr-defined]
    make.__doc__ = f"{rule_class.__name__} with MGUP, for JAX.\n\n{rule_class.__doc__ or ''}"
    static = tuple(n for n in signature.parameters if n not in Settings.SCHEDULED)
    make.static_args = static  # type: ignore[attr-defined]
    floats = runtime_fields(rule_class())
    make.structural_args = tuple(n for n in static if n not in floats)  # type: ignore[attr-defined]
    return make


def _signature(
    rule_class: type[Rule], positional: tuple[str, ...], replaced: dict[str, Any]
) -> inspect.Signature:
    rule = rule_class()
    defaults = {
        "learning_rate": rule_class.lr,
        **{f.name: getattr(rule, f.name) for f in fields(rule_class)},
        **Settings.defaults(),
        "weight_decay": rule_class.weight_decay,
        **replaced,
    }
    either, named = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    rest = [name for name in defaults if name not in positional]
    return inspect.Signature(
        [
            *(inspect.Parameter(n, either, default=defaults[n]) for n in positional),
            *(inspect.Parameter(n, named, default=defaults[n]) for n in rest),
        ]
    )
