"""M3, the multi-scale momentum Muon of Nested Learning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..._checks import check_eps, check_range
from ..._typing import Array, State
from ...numerics.backend import Backend
from ..base import Direction
from ..matrix import MatrixRule, NSDtype, check_newton_schulz, newton_schulz


@dataclass(frozen=True)
class M3(MatrixRule):
    """M3: Behrouz, Razaviyayn, Zhong and Mirrokni, Nested Learning, 2025, arXiv 2512.24695.

    Algorithm 1 of its section 7.2. A fast momentum, and a slow one that takes in a chunk of
    gradients at a time; all three are sums without decay, so that steps shrink as AdaGrad's do::

        m1 <- m1 + b1*g        v <- v + b2*g*g        c <- c + g
        u   = (newton_schulz(m1) + slow_weight*o) / sqrt(v + eps)                       a = m1
        after every ``chunk`` steps:  m2 <- m2 + b3*c,  o <- newton_schulz(m2),  c <- 0

    Experimental: no official code is known, the paper gives no defaults (these are an unofficial
    implementation's, with Muon's iteration), and transcriptions of the algorithm disagree on where
    eps stands. MGUP ranks by ``m1``, the buffer before orthogonalisation, as for Muon.

    Args:
        b1, b2, b3: the weights with which the fast momentum, the squares and the slow momentum take
            in gradients, in [0, 1].
        slow_weight: the weight of the slow direction, >= 0.
        chunk: the number of steps between updates of the slow momentum. In a compiled graph, every
            step computes the slow direction and keeps it only after a chunk.
        eps: keeps the quotient finite, >= 0.
        eps_inside: whether eps is added to v (``True``) or to its root.
        ns_steps, ns_dtype: settings of the Newton-Schulz iteration; 0 steps leave it out.

    State: ``fast`` (m1), ``slow`` (m2), ``sum_sq`` (v), ``chunk_sum`` (c), never below float32, and
    ``slow_direction`` (o): zeros of the parameter's shape.
    """

    b1: float = 0.9
    b2: float = 0.999
    b3: float = 0.9
    slow_weight: float = 1.0
    chunk: int = 100
    eps: float = 1e-8
    eps_inside: bool = True
    ns_steps: int = 5
    ns_dtype: NSDtype = "float32"

    experimental: ClassVar[bool] = True
    exact_state: ClassVar[tuple[str, ...]] = ("fast", "slow", "sum_sq", "chunk_sum")

    @property
    def bounded_state(self) -> tuple[str, ...]:
        return () if self.identical else ("slow_direction",)

    def __post_init__(self) -> None:
        for name in ("b1", "b2", "b3"):
            check_range(name, getattr(self, name), "[0, 1]", "it is a sum's weight.")
        check_range("slow_weight", self.slow_weight, "[0, inf)", "it multiplies a direction.")
        if not (isinstance(self.chunk, int) and self.chunk >= 1):
            raise ValueError(f"chunk={self.chunk!r} must be an int >= 1: it counts steps.")
        check_eps("eps", self.eps)
        check_newton_schulz(self.ns_steps, self.ns_dtype, least=0)

    def init(self, be: Backend, w: Array) -> State:
        names = ("fast", "slow", "sum_sq", "chunk_sum", "slow_direction")
        return {name: be.zeros_like(w) for name in names}

    def accumulate(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        return {
            **state,
            "fast": be.flush(state["fast"] + be.mul(be.scalar(self.b1), g)),
            "sum_sq": be.flush(state["sum_sq"] + be.mul(be.scalar(self.b2), be.mul(g, g))),
            "chunk_sum": be.flush(state["chunk_sum"] + g),
        }

    def direction(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> Direction:
        slow = be.mul(be.scalar(self.slow_weight), state["slow_direction"])
        v, eps = state["sum_sq"], be.scalar(self.eps)
        root = be.sqrt(v + eps) if self.eps_inside else be.sqrt(v) + eps
        return Direction(be.div(self._orthogonal(be, state["fast"]) + slow, root), a=state["fast"])

    def finish(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        ends = t % self.chunk == 0
        if isinstance(t, int) and not ends:
            return state
        slow = be.flush(state["slow"] + be.mul(be.scalar(self.b3), state["chunk_sum"]))
        new = {
            "slow": slow,
            "slow_direction": self._orthogonal(be, slow),
            "chunk_sum": be.zeros_like(slow),
        }
        if not isinstance(t, int):
            new = {name: be.xp.where(ends, value, state[name]) for name, value in new.items()}
        return {**state, **new}

    def _orthogonal(self, be: Backend, x: Array) -> Array:
        if self.ns_steps == 0:
            return x
        return newton_schulz(be, x, steps=self.ns_steps, dtype=self.ns_dtype)
