"""Mistakes in the rules (R1 to R4)."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from mgup_core import SGD, AdamW, Backend, Direction, Lion, Muon, bias_correction, ema
from mgup_core.rules import matrix, muon

from .base import Mutant, instead_of

Array = Any
ADAMW = (AdamW, "direction")
_right_rates = AdamW.rates
_right_muon = Muon.direction
_right_schulz = matrix.newton_schulz


def _moments(self: AdamW, be: Backend, state: Any, t: int) -> tuple[Array, Array, Array, Array]:
    m, v = state["exp_avg"], state["exp_avg_sq"]
    if self.form != "standard":
        return m, v, be.scalar(1.0), be.scalar(1.0)
    return m, v, bias_correction(be, self.b1, t), bias_correction(be, self.b2, t)


@instead_of(ADAMW, clause="R1")
def eps_before_correction(self: AdamW, be: Backend, g: Array, w: Array, state: Any, t: int) -> Any:
    """AdamW's eps is added before the bias correction."""
    m, v, c1, c2 = _moments(self, be, state, t)
    u = (m * (1 / c1)) / ((np.sqrt(v) + be.scalar(self.eps)) * np.sqrt(1 / c2))
    return Direction(u, u)


@instead_of(ADAMW, clause="R1")
def eps_in_root(self: AdamW, be: Backend, g: Array, w: Array, state: Any, t: int) -> Any:
    """AdamW divides by sqrt(v + eps)."""
    m, v, c1, c2 = _moments(self, be, state, t)
    u = (m * (1 / c1)) / np.sqrt(v * (1 / c2) + be.scalar(self.eps))
    return Direction(u, u)


@instead_of(ADAMW, clause="N2")
def divided(self: AdamW, be: Backend, g: Array, w: Array, state: Any, t: int) -> Any:
    """AdamW's moments are divided by c, not multiplied by 1/c."""
    m, v, c1, c2 = _moments(self, be, state, t)
    u = (m / c1) / (np.sqrt(v / c2) + be.scalar(self.eps))
    return Direction(u, u)


@instead_of(ADAMW, clause="R1")
def uncorrected(self: AdamW, be: Backend, g: Array, w: Array, state: Any, t: int) -> Any:
    """AdamW's bias is not corrected."""
    u = state["exp_avg"] / (np.sqrt(state["exp_avg_sq"]) + be.scalar(self.eps))
    return Direction(u, u)


@instead_of((AdamW, "rates"), clause="R1p")
def forms_swapped(self: AdamW, *given: Any) -> tuple[Array, Array]:
    """The paper's form decays with eta, the published one with eta_t."""
    other: Any = {"paper": "published", "published": "paper"}.get(self.form, self.form)
    return _right_rates(dataclasses.replace(self, form=other), *given)


@instead_of((Lion, "direction"), clause="R2")
def lion_late(self: Lion, be: Backend, g: Array, w: Array, state: Any, t: int) -> Any:
    """Lion's direction is read off the new momentum."""
    u = np.sign(ema(be, self.finish(be, g, w, state, t)["exp_avg"], g, self.b1))
    return Direction(u, u)


@instead_of((Lion, "direction"), clause="R2")
def lion_zero(self: Lion, be: Backend, g: Array, w: Array, state: Any, t: int) -> Any:
    """Lion's sign(0) is 1."""
    b = ema(be, state["exp_avg"], g, self.b1)
    u = np.where(b < 0, be.scalar(-1.0), be.scalar(1.0))
    return Direction(u, u)


@instead_of((SGD, "accumulate"), clause="R3")
def sgd_first_dampened(self: SGD, be: Backend, g: Array, w: Array, state: Any, t: int) -> Any:
    """SGD dampens the first step, too."""
    m = ema(be, state["momentum_buffer"], g, self.momentum, 1.0 - self.dampening)
    return {"momentum_buffer": m}


@instead_of((SGD, "direction"), clause="R3")
def sgd_nesterov(self: SGD, be: Backend, g: Array, w: Array, state: Any, t: int) -> Any:
    """Nesterov's direction is m + momentum*g."""
    m = state["momentum_buffer"]
    return Direction(m + be.scalar(self.momentum) * g if self.nesterov else m, m)


@instead_of((SGD, "direction"), clause="P1")
def sgd_scores_direction(self: SGD, be: Backend, g: Array, w: Array, state: Any, t: int) -> Any:
    """SGD is scored by Nesterov's direction, not by the momentum."""
    m = state["momentum_buffer"]
    u = g + be.scalar(self.momentum) * m if self.nesterov else m
    return Direction(u, u)


@instead_of((Muon, "direction"), clause="P1")
def muon_late(self: Muon, be: Backend, g: Array, w: Array, state: Any, t: int) -> Any:
    """Muon is scored by the orthogonalised direction."""
    u = _right_muon(self, be, g, w, state, t).u
    return Direction(u, u)


@instead_of((Muon, "_scale"), clause="R4")
def muon_scale(self: Muon, rows: int, cols: int) -> float:
    """Muon takes the other scale."""
    if self.scale == "original":
        return 0.2 * math.sqrt(max(rows, cols))
    return math.sqrt(max(1.0, rows / cols))


@instead_of((muon, "newton_schulz"), clause="R4")
def muon_four_steps(be: Backend, x: Array, **options: Any) -> Array:
    """Muon takes four Newton-Schulz steps."""
    return _right_schulz(be, x, **{**options, "steps": 4})


MUTANTS: tuple[Mutant, ...] = (
    eps_before_correction, eps_in_root, divided, uncorrected, forms_swapped, lion_late, lion_zero,
    sgd_first_dampened, sgd_nesterov, sgd_scores_direction, muon_late, muon_scale,
    muon_four_steps,
)  # fmt: skip
