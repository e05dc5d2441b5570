"""Mistakes in putting rule, policy, decay and step together (P1, P7, R0, R5, R6)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from mgup_core import Backend, Direction, Split
from mgup_core import optimizer as optimizers
from mgup_core import step as updates
from mgup_core.optimizer import Optimizer

from .base import Mutant, instead_of

Array = Any
UPDATE = (optimizers, "update_array")
_right_update: Any = updates.update_array
_right_decay: Any = updates.decay_term
_right_step = Optimizer._step
_right_cast = Backend.cast


class Changed:
    """A rule whose direction passes through a function, which may look at the state it is made of.

    Args:
        rule: the right one.
        change: from (direction, w) to another direction.
        scored: the score's operand, from the direction and the state.
    """

    def __init__(self, rule: Any, change: Any = None, scored: Any = None) -> None:
        self.rule, self.change, self.scored = rule, change, scored

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rule, name)

    def direction(self, be: Backend, g: Array, w: Array, state: Any, t: Any) -> Direction:
        made: Direction = self.rule.direction(be, g, w, state, t)
        if self.change:
            made = self.change(made, w)
        if self.scored:
            made = made._replace(a=self.scored(made, state))
        return made


@instead_of(UPDATE, clause="P1")
def gradient_for_momentum(
    be: Backend, rule: Any, policy: Any, w: Array, g: Array, *rest: Any, **kw: Any
) -> Any:
    """The score is g*g instead of a*g."""
    raw = be.flush(g.astype(be.host_dtype))
    changed = Changed(rule, lambda direction, w: Direction(direction.u, raw))
    return _right_update(be, changed, policy, w, g, *rest, **kw)


@instead_of(UPDATE, clause="P1")
def mask_after_decay(be: Backend, rule: Any, *rest: Any, **kw: Any) -> Any:
    """The decay is in the alignment operand."""

    def change(direction: Direction, w: Array) -> Direction:
        return Direction(direction.u, direction.a + be.scalar(kw["weight_decay"]) * w)

    return _right_update(be, Changed(rule, change), *rest, **kw)


@instead_of(UPDATE, clause="P1")
def decay_in_score(
    be: Backend, rule: Any, policy: Any, w: Array, g: Array, *rest: Any, **kw: Any
) -> Any:
    """The decay is in the gradient of the score."""
    if policy is None:
        return _right_update(be, rule, policy, w, g, *rest, **kw)
    wide = w.astype(be.host_dtype)
    seen = []

    def change(direction: Direction, w: Array) -> Direction:
        seen.append(direction.a)
        return direction

    def decide(be: Backend, scores: Array) -> Split:
        full = g.astype(be.host_dtype) + be.scalar(kw["weight_decay"]) * wide
        changed = be.flush(seen[0] * full, be.tiny_score).reshape(scores.shape)
        split: Split = policy.decide(be, changed)
        return split

    looking: Any = SimpleNamespace(decide=decide, opaque=False)
    return _right_update(be, Changed(rule, change), looking, w, g, *rest, **kw)


@instead_of(UPDATE, clause="R0")
def phi_on_decay(be: Backend, rule: Any, *rest: Any, weight_decay: float, **kw: Any) -> Any:
    """The decay is multiplied by the multiplier, too."""

    def change(direction: Direction, w: Array) -> Direction:
        return Direction(direction.u + be.scalar(weight_decay) * w, direction.a)

    return _right_update(be, Changed(rule, change), *rest, weight_decay=0.0, **kw)


@instead_of(UPDATE, clause="R0")
def decay_regrouped(
    be: Backend, rule: Any, policy: Any, w: Array, *rest: Any, weight_decay: float, **kw: Any
) -> Any:
    """The decay is eta*(lambda*w), not (eta*lambda)*w."""
    if rule.couples_decay:
        return _right_update(be, rule, policy, w, *rest, weight_decay=weight_decay, **kw)
    made = _right_update(be, rule, policy, w, *rest, weight_decay=0.0, **kw)
    _, rate = rule.rates(be, be.scalar(kw["lr"]), be.scalar(weight_decay), rest[-1])
    decay = be.scalar(weight_decay) * w.astype(be.host_dtype)
    return made._replace(delta=made.delta + rate * decay)


@instead_of((updates, "decay_term"), clause="R0c")
def aligned_ignored(be: Backend, decay: str, rate: Array, w: Array, u: Array) -> Array:
    """Everything decays, aligned or not."""
    return be.mul(rate, w)


@instead_of((updates, "decay_term"), clause="R0c")
def aligned_with_descent(be: Backend, decay: Any, rate: Array, w: Array, u: Array) -> Array:
    """What decays is what the step would enlarge: the sign of -u is compared."""
    return _right_decay(be, decay, rate, w, -u)


@instead_of(UPDATE, clause="R1")
def step_off_by_one(
    be: Backend, rule: Any, policy: Any, w: Array, g: Array, state: Any, t: int, **kw: Any
) -> Any:
    """The bias correction is that of t + 1."""
    later = t + 1 if rule.counts_steps else t
    return _right_update(be, rule, policy, w, g, state, later, **kw)


@instead_of(UPDATE, clause="R5")
def rounded_twice(be: Backend, rule: Any, policy: Any, w: Array, *rest: Any, **kw: Any) -> Any:
    """The difference is rounded to the parameter's dtype before it is subtracted."""
    made = _right_update(be, rule, policy, w, *rest, **kw)
    return made._replace(delta=made.delta.astype(w.dtype).astype(be.host_dtype))


