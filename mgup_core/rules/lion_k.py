"""Lion-K, of which Lion is a special case."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from .._checks import check_beta, check_range
from .._typing import Array, State
from ..numerics.backend import Backend
from ..numerics.elementary import tanh
from ..numerics.scalars import ema
from .base import Direction, Rule

Kernel = Literal["sign", "clip", "tanh"]
KERNELS: tuple[str, ...] = get_args(Kernel)


@dataclass(frozen=True)
class LionK(Rule):
    """Lion-K: Chen, Liu, Liang and Liu, Lion Secretly Solves Constrained Optimization, 2023.

    ::

        c  = sharpness * (b1*m + (1 - b1)*g)
        u  = grad K(c)                                              a = u
        m <- b2*m + (1 - b2)*g          (after u)

    arXiv 2310.05898, for three convex K, all coordinatewise:

    ========  ======================  ============================
    kernel    K                       grad K
    ========  ======================  ============================
    sign      1-norm                  sign(c): this is Lion
    clip      Huber                   c within [-1, 1], else sign(c)
    tanh      sum of log cosh         tanh(c)
    ========  ======================  ============================

    Args:
        b1, b2: decay rates of the direction and of the momentum, in [0, 1).
        kernel: ``"sign"``, ``"clip"`` or ``"tanh"``.
        sharpness: > 0; a gradient of its inverse saturates the kernel. It is 1 in the paper; the
            gradients of a network are often far below 1, where clip and tanh are linear.

    ``optax.scale_by_lion`` has them as ``mode="hard"``, ``"refined"`` (without sharpness) and
    ``"smooth"`` (``smooth_beta``).

    State: ``exp_avg`` (m), zeros of the parameter's shape.
    """

    b1: float = 0.9
    b2: float = 0.99
    kernel: Kernel = "sign"
    sharpness: float = 1.0

    counts_steps: ClassVar[bool] = False
    lr: ClassVar[float] = 1e-4

    def __post_init__(self) -> None:
        check_beta("b1", self.b1)
        check_beta("b2", self.b2)
        if self.kernel not in KERNELS:
            raise ValueError(f"kernel={self.kernel!r} is none of {', '.join(map(repr, KERNELS))}.")
        check_range("sharpness", self.sharpness, "(0, inf)", "it scales what the kernel is given.")

    def init(self, be: Backend, w: Array) -> State:
        return {"exp_avg": be.zeros_like(w)}

    def direction(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> Direction:
        u = self._kernel(be, ema(be, state["exp_avg"], g, self.b1))
        return Direction(u, a=u)

    def finish(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        return {"exp_avg": ema(be, state["exp_avg"], g, self.b2)}

    def _kernel(self, be: Backend, c: Array) -> Array:
        if self.kernel == "sign":
            return be.xp.sign(c)
        c = be.mul(be.scalar(self.sharpness), c)
        if self.kernel == "tanh":
            return tanh(be, c)
        return be.xp.where(be.xp.abs(c) > be.scalar(1.0), be.xp.sign(c), c)
