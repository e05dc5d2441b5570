"""Stochastic gradient descent with momentum (R3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from .._checks import check_beta, check_range
from .._typing import Array, State
from ..numerics.backend import Backend
from ..numerics.scalars import at_first, ema
from .base import Direction, Rule, is_zero


@dataclass(frozen=True)
class SGD(Rule):
    """SGD with momentum, as ``torch.optim.SGD``: Sutskever et al., ICML 2013.

    ::

        m <- momentum*m + (1 - dampening)*g      (first step: m = g)
        u  = m, or g + momentum*m with nesterov                     a = m

    Args:
        momentum: in [0, 1).
        dampening: in [0, 1]; 0 with Nesterov.
        nesterov: look ahead; needs a momentum above 0.
        coupled_decay: ``True`` for torch's L2 form, where decay enters the momentum (but never
            the score's gradient); by default the decay is decoupled.

    State: ``momentum_buffer`` (m), zeros of the parameter's shape.
    """

    momentum: float = 0.9
    dampening: float = 0.0
    nesterov: bool = False
    coupled_decay: bool = False

    counts_steps: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_beta("momentum", self.momentum)
        check_range("dampening", self.dampening, "[0, 1]", "it is a share of the gradient.")
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            raise ValueError(
                f"nesterov=True needs momentum > 0 and dampening = 0; got "
                f"momentum={self.momentum!r}, dampening={self.dampening!r}."
            )

    @property
    def couples_decay(self) -> bool:
        return self.coupled_decay

    @property
    def ranks_by_size(self) -> bool:
        return is_zero(self.momentum) and not self.coupled_decay

    def init(self, be: Backend, w: Array) -> State:
        return {"momentum_buffer": be.zeros_like(w)}

    def accumulate(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        old = state["momentum_buffer"]
        m = ema(be, old, g, self.momentum, weight=1.0 - self.dampening)
        if self.dampening != 0:  # else m is g at the first step, as the buffer is zero
            m = at_first(be, t, g, m)
        return {"momentum_buffer": m}

    def direction(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> Direction:
        m = state["momentum_buffer"]
        u = g + be.mul(be.scalar(self.momentum), m) if self.nesterov else m
        return Direction(u, a=m)
