"""What rules of matrices share: (rows, cols), alone or in a stack (..., rows, cols)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

from .._typing import Array
from ..numerics.backend import Backend
from ..numerics.sums import dot
from .base import Rule

NSDtype = Literal["float32", "bfloat16", "exact"]
NS_DTYPES: tuple[str, ...] = get_args(NSDtype)


@dataclass(frozen=True)
class MatrixRule(Rule):
    """A rule whose direction comes from matrix products: bounded (N7), or identical (N9)."""

    elementwise: ClassVar[bool] = False
    matrices: ClassVar[bool] = True

    @property
    def identical(self) -> bool:
        return exact(self)

    def accepts(self, shape: tuple[int, ...], stacked_dims: int = 0) -> str | None:
        if len(shape) >= 2:
            return super().accepts(shape, stacked_dims)
        return (
            f"{type(self).__name__} trains matrices, not shape {tuple(shape)}: "
            "give that parameter to AdamW."
        )


def newton_schulz(
    be: Backend,
    x: Array,
    *,
    coefficients: tuple[float, float, float] = (3.4445, -4.7750, 2.0315),
    steps: int = 5,
    eps: float = 1e-7,
    dtype: NSDtype = "float32",
) -> Array:
    """A matrix near the orthogonal factor of ``x`` (..., rows, cols), by Newton-Schulz (R4).

    Jordan et al., Muon, 2024: ``X <- aX + (bA + cA^2)X`` with ``A = XX^T``, from
    ``x / (|x|_F + eps)``, on the side with fewer rows. Singular values land near 1, not at it.
    """
    xp = be.xp
    tall = x.shape[-2] > x.shape[-1]
    x = xp.matrix_transpose(x) if tall else x
    if dtype == "exact":
        x = be.flush(be.div(x, frobenius(be, x) + be.scalar(eps)))
    else:
        norm = be.sqrt(xp.sum(be.mul(x, x), axis=(-2, -1), keepdims=True))
        x = be.div(x, norm + be.scalar(eps))
    a, b, c = coefficients

    def iterate(x: Array) -> Array:
        for _ in range(steps):
            gram = be.matmul(x, xp.matrix_transpose(x), dtype)
            inner = be.add_product(b, gram, c, gram, gram, dtype)
            x = be.add_product(a, x, 1.0, inner, x, dtype)
        return x

    x = be.products(iterate, x, dtype)
    return xp.matrix_transpose(x) if tall else x


def exact(rule: Rule) -> bool:
    """Whether a rule's matrix products are asked for in the same bits everywhere (N9)."""
    return getattr(rule, "ns_dtype", None) == "exact"


def check_newton_schulz(
    steps: int, dtype: str, coefficients: tuple[float, ...] = (0.0, 0.0, 0.0), least: int = 1
) -> None:
    """Refuse settings that make no iteration."""
    if dtype not in NS_DTYPES:
        raise ValueError(f"ns_dtype={dtype!r} is none of {', '.join(map(repr, NS_DTYPES))}.")
    if len(coefficients) != 3:
        raise ValueError(f"ns_coefficients={coefficients!r} must be three numbers.")
    if not (isinstance(steps, int) and least <= steps < 100):
        raise ValueError(f"ns_steps={steps!r} is outside [{least}, 99].")


def check_out_axis(out_axis: int) -> None:
    """Refuse anything but the first or the last axis of a matrix."""
    if out_axis not in (0, -1):
        raise ValueError(
            f"out_axis={out_axis!r} is neither 0 (outputs are rows, as in torch.nn.Linear) nor -1 "
            "(outputs are columns, as in flax)."
        )


def frobenius(be: Backend, x: Array) -> Array:
    """The norm of each matrix of ``x`` (..., rows, cols), as (..., 1, 1)."""
    return be.sqrt(be.total(dot(be, x, x, -1), -2))
