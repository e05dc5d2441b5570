"""AdaBelief."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .._checks import check_beta, check_eps
from .._typing import Array, State
from ..numerics.backend import Backend
from ..numerics.rectification import rectification
from ..numerics.scalars import ema, inverse_correction
from .base import Direction, Rule


@dataclass(frozen=True)
class AdaBelief(Rule):
    """AdaBelief: Zhuang et al., Adapting Stepsizes by the Belief in Observed Gradients, 2020.

    ::

        m <- b1*m + (1 - b1)*g
        s <- b2*s + (1 - b2)*(g - m)^2 + eps        (the new m; eps stays in the state)
        u  = (m / (1 - b1^t)) * R / (sqrt(s) + eps)                 a = u

    with rectification (:func:`rectification`), and ``u = m / (1 - b1^t)`` in the first steps, where
    the variance of ``s`` is not tractable (rho < 5: the first five for b2 = 0.999). Without it, as
    in Algorithm 2 of arXiv 2010.07468 and ``optax.adabelief`` with ``eps_root = eps``::

        u  = (m / (1 - b1^t)) / (sqrt(s / (1 - b2^t)) + eps)

    This is the form of the authors' package, version 0.2.1, with its defaults; before 0.1 it had
    eps = 1e-8 and no rectification. Its amsgrad and fixed_decay are left out.

    Args:
        b1, b2: decay rates of the two moments, in [0, 1).
        eps: added to the second moment and to its root, >= 0.
        rectify: scale by R, as RAdam does.
        degenerated_to_sgd: with ``False``, a step in which R is not defined does not move.
        coupled_decay: ``True`` for L2 decay, which enters the moments (but never the score's
            gradient); by default the decay is decoupled.

    State: ``exp_avg`` (m) and ``exp_avg_var`` (s), zeros of the parameter's shape.
    """

    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-16
    rectify: bool = True
    degenerated_to_sgd: bool = True
    coupled_decay: bool = False

    def __post_init__(self) -> None:
        check_beta("b1", self.b1)
        check_beta("b2", self.b2)
        check_eps("eps", self.eps)

    @property
    def couples_decay(self) -> bool:
        return self.coupled_decay

    def init(self, be: Backend, w: Array) -> State:
        return {"exp_avg": be.zeros_like(w), "exp_avg_var": be.zeros_like(w)}

    def accumulate(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        m = ema(be, state["exp_avg"], g, self.b1)
        surprise = g - m
        s = ema(be, state["exp_avg_var"], be.mul(surprise, surprise), self.b2)
        return {"exp_avg": m, "exp_avg_var": s + be.scalar(self.eps)}

    def direction(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> Direction:
        m = be.mul(state["exp_avg"], inverse_correction(be, self.b1, t))
        s, eps = state["exp_avg_var"], be.scalar(self.eps)
        if self.rectify:
            factor, defined = rectification(be, self.b2, t)
            adapted = be.div(be.mul(m, factor), be.sqrt(s) + eps)
            early = m if self.degenerated_to_sgd else be.zeros_like(m)
            u = be.xp.where(defined, adapted, early)
        else:
            s = be.mul(s, inverse_correction(be, self.b2, t))
            u = be.div(m, be.sqrt(s) + eps)
        return Direction(u, a=u)