@instead_of((Backend, "cast"), clause="R5")
def truncated(be: Backend, x: Array, dtype: Any) -> Array:
    """Low precision is stored towards zero, not to nearest even."""
    rounded = _right_cast(be, x, dtype)
    if np.dtype(dtype).itemsize != 2 or x.dtype.itemsize == 2:
        return rounded
    away = np.abs(rounded.astype(x.dtype)) > np.abs(x)
    return (rounded.view(np.uint16) - away.astype(np.uint16)).view(dtype)


@instead_of((updates, "apply_split"), clause="P7")
def overflow(be: Backend, split: Split | None, rate: Array, u: Array) -> Array:
    """An amplified step may overflow."""
    if split is None:
        return rate * u
    return np.where(split.mask, rate * split.high, rate * split.low).reshape(u.shape) * u


@instead_of((updates, "apply_split"), clause="R0")
def phi_after_rate(be: Backend, split: Split | None, rate: Array, u: Array) -> Array:
    """The step is phi*(eta*u), not (eta*phi)*u."""
    if split is None:
        return rate * u
    return np.asarray(np.where(split.mask, split.high, split.low)).reshape(u.shape) * (rate * u)


@instead_of((Optimizer, "_step"), clause="R6")
def absent_is_zero(self: Optimizer, params: Any, grads: Any, *rest: Any, **kw: Any) -> Any:
    """An absent gradient is taken for zeros."""
    full = [np.zeros_like(w) if g is None else g for w, g in zip(params, grads, strict=True)]
    return _right_step(self, params, full, *rest, **kw)


@instead_of((Optimizer, "_step"), clause="R0")
def schedule_ignored(
    self: Optimizer, params: Any, grads: Any, state: Any, lr: Any, **kw: Any
) -> Any:
    """The first learning rate is kept for ever."""
    return _right_step(self, params, grads, state, None, **kw)


MUTANTS: tuple[Mutant, ...] = (
    gradient_for_momentum, mask_after_decay, decay_in_score, phi_on_decay, decay_regrouped,
    aligned_ignored, aligned_with_descent,
    step_off_by_one, rounded_twice, truncated, overflow, phi_after_rate, absent_is_zero,
    schedule_ignored,
)  # fmt: skip
