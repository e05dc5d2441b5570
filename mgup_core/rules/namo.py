"""NAMO and NAMO-D: Muon with a step size that adapts to the size of the gradients."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .._checks import check_beta, check_eps, check_range
from .._typing import Array, State
from ..numerics.backend import Backend
from ..numerics.scalars import bias_correction, ema
from ..numerics.sums import norm
from .base import Direction
from .matrix import (
    MatrixRule,
    NSDtype,
    check_newton_schulz,
    check_out_axis,
    frobenius,
    newton_schulz,
)


class Single:
    """A backend's arithmetic with each result rounded to float32.

    The official code keeps its statistics in float32, whatever the dtype of the parameters.
    """

    def __init__(self, be: Backend) -> None:
        self.be = be

    def __call__(self, x: Array) -> Array:
        return self.be.cast(self.be.cast(x, self.be.xp.float32), self.be.dtype)

    def scalar(self, value: float) -> Array:
        return self.be.scalar(float(np.float32(value)))

    def add(self, x: Array, y: Array) -> Array:
        return self(x + y)

    def mul(self, x: Array, y: Array) -> Array:
        return self(self.be.mul(x, y))

    def div(self, x: Array, y: Array) -> Array:
        return self(self.be.div(x, y))

    def sqrt(self, x: Array) -> Array:
        return self(self.be.sqrt(x))


@dataclass(frozen=True)
class NAMO(MatrixRule):
    """NAMO: Zhang, Liu and Schaeffer, 2026, arXiv 2602.17080, as in its official code.

    ::

        v <- mu2*v + (1 - mu2)*|g|^2                        (Frobenius, a number for each matrix)
        m <- momentum*m + (1 - momentum)*g
        b  = (1 - momentum)*g + momentum*m with nesterov, else m                        a = b
        s  = sqrt(1 - mu2^t) / (1 - momentum^t + 1e-12) * |b| / (sqrt(v) + eps)
        u  = newton_schulz(b)
        w <- w - min(lr*s*scale*sqrt(max(rows, cols)), 1)*u - min(lr*s, 1)*decay*w

    The paper's form, by second-hand accounts, has no Nesterov, no ``scale`` factor and no bounds
    at 1, and takes the exact orthogonal factor. MGUP ranks by ``b``, which is elementwise, and
    multiplies ``u``. ``s`` is one number for the matrix, and no part of the score.

    Args:
        momentum, mu2: decay rates of the momentum and of the squared norm, in [0, 1).
        eps: added to the root, >= 0.
        nesterov: whether b looks ahead.
        scale: the factor of the update, >= 0.
        ns_steps, ns_dtype: settings of the Newton-Schulz iteration; see :class:`mgup_core.Muon`.

    State: ``momentum_buffer`` (m), zeros of the parameter's shape; ``v_squared`` (v), zeros of
    shape (..., 1, 1), always in float32 precision, as in the official code.
    """

    momentum: float = 0.95
    mu2: float = 0.99
    eps: float = 1e-8
    nesterov: bool = True
    scale: float = 0.2
    ns_steps: int = 5
    ns_dtype: NSDtype = "float32"

    exact_state: ClassVar[tuple[str, ...]] = ("v_squared",)
    lr: ClassVar[float] = 1e-2
    weight_decay: ClassVar[float] = 0.1

    def __post_init__(self) -> None:
        check_beta("momentum", self.momentum)
        check_beta("mu2", self.mu2)
        check_eps("eps", self.eps)
        check_range("scale", self.scale, "[0, inf)", "it multiplies the step.")
        check_newton_schulz(self.ns_steps, self.ns_dtype)

    def init(self, be: Backend, w: Array) -> State:
        zeros = be.zeros_like(w)
        return {"momentum_buffer": zeros, "v_squared": self._norm(be, zeros)}

    def _norm(self, be: Backend, x: Array) -> Array:
        """The norm of each part that has its own step size: here each matrix, as (..., 1, 1)."""
        return frobenius(be, x)

    def accumulate(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        single, size = Single(be), self._norm(be, g)
        v = single.mul(single.scalar(self.mu2), state["v_squared"])
        return {
            "momentum_buffer": ema(be, state["momentum_buffer"], g, self.momentum),
            "v_squared": single.add(v, self._squared(be, size)),
        }

    def _squared(self, be: Backend, size: Array) -> Array:
        """``(1 - mu2) * size^2``."""
        return be.mul(be.scalar(1.0 - self.mu2), be.mul(size, size))

    def direction(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> Direction:
        m = state["momentum_buffer"]
        b = ema(be, m, g, self.momentum) if self.nesterov else m
        u = newton_schulz(be, b, steps=self.ns_steps, dtype=self.ns_dtype)
        scale = self.scale * math.sqrt(max(w.shape[-2:]))
        return Direction(u, a=b, size=(self._relative(be, b, state["v_squared"]), scale))

    def _relative(self, be: Backend, b: Array, v: Array) -> Array:
        single = Single(be)
        return be.div(self._norm(be, b), single.add(single.sqrt(v), single.scalar(self.eps)))

    def rates(
        self, be: Backend, lr: Array, decay: Array, t: Any, size: Any = None
    ) -> tuple[Array, Array]:
        (relative, scale), base, one = size, self._corrected(be, lr, t), be.scalar(1.0)
        rate = be.mul(base, relative)
        return be.xp.minimum(be.mul(rate, be.scalar(scale)), one), be.xp.minimum(rate, one)

    def _corrected(self, be: Backend, lr: Array, t: Any) -> Array:
        corrected = be.mul(lr, be.sqrt(bias_correction(be, self.mu2, t)))
        return be.div(corrected, bias_correction(be, self.momentum, t) + be.scalar(1e-12))


@dataclass(frozen=True)
class NAMOD(NAMO):
    """NAMO-D: Zhang, Liu and Schaeffer, 2026, arXiv 2602.17080, as in its official code.

    NAMO with a step size for each input j of the layer, a column of torch.nn.Linear's weight::

        v_j <- mu2*v_j + (1 - mu2)*|g_:j|^2
        s_j  = |b_:j| / (sqrt(v_j) + eps), clipped to [clamp*mean(s), mean(s)/clamp]
        r_j  = lr * sqrt(1 - mu2^t) / (1 - momentum^t + 1e-12) * s_j
        w_:j <- max(1 - decay*min(r_j, 1), 0)*w_:j - min(r_j*scale*sqrt(max(rows, cols)), 1)*u_:j

    with m, b, u and a = b as in NAMO. The update's columns differ in length as far as ``clamp``
    allows, and so it is not orthogonal; a ``clamp`` of 1 gives all columns the mean.

    Args:
        momentum, mu2, eps, nesterov, scale, ns_steps, ns_dtype: as :class:`mgup_core.NAMO`.
        clamp: in [0, 1]; 0 clips nothing.
        out_axis: 0 for weights (outputs, inputs), -1 for (inputs, outputs), as in flax.

    State: ``momentum_buffer`` (m), zeros of the parameter's shape; ``v_squared`` (v), zeros with
    ``out_axis`` of length 1, always in float32 precision. So are s and r, as in the official code.
    """

    clamp: float = 0.75
    out_axis: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("clamp", self.clamp, "[0, 1]", "it bounds the ratio to the mean.")
        check_out_axis(self.out_axis)

    @property
    def _outputs(self) -> int:
        """The axis of the outputs, counted from the end, before which matrices may be stacked."""
        return -2 if self.out_axis == 0 else -1

    def _norm(self, be: Backend, x: Array) -> Array:
        return Single(be)(norm(be, x, self._outputs))

    def _squared(self, be: Backend, size: Array) -> Array:
        single = Single(be)
        return single.mul(single.mul(single.scalar(1.0 - self.mu2), size), size)

    def _relative(self, be: Backend, b: Array, v: Array) -> Array:
        single = Single(be)
        s = single(super()._relative(be, b, v))
        if self.clamp == 0:
            return s
        inputs = -1 if self._outputs == -2 else -2
        mean = single.div(single(be.total(s, inputs)), be.scalar(s.shape[inputs]))
        low = single.mul(mean, single.scalar(self.clamp))
        high = single.div(mean, single.scalar(self.clamp))
        return be.xp.minimum(be.xp.maximum(s, low), high)

    def rates(
        self, be: Backend, lr: Array, decay: Array, t: Any, size: Any = None
    ) -> tuple[Array, Array]:
        (s, scale), base, one = size, self._corrected(be, lr, t), be.scalar(1.0)
        single = Single(be)
        shaped = be.mul(base, be.scalar(scale))
        step = be.xp.minimum(single.mul(s, single(shaped)), one)
        rate = be.xp.minimum(single.mul(s, single(base)), one)
        kept = be.xp.maximum(one - single.mul(rate, single(decay)), be.scalar(0.0))
        return step, be.xp.where(decay > 0, be.div(one - single(kept), decay), rate)
