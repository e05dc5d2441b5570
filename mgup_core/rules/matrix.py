"""What rules of matrices share: (rows, cols), alone or in a stack (..., rows, cols)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice, repeat
from typing import Any, ClassVar, Literal, get_args

from .._typing import Array
from ..numerics.backend import Backend
from ..numerics.sums import dot
from .base import Rule

NSDtype = Literal["float32", "bfloat16", "exact"]
NS_DTYPES: tuple[str, ...] = get_args(NSDtype)

ProductDtype = Literal["float32", "exact"]
PRODUCT_DTYPES: tuple[str, ...] = get_args(ProductDtype)

NSForm = Literal["direct", "gram"]
NS_FORMS: tuple[str, ...] = get_args(NSForm)
RESTART = 2
"""The number of steps after which the Gram form forms the product anew, as published."""

Triple = tuple[float, float, float]
NSCoefficients = Triple | Literal["classic", "polar_express"]
CLASSIC: Triple = (3.4445, -4.7750, 2.0315)
COEFFICIENTS: dict[str, tuple[Triple, ...]] = {
    "classic": (CLASSIC,),
    "polar_express": (
        (8.28721201814563, -23.595886519098837, 17.300387312530933),
        (4.107059111542203, -2.9478499167379106, 0.5448431082926601),
        (3.9486908534822946, -2.908902115962949, 0.5518191394370137),
        (3.3184196573706015, -2.488488024314874, 0.51004894012372),
        (2.300652019954817, -1.6689039845747493, 0.4188073119525673),
        (1.891301407787398, -1.2679958271945868, 0.37680408948524835),
        (1.8750014808534479, -1.2500016453999487, 0.3750001645474248),
        (1.875, -1.25, 0.375),
    ),
}
"""Of each step of an iteration, the last for all that follow.

``"classic"`` is Keller Jordan's, the same at every step; singular values land near 1, not at it.
``"polar_express"`` is that of Amsel, Persson, Musco and Gower, 2025, arXiv 2505.16932, Algorithm 1:
the best odd quintics for singular values from 1e-3 to 1, before its safety factor.
"""
SAFETY = 1.01
"""By which Polar Express divides its arguments, the last step's excepted, and lengthens a norm."""


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
    coefficients: NSCoefficients = CLASSIC,
    steps: int = 5,
    eps: float = 1e-7,
    dtype: NSDtype = "float32",
    form: NSForm = "direct",
) -> Array:
    """A matrix near the orthogonal factor of ``x`` (..., rows, cols), by Newton-Schulz (R4).

    Jordan et al., Muon, 2024: ``X <- aX + (bA + cA^2)X`` with ``A = XX^T``, from
    ``x / (|x|_F + eps)``, on the side with fewer rows.

    Args:
        coefficients: (a, b, c) of every step, or the name of :data:`COEFFICIENTS`.
        form: ``"gram"`` iterates on ``XX^T`` alone and multiplies X at the end (Dao AI Lab, Gram
            Newton-Schulz, 2026): fewer products where one side is much longer, and in exact
            arithmetic the same.
    """
    xp = be.xp
    tall = x.shape[-2] > x.shape[-1]
    x = xp.matrix_transpose(x) if tall else x
    if dtype == "exact":
        norm = frobenius(be, x)
    else:
        norm = be.sqrt(xp.sum(be.mul(x, x), axis=(-2, -1), keepdims=True))
    if coefficients == "polar_express":
        norm = be.mul(norm, be.scalar(SAFETY))
    x = be.div(x, norm + be.scalar(eps))
    x = be.flush(x) if dtype == "exact" else x
    each = _each_step(coefficients, steps)

    def iterate(x: Array) -> Array:
        for a, b, c in each:
            gram = be.matmul(x, xp.matrix_transpose(x), dtype)
            inner = be.add_product(b, gram, c, gram, gram, dtype)
            x = be.add_product(a, x, 1.0, inner, x, dtype)
        return x

    def iterate_gram(x: Array) -> Array:
        for part in filter(None, (each[:RESTART], each[RESTART:])):
            share, factor = _gram_factor(be, x, part, dtype)
            x = be.add_product(share, x, 1.0, factor, x, dtype)
        return x

    x = be.products(iterate_gram if form == "gram" else iterate, x, dtype)
    return xp.matrix_transpose(x) if tall else x


def _gram_factor(
    be: Backend, x: Array, each: Sequence[Triple], dtype: NSDtype
) -> tuple[float, Array]:
    """(s, P): the steps lead from x to ``s*x + P @ x``.

    Every factor is a polynomial in ``XX^T``, and so they commute.
    """
    gram = be.matmul(x, be.xp.matrix_transpose(x), dtype)
    share, factor = 1.0, None
    for i, (a, b, c) in enumerate(each):
        inner = be.add_product(b, gram, c, gram, gram, dtype)  # the step is a*x + inner @ x
        scaled = inner if share == 1.0 else be.mul(be.scalar(share), inner)
        if factor is None:
            factor = scaled
        else:
            factor = be.add_product(a, factor, 1.0, inner, factor, dtype) + scaled
        share *= a
        if i + 1 < len(each):
            half = be.add_product(a, gram, 1.0, inner, gram, dtype)
            gram = be.add_product(a, half, 1.0, half, inner, dtype)
    assert factor is not None  # there is a step
    return share, factor


def _each_step(coefficients: NSCoefficients, steps: int) -> list[Triple]:
    """The coefficients of each step."""
    if not isinstance(coefficients, str):
        return [coefficients] * steps
    named = COEFFICIENTS[coefficients]
    if coefficients == "polar_express":
        safe = ((a / SAFETY, b / SAFETY**3, c / SAFETY**5) for a, b, c in named[:-1])
        named = (*safe, named[-1])
    return list(islice(chain(named, repeat(named[-1])), steps))


def coefficients_of(given: Any) -> Any:
    """What a caller gave as a name or as a tuple, whatever sequence it was.

    Raises:
        TypeError: for what is neither.
    """
    if isinstance(given, str):
        return given
    if not isinstance(given, Sequence):
        raise TypeError(f"ns_coefficients={given!r} is no tuple of numbers, and no name.")
    return tuple(given)


def exact(rule: Rule) -> bool:
    """Whether a rule's matrix products are asked for in the same bits everywhere (N9)."""
    return getattr(rule, "ns_dtype", None) == "exact"


def check_newton_schulz(
    steps: int, dtype: str, coefficients: Any = CLASSIC, least: int = 1, form: str = "direct"
) -> None:
    """Refuse settings that make no iteration."""
    if form not in NS_FORMS:
        raise ValueError(f"ns_form={form!r} is none of {', '.join(map(repr, NS_FORMS))}.")
    if dtype not in NS_DTYPES:
        raise ValueError(f"ns_dtype={dtype!r} is none of {', '.join(map(repr, NS_DTYPES))}.")
    word = isinstance(coefficients, str)
    if not (coefficients in COEFFICIENTS if word else len(coefficients) == 3):
        raise ValueError(
            f"ns_coefficients={coefficients!r} must be three numbers, or one of "
            f"{', '.join(map(repr, COEFFICIENTS))}."
        )
    if not (isinstance(steps, int) and least <= steps < 100):
        raise ValueError(f"ns_steps={steps!r} is outside [{least}, 99].")


def check_product_dtype(product_dtype: str) -> None:
    """Refuse what no product is made in."""
    if product_dtype not in PRODUCT_DTYPES:
        words = ", ".join(map(repr, PRODUCT_DTYPES))
        raise ValueError(f"product_dtype={product_dtype!r} is none of {words}.")


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
