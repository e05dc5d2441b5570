"""SGDP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from .._checks import check_beta, check_range
from .._typing import Array, State
from ..numerics.backend import Backend
from ..numerics.scalars import ema
from .base import Direction
from .projection import Projected


@dataclass(frozen=True)
class SGDP(Projected):
    """SGDP: Heo et al., AdamP, ICLR 2021, arXiv 2006.08217, in the form of the official code.

    Slowing Down the Slowdown for Momentum Optimizers on Scale-invariant Weights::

        m <- momentum*m + (1 - dampening)*g             (from zero: the first step is damped too)
        p  = m, or g + momentum*m with nesterov
        u  = p, projected as in AdamP                               a = m

    The decay is decoupled, at the rate ``lr / (1 - momentum)``; where the step is projected,
    ``wd_ratio`` multiplies it. The official code without Nesterov projects the momentum along with
    the step, since both are one array there; this rule leaves the momentum unprojected. MGUP ranks
    by ``m`` as with SGD, and the radial part that the multiplier brings back is removed again.

    Args:
        momentum: in [0, 1).
        dampening: in [0, 1].
        eps, delta, wd_ratio, out_axis: as in AdamP.
        nesterov: whether p looks ahead.

    State: ``momentum_buffer`` (m), zeros of the parameter's shape.
    """

    momentum: float = 0.0
    dampening: float = 0.0

    counts_steps: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_beta("momentum", self.momentum)
        check_range("dampening", self.dampening, "[0, 1]", "it is a share of the gradient.")

    def init(self, be: Backend, w: Array) -> State:
        return {"momentum_buffer": be.zeros_like(w)}

    def accumulate(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        old, weight = state["momentum_buffer"], 1.0 - self.dampening
        return {"momentum_buffer": ema(be, old, g, self.momentum, weight=weight)}

    def direction(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> Direction:
        m = state["momentum_buffer"]
        p = g + be.mul(be.scalar(self.momentum), m) if self.nesterov else m
        u, view = self.project(be, p, g, w)
        return Direction(u, a=m, size=view)

    def rates(
        self, be: Backend, lr: Array, decay: Array, t: Any, size: Array | None = None
    ) -> tuple[Array, Array]:
        return lr, self.decay_rate(be, lr, size, 1.0 / (1.0 - self.momentum))
