"""Steps without their radial part, for weights whose scale does not matter (AdamP, SGDP)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from .._checks import axis_refusal, check_eps, check_range
from .._typing import Array
from ..numerics.backend import Backend
from ..numerics.sums import dots_along
from .base import Direction, Rule

FREE, ROWS, WHOLE = 0.0, 1.0, 2.0  # views are numbers, so that a traced step can choose one


@dataclass(frozen=True)
class Projected(Rule):
    """The base of AdamP and SGDP: Heo et al., 2020, arXiv 2006.08217, as in clovaai/AdamP.

    A view of ``w`` is its *rows*, one for each index of ``out_axis``, or the *whole* of it::

        cos = |<g, w>| / (max(|g|, eps) * max(|w|, eps))           for each row of the view
        if max cos < delta / sqrt(row length):                     rows are tried first
            n = w / (|w| + eps);   p <- p - n<n, p>;   decay <- wd_ratio * decay

    Vectors and scalars are never projected.
    """

    eps: float = 1e-8
    delta: float = 0.1
    wd_ratio: float = 0.1
    nesterov: bool = False
    out_axis: int = 0

    elementwise: ClassVar[bool] = False
    stacks: ClassVar[bool] = False
    reads_parameters: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_eps("eps", self.eps)
        check_range("delta", self.delta, "[0, inf)", "0 projects nothing.")
        check_range("wd_ratio", self.wd_ratio, "[0, inf)", "1 decays all parameters alike.")

    def accepts(self, shape: tuple[int, ...], stacked_dims: int = 0) -> str | None:
        name = f"{type(self).__name__}'s out_axis"
        axis = axis_refusal(name, self.out_axis, shape) if len(shape) > 1 else None
        return axis or super().accepts(shape, stacked_dims)

    def project(self, be: Backend, p: Array, g: Array, w: Array) -> tuple[Array, Array | None]:
        """(the projected p, the view that was projected: 0-d, or ``None`` for a vector)."""
        if w.ndim < 2:
            return p, None
        where, rows = be.xp.where, w.shape[self.out_axis]
        gw, gg, ww = (dots_along(be, x, y, self.out_axis) for x, y in ((g, w), (g, g), (w, w)))

        def invariant(gw: Array, gg: Array, ww: Array, length: int) -> Array:
            norms = (be.xp.maximum(be.sqrt(x), be.scalar(self.eps)) for x in (gg, ww))
            cosines = be.div(be.xp.abs(gw), be.mul(*norms))
            below = cosines < be.scalar(self.delta / math.sqrt(max(length, 1)))
            return be.total(where(below, be.scalar(0.0), be.scalar(1.0))) < be.scalar(0.5)

        size = math.prod(w.shape)
        in_rows = invariant(gw, gg, ww, size // max(rows, 1))
        in_whole = invariant(be.total(gw), be.total(gg), be.total(ww), size)
        view = where(in_whole, be.scalar(WHOLE), be.scalar(FREE))
        view = where(in_rows, be.scalar(ROWS), view)
        return p - self._radial(be, p, w, view), view

    def _radial(self, be: Backend, x: Array, w: Array, view: Array) -> Array:
        """``n<n, x>`` in a view; 0 if no view is projected."""
        where, in_rows = be.xp.where, view == be.scalar(ROWS)
        squares = dots_along(be, w, w, self.out_axis)
        squares = where(in_rows, squares, be.total(squares))
        n = be.div(w, be.sqrt(squares) + be.scalar(self.eps))
        inner = dots_along(be, n, x, self.out_axis)
        inner = where(in_rows, inner, be.total(inner))
        return where(view > be.scalar(FREE), be.mul(n, inner), be.scalar(0.0))

    def decay_rate(self, be: Backend, lr: Array, view: Array | None, factor: float = 1.0) -> Array:
        """The rate of the decay: ``lr * factor``, times ``wd_ratio`` where p was projected."""
        if view is None:
            return be.mul(lr, be.scalar(factor))
        tame, full = be.scalar(self.wd_ratio * factor), be.scalar(factor)
        return be.mul(lr, be.xp.where(view > be.scalar(FREE), tame, full))

    def constrain(
        self, be: Backend, delta: Array, w: Array, rate: Array, direction: Direction
    ) -> Array:
        """The step without the radial part that the multiplier brought back, in the same view."""
        if direction.size is None:
            return delta
        brought = delta - be.mul(rate, direction.u)
        return delta - self._radial(be, brought, w, direction.size)
