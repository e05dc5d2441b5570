"""AdamP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from .._typing import Array, State
from ..numerics.backend import Backend
from ..numerics.scalars import ema
from .adamw import AdamW
from .base import Direction
from .projection import Projected


@dataclass(frozen=True)
class AdamP(Projected):
    """AdamP: Heo et al., AdamP, ICLR 2021, arXiv 2006.08217, in the form of the official code.

    Slowing Down the Slowdown for Momentum Optimizers on Scale-invariant Weights::

        m <- b1*m + (1 - b1)*g
        v <- b2*v + (1 - b2)*g*g
        p  = (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
             with nesterov b1*m + (1 - b1)*g in the place of m
        cos = |<g, w>| / (max(|g|, eps) * max(|w|, eps))       for each row, or for the whole of w
        u  = p, or p - n<n, p> with n = w / (|w| + eps) where max cos < delta / sqrt(row length)
                                                                    a = u

    The rows, one for each index of ``out_axis``, are tried before the whole. Where the step is
    projected, ``wd_ratio`` multiplies the decay. MGUP ranks by ``u`` as with AdamW, and the radial
    part that the multiplier brings back is removed again. With ``delta=0`` this is AdamW.

    Args:
        b1, b2: decay rates of the two moments, in [0, 1).
        eps: >= 0, in both quotients.
        delta: bounds the cosine of a step that is projected, >= 0.
        wd_ratio: the factor of a projected parameter's decay, >= 0.
        nesterov: whether p looks ahead.
        out_axis: the axis of output units: 0 in PyTorch and MindSpore, -1 in flax.

    State: ``exp_avg`` (m) and ``exp_avg_sq`` (v), zeros of the parameter's shape.
    """

    b1: float = 0.9
    b2: float = 0.999

    lr: ClassVar[float] = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        self._adam()

    def _adam(self) -> AdamW:
        return AdamW(self.b1, self.b2, self.eps)

    def init(self, be: Backend, w: Array) -> State:
        return self._adam().init(be, w)

    def accumulate(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        return self._adam().accumulate(be, g, w, state, t)

    def direction(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> Direction:
        if self.nesterov:
            state = {**state, "exp_avg": ema(be, state["exp_avg"], g, self.b1)}
        p = self._adam().direction(be, g, w, state, t).u
        u, view = self.project(be, p, g, w)
        return Direction(u, a=u, size=view)

    def rates(
        self, be: Backend, lr: Array, decay: Array, t: Any, size: Array | None = None
    ) -> tuple[Array, Array]:
        return lr, self.decay_rate(be, lr, size)
