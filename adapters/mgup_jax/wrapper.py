"""MGUP around any optax transformation."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from mgup_core import Split, score
from mgup_core.frontend.modes import Mode
from mgup_core.policy import Ties
from mgup_core.rules.base import Decay, check_decay
from mgup_core.step import apply_split, decay_term

from .arguments import Scheduled, Selection, UpdateDtype
from .backend import compute_dtype, is_traced
from .mesh_axes import automatic
from .parameter_step import decide_all, unmoved
from .pytrees import check_fit, check_leaves, check_slices, flat, per_leaf
from .settings import NO_PARAMS, Settings
from .shard_map import placements
from .state import BEGIN_AGAIN, MGUPState

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
    learning_rate: Scheduled | None = None,
    mask: Any = None,
    tau: float = 0.5,
    alpha: Scheduled | None = None,
    gamma: Scheduled | None = None,
    mode: Mode = "rank",
    ties: Ties = "damped",
    tau_min: float = 0.01,
    stacked_dims: Any = 0,
    selection: Selection = "auto",
    param_specs: Any = None,
    update_dtype: UpdateDtype = "parameter",
    decay: Decay = "all",
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
        decay: ``"all"``, or ``"aligned"`` for cautious weight decay (R0c).
        tau, alpha, gamma, mode, ties, tau_min, stacked_dims: the policy, as for every function of
            this package.
        selection, param_specs, update_dtype: as for every function of this package.

    Raises:
        ValueError: from ``init``, if ``inner`` decays weights itself (``optax.adamw`` and
            ``optax.lion`` do by default), since decay would enter the score. It is tried on small
            arrays of the parameters' structure; an ``inner`` that they do not suit is taken at its
            word.
    """
    if not (hasattr(inner, "init") and hasattr(inner, "update")):
        raise TypeError(f"inner is a {type(inner).__name__}, not an optax.GradientTransformation.")
    check_decay(decay)
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
        update_dtype=update_dtype,
    )
    inner = optax.with_extra_args_support(inner)
    made = lru_cache(maxsize=8)(partial(made_by, inner.init))

    def init(params: Any) -> MGUPWrapperState:
        check_leaves("params", params)
        check_slices(None, settings, params)
        settings.check_fits(params)
        inner_state = inner.init(params)
        _refuse_twice(inner_state)
        _refuse_average(inner_state)
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
        like = updates if params is None else params
        treedef: Any = jax.tree.structure(like)
        grads = flat("updates", updates, treedef)
        weights: list[Any] = (
            [None] * len(grads) if params is None else flat("params", params, treedef)
        )
        check_fit(updates, grads, weights, [{}] * len(grads))
        if not isinstance(state, MGUPWrapperState):
            raise ValueError(
                f"state is a {type(state).__name__}, not the MGUPWrapperState that init gives: it "
                "may be that of another optimizer, or of the chain around this one."
            )
        shapes = tuple((jnp.shape(x), x.dtype) for x in jax.tree.leaves(like))
        known_state = fits(made(treedef, shapes), state.inner_state)
        step = settings.at(state.count, grads if params is None else weights)
        stacks = per_leaf("stacked_dims", settings.stacked_dims, like, treedef)
        decayed = per_leaf("mask", settings.mask, like, treedef)
        if params is None and settings.decays and any(decayed):
            raise ValueError(NO_PARAMS)
        cuts = placements(like, grads, stacks, settings.param_specs, treedef, step.policy)
        try:
            moves, inner_state = inner.update(updates, state.inner_state, params, **extra)
        except Exception as error:
            if known_state:
                raise
            raise ValueError(
                "inner_state has not the structure that the inner optimizer's init makes of these "
                f"parameters: it may be the state of another. {BEGIN_AGAIN}"
            ) from error

        backend = lru_cache(settings.backend)  # one for each dtype and placement
        had = [i for i, g in enumerate(grads) if g is not None]  # R6
        backends, moved, scores = {}, {}, {}
        for i, move in enumerate(treedef.flatten_up_to(moves)):
            if i in had:
                w = grads[i] if weights[i] is None else weights[i]
                be = backends[i] = backend(compute_dtype(w.dtype), cuts[i])
                moved[i] = -be.cast(move, be.dtype)  # learning rate * u
                scores[i] = unmoved(score(moved[i], be.flush(be.cast(grads[i], be.dtype)), be=be))
        splits: dict[int, Split] = {}
        if step.policy is not None:
            rows, own = list(scores.values()), [stacks[i] for i in had]
            splits = dict(
                zip(had, decide_all(step.policy, list(backends.values()), rows, own), strict=True)
            )

        def rescaled(i: int) -> Any:
            w = weights[i]
            if i not in backends:
                return None if w is None else jnp.full_like(w, -0.0)
            be = backends[i]
            delta = apply_split(be, splits.get(i), be.scalar(1.0), moved[i])
            if settings.decays and decayed[i]:
                rate = be.mul(be.scalar(step.learning_rate), be.scalar(step.weight_decay))
                delta = delta + decay_term(be, decay, rate, be.cast(w, be.dtype), moved[i])
            return be.cast(-delta, settings.dtype_of_update(grads[i] if w is None else w))

        deltas = treedef.unflatten(map(rescaled, range(len(grads))))
        return deltas, MGUPWrapperState(optax.safe_increment(state.count), inner_state)

    return optax.GradientTransformationExtraArgs(init, automatic(update))


