"""Adan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .._checks import check_beta, check_eps
from .._typing import Array, State
from ..numerics.backend import Backend
from ..numerics.scalars import at_first, ema, inverse_correction
from .base import Direction, Rule


@dataclass(frozen=True)
class Adan(Rule):
    """Adan: Xie et al., Adan: Adaptive Nesterov Momentum Algorithm, 2022, arXiv 2208.06677.

    ::

        z  = g - g_before                                           (0 at the first step)
        m <- b1*m + (1 - b1)*g
        d <- b2*d + (1 - b2)*z
        n <- b3*n + (1 - b3)*(g + b2*z)^2
        u  = (m / (1 - b1^t) + b2 * d / (1 - b2^t)) / (sqrt(n / (1 - b3^t)) + eps)      a = u
        w <- (w - lr*phi*u) / (1 + lr*weight_decay)

    This is the form of the authors' code, whose betas are 1 - beta of the paper. Their code can
    also clip the gradients of all parameters together (off by default) and restart; here, clip
    before the step with the framework's own function. ``optax.adan`` is another rule: it looks
    ahead by 1 - b2, and this rule by b2.

    Args:
        b1, b2, b3: decay rates of the three moments, in [0, 1).
        eps: added to the root, >= 0.
        no_prox: decay as AdamW does, ``w <- w - lr*phi*u - lr*weight_decay*w``, in place of the
            proximal quotient.

    State: ``exp_avg`` (m), ``exp_avg_diff`` (d), ``exp_avg_sq`` (n) and ``previous_grad``
    (g_before), zeros of the parameter's shape.
    """

    b1: float = 0.98
    b2: float = 0.92
    b3: float = 0.99
    eps: float = 1e-8
    no_prox: bool = False

    def __post_init__(self) -> None:
        check_beta("b1", self.b1)
        check_beta("b2", self.b2)
        check_beta("b3", self.b3)
        check_eps("eps", self.eps)

    def init(self, be: Backend, w: Array) -> State:
        names = ("exp_avg", "exp_avg_diff", "exp_avg_sq", "previous_grad")
        return {name: be.zeros_like(w) for name in names}

    def accumulate(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        z = at_first(be, t, be.scalar(0.0), g - state["previous_grad"])
        ahead = g + be.mul(be.scalar(self.b2), z)
        return {
            "exp_avg": ema(be, state["exp_avg"], g, self.b1),
            "exp_avg_diff": ema(be, state["exp_avg_diff"], z, self.b2),
            "exp_avg_sq": ema(be, state["exp_avg_sq"], be.mul(ahead, ahead), self.b3),
            "previous_grad": g,
        }

    def direction(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> Direction:
        m = be.mul(state["exp_avg"], inverse_correction(be, self.b1, t))
        d = be.mul(state["exp_avg_diff"], inverse_correction(be, self.b2, t))
        n = be.mul(state["exp_avg_sq"], inverse_correction(be, self.b3, t))
        u = be.div(m + be.mul(be.scalar(self.b2), d), be.sqrt(n) + be.scalar(self.eps))
        return Direction(u, a=u)

    def rates(
        self, be: Backend, lr: Array, decay: Array, t: Any, size: Array | None = None
    ) -> tuple[Array, Array]:
        if self.no_prox:
            return lr, lr
        shrunk = be.div(lr, be.scalar(1.0) + be.mul(lr, decay))
        return shrunk, shrunk
