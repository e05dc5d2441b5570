"""AMSGrad."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from .._typing import Array, State
from ..numerics.backend import Backend
from .adam import AdamMoments
from .base import Direction


@dataclass(frozen=True)
class AMSGrad(AdamMoments):
    """AMSGrad: Reddi, Kale and Kumar, On the Convergence of Adam and Beyond, 2018.

    AdamW whose denominator never falls (arXiv 1904.09237)::

        m <- b1*m + (1 - b1)*g
        v <- b2*v + (1 - b2)*g*g
        x <- max(x, v)
        u  = (m / (1 - b1^t)) / (sqrt(x / (1 - b2^t)) + eps)        a = u

    to rounding ``torch.optim.AdamW(amsgrad=True)``. The paper corrects neither moment, and
    ``optax.amsgrad`` takes the maximum of the corrected v, which differs in the first steps.

    Args:
        b1, b2: decay rates of the two moments, in [0, 1).
        eps: added to the root, >= 0.

    State: ``exp_avg`` (m), ``exp_avg_sq`` (v) and ``max_exp_avg_sq`` (x), zeros of the parameter's
    shape.
    """

    weight_decay: ClassVar[float] = 1e-2

    def init(self, be: Backend, w: Array) -> State:
        return {**super().init(be, w), "max_exp_avg_sq": be.zeros_like(w)}

    def accumulate(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        moments = super().accumulate(be, g, w, state, t)
        largest = be.xp.maximum(state["max_exp_avg_sq"], moments["exp_avg_sq"])
        return {**moments, "max_exp_avg_sq": largest}

    def direction(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> Direction:
        u = self.adam(be, state["exp_avg"], state["max_exp_avg_sq"], t)
        return Direction(u, a=u)
