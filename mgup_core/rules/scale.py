"""SCALE."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from .._checks import axis_refusal, check_beta, check_eps
from .._typing import Array, State
from ..numerics.backend import Backend
from ..numerics.scalars import ema
from ..numerics.sums import dots_along
from .base import Direction, Rule, is_zero

Role = Literal["matrix", "embedding", "last"]
ROLES: tuple[str, ...] = get_args(Role)


@dataclass(frozen=True)
class SCALE(Rule):
    """SCALE: Glentis et al., A Minimalist Optimizer Design for LLM Pretraining, 2025.

    arXiv 2506.16659, in the form of the official code::

        x  = g, or for the last layer m <- momentum*m + (1 - momentum)*g and x = m
        s  = max(sqrt(mean(x*x)), eps)       one for each output unit
        u  = x / s                                                  a = u

    The mean is over all axes but ``out_axis``; of an embedding (vocabulary, features), over the
    vocabulary, so that s is one for each feature. (The paper says "column-wise normalization"; the
    code takes the root mean square, by sqrt(size) larger than the norm.)

    Only the last layer has momentum. In all other layers the score ``u * g = g*g / s`` is never
    negative, so that MGUP selects by size alone.

    Args:
        role: ``"matrix"`` for hidden layers, ``"embedding"``, or ``"last"`` for the layer whose
            outputs are the model's. Vectors go to AdamW.
        momentum: the decay rate of the last layer's momentum, in [0, 1).
        eps: the least s, >= 0.
        out_axis: the axis of output units: 0 in PyTorch and MindSpore, -1 in flax. Embeddings
            have their features last in all frameworks, and ignore it.

    State: for ``role="last"`` ``momentum_buffer`` (m), zeros of the parameter's shape; else none.
    """

    role: Role = "matrix"
    momentum: float = 0.9
    eps: float = 1e-8
    out_axis: int = 0

    elementwise: ClassVar[bool] = False
    counts_steps: ClassVar[bool] = False
    stacks: ClassVar[bool] = False
    lr: ClassVar[float] = 1e-4

    def __post_init__(self) -> None:
        check_beta("momentum", self.momentum)
        check_eps("eps", self.eps)
        if self.role not in ROLES:
            roles = ", ".join(map(repr, ROLES))
            raise ValueError(f"role={self.role!r} is none of SCALE's: {roles}.")

    def accepts(self, shape: tuple[int, ...], stacked_dims: int = 0) -> str | None:
        if len(shape) < 2:
            return f"SCALE trains matrices, not shape {tuple(shape)}: give that one to AdamW."
        axis = axis_refusal("SCALE's out_axis", self._axis, shape)
        return axis or super().accepts(shape, stacked_dims)

    @property
    def _axis(self) -> int:
        return -1 if self.role == "embedding" else self.out_axis

    @property
    def ranks_by_size(self) -> bool:
        return self.role != "last" or is_zero(self.momentum)

    def init(self, be: Backend, w: Array) -> State:
        return {"momentum_buffer": be.zeros_like(w)} if self.role == "last" else {}

    def accumulate(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        return {name: ema(be, m, g, self.momentum) for name, m in state.items()}

    def direction(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> Direction:
        x = state["momentum_buffer"] if state else g
        averaged = math.prod(x.shape) // max(x.shape[self._axis], 1)
        square = be.mul(dots_along(be, x, x, self._axis), be.scalar(1.0 / max(averaged, 1)))
        u = be.div(x, be.xp.maximum(be.sqrt(square), be.scalar(self.eps)))
        return Direction(u, a=u)
