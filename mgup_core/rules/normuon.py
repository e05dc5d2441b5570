"""NorMuon: Muon whose rows are brought to one size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from .._checks import check_beta
from .._typing import Array, State
from ..numerics.backend import Backend
from ..numerics.scalars import ema
from ..numerics.sums import dot
from .base import Direction
from .matrix import check_out_axis, frobenius
from .muon import Muon, Scale

TINY = 1e-10  # added to lengths, as in the authors' code


@dataclass(frozen=True)
class NorMuon(Muon):
    """NorMuon: Li, Liu, Liang, Chen and Zhao, 2025, arXiv 2510.05491, as in the authors' code.

    Muon with a second moment for each output of the layer, a row of torch.nn.Linear's weight::

        m <- momentum*m + (1 - momentum)*g
        b  = (1 - momentum)*g + momentum*m with nesterov, else m    a = b
        o  = newton_schulz(b)
        v <- mu2*v + (1 - mu2)*mean(o^2)                        (over each row)
        n  = o / (sqrt(v) + 1e-10)
        u  = n * |o|/(|n| + 1e-10) * sqrt(max(1, rows/cols))

    The paper's Algorithm 1 brings u to the length ``0.2*sqrt(rows*cols)`` instead:
    ``scale="match_rms_adamw"``.

    MGUP ranks by ``b``, as for Muon, and multiplies ``u``. Matrices only: (rows, cols), or a stack
    of them.

    Args:
        momentum, nesterov, ns_coefficients, ns_steps, eps, ns_dtype, ns_form: see
            :class:`mgup_core.Muon`.
        scale: ``"original"``, the length of o and Keller Jordan's factor, as published; or
            ``"match_rms_adamw"``, so that AdamW's learning rates carry over.
        mu2: decay rate of the second moment, in [0, 1).
        out_axis: 0 for weights (outputs, inputs), -1 for (inputs, outputs), as in flax.

    State: ``momentum_buffer`` (m), zeros of the parameter's shape; ``row_sq`` (v), zeros of it with
    the axis of the inputs of length 1.
    """

    scale: Scale = "original"
    mu2: float = 0.95
    out_axis: int = 0

    gathers: ClassVar[bool] = False
    exact_state: ClassVar[tuple[str, ...]] = ("row_sq",)
    lr: ClassVar[float] = 2e-2
    weight_decay: ClassVar[float] = 0.0

    @property
    def bounded_state(self) -> tuple[str, ...]:
        return () if self.identical else ("row_sq",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_beta("mu2", self.mu2)
        check_out_axis(self.out_axis)

    @property
    def _inputs(self) -> int:
        """The axis of the inputs, counted from the end, before which matrices may be stacked."""
        return -1 if self.out_axis == 0 else -2

    def init(self, be: Backend, w: Array) -> State:
        zeros = be.zeros_like(w)
        return {"momentum_buffer": zeros, "row_sq": self._mean_sq(be, zeros)}

    def _mean_sq(self, be: Backend, o: Array) -> Array:
        share = be.scalar(1.0 / max(o.shape[self._inputs], 1))
        return be.mul(dot(be, o, o, self._inputs), share)

    def accumulate(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        m = ema(be, state["momentum_buffer"], g, self.momentum)
        b = ema(be, m, g, self.momentum) if self.nesterov else m
        o = self.orthogonal(be, b)
        v = ema(be, state["row_sq"], self._mean_sq(be, o), self.mu2)
        return {"momentum_buffer": m, "row_sq": v, "b": b, "o": o}

    def direction(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> Direction:
        o, tiny, (rows, cols) = state["o"], be.scalar(TINY), w.shape[-2:]
        n = be.div(o, be.sqrt(state["row_sq"]) + tiny)
        if self.scale == "original":
            outputs = (rows, cols) if self.out_axis == 0 else (cols, rows)
            factor = math.sqrt(max(1.0, outputs[0] / outputs[1]))
            length = be.mul(frobenius(be, o), be.scalar(factor))
        else:
            length = be.scalar(0.2 * math.sqrt(rows * cols))
        return Direction(be.mul(n, be.div(length, frobenius(be, n) + tiny)), a=state["b"])

    def finish(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        return {name: x for name, x in state.items() if name not in ("b", "o")}
