"""AM-SGD."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from ..._checks import check_beta, check_rate
from ..._typing import Array, State
from ...numerics.backend import Backend
from ...numerics.scalars import at_first
from ...numerics.sums import dot
from ..base import Direction, Rule

BetaScope = Literal["all", "tensor"]
SCOPES: tuple[str, ...] = get_args(BetaScope)


def clipped(be: Backend, above: Array, below: Array, most: float) -> Array:
    """``above / below`` clipped to [0, most]; 0 where ``below`` is not positive."""
    zero = be.scalar(0.0)
    quotient = be.xp.minimum(be.xp.maximum(be.div(above, below), zero), be.scalar(most))
    return be.xp.where(below > zero, quotient, zero)


@dataclass(frozen=True)
class AMSGD(Rule):
    """SGD with adaptive memory: Topollai and Choromanska, 2025, arXiv 2510.04988.

    Adaptive Memory Momentum via a Model-Based Framework for Deep Learning Optimization::

        beta = clip( (|g|^2 + 2*lam*<g, d> - lam*|d|^2) / |d - g|^2, 0, beta_max )
        d   <- ((beta + lam)*d + (1 - beta)*g) / (1 + lam)          (first step: d = g)
        u    = d                                                    a = d

    Experimental: there is no official code. The equations are derived from the paper's model, two
    planes and a proximal term, and agree with a third party's port, whose defaults these are.
    ``beta`` is 0 where ``d = g``. With ``beta_scope="all"``, the products are sums over all
    parameters in their order, on which the last bits of the sums depend; a parameter at its first
    step adds nothing to them. With ``lam=0`` and a fixed ``beta`` this is SGD with
    ``momentum = dampening = beta``.

    Args:
        lam: weight of the second proximal term, >= 0.
        beta_max: the largest beta, in [0, 1).
        beta_scope: ``"all"`` for one beta for all parameters together, ``"tensor"`` for one each.
        beta: a fixed beta in [0, 1) instead of the adaptive one.
        coupled_decay: ``True`` for L2, where decay enters g (but never the score's gradient), as
            in the third party's port; by default the decay is decoupled.

    State: ``momentum_buffer`` (d), zeros of the parameter's shape.
    """

    lam: float = 0.1
    beta_max: float = 0.9
    beta_scope: BetaScope = "all"
    beta: float | None = None
    coupled_decay: bool = False

    elementwise: ClassVar[bool] = False
    experimental: ClassVar[bool] = True
    counts_steps: ClassVar[bool] = False
    stacks: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_rate("lam", self.lam)
        check_beta("beta_max", self.beta_max)
        if self.beta is not None:
            check_beta("beta", self.beta)
        if self.beta_scope not in SCOPES:
            raise ValueError(f"beta_scope={self.beta_scope!r} is neither 'all' nor 'tensor'.")

    @property
    def couples_decay(self) -> bool:
        return self.coupled_decay

    @property
    def couples_parameters(self) -> bool:
        return self.beta_scope == "all" and self.beta is None

    def init(self, be: Backend, w: Array) -> State:
        return {"momentum_buffer": be.zeros_like(w)}

    def totals(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        d, lam, zero = state["momentum_buffer"], be.scalar(self.lam), be.scalar(0.0)
        above = dot(be, g, g) + be.mul(be.scalar(2.0 * self.lam), dot(be, g, d))
        above = above - be.mul(lam, dot(be, d, d))
        below = dot(be, d - g, d - g)
        return {"above": at_first(be, t, zero, above), "below": at_first(be, t, zero, below)}

    def accumulate(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        d, lam = state["momentum_buffer"], be.scalar(self.lam)
        if self.beta is None:
            sums = state if self.couples_parameters else self.totals(be, g, w, state, t)
            beta = clipped(be, sums["above"], sums["below"], self.beta_max)
        else:
            beta = be.scalar(self.beta)
        share = be.scalar(1.0 / (1.0 + self.lam))
        kept, taken = be.mul(beta + lam, share), be.mul(be.scalar(1.0) - beta, share)
        mixed = be.flush(be.mul(kept, d) + be.mul(taken, g))
        return {"momentum_buffer": at_first(be, t, g, mixed)}

    def direction(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> Direction:
        d = state["momentum_buffer"]
        return Direction(d, a=d)
