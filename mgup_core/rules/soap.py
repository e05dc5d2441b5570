"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from .._checks import check_beta, check_range
from .._typing import Array, State
from ..numerics.backend import Backend
from ..numerics.bases import descending, identity, permuted
from ..numerics.scalars import at_first, bias_correction, ema
from .base import Direction, Rule
from .matrix import ProductDtype, check_product_dtype

SIDES = {"left": -2, "right": -1}
"""Of a matrix, and the axis that each turns."""


@dataclass(frozen=True)
class SOAP(Rule):
    """SOAP: Vyas et al., Improving and Stabilizing Shampoo using Adam, 2024, arXiv 2409.11321.

    For an m x n matrix, in the form of the authors' code, with ``g~ = P' g Q``::

        M <- b1*M + (1 - b1)*g                                                      a = M
        V <- b2*V + (1 - b2)*g~*g~
        u  = P (P' M Q / (sqrt(V) + eps)) Q'
        L <- b*L + (1 - b)*g g',   R <- b*R + (1 - b)*g' g
        every ``precondition_frequency`` steps:  P <- Q factor of L P,   Q <- Q factor of R Q

    where the columns of P and Q, and V with them, are first sorted by the eigenvalues that they
    stand for. The first step moves nothing: P and Q become eigenvectors of the first L and R, and
    Adam's steps count from the second, at the rate ``lr * sqrt(1 - b2^s) / (1 - b1^s)``,
    ``s = t - 1``; decay at ``lr``. A side longer than ``max_precondition_dim`` is left as it is,
    and so is a vector: that is Adam. Of an array of more axes the last two are a matrix.

    MGUP ranks by M, which lives in the space of the gradient and is elementwise: the mask is the
    same on every backend, though u holds matrix products and bases that no two libraries have alike
    where eigenvalues are close or 0. With ``product_dtype="exact"`` u is the same too.

    Args:
        b1, b2: decay rates of the two moments, in [0, 1).
        shampoo_beta: b, that of L and R, in [0, 1); None is b2.
        eps: added to the root, > 0.
        precondition_frequency: steps between two turns of the bases, >= 1. In a graph of
            torch.compile every step computes them.
        max_precondition_dim: the longest side that has a basis, >= 0.
        product_dtype: of the matrix products, ``"float32"``, or ``"exact"``: the same bits on every
            backend (N9), also of the bases, which then take as many small steps as a side is long,
            and some twelve times as many at the first.

    State: ``exp_avg`` (M) and ``exp_avg_sq`` (V), zeros of the parameter's shape; ``left`` (L),
    zeros (..., m, m), ``left_basis`` (P), I, and ``right`` and ``right_basis``, (..., n, n), in the
    compute dtype; an unused 0 for a side without a basis.
    """

    b1: float = 0.95
    b2: float = 0.95
    shampoo_beta: float | None = None
    eps: float = 1e-8
    precondition_frequency: int = 10
    max_precondition_dim: int = 10_000
    product_dtype: ProductDtype = "float32"

    elementwise: ClassVar[bool] = False
    matrices: ClassVar[bool] = True
    exact_state: ClassVar[tuple[str, ...]] = ("left", "left_basis", "right", "right_basis")
    lr: ClassVar[float] = 3e-3
    weight_decay: ClassVar[float] = 1e-2

    @property
    def identical(self) -> bool:
        return self.product_dtype == "exact"

    @property
    def bounded_state(self) -> tuple[str, ...]:
        return () if self.identical else ("exp_avg_sq", *self.exact_state)

    def __post_init__(self) -> None:
        check_beta("b1", self.b1)
        check_beta("b2", self.b2)
        if self.shampoo_beta is not None:
            check_beta("shampoo_beta", self.shampoo_beta)
        check_range("eps", self.eps, "(0, inf)", "u would be 0/0 where no gradient ever came.")
        for name, least in (("precondition_frequency", 1), ("max_precondition_dim", 0)):
            value = getattr(self, name)
            if not (isinstance(value, int) and value >= least):
                raise ValueError(f"{name}={value!r} must be an int >= {least}.")
        check_product_dtype(self.product_dtype)

    def _sides(self, x: Array) -> Iterator[tuple[str, int]]:
        """The sides of a matrix that have a basis."""
        for side, axis in SIDES.items():
            if x.ndim >= 2 and x.size and 1 < x.shape[axis] <= self.max_precondition_dim:
                yield side, axis

    def init(self, be: Backend, w: Array) -> State:
        state = {name: be.zeros_like(w) for name in ("exp_avg", "exp_avg_sq")}
        state |= {name: be.total(be.zeros_like(w)) for name in self.exact_state}
        for side, axis in self._sides(w):
            basis = identity(be, w, axis)
            state |= {side: be.zeros_like(basis), f"{side}_basis": basis}
        return state

    def accumulate(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        m, v, turned = state["exp_avg"], state["exp_avg_sq"], self._turned(be, g, state)
        return {
            **state,
            "exp_avg": at_first(be, t, m, ema(be, m, g, self.b1)),
            "exp_avg_sq": at_first(be, t, v, ema(be, v, be.mul(turned, turned), self.b2)),
        }

    def direction(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> Direction:
        m = state["exp_avg"]
        root = be.sqrt(state["exp_avg_sq"]) + be.scalar(self.eps)
        u = be.div(self._turned(be, m, state), root)
        return Direction(self._turned(be, u, state, back=True), a=m)

    def finish(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        beta, state = self.b2 if self.shampoo_beta is None else self.shampoo_beta, dict(state)
        turns = (t > 1) & ((t - 1) % self.precondition_frequency == 0)
        for side, axis in self._sides(g):
            rows = g if axis == -2 else be.xp.matrix_transpose(g)
            square = be.matmul(rows, be.xp.matrix_transpose(rows), self.product_dtype)
            factor = state[side] = ema(be, state[side], square, beta)
            finite = be.xp.where(be.xp.isfinite(factor), factor, be.scalar(0.0))

            def first(carry: tuple[Array, ...], factor: Array = finite) -> tuple[Array, ...]:
                return be.eigenvectors(factor, self.product_dtype), carry[1]

            def later(
                carry: tuple[Array, ...], factor: Array = finite, axis: int = axis
            ) -> tuple[Array, ...]:
                basis, v = carry
                return self._next_basis(be, factor, basis, v, axis)

            carry = state[f"{side}_basis"], state["exp_avg_sq"]
            carry = be.when(turns, later, be.when(t == 1, first, carry))
            state[f"{side}_basis"], state["exp_avg_sq"] = carry
        return state

    def _turned(self, be: Backend, x: Array, state: State, *, back: bool = False) -> Array:
        """``P' x Q``, or back again, ``P x Q'``."""
        for side, axis in self._sides(x):
            basis, transpose = state[f"{side}_basis"], be.xp.matrix_transpose
            if axis == -2:
                x = be.matmul(basis if back else transpose(basis), x, self.product_dtype)
            else:
                x = be.matmul(x, transpose(basis) if back else basis, self.product_dtype)
        return x

    def _next_basis(
        self, be: Backend, factor: Array, basis: Array, v: Array, axis: int
    ) -> tuple[Array, Array]:
        """The basis after one step of orthogonal iteration, and V in its order.

        Args:
            factor: L or R, finite, (..., n, n).
        """
        transpose = be.xp.matrix_transpose
        moved = be.matmul(factor, basis, self.product_dtype)
        values = be.total(be.flush(be.mul(basis, moved)), -2)
        order = descending(be, be.xp.reshape(values, (*basis.shape[:-2], basis.shape[-1])))
        sorted_ = transpose(permuted(be, transpose(moved), order))
        v = permuted(be, v, order) if axis == -2 else transpose(permuted(be, transpose(v), order))
        return be.orthogonal_factor(sorted_, self.product_dtype), v

    def rates(
        self, be: Backend, lr: Array, decay: Array, t: Any, size: Array | None = None
    ) -> tuple[Array, Array]:
        zero = be.scalar(0.0)
        corrected = be.mul(lr, be.sqrt(_before(be, self.b2, t)))
        corrected = be.div(corrected, _before(be, self.b1, t))
        return at_first(be, t, zero, corrected), at_first(be, t, zero, lr)


def _before(be: Backend, beta: float, t: Any) -> Array:
    """``1 - beta^(t - 1)``, 0-d; 1 at the first step."""
    one = be.scalar(1.0)
    if beta == 0:
        return one
    c = be.mul(bias_correction(be, beta, t) - be.scalar(1.0 - beta), be.scalar(1.0 / beta))
    return be.xp.where(c > be.scalar(0.0), c, one)
