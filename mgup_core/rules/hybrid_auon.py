"""Hybrid-AuON: AuON's brake on orthogonalised matrices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .._typing import Array, State
from ..numerics.backend import Backend
from ..numerics.scalars import ema
from .auon import AuON
from .base import Direction
from .matrix import NSDtype, check_newton_schulz, exact, newton_schulz


@dataclass(frozen=True)
class HybridAuON(AuON):
    """Hybrid-AuON: Maity, AuON: A Linear-time Alternative to Orthogonal Momentum Updates, 2025.

    arXiv 2509.24320, in the form of the author's code: :class:`mgup_core.AuON` with
    ``X = newton_schulz(D)`` in place of D for all but vectors::

        m <- momentum*m + (1 - momentum)*g
        D  = (1 - momentum)*g + momentum*m
        X  = newton_schulz(D), or D for a vector
        u  = X / (sqrt(mean(cosh(gamma_c * X / (|X| + 1e-7))^2)) + 1e-8)                a = D

    The paper has one step of the iteration (``ns_steps=1, normalize=True``), and prints the mean
    without the root that the code takes. MGUP ranks by D, which is elementwise, as with Muon.

    Args:
        momentum, gamma_c, normalize: as :class:`mgup_core.AuON`.
        ns_steps, ns_dtype: settings of the Newton-Schulz iteration; see :class:`mgup_core.Muon`.
            The iteration takes a tensor of more than two axes as a stack of matrices; the norm is
            that of the whole tensor.

    State: ``momentum_buffer`` (m), zeros of the parameter's shape.
    """

    ns_steps: int = 5
    ns_dtype: NSDtype = "float32"

    @property
    def identical(self) -> bool:
        return exact(self)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_newton_schulz(self.ns_steps, self.ns_dtype)

    def direction(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> Direction:
        d = ema(be, state["momentum_buffer"], g, self.momentum)
        if d.ndim < 2:
            return Direction(self._brake(be, d), a=d)
        x = newton_schulz(be, d, steps=self.ns_steps, dtype=self.ns_dtype)
        return Direction(self._brake(be, x), a=d)
