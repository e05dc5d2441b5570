"""FISMO: Muon in coordinates whitened by two Fisher factors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..._checks import check_beta, check_range
from ..._typing import Array, State
from ...numerics.backend import Backend
from ...numerics.bases import identity
from ...numerics.scalars import ema
from ..base import Direction
from ..matrix import MatrixRule, NSDtype, check_newton_schulz, frobenius, newton_schulz


def inverse_root(be: Backend, x: Array, steps: int, dtype: str | None = None) -> Array:
    """``x^(-1/2)`` of positive definite matrices (..., n, n), by coupled Newton-Schulz.

    Higham, Functions of Matrices, 2008, section 6.7: ``T = (3I - ZY)/2, Y <- YT, Z <- TZ`` from
    ``Y = x / |x|_F, Z = I``, only products where an eigendecomposition is not to be had. A step
    takes an eigenvalue's share of the norm up by 9/4, so that 25 are enough for 1e-7 of it.
    """
    size = frobenius(be, x)
    eye = identity(be, x, -1)
    half, three = be.scalar(0.5), be.mul(be.scalar(3.0), eye)

    def step(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        y, z = carry
        turn = be.mul(half, three - be.matmul(z, y, dtype))
        return be.matmul(y, turn, dtype), be.matmul(turn, z, dtype)

    _, z = be.loop(steps, step, (be.div(x, size), eye))
    return be.div(z, be.sqrt(size))


@dataclass(frozen=True)
class FISMO(MatrixRule):
    """FISMO: Xu, Yan and Zhang, 2026, arXiv 2601.21750.

    For an m x n matrix, with ``sym(X) = (X + X')/2``::

        L  = g Q^-1 g' / n + damping*(tr P / m)*I,   P <- b2*P + (1 - b2)*L,   P <- sym(m*P / tr P)
        R  = g' P^-1 g / m + damping*(tr Q / n)*I,   Q <- b2*Q + (1 - b2)*R,   Q <- sym(n*Q / tr Q)
        M <- b1*M + (1 - b1)*P^-1/2 g Q^-1/2
        u  = P^-1/2 polar(M) Q^-1/2                                        a = P^-1/2 M Q^-1/2

    where R takes the new P, and ``polar`` is Muon's Newton-Schulz iteration, as in practice, or the
    exact factor to rounding with ``ns_coefficients=(1.875, -1.25, 0.375), ns_steps=40``.

    Experimental: three second-hand accounts agree on this, and none gives the defaults, which are
    this library's choice. Inverse roots come from a coupled Newton-Schulz iteration, not from an
    eigendecomposition, which not every backend has. MGUP ranks by a: M lives in the whitened
    coordinates, so that ``M * g`` would mix two spaces. a holds matrix products: unlike Muon's,
    masks may differ between backends where scores differ by a rounding, but not with exact ones.

    Args:
        b1, b2: decay rates of the momentum and of the factors, in [0, 1).
        damping: >= 0; it keeps the factors invertible where the gradients have entries below about
            1, since it is relative to P and Q and not to L and R.
        ns_coefficients, ns_steps, ns_dtype: settings of the polar factor's iteration; see
            :class:`mgup_core.Muon`. ``ns_dtype="exact"`` holds for all products.
        root_steps: steps of the iteration for the inverse roots, in [1, 99].

    State: ``momentum_buffer`` (M), zeros of the parameter's shape; ``left`` (P) and ``left_root``
    (P^-1/2), (..., m, m), and ``right`` and ``right_root``, (..., n, n), from I, in the compute
    dtype.
    """

    b1: float = 0.95
    b2: float = 0.95
    damping: float = 1e-3
    ns_coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315)
    ns_steps: int = 5
    ns_dtype: NSDtype = "float32"
    root_steps: int = 25

    experimental: ClassVar[bool] = True
    exact_state: ClassVar[tuple[str, ...]] = ("left", "right", "left_root", "right_root")
    counts_steps: ClassVar[bool] = False

    @property
    def _word(self) -> str | None:
        """Of the products outside of the polar factor, which are never narrow."""
        return "exact" if self.identical else None

    @property
    def bounded_state(self) -> tuple[str, ...]:
        every = ("momentum_buffer", "left", "right", "left_root", "right_root")
        return () if self.identical else every

    def __post_init__(self) -> None:
        check_beta("b1", self.b1)
        check_beta("b2", self.b2)
        check_range("damping", self.damping, "[0, inf)", "it keeps the factors invertible.")
        check_newton_schulz(self.ns_steps, self.ns_dtype, self.ns_coefficients)
        if not (isinstance(self.root_steps, int) and 1 <= self.root_steps < 100):
            raise ValueError(f"root_steps={self.root_steps!r} is outside [1, 99].")

    def init(self, be: Backend, w: Array) -> State:
        return {
            "momentum_buffer": be.zeros_like(w),
            "left": identity(be, w, -2),
            "right": identity(be, w, -1),
            "left_root": identity(be, w, -2),
            "right_root": identity(be, w, -1),
        }

    def accumulate(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        word = self._word
        half = be.matmul(g, state["right_root"], word)
        left = self._factor(be, state["left"], half)
        left_root = inverse_root(be, left, self.root_steps, word)
        half = be.matmul(be.xp.matrix_transpose(g), left_root, word)
        right = self._factor(be, state["right"], half)
        right_root = inverse_root(be, right, self.root_steps, word)
        white = be.matmul(be.matmul(left_root, g, word), right_root, word)
        return {
            "momentum_buffer": ema(be, state["momentum_buffer"], white, self.b1),
            "left": left,
            "right": right,
            "left_root": left_root,
            "right_root": right_root,
        }

    def _factor(self, be: Backend, old: Array, half: Array) -> Array:
        """The factor after it took in ``half half'``, scaled to the trace of I.

        Args:
            old: the factor before, (..., n, n).
            half: the gradient times the root of the other factor, (..., n, k).
        """
        n, k = half.shape[-2:]
        eye = identity(be, old, -1)

        def mean_of_diagonal(x: Array) -> Array:
            trace = be.total(be.total(be.mul(x, eye), -1), -2)
            return be.mul(trace, be.scalar(1.0 / max(n, 1)))

        square = be.matmul(half, be.xp.matrix_transpose(half), self._word)
        damped = be.mul(be.mul(be.scalar(self.damping), mean_of_diagonal(old)), eye)
        new = ema(be, old, be.mul(square, be.scalar(1.0 / max(k, 1))) + damped, self.b2)
        new = be.div(new, mean_of_diagonal(new))
        return be.mul(be.scalar(0.5), new + be.xp.matrix_transpose(new))

    def direction(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> Direction:
        m = state["momentum_buffer"]
        polar = newton_schulz(
            be,
            m,
            coefficients=self.ns_coefficients,
            steps=self.ns_steps,
            dtype=self.ns_dtype,
        )

        def coloured(x: Array) -> Array:
            half = be.matmul(state["left_root"], x, self._word)
            return be.matmul(half, state["right_root"], self._word)

        return Direction(coloured(polar), a=coloured(m))
