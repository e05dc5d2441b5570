"""Lion (R2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from .._checks import check_beta
from .._typing import Array, State
from ..numerics.backend import Backend
from ..numerics.scalars import ema
from .base import Direction, Rule


@dataclass(frozen=True)
class Lion(Rule):
    """Lion: Chen et al., Symbolic Discovery of Optimization Algorithms, 2023, arXiv 2302.06675.

    ::

        u  = sign(b1*m + (1 - b1)*g)                                a = u
        m <- b2*m + (1 - b2)*g          (after u; sign(0) = 0)

    Args:
        b1, b2: decay rates of the direction and of the momentum, in [0, 1).

    State: ``exp_avg`` (m), zeros of the parameter's shape.
    """

    b1: float = 0.9
    b2: float = 0.99

    counts_steps: ClassVar[bool] = False
    lr: ClassVar[float] = 1e-4

    def __post_init__(self) -> None:
        check_beta("b1", self.b1)
        check_beta("b2", self.b2)

    def init(self, be: Backend, w: Array) -> State:
        return {"exp_avg": be.zeros_like(w)}

    def direction(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> Direction:
        u = be.xp.sign(ema(be, state["exp_avg"], g, self.b1))
        return Direction(u, a=u)

    def finish(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        return {"exp_avg": ema(be, state["exp_avg"], g, self.b2)}
