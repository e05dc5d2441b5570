"""What Adam's family has in common: two moments, and their corrections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .._checks import check_beta, check_eps
from .._typing import Array, State
from ..numerics.backend import Backend
from ..numerics.scalars import ema, inverse_correction
from .base import Rule, is_zero


@dataclass(frozen=True)
class AdamMoments(Rule):
    """A rule of two moments, of the gradient and of its square.

    ::

        m <- b1*m + (1 - b1)*g
        v <- b2*v + (1 - b2)*g*g

    Args:
        b1, b2: decay rates of the two moments, in [0, 1).
        eps: added to the root, >= 0.

    State: ``exp_avg`` (m) and ``exp_avg_sq`` (v), zeros of the parameter's shape.
    """

    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self) -> None:
        check_beta("b1", self.b1)
        check_beta("b2", self.b2)
        check_eps("eps", self.eps)

    @property
    def ranks_by_size(self) -> bool:
        return is_zero(self.b1)

    def init(self, be: Backend, w: Array) -> State:
        return {"exp_avg": be.zeros_like(w), "exp_avg_sq": be.zeros_like(w)}

    def accumulate(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        return {
            "exp_avg": ema(be, state["exp_avg"], g, self.b1),
            "exp_avg_sq": ema(be, state["exp_avg_sq"], be.mul(g, g), self.b2),
        }

    def adam(self, be: Backend, m: Array, v: Array, t: Any) -> Array:
        """``(m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)``."""
        m = be.mul(m, inverse_correction(be, self.b1, t))
        return be.div(m, self.root(be, v, t))

    def root(self, be: Backend, v: Array, t: Any) -> Array:
        """``sqrt(v / (1 - b2^t)) + eps``."""
        v = be.mul(v, inverse_correction(be, self.b2, t))
        return be.sqrt(v) + be.scalar(self.eps)
