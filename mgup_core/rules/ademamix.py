"""AdEMAMix."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import Any

from .._checks import check_beta, check_eps, check_range
from .._typing import Array, State
from ..numerics.backend import Backend
from ..numerics.elementary import tanh_inside
from ..numerics.runtime import on_host
from ..numerics.scalars import ema, inverse_correction
from .base import Direction, Rule


@dataclass(frozen=True)
class AdEMAMix(Rule):
    """AdEMAMix: Pagliardini, Ablin and Grangier, Better, Faster, Older, 2024, arXiv 2409.03137.

    ::

        m1 <- b1*m1 + (1 - b1)*g
        m2 <- b3_t*m2 + (1 - b3_t)*g                                (no bias correction)
        v  <- b2*v + (1 - b2)*g*g
        u   = (m1 / (1 - b1^t) + mix_t*m2) / (sqrt(v / (1 - b2^t)) + eps)       a = u

        mix_t = mix * min(t / mix_warmup, 1)
        b3_t : 1 / log(b3_t) goes from 1 / log(b1) to 1 / log(b3) in a line over beta3_warmup steps

    This is the form of the authors' code, and without warm-up of ``optax.contrib.ademamix``.
    ``mix`` is the paper's alpha, a name that MGUP has already. The defaults are those of the
    authors' code. The paper advises a mix of 4 to 10, both warm-ups as long as the training, and a
    smaller b3 for fewer than some ten thousand steps.

    Args:
        b1, b2, b3: decay rates of the fast momentum, the second moment and the slow momentum, in
            [0, 1); for a warm-up of b3, 1e-6 <= b1 <= b3.
        eps: added to the root, >= 0.
        mix: the weight of the slow momentum, >= 0; at 0 this is AdamW.
        mix_warmup, beta3_warmup: the number of steps of each warm-up, >= 0; 0 for none.

    State: ``exp_avg_fast`` (m1), ``exp_avg_slow`` (m2) and ``exp_avg_sq`` (v), zeros of the
    parameter's shape.
    """

    b1: float = 0.9
    b2: float = 0.999
    b3: float = 0.9999
    eps: float = 1e-8
    mix: float = 2.0
    mix_warmup: int = 0
    beta3_warmup: int = 0

    def __post_init__(self) -> None:
        for name in ("b1", "b2", "b3"):
            check_beta(name, getattr(self, name))
        check_eps("eps", self.eps)
        check_range("mix", self.mix, "[0, inf)", "it is the weight of the slow momentum.")
        for name in ("mix_warmup", "beta3_warmup"):
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)!r} must be a number of steps >= 0.")
        if self.beta3_warmup and not 1e-6 <= self.b1 <= self.b3:
            raise ValueError(
                f"b1={self.b1!r} is outside [1e-6, {self.b3!r}]: b3 warms up from there; "
                "beta3_warmup=0 leaves it constant."
            )

    def init(self, be: Backend, w: Array) -> State:
        return {n: be.zeros_like(w) for n in ("exp_avg_fast", "exp_avg_slow", "exp_avg_sq")}

    def accumulate(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        b3, weight = self._slow(be, t)
        slow = be.mul(b3, state["exp_avg_slow"]) + be.mul(weight, g)
        return {
            "exp_avg_fast": ema(be, state["exp_avg_fast"], g, self.b1),
            "exp_avg_slow": be.flush(slow),
            "exp_avg_sq": ema(be, state["exp_avg_sq"], be.mul(g, g), self.b2),
        }

    def direction(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> Direction:
        fast = be.mul(state["exp_avg_fast"], inverse_correction(be, self.b1, t))
        v = be.mul(state["exp_avg_sq"], inverse_correction(be, self.b2, t))
        mixed = fast + be.mul(self._mix(be, t), state["exp_avg_slow"])
        u = be.div(mixed, be.sqrt(v) + be.scalar(self.eps))
        return Direction(u, a=u)

    def _mix(self, be: Backend, t: Any) -> Array:
        """mix_t, 0-d."""
        full = be.scalar(self.mix)
        if not self.mix_warmup:
            return full
        warming = be.mul(be.scalar(t), be.scalar(self.mix / self.mix_warmup))
        return be.xp.where(be.scalar(t) < be.scalar(self.mix_warmup), warming, full)

    def _slow(self, be: Backend, t: Any) -> tuple[Array, Array]:
        """(b3_t, 1 - b3_t), 0-d: exp(-x) and 1 - exp(-x), by T = tanh(x / 2)."""
        end, weight = be.scalar(self.b3), be.scalar(1.0 - self.b3)
        if not self.beta3_warmup:
            return end, weight
        first, last = -1.0 / on_host(log, self.b1), -1.0 / on_host(log, self.b3)
        slope = be.scalar((last - first) / self.beta3_warmup)
        memory = be.scalar(first) + be.mul(slope, be.scalar(t))  # 1 / x, in steps
        half = tanh_inside(be, be.div(be.scalar(0.5), memory))
        one = be.scalar(1.0)
        warming = be.scalar(t) < be.scalar(self.beta3_warmup)
        return (
            be.xp.where(warming, be.div(one - half, one + half), end),
            be.xp.where(warming, be.div(half + half, one + half), weight),
        )
