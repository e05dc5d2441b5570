"""Which optimizers are compared, with which settings, and the one schedule that all follow."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """An optimizer of the comparison, in no framework's terms.

    `mode` is None for the plain rule, "cautious" for the baseline of Liang et al., else the MGUP
    mode. Learning rates are the winners of the grid in README.md, not one value for all: MGUP
    raises the mean step by a quarter, so an equal rate would be an unequal comparison.
    """

    name: str
    label: str
    rule: str
    mode: str | None
    lr: float
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.1

    @property
    def is_mgup(self) -> bool:
        return self.mode not in (None, "cautious")


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("adamw", "AdamW", "adamw", None, lr=8e-3),
        Recipe("cautious-adamw", "Cautious AdamW", "adamw", "cautious", lr=8e-3),
        Recipe("mgup-adamw", "MGUP-AdamW", "adamw", "rank", lr=8e-3),
        Recipe("cautious-mgup-adamw", "Cautious-MGUP AdamW", "adamw", "sign", lr=8e-3),
        Recipe("mgup-lion", "MGUP-Lion", "lion", "rank", lr=2e-3, weight_decay=1.0),
        Recipe("mgup-muon", "MGUP-Muon", "muon", "rank", lr=1.6e-2),
        # Not in the default run, but without them nobody could tell MGUP's part from the rule's.
        Recipe("lion", "Lion", "lion", None, lr=4e-3, weight_decay=1.0),
        Recipe("muon", "Muon", "muon", None, lr=3.2e-2),
    )
}
DEFAULT_NAMES = tuple(name for name in RECIPES if name not in ("lion", "muon"))


def schedule(step: int, steps: int, warmup: int) -> float:
    """The factor on the learning rate at `step` (from 0): linear warmup, then cosine to zero."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
