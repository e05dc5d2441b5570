"""Signum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from .._checks import check_beta
from .._typing import Array, State
from ..numerics.backend import Backend
from ..numerics.scalars import ema
from .base import Direction, Rule


@dataclass(frozen=True)
class Signum(Rule):
    """Signum: Bernstein et al., signSGD: Compressed Optimisation for Non-Convex Problems, 2018.

    ::

        m <- momentum*m + (1 - momentum)*g
        u  = sign(m)                                                a = u        (sign(0) = 0)

    arXiv 1802.04434, Algorithm 2. To rounding, this is ``optax.signum``, and MXNet's ``Signum``,
    whose ``wd_lh`` is the decay here. It is Lion with equal betas.

    Args:
        momentum: in [0, 1). At 0 this is signSGD.

    State: ``momentum_buffer`` (m), zeros of the parameter's shape.
    """

    momentum: float = 0.9

    counts_steps: ClassVar[bool] = False
    lr: ClassVar[float] = 1e-4

    def __post_init__(self) -> None:
        check_beta("momentum", self.momentum)

    def init(self, be: Backend, w: Array) -> State:
        return {"momentum_buffer": be.zeros_like(w)}

    def accumulate(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        return {"momentum_buffer": ema(be, state["momentum_buffer"], g, self.momentum)}

    def direction(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> Direction:
        u = be.xp.sign(state["momentum_buffer"])
        return Direction(u, a=u)
