"""StableAdamW."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod, sqrt
from typing import Any, ClassVar

from .._checks import check_range
from .._typing import Array, State
from ..numerics.backend import Backend
from ..numerics.scalars import inverse_correction
from ..numerics.sums import norm
from .adam import AdamMoments
from .base import Direction


@dataclass(frozen=True)
class StableAdamW(AdamMoments):
    """StableAdamW: Wortsman et al., Stable and Low-Precision Training, 2023, arXiv 2304.13013.

    AdamW that slows down for a tensor whose gradients outgrow their second moment (Algorithm 2)::

        m <- b1*m + (1 - b1)*g
        v <- b2*v + (1 - b2)*g*g
        r  = sqrt(mean(g^2 / max(v / (1 - b2^t), eps^2)))
        u  = (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)        a = u

    at the rate ``lr / max(1, r)``, decay included, as the paper has it (the authors' own script
    decays at ``lr``). The paper corrects the betas in place of the
    moments, which is the same.

    Args:
        b1, b2: decay rates of the two moments, in [0, 1).
        eps: added to the root, and the least root in r; > 0.

    State: ``exp_avg`` (m) and ``exp_avg_sq`` (v), zeros of the parameter's shape.
    """

    b2: float = 0.99
    eps: float = 1e-6

    elementwise: ClassVar[bool] = False
    stacks: ClassVar[bool] = False
    weight_decay: ClassVar[float] = 1e-2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("eps", self.eps, "(0, inf)", "r would be 0/0 where no gradient ever came.")

    def direction(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> Direction:
        eps = be.scalar(self.eps)
        root = be.sqrt(be.mul(state["exp_avg_sq"], inverse_correction(be, self.b2, t)))
        m = be.mul(state["exp_avg"], inverse_correction(be, self.b1, t))
        u = be.div(m, root + eps)
        length = norm(be, be.div(g, be.xp.maximum(root, eps)))
        return Direction(u, u, be.mul(length, be.scalar(1.0 / sqrt(max(prod(g.shape), 1)))))

    def rates(
        self, be: Backend, lr: Array, decay: Array, t: Any, size: Array | None = None
    ) -> tuple[Array, Array]:
        rate = be.div(lr, be.xp.maximum(be.scalar(1.0), size))
        return rate, rate
