"""Prodigy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from .._checks import check_beta, check_range
from .._typing import Array, State
from ..numerics.backend import Backend
from ..numerics.runtime import on_host
from ..numerics.scalars import bias_correction, ema, inverse_correction
from ..numerics.sums import dot
from .adam import AdamMoments
from .base import Direction


@dataclass(frozen=True)
class Prodigy(AdamMoments):
    """Prodigy: Mishchenko and Defazio, An Expeditiously Adaptive Parameter-Free Learner, 2023.

    Adam whose learning rate estimates the distance to the solution (arXiv 2306.06101), in the form
    of the authors' package ``prodigyopt``. With r = d/d0, so that nothing is too small::

        k    = r^2 * lr * bc                (bc: 1, or Adam's correction with ``bias_correction``)
        p    = memory*p + k*<g, w_0 - w>                        (w_0: the parameter at first)
        s   <- memory*s + k*g                                   (r^2*g with ``safeguard_warmup``)
        d'   = max(d, d_coef * sum(p) / sum(|s|))               (sums over all parameters)
        m   <- b1*m + (1 - b1)*r*g
        v   <- b2*v + (1 - b2)*r*r*g*g
        u    = m / (sqrt(v) + eps*r')                                               a = u

    at the rate ``d * lr * bc``, decay included. ``memory`` is sqrt(b2) unless given.

    One d serves all parameters, so they must have one learning rate, or 0; the default, 1, is meant
    to stay, with a schedule if there is one. ``w_0 - w`` is summed up step by step. A parameter
    without a gradient misses by how much d grew in that step, as it misses the step (R6).

    Args:
        b1, b2: decay rates of the two moments, in [0, 1).
        eps: added to the root, > 0.
        memory: decay rate of p and s, in [0, 1); None is sqrt(b2).
        d0: the first estimate, > 0.
        d_coef: scales the estimate, > 0.
        growth_rate: the most by which d may grow in a step once it has grown, >= 1; None is any.
        bias_correction, safeguard_warmup: see above.

    State: ``exp_avg`` (m), ``exp_avg_sq`` (v), ``grad_sum`` (s) and ``way_back`` (w_0 - w), zeros
    of the parameter's shape; ``product_sum`` (p), 0; ``relative`` (r) and ``relative_max``, the
    largest estimate so far over d0, 1. The last four never below float32.
    """

    memory: float | None = None
    d0: float = 1e-6
    d_coef: float = 1.0
    growth_rate: float | None = None
    bias_correction: bool = False
    safeguard_warmup: bool = False

    elementwise: ClassVar[bool] = False
    reads_lr: ClassVar[bool] = True
    exact_state: ClassVar[tuple[str, ...]] = (
        "way_back", "product_sum", "relative", "relative_max",
    )  # fmt: skip
    lr: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("eps", self.eps, "(0, inf)", "u would be 0/0 where no gradient ever came.")
        if self.memory is not None:
            check_beta("memory", self.memory)
        check_range("d0", self.d0, "(0, inf)", "d grows from it by factors.")
        check_range("d_coef", self.d_coef, "(0, inf)", "it scales the estimate.")
        if self.growth_rate is not None:
            check_range("growth_rate", self.growth_rate, "[1, inf)", "d never shrinks.")

    @property
    def couples_parameters(self) -> bool:
        return True

    def init(self, be: Backend, w: Array) -> State:
        def number(value: float) -> Array:
            return be.xp.full((), value, dtype=be.dtype, device=be.device)

        zeros = {name: be.zeros_like(w) for name in ("grad_sum", "way_back")}
        ones = {name: number(1.0) for name in ("relative", "relative_max")}
        return {**super().init(be, w), **zeros, "product_sum": number(0.0), **ones}

    def _summed(self, be: Backend, g: Array, state: State, t: Any) -> State:
        """P and s with this gradient."""
        memory = on_host(math.sqrt, self.b2) if self.memory is None else self.memory
        kept, square = be.scalar(memory), be.mul(state["relative"], state["relative"])
        k = be.mul(square, self._corrected(be, state["lr"], t))
        p, s = be.mul(kept, state["product_sum"]), be.mul(kept, state["grad_sum"])
        weight = square if self.safeguard_warmup else k
        return {
            "product_sum": be.flush(p + be.mul(k, dot(be, g, state["way_back"]))),
            "grad_sum": be.flush(s + be.mul(weight, g)),
        }

    def _corrected(self, be: Backend, lr: Array, t: Any) -> Array:
        if not self.bias_correction:
            return lr
        root = be.sqrt(bias_correction(be, self.b2, t))
        return be.mul(lr, be.mul(root, inverse_correction(be, self.b1, t)))

    def totals(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        summed = self._summed(be, g, state, t)
        length = be.total(be.xp.abs(summed["grad_sum"]))
        return {"products": summed["product_sum"], "length": length}

    def accumulate(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        r, one = state["relative"], be.scalar(1.0)
        length = be.xp.where(state["length"] > be.scalar(0.0), state["length"], one)
        scale = be.scalar(self.d_coef / self.d0)
        found = be.mul(scale, be.div(state["products"], length))
        most = be.xp.maximum(state["relative_max"], found)
        following = most
        if self.growth_rate is not None:
            start = be.xp.where(r == one, be.xp.maximum(r, found), r)
            following = be.xp.minimum(most, be.mul(be.scalar(self.growth_rate), start))
        scaled = be.mul(r, g)
        return {
            "exp_avg": ema(be, state["exp_avg"], scaled, self.b1),
            "exp_avg_sq": ema(be, state["exp_avg_sq"], be.mul(scaled, scaled), self.b2),
            **self._summed(be, g, state, t),
            "way_back": state["way_back"],
            "relative": following,
            "relative_max": most,
            "before": r,  # for the direction only
        }

    def direction(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> Direction:
        eps = be.mul(be.scalar(self.eps), state["relative"])
        u = be.div(state["exp_avg"], be.sqrt(state["exp_avg_sq"]) + eps)
        return Direction(u, a=u, size=state["before"])

    def finish(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        return {name: x for name, x in state.items() if name != "before"}

    def rates(
        self, be: Backend, lr: Array, decay: Array, t: Any, size: Array | None = None
    ) -> tuple[Array, Array]:
        d = be.mul(be.scalar(self.d0), size)
        rate = be.mul(d, self._corrected(be, lr, t))
        return rate, rate

    def follow(
        self, be: Backend, delta: Array, w: Array, state: State, t: Any
    ) -> tuple[Array, State]:
        return delta, {**state, "way_back": be.flush(state["way_back"] + delta)}
