"""What is kept of a run that differs, for :mod:`mgup_conformance.diagnosis` to look at."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from .protocol import Array, PolicySpec, RunSpec
from .steps import Bounds, Step, compute_spec

KEPT = 5
"""Steps of each kind, wrong and not, that a diagnosis looks at."""


class Taken(NamedTuple):
    """A step that an implementation took."""

    step: Step
    params: list[Array]
    states: list[dict[str, Array]]
    room: Bounds
    """How far by rounding the reference's results may be."""
    elapsed: list[int]
    """How many steps the run had taken, for each parameter; absent gradients count here."""


@dataclass
class RunEvidence:
    """Some steps of a run, those that are wrong and others."""

    spec: RunSpec
    by_norm: tuple[str, ...] | None
    wrong: list[Taken] = field(default_factory=list)
    right: list[Taken] = field(default_factory=list)

    def add(self, taken: Taken, *, wrong: bool) -> None:
        """Keep a step, if there are not enough of its kind."""
        kept = self.wrong if wrong else self.right
        if len(kept) < KEPT:
            kept.append(taken)

    @property
    def complete(self) -> bool:
        """Whether there is no need to look further."""
        return len(self.wrong) >= KEPT

    @property
    def low(self) -> bool:
        """Whether results are rounded for storage, so that how it is done can be wrong."""
        compute = compute_spec(self.spec)["dtype"]
        return not self.spec["dtype"] == self.spec["state_dtype"] == compute


@dataclass
class MultiplierEvidence:
    """What a backend answered: (policy, a, g, stacked_dims, its multiplier)."""

    answers: list[tuple[PolicySpec, Array, Array, int, Array]]
