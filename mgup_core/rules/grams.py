"""Grams."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .._typing import Array, State
from ..numerics.backend import Backend
from .adam import AdamMoments
from .base import Direction


@dataclass(frozen=True)
class Grams(AdamMoments):
    """Grams: Cao et al., Gradient Descent with Adaptive Momentum Scaling, 2024, arXiv 2412.17107.

    How far Adam would step, in the direction of the gradient::

        m <- b1*m + (1 - b1)*g
        v <- b2*v + (1 - b2)*g*g
        a  = (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
        u  = sign(g) * |a|

    ``u * g`` is never negative, and would rank by size alone. So MGUP ranks by Adam's direction
    ``a``, whose sign this rule replaces.

    Args:
        b1, b2: decay rates of the two moments, in [0, 1).
        eps: added to the root, >= 0.

    State: ``exp_avg`` (m) and ``exp_avg_sq`` (v), zeros of the parameter's shape.
    """

    def direction(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> Direction:
        a = self.adam(be, state["exp_avg"], state["exp_avg_sq"], t)
        return Direction(be.mul(be.xp.sign(g), be.xp.abs(a)), a=a)
