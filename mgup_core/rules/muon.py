"""Muon (R4)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from .._checks import check_beta, check_eps
from .._typing import Array, State
from ..numerics.backend import Backend
from ..numerics.scalars import ema
from .base import Direction
from .matrix import (
    CLASSIC,
    MatrixRule,
    NSCoefficients,
    NSDtype,
    NSForm,
    check_newton_schulz,
    newton_schulz,
)

Scale = Literal["match_rms_adamw", "original"]
SCALES: tuple[str, ...] = get_args(Scale)


@dataclass(frozen=True)
class Muon(MatrixRule):
    """Muon: Jordan et al., 2024; Liu et al., Muon is Scalable, 2025, arXiv 2502.16982.

    ::

        m <- momentum*m + (1 - momentum)*g
        b  = (1 - momentum)*g + momentum*m with nesterov, else m    a = b
        u  = newton_schulz(b) * scale

    MGUP ranks by ``b``, elementwise and the same on every backend, and multiplies the
    orthogonalised ``u``. Matrices only: (rows, cols), or a stack of them.

    Args:
        momentum: in [0, 1).
        nesterov: whether b looks ahead.
        scale: ``"match_rms_adamw"`` is ``0.2*sqrt(max(rows, cols))``, so that AdamW's learning
            rates carry over; ``"original"`` is ``sqrt(max(1, rows/cols))``.
        ns_coefficients, ns_steps, eps: of the iteration: three numbers, ``"classic"`` (Keller
            Jordan's, the same) or ``"polar_express"`` (arXiv 2505.16932), of another polynomial at
            each step, whose singular values come to 1.
        ns_dtype: of its matrix products, ``"float32"``, ``"bfloat16"`` where the backend has it, or
            ``"exact"``: the same bits on every backend (N9), at many times the cost. float32 is
            float64 for float64 parameters.

        ns_form: ``"gram"`` iterates on ``XX^T`` alone: fewer products for a matrix with one side
            much longer than the other.
        flat: take an array of more than two axes for one matrix of the first axis and all others,
            as Keller Jordan's code takes convolutions (outputs, inputs, height, width).
        row_blocks: orthogonalise as many equal blocks of rows apart, each with its own scale: 3 for
            a fused QKV weight (3*outputs, inputs), or the number of heads.

    State: ``momentum_buffer`` (m), zeros of the parameter's shape.
    """

    momentum: float = 0.95
    nesterov: bool = True
    scale: Scale = "match_rms_adamw"
    ns_coefficients: NSCoefficients = CLASSIC
    ns_steps: int = 5
    eps: float = 1e-7
    ns_dtype: NSDtype = "float32"
    ns_form: NSForm = "direct"
    flat: bool = False
    row_blocks: int = 1
    gathers: ClassVar[bool] = True

    counts_steps: ClassVar[bool] = False
    weight_decay: ClassVar[float] = 0.1

    def __post_init__(self) -> None:
        check_beta("momentum", self.momentum)
        check_eps("eps", self.eps)
        if self.scale not in SCALES:
            raise ValueError(f"scale={self.scale!r} is none of {', '.join(map(repr, SCALES))}.")
        if not (isinstance(self.row_blocks, int) and self.row_blocks >= 1):
            raise ValueError(f"row_blocks={self.row_blocks!r} must be an int >= 1.")
        check_newton_schulz(self.ns_steps, self.ns_dtype, self.ns_coefficients, form=self.ns_form)

    def accepts(self, shape: tuple[int, ...], stacked_dims: int = 0) -> str | None:
        if reason := super().accepts(shape, stacked_dims):
            return reason
        if self.flat and stacked_dims:
            return f"flat=True makes one matrix of it: stacked_dims={stacked_dims} must be 0."
        rows = shape[0] if self.flat else shape[-2]
        if rows % self.row_blocks:
            return f"row_blocks={self.row_blocks} does not divide its {rows} rows."
        return None

    def _matrices(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of what is orthogonalised: (..., rows, cols)."""
        if self.flat:
            shape = shape[0], math.prod(shape[1:])
        if self.row_blocks == 1:
            return shape
        *stack, rows, cols = shape
        return *stack, self.row_blocks, rows // self.row_blocks, cols

    def init(self, be: Backend, w: Array) -> State:
        return {"momentum_buffer": be.zeros_like(w)}

    def accumulate(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        return {"momentum_buffer": ema(be, state["momentum_buffer"], g, self.momentum)}

    def direction(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> Direction:
        m = state["momentum_buffer"]
        b = ema(be, m, g, self.momentum) if self.nesterov else m
        return Direction(be.whole(lambda x: self._scaled(be, x), b), a=b)

    def orthogonal(self, be: Backend, b: Array) -> Array:
        """Near the orthogonal factor of each matrix of ``b``."""
        shape = self._matrices(b.shape)
        o = newton_schulz(
            be,
            b if shape == b.shape else be.xp.reshape(b, shape),
            coefficients=self.ns_coefficients,
            steps=self.ns_steps,
            eps=self.eps,
            dtype=self.ns_dtype,
            form=self.ns_form,
        )
        return o if shape == b.shape else be.xp.reshape(o, b.shape)

    def _scaled(self, be: Backend, b: Array) -> Array:
        o = self.orthogonal(be, b)
        return be.mul(o, be.scalar(self._scale(*self._matrices(b.shape)[-2:])))

    def _scale(self, rows: int, cols: int) -> float:
        if self.scale == "original":
            return math.sqrt(max(1.0, rows / cols))
        return 0.2 * math.sqrt(max(rows, cols))
