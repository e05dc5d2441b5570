"""SGD-SaI."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod, sqrt
from typing import Any, ClassVar

from .._checks import check_beta, check_eps
from .._typing import Array, State
from ..numerics.backend import Backend
from ..numerics.scalars import at_first, ema
from ..numerics.sums import norm
from .base import Direction, Rule

NOISELESS = 1e5
"""The ratio of a gradient's root mean square to its standard deviation, from which the latter is
no more than rounding."""


@dataclass(frozen=True)
class SGDSaI(Rule):
    """SGD-SaI: Xu et al., No More Adam: Learning Rate Scaling at Initialization is All You Need.

    ::

        r  = |g| / (std(g) + eps)      at the first step, kept from then on
        m <- momentum*m + (1 - momentum)*g                          (first step: m = g)
        u  = m, at the rate lr*r                                    a = m

    arXiv 2412.11768, 2024, in the form of the authors' code: the norm and the standard deviation
    (with n - 1) are those of the whole tensor, and the decay has the rate lr. The paper's Algorithm
    1 also adds eps to the root, but divides r by the largest r of all parameters; the code does
    not, and neither does this rule.

    A tensor without noise to measure (one element, equal elements, all 0) has a standard deviation
    of 0 or of rounding, and r would be near ``|g| / eps``, or 0 for ever. There r is sqrt(n), as it
    is for noise without a mean.

    Args:
        momentum: in [0, 1).
        eps: added to the standard deviation, >= 0.

    State: ``momentum_buffer`` (m), zeros of the parameter's shape; ``gsnr`` (r), 0-d, in the
    compute dtype. Checkpoints hold it, since a later gradient would give another r.
    """

    momentum: float = 0.9
    eps: float = 1e-8

    elementwise: ClassVar[bool] = False
    counts_steps: ClassVar[bool] = False
    stacks: ClassVar[bool] = False
    exact_state: ClassVar[tuple[str, ...]] = ("gsnr",)
    lr: ClassVar[float] = 1e-2
    weight_decay: ClassVar[float] = 1e-2

    def __post_init__(self) -> None:
        check_beta("momentum", self.momentum)
        check_eps("eps", self.eps)

    def init(self, be: Backend, w: Array) -> State:
        return {"momentum_buffer": be.zeros_like(w), "gsnr": be.zeros_like(be.scalar(0.0))}

    def accumulate(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        m, r = ema(be, state["momentum_buffer"], g, self.momentum), state["gsnr"]
        if not (isinstance(t, int) and t > 1):  # a traced t measures in every step
            m, r = at_first(be, t, g, m), at_first(be, t, self._ratio(be, g), r)
        return {"momentum_buffer": m, "gsnr": r}

    def direction(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> Direction:
        m = state["momentum_buffer"]
        return Direction(m, a=m, size=state["gsnr"])

    def rates(
        self, be: Backend, lr: Array, decay: Array, t: Any, size: Array | None = None
    ) -> tuple[Array, Array]:
        return be.mul(lr, size), lr

    def _ratio(self, be: Backend, g: Array) -> Array:
        n = max(prod(g.shape), 1)
        length = norm(be, g)
        mean = be.mul(be.total(g), be.scalar(1.0 / n))
        deviation = be.mul(norm(be, g - mean), be.scalar(1.0 / sqrt(max(n - 1, 1))))
        noiseless = length >= be.mul(deviation, be.scalar(NOISELESS * sqrt(n)))
        ratio = be.div(length, deviation + be.scalar(self.eps))
        return be.xp.where(noiseless, be.scalar(sqrt(n)), ratio)
