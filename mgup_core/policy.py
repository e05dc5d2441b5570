"""The policies: score, rank, differentiate, safeguard (clauses P1 to P13).

A policy turns an alignment operand ``a`` and a gradient ``g`` into a multiplier with two values:
``high`` on the coordinates it selects, ``low`` on the rest. MGUP: Chang and Yuan, NeurIPS 2025,
Algorithms 1 and 2, eq. (3), Remark 3.1.
"""

from __future__ import annotations

import functools
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, get_args

import numpy as np

from ._checks import check_range
from ._typing import Array, Split
from .numerics.backend import Backend, backend_for
from .selection.bisection import device
from .selection.reference import slices, top_count

Ties = Literal["damped", "aligned"]
"""What a score of exactly 0 takes in sign mode: gamma, as in the paper, or alpha (P8)."""


def score(a: Array, g: Array, *, be: Backend | None = None) -> Array:
    """The canonical score ``s = a * g`` in the compute dtype (P1, P2).

    Args:
        a: the alignment operand, real floating, any shape.
        g: the raw gradient, of the same shape.

    Returns:
        float64 if ``a`` is float64, else float32; the shape of ``a``. -0 and |s| < 2^-125 are +0
        (2^-1021 in float64); NaN stays NaN, which ranks below every number.
    """
    be = be or backend_for(a)
    return be.flush(be.mul(be.cast(a, be.dtype), be.cast(g, be.dtype)), be.tiny_score)


def safeguard(mask: Array, scores: Array) -> Array:
    """``mask`` without the scores that are never amplified, NaN and -inf (P7).

    >>> safeguard(np.array([True, True, True]), np.array([np.inf, -np.inf, np.nan]))
    array([ True, False, False])
    """
    return mask & (scores > -math.inf)


def differentiate(mask: Array, alpha: Any, gamma: Any, *, dtype: Any = None) -> Array:
    """The multiplier ``alpha`` where ``mask``, else ``gamma`` (P6); float32 unless ``dtype``.

    >>> differentiate(np.array([True, False]), 2.0, 0.5)
    array([2. , 0.5], dtype=float32)
    """
    xp = backend_for(mask).xp
    be = Backend(xp, dtype or xp.float32, device(mask))
    return xp.where(mask, be.scalar(alpha), be.scalar(gamma))


def _check_factors(alpha: Any, gamma: Any) -> None:
    check_range("alpha", alpha, "[1, inf)", "the selected coordinates are never damped.")
    check_range(
        "gamma",
        gamma,
        "(0, 1]",
        "the rest keeps a smaller step, never zero, since zeroing it can diverge; give gamma "
        "a value in that range (mode='cautious', the policy Cautious, is the zeroing baseline).",
    )
    if isinstance(gamma, (int, float)) and np.float32(gamma) == 0.0:
        raise ValueError(f"gamma={gamma!r} is zero in float32: give it a value near tau.")


class Context(NamedTuple):
    """What a policy of one's own sees besides the scores: the same on every backend (P13)."""

    t: Any
    """The parameter's step, from 1: an int or a 0-d integer array."""
    key: int
    """The parameter's number, from 0 to 2^32 - 1: see :func:`parameter_key`."""
    index: Array
    """The flat index (C order) of each score in the parameter, an integer array (slices, d)."""
    u: Array
    """The base optimizer's direction, in the compute dtype, (slices, d)."""


def parameter_key(name: Any) -> int:
    """A parameter's number in a :class:`Context`: the CRC-32 of its name in UTF-8 (P13).

    >>> parameter_key("blocks.0.weight")
    1710541706
    """
    return zlib.crc32(str(name).encode())


@dataclass(frozen=True)
class Policy:
    """The base of all policies: makes a :class:`Split` from canonical scores.

    A policy of one's own is a frozen dataclass that overrides :meth:`decide` (P13). It is stepped
    on whole arrays: no fast path knows what it selects.
    """

    ranks: ClassVar[bool] = False
    """Whether the policy selects the K largest scores; otherwise it selects those above zero."""
    counts: ClassVar[bool] = False
    """Whether the factors depend on how many scores are positive."""
    selects_zero: ClassVar[bool] = False
    """Whether a policy that does not rank selects scores of exactly 0 as well (P8)."""

    @property
    def static(self) -> Policy:
        """What decides a program: the policy without the numbers that each step gives it (R7).

        >>> MGUP(0.25, alpha=1.5).static == MGUP(0.5).static
        True
        """
        return self

    def top(self, d: int) -> int:
        """K for a slice of d coordinates, if the policy ranks (P3)."""
        raise NotImplementedError

    def factors(self, be: Backend, positive: Array | None, d: int) -> tuple[Array, Array]:
        """(high, low) in the compute dtype, each 0-d or (slices, 1).

        Args:
            positive: the count of positive scores (slices, 1), if the policy ``counts``.
            d: the length of a slice.
        """
        raise NotImplementedError

    @property
    def opaque(self) -> bool:
        """Whether :meth:`decide` alone says what is selected, not ranks, counts and factors (P13).

        >>> MGUP().opaque
        False
        """
        return type(self).decide is not Policy.decide

    def decide(self, be: Backend, scores: Array, context: Context | None = None) -> Split:
        """The split of canonical ``scores`` (slices, d), or of one device's part of them.

        Args:
            context: what else a policy of one's own may look at, which is given whole slices and
                always a context; no other looks at it (P13).
        """
        d = be.length(scores)
        if self.ranks:
            mask = safeguard(be.rank_mask(scores, self.top(d)), scores)
        elif self.selects_zero:
            mask = scores >= 0.0
        else:
            mask = scores > 0.0
        high, low = self.factors(be, be.count(mask) if self.counts else None, d)
        return Split(mask, high, low)

    def multiplier(self, a: Array, g: Array, *, stacked_dims: int = 0) -> Array:
        """The multiplier of each coordinate.

        Args:
            a: the alignment operand, real floating, any shape.
            g: the raw gradient, of the same shape.
            stacked_dims: how many leading axes are slices of their own (P5).

        Returns:
            An array of the shape of ``a``: float64 if ``a`` is, else float32.

        >>> MGUP().multiplier(np.array([1.0, 1.0]), np.array([2.0, -1.0]))
        array([2. , 0.5])
        """
        be = backend_for(a)
        with np.errstate(all="ignore"):
            rows = slices(score(a, g, be=be), be.xp, stacked_dims)
            split = self.decide(be, rows)
            phi = be.xp.where(split.mask, split.high, split.low)
        return be.xp.reshape(phi, a.shape)


