"""Delta Momentum, from Nested Learning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..._checks import check_beta, check_eps
from ..._typing import Array, State
from ...numerics.backend import Backend
from ..base import Direction
from ..matrix import (
    MatrixRule,
    ProductDtype,
    check_out_axis,
    check_product_dtype,
    frobenius,
)


@dataclass(frozen=True)
class DeltaMomentum(MatrixRule):
    """Delta Momentum: Behrouz et al., Nested Learning, 2025, arXiv 2512.24695, eq. 48 and 49.

    Momentum as an associative memory learned by the delta rule: before it takes in a gradient, it
    forgets along the directions that the gradient has::

        k  = g / (|g| + eps)                       (Frobenius; k = g if not ``normalize``)
        m <- momentum*m - m (k' k) + g,   u = m                                         a = u

    for an (outputs, inputs) matrix; ``m <- momentum*m - (k k') m + g`` for (inputs, outputs).

    Experimental: no official code is known. The paper writes ``m <- m(momentum*I - g'g) - lr*g``
    with no scale for g: m diverges where g keeps a singular value above ``sqrt(1 + momentum)``, and
    forgets nothing while g is small. The normalisation is this library's choice, as in linear
    attention, where keys of a delta rule have length 1: ``|k| <= 1``, so that nothing which m holds
    grows, whatever the scale of g, while the gradient taken in keeps its scale. ``normalize=False``
    is the equation as printed. The learning rate stands outside of m, which is the same at a
    constant rate, and the paper's preconditioner P is I.

    MGUP ranks by the momentum, whose history holds matrix products: unlike Muon's, masks may differ
    between backends where scores differ by a rounding, but not with exact ones.

    Args:
        momentum: in [0, 1).
        normalize: whether gradients are scaled to length 1 before they erase.
        eps: added to their length, >= 0.
        out_axis: 0 for weights (outputs, inputs), -1 for (inputs, outputs), as in flax.
        product_dtype: of the matrix products, ``"float32"``, or ``"exact"`` for the same bits on
            every backend (N9), at several times the cost.

    State: ``momentum_buffer`` (m), zeros of the parameter's shape. A vector is a matrix of one row.
    """

    momentum: float = 0.9
    normalize: bool = True
    eps: float = 1e-8
    out_axis: int = 0
    product_dtype: ProductDtype = "float32"

    experimental: ClassVar[bool] = True
    counts_steps: ClassVar[bool] = False

    @property
    def identical(self) -> bool:
        return self.product_dtype == "exact"

    @property
    def bounded_state(self) -> tuple[str, ...]:
        return () if self.identical else ("momentum_buffer",)

    def __post_init__(self) -> None:
        check_beta("momentum", self.momentum)
        check_eps("eps", self.eps)
        check_out_axis(self.out_axis)
        check_product_dtype(self.product_dtype)

    def accepts(self, shape: tuple[int, ...], stacked_dims: int = 0) -> str | None:
        return None if len(shape) == 1 else super().accepts(shape, stacked_dims)

    def init(self, be: Backend, w: Array) -> State:
        return {"momentum_buffer": be.zeros_like(w)}

    def accumulate(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        m = state["momentum_buffer"]
        kept = be.mul(be.scalar(self.momentum), m)
        return {"momentum_buffer": be.flush(kept - self._erased(be, m, g) + g)}

    def _erased(self, be: Backend, m: Array, g: Array) -> Array:
        """What m holds along the directions of g."""
        xp = be.xp
        flat = g.ndim == 1
        m, k = (xp.reshape(x, (1, -1)) if flat else x for x in (m, g))
        if self.normalize:
            k = be.div(k, frobenius(be, k) + be.scalar(self.eps))
        turned = self.out_axis == -1 and not flat
        m, k = (xp.matrix_transpose(x) if turned else x for x in (m, k))
        other, word = xp.matrix_transpose(k), self.product_dtype
        if k.shape[-2] <= k.shape[-1]:  # the smaller square
            erased = be.matmul(be.matmul(m, other, word), k, word)
        else:
            erased = be.matmul(m, be.matmul(other, k, word), word)
        erased = xp.matrix_transpose(erased) if turned else erased
        return xp.reshape(erased, g.shape)

    def direction(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> Direction:
        m = state["momentum_buffer"]
        return Direction(m, a=m)
