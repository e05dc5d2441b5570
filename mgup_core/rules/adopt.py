"""ADOPT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .._typing import Array, State
from ..numerics.backend import Backend
from ..numerics.scalars import at_first, ema
from .adam import AdamMoments
from .base import Direction


@dataclass(frozen=True)
class ADOPT(AdamMoments):
    """ADOPT: Taniguchi et al., Modified Adam Can Converge with Any beta2, 2024, arXiv 2411.02853.

    Adam that divides a gradient by the second moment of those before it::

        m <- b1*m + (1 - b1)*clip(g / max(sqrt(v), eps), -c, c)     c = (t - 1)^(1/4)
        u  = m                                                      a = u
        v <- b2*v + (1 - b2)*g*g

    The first step only measures: v = g*g, and nothing moves or decays. The form of the paper's
    Algorithm 2, and of ``optax.contrib.adopt``.

    Args:
        b1, b2: decay rates of the two moments, in [0, 1).
        eps: the least denominator, >= 0.
        clipping: ``False`` leaves the clip out (Algorithm 1).

    State: ``exp_avg`` (m) and ``exp_avg_sq`` (v), zeros of the parameter's shape.
    """

    b2: float = 0.9999
    eps: float = 1e-6
    clipping: bool = True

    def accumulate(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        m, v, square = state["exp_avg"], state["exp_avg_sq"], be.mul(g, g)
        scaled = be.div(g, be.xp.maximum(be.sqrt(v), be.scalar(self.eps)))
        if self.clipping:
            bound = be.sqrt(be.sqrt(be.scalar(t) - be.scalar(1.0)))
            scaled = be.xp.minimum(be.xp.maximum(scaled, -bound), bound)
        return {
            "exp_avg": at_first(be, t, m, ema(be, m, scaled, self.b1)),
            "exp_avg_sq": at_first(be, t, be.flush(square), ema(be, v, square, self.b2)),
        }

    def direction(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> Direction:
        u = state["exp_avg"]
        return Direction(u, a=u)

    def rates(
        self, be: Backend, lr: Array, decay: Array, t: Any, size: Array | None = None
    ) -> tuple[Array, Array]:
        rate = at_first(be, t, be.scalar(0.0), lr)
        return rate, rate
