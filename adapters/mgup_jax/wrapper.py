"""MGUP around any optax transformation."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mgup_core import score
from mgup_core.step import apply_split

from .backend import compute_dtype, is_traced
from .mesh_axes import automatic
from .pytrees import check_fit, check_leaves, check_slices, flat, per_leaf
from .settings import Scheduled, Settings, check_params
from .shard_map import placements
from .state import MGUPState

_PROBES = 3  # a warmup may begin at a rate of 0


class MGUPWrapperState(NamedTuple):
    """The state of :func:`mgup`: a pytree."""

    count: Any
    """How many steps were taken, a 0-d int32 array."""
    inner_state: Any


def mgup(
    inner: optax.GradientTransformation,
    *,
    weight_decay: Scheduled = 0.0,
    learning_rate: Scheduled = None,
    mask: Any = None,
    tau: float = 0.5,
    alpha: Scheduled = None,
    gamma: Scheduled = None,
    mode: str = "rank",
    ties: str = "damped",
    tau_min: float = 0.01,
    stacked_dims: Any = 0,
    selection: str = "auto",
    param_specs: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """Rescale the updates of an optimizer that knows nothing of MGUP.

    The score is ``-update * gradient``, with the gradient that this transformation is given, so
    put clipping and accumulation before it, not inside. optax updates are to be added, hence the
    sign; that they hold the learning rate does not matter, since a positive factor on all scores
    of a slice changes no ranking.

    Args:
        inner: a complete optimizer, learning rate included, without weight decay.
        weight_decay, learning_rate, mask: decoupled decay, ``learning_rate * weight_decay * w``,
            added outside the multiplier (R0). Give ``inner``'s learning rate.
        tau, alpha, gamma, mode, …: as for every function of this package.

    Raises:
        ValueError: from ``init``, if ``inner`` decays weights itself (``optax.adamw`` and
            ``optax.lion`` do by default), since decay would enter the score. It is tried on small
            arrays of the parameters' structure; an ``inner`` that they do not suit is taken at its
            word.
    """
    if not (hasattr(inner, "init") and hasattr(inner, "update")):
        raise TypeError(f"inner is a {type(inner).__name__}, not an optax.GradientTransformation.")
    if learning_rate is None:
        if not isinstance(weight_decay, (int, float)) or weight_decay != 0:
            raise ValueError(
                "weight_decay needs the learning rate that the inner optimizer has: pass "
                "learning_rate too."
            )
        learning_rate = 0.0
    settings = Settings(
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        mask=mask,
        tau=tau,
        alpha=alpha,
        gamma=gamma,
        mode=mode,
        ties=ties,
        tau_min=tau_min,
        stacked_dims=stacked_dims,
        selection=selection,
        param_specs=param_specs,
    )
    inner = optax.with_extra_args_support(inner)

    def init(params: Any) -> MGUPWrapperState:
        check_leaves("params", params)
        check_slices(None, settings, params)
        inner_state = inner.init(params)
        _refuse_twice(inner_state)
        if decays_weights(inner, params):
            raise ValueError(
                "the inner optimizer decays weights: with a gradient of 0 its update depends on "
                "the parameters, and decay must not enter the score. Pass it weight_decay=0.0, "
                "and mgup(..., weight_decay=..., learning_rate=...) instead."
            )
        return MGUPWrapperState(jnp.zeros((), jnp.int32), inner_state)

    def update(
        updates: Any, state: MGUPWrapperState, params: Any = None, **extra: Any
    ) -> tuple[Any, MGUPWrapperState]:
        treedef = jax.tree.structure(updates if params is None else params)
        grads = flat("updates", updates, treedef)
        weights = [None] * len(grads) if params is None else flat("params", params, treedef)
        check_fit(updates, grads, weights, [{}] * len(grads))
        step = settings.at(state.count)
        moves, inner_state = inner.update(updates, state.inner_state, params, **extra)
        like = updates if params is None else params
        stacks = per_leaf("stacked_dims", settings.stacked_dims, like, treedef)
        decayed = per_leaf("mask", settings.mask, like, treedef)

        cuts = placements(like, grads, stacks, settings.param_specs, treedef, step.policy)

        def rescale(g: Any, w: Any, move: Any, stacked: int, decays: bool, where: Any) -> Any:
            be = settings.backend(compute_dtype((g if w is None else w).dtype), where)
            moved = -be.cast(move, be.dtype)  # learning rate * u
            split = None
            if step.policy is not None:
                scores = score(moved, be.flush(be.cast(g, be.dtype)), be=be)
                split = be.decide(step.policy, scores, stacked)
            delta = apply_split(be, split, be.scalar(1.0), moved)
            if settings.decays and decays:
                check_params(w)
                rate = be.mul(be.scalar(step.learning_rate), be.scalar(step.weight_decay))
                delta = delta + be.mul(rate, be.cast(w, be.dtype))
            return -delta

        jobs = zip(grads, weights, treedef.flatten_up_to(moves), stacks, decayed, cuts, strict=True)
        deltas = treedef.unflatten(rescale(*job) for job in jobs)
        return deltas, MGUPWrapperState(optax.safe_increment(state.count), inner_state)

    return optax.GradientTransformationExtraArgs(init, automatic(update))


def _refuse_twice(inner_state: Any) -> None:
    def ours(x: Any) -> bool:
        return isinstance(x, (MGUPState, MGUPWrapperState))

    if any(map(ours, jax.tree.leaves(inner_state, is_leaf=ours))):
        raise ValueError("the inner optimizer has MGUP already; it would be applied twice.")


def decays_weights(inner: optax.GradientTransformation, params: Any) -> bool:
    """Whether an update at a gradient of 0 depends on the parameters, tried on small arrays."""

    def small(fill: float) -> Any:
        return jax.tree.map(lambda w: jnp.full([min(n, 2) for n in w.shape], fill, w.dtype), params)

    try:
        with jax.ensure_compile_time_eval():
            zeros, ones = small(0.0), small(1.0)
            states = [inner.init(zeros), inner.init(ones)]
            for _ in range(_PROBES):
                for i, weights in enumerate((zeros, ones)):
                    moves, states[i] = inner.update(zeros, states[i], weights)
                    if i == 0:
                        at_zero = moves
                for a, b in zip(jax.tree.leaves(at_zero), jax.tree.leaves(moves), strict=True):
                    if not (is_traced(a) or is_traced(b)) and bool(jnp.any(a != b)):
                        return True
    except Exception:  # an optimizer made for the real shapes, or one that needs more arguments
        return False
    return False
