"""AdaBelief."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import array_api_compat.numpy as numpy_xp
import numpy as np

from ..backend import Array, Backend, NumPyBackend
from ..checks import check_beta, check_eps
from ..scalars import STEP_BITS, ema, inverse_correction
from .base import Direction, Rule, State


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

    The form and the defaults of the authors' package, version 0.2.1; before 0.1 it had eps = 1e-8
    and no rectification. Its amsgrad and fixed_decay are not here.

    Args:
        b1, b2: decay rates of the two moments, in [0, 1).
        eps: added to the surprise and to the root, >= 0.
        rectify: scale by R, as RAdam does.
        degenerated_to_sgd: ``False`` stands still where R is not defined.
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
            if isinstance(defined, bool):
                u = adapted if defined else early
            else:
                u = be.xp.where(defined, adapted, early)
        else:
            s = be.mul(s, inverse_correction(be, self.b2, t))
            u = be.div(m, be.sqrt(s) + eps)
        return Direction(u, a=u)


def rectification(be: Backend, beta: float, t: Any) -> tuple[Array, Any]:
    """(R, 0-d; whether it is defined, a bool if ``t`` is an int, else 0-d) at step t.

    Liu et al., On the Variance of the Adaptive Learning Rate and Beyond (RAdam), 2019, arXiv
    1908.03265, with Adam's bias correction folded in::

        rho_t = rho - 2*t*beta^t / (1 - beta^t)         rho = 2 / (1 - beta) - 1
        R = sqrt((1 - beta^t) * (rho_t - 4)*(rho_t - 2)*rho / ((rho - 4)*(rho - 2)*rho_t))

    defined for rho_t >= 5. That difference would lose in float32 what decides about 5, so rho_t is
    computed as 2 * (mean age of the average's gradients) - 1, of positive terms only.
    """
    if isinstance(t, int):
        factor, known = _known(be.host_dtype, beta, t)
        return be.scalar(factor), known
    one = be.scalar(1.0)
    weight, age = _weight_and_age(be, beta, t)
    rho = be.div(age + age, weight) - one
    limit = 2.0 / (1.0 - beta) - 1.0
    defined = rho >= be.scalar(5.0)
    if limit <= 5.0:
        return one, defined
    tail = be.scalar(limit / ((limit - 4.0) * (limit - 2.0)))
    ratio = be.mul(rho - be.scalar(4.0), be.div(rho - be.scalar(2.0), rho))
    squared = be.mul(be.mul(weight, tail), ratio)
    return be.sqrt(be.xp.where(defined, squared, one)), defined


def _weight_and_age(be: Backend, beta: float, t: Array) -> tuple[Array, Array]:
    """(1 - beta^t, the sum of i * (1 - beta) * beta^(i - 1) over i = 1, …, t), by the bits of t.

    2^k older gradients put before n others: ``age <- age_k + beta^(2^k) * (age + 2^k*weight)``, in
    which all terms are positive. Beyond some power of two the start is forgotten.
    """
    weight, age, bits = be.scalar(0.0), be.scalar(0.0), _doublings(beta)
    for k, (weight_k, age_k) in enumerate(bits):
        bit = (t // 2**k) % 2 > 0
        older = age + be.mul(be.scalar(2.0**k), weight)
        kept = be.scalar(1.0 - weight_k)
        age = be.xp.where(bit, be.scalar(age_k) + be.mul(kept, older), age)
        rest = be.mul(be.scalar(weight_k), be.scalar(1.0) - weight)
        weight = be.xp.where(bit, weight + rest, weight)
    if len(bits) == STEP_BITS:
        return weight, age
    late = t // 2 ** len(bits) > 0
    forgotten = be.scalar(1.0 / (1.0 - beta))
    return be.xp.where(late, be.scalar(1.0), weight), be.xp.where(late, forgotten, age)


@lru_cache(maxsize=64)
def _doublings(beta: float) -> list[tuple[float, float]]:
    """(weight, age) of 1, 2, 4, … steps in float64, until beta^(2^k) vanishes beside 1."""
    weight = age = 1.0 - beta
    steps = 1.0
    found: list[tuple[float, float]] = []
    while len(found) < STEP_BITS and (weight < 1.0 or not found):
        found.append((weight, age))
        age += (1.0 - weight) * (age + steps * weight)
        weight *= 2.0 - weight
        steps *= 2.0
    return found


@lru_cache(maxsize=1024)
def _known(dtype: Any, beta: float, t: int) -> tuple[float, bool]:
    """:func:`rectification` of a known step, by the operations of a traced one."""
    factor, defined = rectification(NumPyBackend(numpy_xp, dtype), beta, np.asarray(t))
    return float(factor), bool(defined)
