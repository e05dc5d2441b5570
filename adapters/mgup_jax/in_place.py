"""The step of the parameters themselves, which on a GPU is one read and write of each array."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import jax
import jax.numpy as jnp
import optax

from mgup_core import Rule
from mgup_core._notices import warn
from mgup_core.numerics.runtime import Number

from .given import given
from .kernels import unavailable
from .settings import Settings
from .state import MGUPState, by_name

StepFunction = Callable[[Any, Any, Any], tuple[Any, Any]]


class Optimizer(optax.GradientTransformationExtraArgs):  # type: ignore[misc]
    """An optax transformation, which can also step parameters where they are.

    ``params, state = optimizer.step(params, state, grads)`` is ``update`` and
    ``optax.apply_updates``, with the bits of the reference: the updates have the compute dtype, so
    that a parameter is rounded once. On one NVIDIA GPU, with the extra ``mgup[jax-cuda]``, kernels
    do it that read and write each array once. Under ``jax.jit`` donate ``params`` and ``state``,
    and return them in this order, or XLA copies them. There it has no derivative; ``update`` has.
    """

    step: StepFunction


def with_step(init: Any, update: Any, step: StepFunction) -> Optimizer:
    """The optimizer of these functions."""
    made = Optimizer(init, update)
    made.step = step
    return made


@functools.lru_cache(64)  # a reason may name a shape, and there is no end of shapes
def _tell(reason: str) -> None:
    warn(
        f"step ranks by a search that XLA compiles, with the same result more slowly: {reason}. "
        "selection='graph' says so without this warning.",
        __file__,
        jax.__file__,
        optax.__file__,
    )


def step_function(rule: Rule, settings: Settings, update: Any) -> StepFunction:
    """The ``step`` of an optimizer.

    Args:
        update: its ``update``, with updates in the compute dtype.
    """

    def step(params: Any, state: Any, grads: Any) -> tuple[Any, Any]:
        wanted = settings.selection == "auto" and settings.param_specs is None
        if wanted and jax.default_backend() == "gpu":
            moved: Any = unavailable() or _refusal(rule, settings)
            moved = moved or _by_kernels(rule, settings, params, state, grads)
            if not isinstance(moved, str):
                return moved  # type: ignore[no-any-return]
            _tell(moved)
        updates, state = update(grads, state, params)
        return optax.apply_updates(params, updates), state

    return step


def _refusal(rule: Rule, settings: Settings) -> str | None:
    """Why no array can take the fused step, or ``None``."""
    from .kernels import fused

    traced = [f.name for f in fields(rule) if isinstance(getattr(rule, f.name), Number)]
    if traced:
        return f"{', '.join(traced)} of {type(rule).__name__} change as the program runs"
    return fused.refusal(rule, settings.policy_of(settings.mode, 1.0, 1.0))


def _by_kernels(
    rule: Rule, settings: Settings, params: Any, state: Any, grads: Any
) -> tuple[Any, Any] | str:
    """The parameters and the state after the step, or why these arrays cannot take it so."""
    from .kernels import fused

    treedef, gradients, weights, moments, stacks, decayed, now = given(
        rule, settings, grads, state, params
    )
    parts = {
        i: fused.Part(w, g, moments[i], stacks[i], decayed[i])
        for i, (w, g) in enumerate(zip(weights, gradients, strict=True))
        if w is not None and g is not None and w.size
    }
    for part in parts.values():
        if not fused.fits(part):
            return (
                f"an array of shape {part.w.shape} and dtype {part.w.dtype}, its gradient or its "
                "state has another dtype than float32, bfloat16 or float16, or it ranks 2^31 "
                "coordinates or more together"
            )
    factors = (getattr(now.policy, name, 1.0) for name in ("alpha", "gamma"))
    values = [now.learning_rate, now.weight_decay, *factors]
    told = jnp.stack([jnp.asarray(value).astype(jnp.float32) for value in values])
    moved = fused.step(rule, now.policy, list(parts.values()), state.count, told)
    for i, (w, arrays) in zip(parts, moved, strict=True):
        weights[i], moments[i] = w, arrays
    count = optax.safe_increment(state.count)
    return treedef.unflatten(weights), MGUPState(count, by_name(moments, state.moments, treedef))
