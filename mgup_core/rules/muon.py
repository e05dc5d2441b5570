"""Muon (R4)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from ..backend import Array, Backend
from ..checks import check_beta, check_eps
from ..scalars import ema
from .base import Direction, Rule, State

SCALES = ("match_rms_adamw", "original")
NS_DTYPES = ("float32", "bfloat16")


def newton_schulz(
    be: Backend,
    x: Array,
    *,
    coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
    steps: int = 5,
    eps: float = 1e-7,
    dtype: str = "float32",
) -> Array:
    """A matrix near the orthogonal factor of ``x`` (..., rows, cols), by Newton-Schulz (R4).

    Jordan et al., Muon, 2024: ``X <- aX + (bA + cA^2)X`` with ``A = XX^T``, from
    ``x / (|x|_F + eps)``, on the side with fewer rows. Singular values land near 1, not at it.
    """
    xp = be.xp
    tall = x.shape[-2] > x.shape[-1]
    x = xp.matrix_transpose(x) if tall else x
    norm = be.sqrt(xp.sum(be.mul(x, x), axis=(-2, -1), keepdims=True))
    x = be.div(x, norm + be.scalar(eps))
    a, b, c = (be.scalar(value) for value in coefficients)
    for _ in range(steps):
        gram = be.matmul(x, xp.matrix_transpose(x), dtype)
        x = be.mul(a, x) + be.matmul(
            be.mul(b, gram) + be.mul(c, be.matmul(gram, gram, dtype)), x, dtype
        )
    return xp.matrix_transpose(x) if tall else x


@dataclass(frozen=True)
class Muon(Rule):
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
        ns_coefficients, ns_steps, eps: of the iteration.
        ns_dtype: of its matrix products, ``"float32"`` or ``"bfloat16"`` where the backend has it.

    State: ``momentum_buffer`` (m), zeros of the parameter's shape.
    """

    momentum: float = 0.95
    nesterov: bool = True
    scale: str = "match_rms_adamw"
    ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315)
    ns_steps: int = 5
    eps: float = 1e-7
    ns_dtype: str = "float32"

    elementwise: ClassVar[bool] = False
    identical: ClassVar[bool] = False
    counts_steps: ClassVar[bool] = False
    weight_decay: ClassVar[float] = 0.1

    def __post_init__(self) -> None:
        check_beta("momentum", self.momentum)
        check_eps("eps", self.eps)
        if self.scale not in SCALES:
            raise ValueError(f"scale={self.scale!r} is none of {', '.join(map(repr, SCALES))}.")
        if self.ns_dtype not in NS_DTYPES:
            raise ValueError(f"ns_dtype={self.ns_dtype!r} is neither 'float32' nor 'bfloat16'.")
        if len(self.ns_coefficients) != 3:
            raise ValueError(f"ns_coefficients={self.ns_coefficients!r} must be three numbers.")
        if not (isinstance(self.ns_steps, int) and 1 <= self.ns_steps < 100):
            raise ValueError(f"ns_steps={self.ns_steps!r} is outside [1, 99].")

    def accepts(self, shape: tuple[int, ...], stacked_dims: int = 0) -> str | None:
        if len(shape) >= 2:
            return None
        return f"Muon trains matrices, not shape {tuple(shape)}: give that parameter to AdamW."

    def init(self, be: Backend, w: Array) -> State:
        return {"momentum_buffer": be.zeros_like(w)}

    def accumulate(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        return {"momentum_buffer": ema(be, state["momentum_buffer"], g, self.momentum)}

    def direction(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> Direction:
        m = state["momentum_buffer"]
        b = ema(be, m, g, self.momentum) if self.nesterov else m
        o = newton_schulz(
            be,
            b,
            coefficients=self.ns_coefficients,
            steps=self.ns_steps,
            eps=self.eps,
            dtype=self.ns_dtype,
        )
        return Direction(be.mul(o, be.scalar(self._scale(*w.shape[-2:]))), a=b)

    def _scale(self, rows: int, cols: int) -> float:
        if self.scale == "original":
            return math.sqrt(max(1.0, rows / cols))
        return 0.2 * math.sqrt(max(rows, cols))
