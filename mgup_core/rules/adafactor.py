"""Adafactor."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod, sqrt
from typing import Any, ClassVar

from .._checks import check_beta, check_eps, check_range
from .._typing import Array, State
from ..numerics.backend import Backend
from ..numerics.scalars import ema
from ..numerics.sums import dot, norm
from .base import Direction, Rule, is_zero


@dataclass(frozen=True)
class Adafactor(Rule):
    """Adafactor: Shazeer and Stern, Adaptive Learning Rates with Sublinear Memory Cost, 2018.

    Adam's second moment of a matrix as one number for each row and one for each column (arXiv
    1804.04235), in the form of ``torch.optim.Adafactor``::

        k   = t^(-0.8)
        r <- (1 - k)*r + k*mean(g^2 over each row)
        c <- (1 - k)*c + k*mean(g^2 over each column)
        v   = max(r*c / max(mean(r), eps), eps^2)
        n   = g / sqrt(v)                         of a vector v <- (1 - k)*v + k*g^2
        u   = n / max(1, rms(n)/clip)                                               a = u
        m <- momentum*m + (1 - momentum)*u        with momentum, and m in the place of u

    at the rate ``max(least_scale, rms(w)) * min(lr, 1/sqrt(t))``; decay at ``lr``. The last two
    axes of an array are a matrix, as in PyTorch; optax factors the two largest.

    Without momentum, the default, ``u * g`` is never negative, and MGUP ranks by size. A
    warning says so where that is asked for.

    Args:
        momentum: decay rate of a momentum of the updates, in [0, 1); 0 keeps none.
        eps: the least root of v, >= 0; ``eps[0]`` in PyTorch, there the dtype's.
        least_scale: what stands for the size of smaller parameters, >= 0; ``eps[1]`` in PyTorch.
        clip: the largest rms of an update, > 0; ``d`` in PyTorch.

    State: ``row_var`` (r) and ``col_var`` (c), zeros of the parameter's shape with the last axis,
    or the one before it, of length 1; of a vector ``row_var`` (v), zeros of its shape, and an
    unused 0. With momentum ``exp_avg`` (m), zeros of the parameter's shape.
    """

    momentum: float = 0.0
    eps: float = 2.0**-23
    least_scale: float = 1e-3
    clip: float = 1.0

    elementwise: ClassVar[bool] = False
    stacks: ClassVar[bool] = False
    reads_parameters: ClassVar[bool] = True
    exact_state: ClassVar[tuple[str, ...]] = ("row_var", "col_var")
    lr: ClassVar[float] = 1e-2

    def __post_init__(self) -> None:
        check_beta("momentum", self.momentum)
        check_eps("eps", self.eps)
        check_range("least_scale", self.least_scale, "[0, inf)", "it is a size of parameters.")
        check_range("clip", self.clip, "(0, inf)", "it bounds an update.")

    @property
    def ranks_by_size(self) -> bool:
        return is_zero(self.momentum)

    def init(self, be: Backend, w: Array) -> State:
        zeros = be.zeros_like(w)
        momentum = {"exp_avg": be.zeros_like(w)} if self.momentum != 0 else {}
        # The same names for every shape: of a vector, a coordinate is a row.
        if w.ndim < 2:
            return {**momentum, "row_var": zeros, "col_var": be.total(be.zeros_like(w))}
        rows, cols = (dot(be, zeros, zeros, axis) for axis in (-1, -2))
        return {**momentum, "row_var": rows, "col_var": cols}

    def accumulate(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        k = decay_of(be, t)
        kept = be.scalar(1.0) - k

        def moved(old: Array, new: Array) -> Array:
            return be.flush(be.mul(kept, old) + be.mul(k, new))

        if w.ndim < 2:
            v = moved(state["row_var"], be.mul(g, g))
            state = {**state, "row_var": v}
        else:
            rows, cols = (
                moved(state[name], _mean(be, g, axis))
                for name, axis in (("row_var", -1), ("col_var", -2))
            )
            state = {**state, "row_var": rows, "col_var": cols}
            share = be.scalar(1.0 / max(rows.shape[-2], 1))
            mean = be.xp.maximum(be.mul(be.total(rows, -2), share), be.scalar(self.eps))
            v = be.div(be.mul(rows, cols), mean)
        n = be.div(g, be.xp.maximum(be.sqrt(v), be.scalar(self.eps)))
        size = be.mul(rms(be, n), be.scalar(1.0 / self.clip))
        u = be.div(n, be.xp.maximum(size, be.scalar(1.0)))
        if self.momentum != 0:
            state = {**state, "exp_avg": ema(be, state["exp_avg"], u, self.momentum)}
        return {**state, "u": u}

    def direction(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> Direction:
        u = state["exp_avg"] if self.momentum != 0 else state["u"]
        scale = be.xp.maximum(rms(be, w), be.scalar(self.least_scale))
        return Direction(u, a=u, size=scale)

    def finish(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        return {name: x for name, x in state.items() if name != "u"}

    def rates(
        self, be: Backend, lr: Array, decay: Array, t: Any, size: Array | None = None
    ) -> tuple[Array, Array]:
        relative = be.xp.minimum(lr, be.div(be.scalar(1.0), be.sqrt(be.scalar(t))))
        return be.mul(relative, size), lr


def rms(be: Backend, x: Array) -> Array:
    """The root of the mean square, 0-d."""
    return be.mul(norm(be, x), be.scalar(1.0 / sqrt(max(prod(x.shape), 1))))


def _mean(be: Backend, g: Array, axis: int) -> Array:
    return be.mul(dot(be, g, g, axis), be.scalar(1.0 / max(g.shape[axis], 1)))


def decay_of(be: Backend, t: Any) -> Array:
    """``t^(-0.8)``, 0-d, of the same bits everywhere and for a traced t.

    No two libraries round a power alike. So t^(1/5) is Newton's, from t^(3/16), which is within a
    quarter of it for every count of steps: six iterations are right to rounding.
    """
    t, five = be.scalar(t), be.scalar(0.2)
    eighth = be.sqrt(be.sqrt(be.sqrt(t)))
    y = be.mul(eighth, be.sqrt(eighth))
    for _ in range(6):
        # A sum, of one number, since inductor writes a number that it has not stored out wherever
        # it is used: five times an iteration, and the program would have 5^6 of the first.
        y = be.total(y)
        square = be.mul(y, y)
        y = be.mul(five, be.mul(be.scalar(4.0), y) + be.div(t, be.mul(square, square)))
    y = be.total(y)
    square = be.mul(y, y)
    return be.div(be.scalar(1.0), be.mul(square, square))
