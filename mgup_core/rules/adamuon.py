"""AdaMuon: Muon whose coordinates are brought to one size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from .._checks import check_beta, check_eps
from .._typing import Array, State
from ..numerics.backend import Backend
from ..numerics.scalars import ema, inverse_correction
from .base import Direction
from .matrix import (
    CLASSIC,
    MatrixRule,
    NSCoefficients,
    NSDtype,
    NSForm,
    check_newton_schulz,
    frobenius,
    newton_schulz,
)


@dataclass(frozen=True)
class AdaMuon(MatrixRule):
    """AdaMuon: Si, Zhang and Shen, Adaptive Muon Optimizer, 2025, arXiv 2507.11005.

    Muon with Adam's second moment of the orthogonalised update::

        m <- momentum*m + (1 - momentum)*g
        b  = (1 - momentum)*g + momentum*m with nesterov, else m    a = b
        o  = newton_schulz(b), or with ``signed`` newton_schulz(sign(b))
        v <- mu2*v + (1 - mu2)*o*o
        n  = o / (sqrt(v / (1 - mu2^t)) + eps)
        u  = n * 0.2*sqrt(rows*cols) / (|n| + eps)

    the form of the authors' code. MGUP ranks by ``b``, as for Muon, and multiplies ``u``. Matrices
    only: (rows, cols), or a stack of them.

    Args:
        momentum, mu2: decay rates of the two moments, in [0, 1).
        nesterov: whether b looks ahead.
        eps: added to the root and to the length, >= 0.
        signed: orthogonalise the signs of b, as later versions of the paper do.
        ns_coefficients, ns_steps, ns_dtype, ns_form: see :class:`mgup_core.Muon`.

    State: ``momentum_buffer`` (m) and ``update_sq`` (v), zeros of the parameter's shape.
    """

    momentum: float = 0.95
    mu2: float = 0.999
    nesterov: bool = True
    eps: float = 1e-8
    signed: bool = False
    ns_coefficients: NSCoefficients = CLASSIC
    ns_steps: int = 5
    ns_dtype: NSDtype = "float32"
    ns_form: NSForm = "direct"

    lr: ClassVar[float] = 2e-2
    weight_decay: ClassVar[float] = 1e-2

    @property
    def bounded_state(self) -> tuple[str, ...]:
        return () if self.identical else ("update_sq",)

    def __post_init__(self) -> None:
        check_beta("momentum", self.momentum)
        check_beta("mu2", self.mu2)
        check_eps("eps", self.eps)
        check_newton_schulz(self.ns_steps, self.ns_dtype, self.ns_coefficients, form=self.ns_form)

    def init(self, be: Backend, w: Array) -> State:
        return {"momentum_buffer": be.zeros_like(w), "update_sq": be.zeros_like(w)}

    def accumulate(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        m = ema(be, state["momentum_buffer"], g, self.momentum)
        b = ema(be, m, g, self.momentum) if self.nesterov else m
        o = newton_schulz(
            be,
            be.xp.sign(b) if self.signed else b,
            coefficients=self.ns_coefficients,
            steps=self.ns_steps,
            dtype=self.ns_dtype,
            form=self.ns_form,
        )
        v = ema(be, state["update_sq"], be.mul(o, o), self.mu2)
        return {"momentum_buffer": m, "update_sq": v, "b": b, "o": o}

    def direction(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> Direction:
        eps, length = be.scalar(self.eps), 0.2 * math.sqrt(math.prod(w.shape[-2:]))
        v = be.mul(state["update_sq"], inverse_correction(be, self.mu2, t))
        n = be.div(state["o"], be.sqrt(v) + eps)
        u = be.mul(n, be.div(be.scalar(length), frobenius(be, n) + eps))
        return Direction(u, a=state["b"])

    def finish(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        return {name: x for name, x in state.items() if name not in ("b", "o")}
