"""Rules of the core as optax transformations."""

from __future__ import annotations

import inspect
import sys
from dataclasses import fields, replace
from functools import lru_cache
from typing import Any, Protocol, cast

import jax
import jax.numpy as jnp
import optax

from mgup_core import Rule
from mgup_core._notices import warn
from mgup_core.frontend.documentation import docstring
from mgup_core.frontend.reserved import check_names, check_state_names
from mgup_core.frontend.signatures import bind
from mgup_core.rules.base import check_fields, size_alone
from mgup_core.trace.elementwise import check_elementwise
from mgup_core.trace.forms import runtime_fields

from .arguments import JAX_ARGUMENTS
from .backend import JaxBackend, Known, compute_dtype, is_traced
from .given import given
from .in_place import Optimizer, step_function, with_step
from .mesh_axes import automatic
from .numbers import with_numbers
from .parameter_step import Leaf, ParameterStep
from .pytrees import check_leaves, check_slices
from .settings import Settings
from .shard_map import placements
from .state import MGUPState, by_name, initial


def rule_transformation(rule: Rule, settings: Settings) -> Optimizer:
    """The transformation of one rule with all its settings made."""
    check_elementwise(rule)
    check_fields(rule)
    if said := size_alone(rule, settings.policy_of(settings.mode, 1.0, 1.0)):
        warn(said, __file__, jax.__file__, optax.__file__)
    rule = with_numbers(rule)
    advance = ParameterStep(rule, settings)

    def init(params: Any) -> MGUPState:
        check_leaves("params", params)
        check_slices(rule, settings, params)
        settings.check_fits(params, rule)
        return initial(rule, params, settings.mu_dtype, settings.state_dtype)

    update = automatic(_update_function(rule, settings, advance))
    wide = replace(settings, update_dtype="compute")
    rounds_once = automatic(_update_function(rule, wide, advance))
    return with_step(init, update, step_function(rule, settings, rounds_once))


def _update_function(rule: Rule, settings: Settings, advance: ParameterStep) -> Any:
    def update(
        updates: Any, state: MGUPState, params: Any = None, **extra: Any
    ) -> tuple[Any, MGUPState]:
        del extra
        treedef, grads, weights, moments, stacks, decayed, now = given(
            rule, settings, updates, state, params
        )
        like = updates if params is None else params
        cuts = placements(like, grads, stacks, settings.param_specs, treedef, now.policy, rule)
        count = optax.safe_increment(state.count)
        t = count if is_traced(count) else int(count)

        @lru_cache(None)  # one for each dtype and placement
        def backend(dtype: Any, where: Any) -> JaxBackend:
            return settings.backend(dtype, where, Known(t if is_traced(t) else None, {}, {}))

        leaves = {}
        for i, (g, w) in enumerate(zip(grads, weights, strict=True)):
            if g is not None:
                like = g if w is None else w
                be = backend(compute_dtype(like.dtype), cuts[i])
                decay = be.scalar(now.weight_decay) if decayed[i] else None
                kind = settings.dtype_of_update(like)
                leaves[i] = Leaf(be, w, g, moments[i], decay, stacks[i], kind)
        moved = dict(zip(leaves, advance(list(leaves.values()), t, now), strict=True))
        # R6; -0, with which no parameter loses its bits
        deltas = [None if w is None else jnp.full_like(w, -0.0) for w in weights]
        for i, one in moved.items():
            deltas[i], moments[i] = one
        return treedef.unflatten(deltas), MGUPState(count, by_name(moments, state.moments, treedef))

    return update


class Transformation(Protocol):
    """A function that :func:`transformation` made of a rule."""

    __name__: str
    rule_class: type[Rule]
    static_args: tuple[str, ...]
    """The arguments that are no schedules, for ``optax.inject_hyperparams``."""
    structural_args: tuple[str, ...]
    """Those that shape the program (R7)."""

    def __call__(self, *args: Any, **kwargs: Any) -> Optimizer: ...


def transformation(
    rule_class: type[Rule],
    *,
    name: str | None = None,
    positional: tuple[str, ...] = ("learning_rate",),
    defaults: dict[str, Any] | None = None,
) -> Transformation:
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
    It can be pickled where its name leads to it: assign it to ``name`` in a module.

    Raises:
        ValueError: for a field with a reserved name, and a step that is not elementwise though the
            rule says so.
    """
    check_names(rule_class)
    check_state_names(rule_class())
    check_elementwise(rule_class())
    title = name or f"mgup_{rule_class.__name__.lower()}"
    own = tuple(f.name for f in fields(rule_class))
    signature = _signature(rule_class, positional, defaults or {})

    def make(*args: Any, **kwargs: Any) -> Optimizer:
        values = bind(title, signature, *args, **kwargs)
        hyperparameters = {field: values.pop(field) for field in own}
        settings = Settings(**values)
        return rule_transformation(settings.rule_of(rule_class, hyperparameters), settings)

    make.__name__ = make.__qualname__ = title
    make.__module__ = sys._getframe(1).f_globals.get("__name__", __name__)
    make.__doc__ = docstring(rule_class, "JAX", signature, JAX_ARGUMENTS, {})
    static = tuple(n for n in signature.parameters if n not in Settings.SCHEDULED)
    floats = runtime_fields(rule_class())
    vars(make).update(
        __signature__=signature,
        rule_class=rule_class,
        static_args=static,
        structural_args=tuple(n for n in static if n not in floats),
    )
    return cast("Transformation", make)


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
