"""LaProp."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from .._typing import Array, State
from ..numerics.backend import Backend
from ..numerics.scalars import ema, inverse_correction
from .adam import AdamMoments
from .base import Direction


@dataclass(frozen=True)
class LaProp(AdamMoments):
    """LaProp: Ziyin, Wang and Ueda, Separating Momentum and Adaptivity in Adam, 2020.

    Adam that divides each gradient first, and averages the quotients (arXiv 2002.04839)::

        v <- b2*v + (1 - b2)*g*g
        m <- b1*m + (1 - b1)*g / (sqrt(v / (1 - b2^t)) + eps)
        u  = m / (1 - b1^t)                                         a = u

    The authors' code keeps lr*m in place of m, so that a schedule reaches only what comes in after
    it, and subtracts weight_decay*w without lr. Its amsgrad and centered are not here.

    Args:
        b1, b2: decay rates of the two moments, in [0, 1).
        eps: added to the root, >= 0.

    State: ``exp_avg`` (m) and ``exp_avg_sq`` (v), zeros of the parameter's shape.
    """

    eps: float = 1e-15

    lr: ClassVar[float] = 4e-4

    def accumulate(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        v = ema(be, state["exp_avg_sq"], be.mul(g, g), self.b2)
        scaled = be.div(g, self.root(be, v, t))
        return {"exp_avg": ema(be, state["exp_avg"], scaled, self.b1), "exp_avg_sq": v}

    def direction(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> Direction:
        u = be.mul(state["exp_avg"], inverse_correction(be, self.b1, t))
        return Direction(u, a=u)
