"""AuON."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from .._checks import check_beta, check_range
from .._typing import Array, State
from ..numerics.backend import Backend
from ..numerics.elementary import sinh_squared
from ..numerics.scalars import ema
from ..numerics.sums import norm
from .base import Direction, Rule


def normalized(be: Backend, x: Array) -> Array:
    """``x / (|x| + 1e-7)``, by the Frobenius norm of the whole tensor."""
    return be.div(x, norm(be, x) + be.scalar(1e-7))


def braked(be: Backend, x: Array, z: Array, bound: float) -> Array:
    """``x / (sqrt(mean(cosh(z)^2)) + 1e-8)``, where ``|z| <= bound``.

    ``cosh^2`` is ``1 + sinh^2``, and so is its mean.
    """
    share = be.scalar(1.0 / max(math.prod(z.shape), 1))
    mean = be.mul(be.total(sinh_squared(be, z, bound)), share)
    return be.div(x, be.sqrt(be.scalar(1.0) + mean) + be.scalar(1e-8))


@dataclass(frozen=True)
class AuON(Rule):
    """AuON: Maity, AuON: A Linear-time Alternative to Orthogonal Momentum Updates, 2025.

    arXiv 2509.24320, in the form of the author's code::

        m <- momentum*m + (1 - momentum)*g
        D  = (1 - momentum)*g + momentum*m
        z  = gamma_c * D / (|D| + 1e-7)
        u  = D / (sqrt(mean(cosh(z)^2)) + 1e-8)                     a = D

    ``|D|`` is the Frobenius norm of the whole tensor, of any shape. As ``|z| <= gamma_c``, the root
    is about ``sqrt(1 + gamma_c^2 / n)`` for n entries: 1.0006 for 2000 of them. So this form is
    SGD with Nesterov's momentum to a small factor. The paper instead divides the normalised D,
    without gamma_c: ``X = D / (|D| + 1e-7)``, ``u = X / (sqrt(mean(cosh(X)^2)) + 1e-8)``, whose
    length is below 1 whatever the gradient's scale.

    Args:
        momentum: in [0, 1).
        gamma_c: the factor of the code's form, in [0, 40]; the paper has none.
        normalize: ``True`` for the paper's form.

    State: ``momentum_buffer`` (m), zeros of the parameter's shape.
    """

    momentum: float = 0.95
    gamma_c: float = 1.5
    normalize: bool = False

    elementwise: ClassVar[bool] = False
    counts_steps: ClassVar[bool] = False
    stacks: ClassVar[bool] = False
    lr: ClassVar[float] = 0.24

    def __post_init__(self) -> None:
        check_beta("momentum", self.momentum)
        check_range("gamma_c", self.gamma_c, "[0, 40]", "its hyperbolic cosine must stay finite.")

    def init(self, be: Backend, w: Array) -> State:
        return {"momentum_buffer": be.zeros_like(w)}

    def accumulate(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        return {"momentum_buffer": ema(be, state["momentum_buffer"], g, self.momentum)}

    def direction(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> Direction:
        d = ema(be, state["momentum_buffer"], g, self.momentum)
        return Direction(self._brake(be, d), a=d)

    def _brake(self, be: Backend, d: Array) -> Array:
        x = normalized(be, d)
        if self.normalize:
            return braked(be, x, x, 1.0)
        return braked(be, d, be.mul(be.scalar(self.gamma_c), x), self.gamma_c)
