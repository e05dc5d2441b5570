"""MARS-AdamW and MARS-Lion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from .._checks import check_beta, check_range
from .._typing import Array, State
from ..numerics.backend import Backend
from ..numerics.scalars import ema
from ..numerics.sums import norm
from .adam import AdamMoments
from .base import Direction, Rule


def corrected_gradient(be: Backend, g: Array, before: Array, beta: float, gamma: float) -> Array:
    """The gradient with its change extrapolated, at most of norm 1 (MARS).

    ::

        c = g + gamma * beta / (1 - beta) * (g - before)
        c / max(1, |c|)

    Args:
        before: the gradient of the last step; zeros at the first.
        beta: of the momentum that takes it in.
        gamma: how much of the change counts.
    """
    c = be.mul(be.scalar(gamma * (beta / (1.0 - beta))), g - before) + g
    one = be.scalar(1.0)
    return be.mul(c, be.div(one, be.xp.maximum(norm(be, c), one)))


@dataclass(frozen=True)
class MARSAdamW(AdamMoments):
    """MARS-AdamW: Yuan et al., MARS: Unleashing the Power of Variance Reduction, 2024.

    AdamW on a gradient whose noise is reduced (arXiv 2411.10438)::

        c  = g + gamma_ * b1/(1 - b1) * (g - g_before)              (g_before: 0 at first)
        c  = c / max(1, |c|)                                        (norm of the tensor)
        m <- b1*m + (1 - b1)*c
        v <- b2*v + (1 - b2)*c*c
        u  = (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)        a = u

    MARS-approx, the default of the authors' code: the last step's gradient stands for that of the
    last parameters on this batch, and no second backward pass is needed. Their code trains vectors
    by AdamW unless it has ``optimize_1d=True``; here a rule trains what it is given.

    Args:
        b1, b2: decay rates of the two moments, in [0, 1).
        eps: added to the root, >= 0.
        gamma_: how much of the change of the gradient counts, >= 0; ``gamma`` in the paper.

    State: ``exp_avg`` (m), ``exp_avg_sq`` (v) and ``previous_grad`` (g_before), zeros of the
    parameter's shape.
    """

    b1: float = 0.95
    b2: float = 0.99
    gamma_: float = 0.025

    elementwise: ClassVar[bool] = False
    stacks: ClassVar[bool] = False
    lr: ClassVar[float] = 3e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("gamma_", self.gamma_, "[0, inf)", "it scales a change of the gradient.")

    def init(self, be: Backend, w: Array) -> State:
        return {**super().init(be, w), "previous_grad": be.zeros_like(w)}

    def accumulate(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        c = corrected_gradient(be, g, state["previous_grad"], self.b1, self.gamma_)
        return {**super().accumulate(be, c, w, state, t), "previous_grad": g}

    def direction(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> Direction:
        u = self.adam(be, state["exp_avg"], state["exp_avg_sq"], t)
        return Direction(u, a=u)


@dataclass(frozen=True)
class MARSLion(Rule):
    """MARS-Lion: Yuan et al., MARS: Unleashing the Power of Variance Reduction, 2024.

    The sign of the momentum of a gradient whose noise is reduced (arXiv 2411.10438)::

        c  = g + gamma_ * momentum/(1 - momentum) * (g - g_before)  (g_before: 0 at first)
        c  = c / max(1, |c|)                                        (norm of the tensor)
        m <- momentum*m + (1 - momentum)*c
        u  = sign(m)                                                a = u

    MARS-approx, the default of the authors' code, whose second beta this form does not use.

    Args:
        momentum: in [0, 1); ``betas[0]`` of the authors' code.
        gamma_: how much of the change of the gradient counts, >= 0; ``gamma`` in the paper.

    State: ``exp_avg`` (m) and ``previous_grad`` (g_before), zeros of the parameter's shape.
    """

    momentum: float = 0.95
    gamma_: float = 0.025

    elementwise: ClassVar[bool] = False
    stacks: ClassVar[bool] = False
    counts_steps: ClassVar[bool] = False
    lr: ClassVar[float] = 3e-3

    def __post_init__(self) -> None:
        check_beta("momentum", self.momentum)
        check_range("gamma_", self.gamma_, "[0, inf)", "it scales a change of the gradient.")

    def init(self, be: Backend, w: Array) -> State:
        return {"exp_avg": be.zeros_like(w), "previous_grad": be.zeros_like(w)}

    def accumulate(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        c = corrected_gradient(be, g, state["previous_grad"], self.momentum, self.gamma_)
        return {"exp_avg": ema(be, state["exp_avg"], c, self.momentum), "previous_grad": g}

    def direction(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> Direction:
        u = be.xp.sign(state["exp_avg"])
        return Direction(u, a=u)
