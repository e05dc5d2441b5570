"""RAdam."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .._typing import Array, State
from ..numerics.backend import Backend
from ..numerics.rectification import rectification
from ..numerics.scalars import inverse_correction
from .adam import AdamMoments
from .base import Direction


@dataclass(frozen=True)
class RAdam(AdamMoments):
    """RAdam: Liu et al., On the Variance of the Adaptive Learning Rate and Beyond, 2019.

    ::

        m <- b1*m + (1 - b1)*g
        v <- b2*v + (1 - b2)*g*g
        u  = (m / (1 - b1^t)) * R / (sqrt(v) + eps)                 a = u

    with R of arXiv 1908.03265 (:func:`mgup_core.numerics.rectification.rectification`, which holds
    the correction of v), and ``u = m / (1 - b1^t)`` in the first steps, where the variance of
    ``sqrt(v)`` is not tractable (rho < 5: the first five for b2 = 0.999). To rounding
    ``torch.optim.RAdam`` with ``decoupled_weight_decay=True``; ``optax.radam`` adds eps to the
    corrected root.

    Args:
        b1, b2: decay rates of the two moments, in [0, 1).
        eps: added to the root, >= 0.

    State: ``exp_avg`` (m) and ``exp_avg_sq`` (v), zeros of the parameter's shape.
    """

    def direction(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> Direction:
        m = be.mul(state["exp_avg"], inverse_correction(be, self.b1, t))
        factor, defined = rectification(be, self.b2, t)
        root = be.sqrt(state["exp_avg_sq"]) + be.scalar(self.eps)
        u = be.xp.where(defined, be.div(be.mul(m, factor), root), m)
        return Direction(u, a=u)