@functools.lru_cache(maxsize=64)
def _bare(kind: Callable[..., Policy], **static: Any) -> Policy:
    """A policy of default numbers."""
    return kind(**static)


@dataclass(frozen=True)
class MGUP(Policy):
    """Rank mode: the top fraction ``tau`` of each slice steps ``alpha``, the rest ``gamma`` (P6).

    Args:
        tau: share of coordinates selected, in [0, 1]; static.
        alpha: factor of the selected, finite, >= 1; default ``1 / tau``.
        gamma: factor of the rest, in (0, 1]; default ``tau``.

    With the defaults the mean multiplier is 1.25 (P12): compare at tuned learning rates. For large
    models the MGUP authors advise alpha in [1.0, 1.5] and gamma in [0.5, 1.0].

    Raises:
        ValueError: naming the argument, its value, the allowed range and the remedy.

    >>> MGUP(tau=0.25)
    MGUP(tau=0.25, alpha=4.0, gamma=0.25)
    """

    tau: float = 0.5
    alpha: Any = None
    gamma: Any = None
    ranks: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_range("tau", self.tau, "[0, 1]", "it is the share of coordinates selected.")
        if self.alpha is None:
            # With tau = 0 nothing is selected, and alpha is never used.
            object.__setattr__(self, "alpha", 1.0 / self.tau if self.tau else 1.0)
        if self.gamma is None:
            if np.float32(self.tau) == 0.0:
                raise ValueError(
                    f"tau={self.tau!r} selects nothing, and gamma, which is tau by default, would "
                    "be zero: give gamma a value in (0, 1], or tau one above 0."
                )
            object.__setattr__(self, "gamma", self.tau)
        _check_factors(self.alpha, self.gamma)

    @property
    def static(self) -> Policy:
        return _bare(type(self))  # type: ignore[arg-type]

    def top(self, d: int) -> int:
        return top_count(self.tau, d)

    def factors(self, be: Backend, positive: Array | None, d: int) -> tuple[Array, Array]:
        return be.scalar(self.alpha), be.scalar(self.gamma)


@dataclass(frozen=True)
class SignMGUP(Policy):
    """Cautious-MGUP (eq. 3): ``alpha`` where the score is positive, else ``gamma`` (P8).

    Args:
        alpha: factor of the selected, finite, >= 1.
        gamma: factor of the rest, in (0, 1].
        ties: the factor of a score of 0: ``"damped"`` is gamma (as in the paper, strictly > 0),
            ``"aligned"`` is alpha (as in the authors' code, >= 0).
    """

    alpha: Any = 2.0
    gamma: Any = 0.5
    ties: Ties = "damped"

    def __post_init__(self) -> None:
        _check_factors(self.alpha, self.gamma)
        if self.ties not in get_args(Ties):
            raise ValueError(f"ties={self.ties!r} is neither 'damped' (paper) nor 'aligned'.")

    @property
    def static(self) -> Policy:
        return _bare(type(self), ties=self.ties)  # type: ignore[arg-type]

    @property
    def selects_zero(self) -> bool:  # type: ignore[override]
        return self.ties == "aligned"

    def factors(self, be: Backend, positive: Array | None, d: int) -> tuple[Array, Array]:
        return be.scalar(self.alpha), be.scalar(self.gamma)


def _mean(be: Backend, positive: Array | None, d: int) -> Array:
    """The share of positive scores: an exact count, then one division (P9)."""
    return be.div(be.cast(positive, be.dtype), be.scalar(max(d, 1)))


@dataclass(frozen=True)
class AdaptiveSignMGUP(Policy):
    """``1/tau_t`` where the score is positive, else ``tau_t``, its measured share (P9).

    Args:
        tau_min: floor of ``tau_t = clip(mean(s > 0), tau_min, 1)``, in (0, 1].
    """

    tau_min: float = 0.01
    counts: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_range("tau_min", self.tau_min, "(0, 1]", "it bounds 1/tau_t.")

    def factors(self, be: Backend, positive: Array | None, d: int) -> tuple[Array, Array]:
        share = be.xp.maximum(_mean(be, positive, d), be.scalar(self.tau_min))
        return be.div(be.scalar(1.0), share), share


@dataclass(frozen=True)
class Cautious(Policy):
    """The cautious baseline: ``1[s > 0] / max(mean(s > 0), 1e-3)``, zero on the rest (P10).

    Liang et al., Cautious Optimizers, arXiv 2411.16085, in the form of C-Optim and timm. For
    comparison only: a zero step on misaligned coordinates can keep an optimizer from its optimum
    for ever (``examples/counterexample.py``).
    """

    counts: ClassVar[bool] = True

    def factors(self, be: Backend, positive: Array | None, d: int) -> tuple[Array, Array]:
        share = be.xp.maximum(_mean(be, positive, d), be.scalar(1e-3))
        return be.div(be.scalar(1.0), share), be.scalar(0.0)
