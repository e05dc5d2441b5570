"""Mistakes that a port may well have, for the dictionary of the diagnosis.

Any case that cites their clause catches them; the other mutants test how fine the cases are.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from mgup_core import SGD, AdamW, Backend, Cautious, Direction, Lion
from mgup_core import step as updates

from .applying import UPDATE, Changed
from .base import Mutant, instead_of

Array = Any
MOMENTA = ("exp_avg", "momentum_buffer")
_right_update: Any = updates.update_array
_right_accumulate = AdamW.accumulate
_right_finish = Lion.finish


@instead_of(UPDATE, clause="P1")
def momentum_scored(be: Backend, rule: Any, *rest: Any, **kw: Any) -> Any:
    """The score is that of the momentum, not of the direction."""

    def momentum(made: Direction, state: Any) -> Array:
        return next((state[name] for name in MOMENTA if name in state), made.a)

    return _right_update(be, Changed(rule, scored=momentum), *rest, **kw)


@instead_of(UPDATE, clause="P1")
def old_momentum_scored(
    be: Backend, rule: Any, policy: Any, w: Array, g: Array, state: Any, *rest: Any, **kw: Any
) -> Any:
    """The score is that of the momentum before the step."""

    def momentum(made: Direction, _: Any) -> Array:
        old = next((state[name] for name in MOMENTA if name in state), made.a)
        return old.astype(be.host_dtype)

    return _right_update(be, Changed(rule, scored=momentum), policy, w, g, state, *rest, **kw)


@instead_of(UPDATE, clause="P1")
def gradient_sign_scored(
    be: Backend, rule: Any, policy: Any, w: Array, g: Array, *rest: Any, **kw: Any
) -> Any:
    """The score takes the gradient's sign, not the gradient."""

    def signed(made: Direction, _: Any) -> Array:
        size = np.abs(g.astype(be.host_dtype))
        return np.where(size > 0, made.a / np.where(size > 0, size, 1), made.a)

    return _right_update(be, Changed(rule, scored=signed), policy, w, g, *rest, **kw)


@instead_of(UPDATE, clause="P6")
def policy_ignored(be: Backend, rule: Any, policy: Any, *rest: Any, **kw: Any) -> Any:
    """The step is not multiplied at all."""
    return _right_update(be, rule, None, *rest, **kw)


@instead_of(UPDATE, clause="R0")
def decay_forgotten(be: Backend, rule: Any, *rest: Any, weight_decay: float, **kw: Any) -> Any:
    """There is no decay."""
    return _right_update(be, rule, *rest, weight_decay=0.0, **kw)


@instead_of(UPDATE, clause="R0")
def decay_in_gradient(
    be: Backend, rule: Any, policy: Any, w: Array, g: Array, *rest: Any, **kw: Any
) -> Any:
    """The decay is in the gradient, as L2."""
    full = g.astype(be.host_dtype) + be.scalar(kw["weight_decay"]) * w.astype(be.host_dtype)
    return _right_update(be, rule, policy, w, full, *rest, **kw | {"weight_decay": 0.0})


@instead_of(UPDATE, clause="R0")
def decay_unscaled(
    be: Backend, rule: Any, policy: Any, w: Array, *rest: Any, weight_decay: float, **kw: Any
) -> Any:
    """The decay is not multiplied by the learning rate."""
    made = _right_update(be, rule, policy, w, *rest, weight_decay=0.0, **kw)
    return made._replace(delta=made.delta + be.scalar(weight_decay) * w.astype(be.host_dtype))


@instead_of((AdamW, "accumulate"), clause="R1")
def betas_swapped(self: AdamW, be: Backend, g: Array, w: Array, state: Any, t: int) -> Any:
    """AdamW's moments have each other's beta."""
    swapped = dataclasses.replace(self, b1=self.b2, b2=self.b1)
    return _right_accumulate(swapped, be, g, w, state, t)


@instead_of((Lion, "finish"), clause="R2")
def lion_one_beta(self: Lion, be: Backend, g: Array, w: Array, state: Any, t: int) -> Any:
    """Lion's momentum has the beta of the direction."""
    return _right_finish(dataclasses.replace(self, b2=self.b1), be, g, w, state, t)


@instead_of((SGD, "direction"), clause="R3")
def sgd_plain(self: SGD, be: Backend, g: Array, w: Array, state: Any, t: int) -> Any:
    """Nesterov's look-ahead is left out."""
    return Direction(state["momentum_buffer"], state["momentum_buffer"])


@instead_of((Cautious, "factors"), clause="P10")
def cautious_one_more(self: Any, be: Backend, positive: Array, d: int) -> tuple[Array, Array]:
    """The cautious mean counts one positive score more."""
    return be.scalar(d) / (positive.astype(be.host_dtype) + be.scalar(1.0)), be.scalar(0.0)


@instead_of((Cautious, "factors"), clause="P10")
def cautious_unscaled(self: Any, be: Backend, positive: Array, d: int) -> tuple[Array, Array]:
    """The cautious step is not divided by the mean."""
    return be.scalar(1.0), be.scalar(0.0)


MUTANTS: tuple[Mutant, ...] = (
    momentum_scored, old_momentum_scored, gradient_sign_scored, policy_ignored, decay_forgotten,
    decay_in_gradient, decay_unscaled, betas_swapped, lion_one_beta, sgd_plain,
    cautious_one_more, cautious_unscaled,
)  # fmt: skip