def _refuse_average(state: Any) -> None:
    """Refuse an inner optimizer whose parameter is not what steps: the multiplier is for that."""
    average = getattr(optax.contrib, "ScheduleFreeState", ())
    nodes = jax.tree.leaves(state, is_leaf=lambda x: isinstance(x, average))
    if any(isinstance(x, average) for x in nodes):
        raise ValueError(
            "the inner optimizer averages its iterates (optax.contrib.schedule_free): to rescale "
            "what it does to the parameters would move the average. Use mgup_schedule_free_adamw "
            "or mgup_schedule_free_sgd, or put MGUP inside: optax.contrib.schedule_free("
            "mgup_adamw(..., b1=0.0), ...)."
        )


def scale_by_mgup(
    inner: optax.GradientTransformation,
    *,
    tau: float = 0.5,
    alpha: Scheduled | None = None,
    gamma: Scheduled | None = None,
    mode: Mode = "rank",
    ties: Ties = "damped",
    tau_min: float = 0.01,
    stacked_dims: Any = 0,
    selection: Selection = "auto",
    param_specs: Any = None,
    update_dtype: UpdateDtype = "parameter",
) -> optax.GradientTransformationExtraArgs:
    """Rescale a direction, as optax's ``scale_by_*`` are: before decay and learning rate.

    ::

        optax.chain(
            scale_by_mgup(optax.scale_by_adam()),
            optax.add_decayed_weights(0.01),
            optax.scale_by_learning_rate(1e-3),
        )

    has the decay outside the multiplier, as R0 asks. The score is ``direction * gradient``, with
    the gradient that this transformation is given.

    Args:
        inner: what makes the direction of a gradient, not negated, without learning rate and decay.
        tau, alpha, gamma, mode, ties, tau_min, stacked_dims: the policy, as for :func:`mgup`.
        selection, param_specs, update_dtype: as for :func:`mgup`.

    Raises:
        ValueError: as :func:`mgup`.
    """
    if not (hasattr(inner, "init") and hasattr(inner, "update")):
        raise TypeError(f"inner is a {type(inner).__name__}, not an optax.GradientTransformation.")
    negated = optax.chain(inner, optax.scale(-1.0))
    rescaled = mgup(
        negated,
        tau=tau,
        alpha=alpha,
        gamma=gamma,
        mode=mode,
        ties=ties,
        tau_min=tau_min,
        stacked_dims=stacked_dims,
        selection=selection,
        param_specs=param_specs,
        update_dtype=update_dtype,
    )
    return optax.with_extra_args_support(optax.chain(rescaled, optax.scale(-1.0)))


def _refuse_twice(inner_state: Any) -> None:
    def ours(x: Any) -> bool:
        return isinstance(x, (MGUPState, MGUPWrapperState))

    if any(map(ours, jax.tree.leaves(inner_state, is_leaf=ours))):
        raise ValueError("the inner optimizer has MGUP already; it would be applied twice.")


def made_by(init: Callable[[Any], Any], treedef: Any, shapes: Any) -> Any:
    """The shapes that ``init`` makes of parameters of these shapes and dtypes.

    ``None`` where they cannot be told, since it reads values.
    """
    try:
        return jax.eval_shape(
            init, treedef.unflatten(jax.ShapeDtypeStruct(*shape) for shape in shapes)
        )
    except Exception:
        return None


def fits(made: Any, inner_state: Any) -> bool:
    """Whether a state has the structure that was made; refuses other shapes in it."""
    wanted_structure: Any = jax.tree.structure(made)
    if wanted_structure != jax.tree.structure(inner_state):
        return False
    paths = jax.tree_util.tree_leaves_with_path(inner_state)
    for (path, x), wanted in zip(paths, jax.tree.leaves(made), strict=True):
        if jnp.shape(x) != wanted.shape:
            raise ValueError(
                f"inner_state{jax.tree_util.keystr(path)} has shape {jnp.shape(x)}, but init makes "
                f"{wanted.shape} of these parameters: it is the state of others. {BEGIN_AGAIN}"
            )
    return True


def decays_weights(inner: optax.GradientTransformation, params: Any) -> bool:
    """Whether an update at a gradient of 0 depends on the parameters, tried on small arrays."""

    def small(fill: float) -> Any:
        return jax.tree.map(lambda w: jnp.full([min(n, 2) for n in w.shape], fill, w.dtype), params)

    def differ(a: Any, b: Any) -> bool:
        if is_traced(a) or is_traced(b):
            return False
        return bool(jnp.any((a != b) & ~((a != a) & (b != b))))  # NaN twice tells nothing

    try:
        with jax.ensure_compile_time_eval():
            zeros, ones = small(0.0), small(1.0)
            states = [inner.init(zeros), inner.init(ones)]
            for _ in range(_PROBES):
                moves = []
                for i, weights in enumerate((zeros, ones)):
                    move, states[i] = inner.update(zeros, states[i], weights)
                    moves.append(jax.tree.leaves(move))
                if any(map(differ, *moves)):
                    return True
    except Exception:  # an optimizer made for the real shapes, or one that needs more arguments
        return False
    return False
