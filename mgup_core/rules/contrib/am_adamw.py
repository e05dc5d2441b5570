"""AM-AdamW."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..._checks import check_beta, check_eps, check_rate
from ..._typing import Array, State
from ...numerics.backend import Backend
from ...numerics.scalars import at_first, ema, inverse_correction
from ...numerics.sums import dot
from ..base import Direction, Rule
from .am_sgd import clipped


@dataclass(frozen=True)
class AMAdamW(Rule):
    """AdamW with adaptive memory: Topollai and Choromanska, 2025, arXiv 2510.04988.

    Adaptive Memory Momentum via a Model-Based Framework for Deep Learning Optimization. For each
    tensor::

        v   <- b2*v + (1 - b2)*g*g
        P    = (1 - b1*pi) * (sqrt(v / (1 - b2^t)) + eps)       pi: the product of all earlier betas
        S    = 1 / (P * (1 + lam*P))
        beta = clip( (<g, d/P> - <d - g, S*(g + lam*P*d)>) / <d - g, S*(d - g)>, 0, b1 )
        d   <- ((1 - beta)*g + (lam*P + beta)*d) / (1 + lam*P)      (first step: beta = b1)
        u    = d / P                                                a = u
        pi  <- pi * beta

    Experimental: there is no official code, and the equations are confirmed by derivation only.
    beta is that of a constant learning rate without decay: the terms by which the paper's model
    brings both into it are left out. With ``lam=0`` and a fixed ``beta`` this is AdamW.

    Args:
        b1: the largest beta, in [0, 1).
        b2: decay rate of the second moment, in [0, 1).
        eps: added to the root, >= 0.
        lam: weight of the second proximal term, >= 0.
        beta: a fixed beta in [0, 1) instead of the adaptive one; it replaces b1 as well.

    State: ``exp_avg`` (d) and ``exp_avg_sq`` (v), zeros of the parameter's shape, and ``product``
    (pi), 0-d in the compute dtype, 1.
    """

    b1: float = 0.89
    b2: float = 0.999
    eps: float = 1e-8
    lam: float = 0.1
    beta: float | None = None

    elementwise: ClassVar[bool] = False
    experimental: ClassVar[bool] = True
    stacks: ClassVar[bool] = False
    exact_state: ClassVar[tuple[str, ...]] = ("product",)

    def __post_init__(self) -> None:
        check_beta("b1", self.b1)
        check_beta("b2", self.b2)
        check_eps("eps", self.eps)
        check_rate("lam", self.lam)
        if self.beta is not None:
            check_beta("beta", self.beta)

    def init(self, be: Backend, w: Array) -> State:
        one = be.xp.full((), 1.0, dtype=be.dtype, device=be.device)
        return {"exp_avg": be.zeros_like(w), "exp_avg_sq": be.zeros_like(w), "product": one}

    def accumulate(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        d, one = state["exp_avg"], be.scalar(1.0)
        v = ema(be, state["exp_avg_sq"], be.mul(g, g), self.b2)
        root = be.sqrt(be.mul(v, inverse_correction(be, self.b2, t)))
        most = be.scalar(self.b1 if self.beta is None else self.beta)
        p = be.mul(one - be.mul(most, state["product"]), root + be.scalar(self.eps))
        lam_p = be.mul(be.scalar(self.lam), p)
        beta = most
        if self.beta is None:
            gap = d - g
            weighted = be.div(gap, be.mul(p, one + lam_p))
            above = dot(be, g, be.div(d, p)) - dot(be, weighted, g + be.mul(lam_p, d))
            beta = clipped(be, above, dot(be, weighted, gap), self.b1)
            beta = at_first(be, t, most, beta)
        mixed = be.mul(one - beta, g) + be.mul(lam_p + beta, d)
        return {
            "exp_avg": be.flush(be.div(mixed, one + lam_p)),
            "exp_avg_sq": v,
            "product": be.mul(state["product"], beta),
            "preconditioner": p,  # for the direction only
        }

    def direction(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> Direction:
        u = be.div(state["exp_avg"], state["preconditioner"])
        return Direction(u, a=u)

    def finish(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        return {name: x for name, x in state.items() if name != "preconditioner"}
