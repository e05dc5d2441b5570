"""Which known mistake a run looks like: the mutants are a dictionary of them.

Where an implementation differs by more than rounding, every mutant takes the same steps from the
same states. The one whose results are the implementation's, within rounding, is named, and its
clause alone is charged: of the others that the case cites nothing was learnt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .backends.core import NumPy
from .compare import wide
from .protocol import Array, PolicySpec, RunSpec
from .steps import UNITS, Bounds, Step, compute_spec, take, widened
from .verdicts import deviation

if TYPE_CHECKING:
    from .mutants import Mutant
    from .runner import Result

FLIPS = 0.002
"""Of the values of a step: those whose mask may flip beside the threshold."""
OTHERWISE = 0.03
"""Of the values of a step in low precision: those that may be rounded the other way."""
KEPT = 3
"""Steps of each kind, wrong and not, that a diagnosis looks at."""


@dataclass
class MultiplierEvidence:
    """What a backend answered to the questions of a case."""

    answers: list[tuple[PolicySpec, Array, Array, int, Array]]

    def fits(self, mutant: NumPy) -> bool:
        """Whether the mutant gives all the same answers."""
        for policy, a, g, stacked_dims, actual in self.answers:
            with np.errstate(all="ignore"):
                expected = np.asarray(mutant.multiplier(policy, a, g, stacked_dims))
            if expected.shape != actual.shape:
                return False
            room = UNITS * np.finfo(expected.dtype).eps * np.abs(expected.astype(np.float64))
            if not deviation(expected, room, actual)[0].all():
                return False
        return True


class Taken(NamedTuple):
    """A step that an implementation took."""

    step: Step
    params: list[Array]
    states: list[dict[str, Array]]
    room: Bounds
    """How far by rounding the reference's results may be."""


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
        return self.spec["state_dtype"] != compute_spec(self.spec)["dtype"] or (
            self.spec["dtype"] != self.spec["state_dtype"]
        )

    def fits(self, mutant: NumPy) -> bool:
        """Whether the mutant takes all of these steps as they were taken."""
        return all(self._fits(mutant, taken) for taken in (*self.wrong, *self.right))

    def _fits(self, mutant: NumPy, taken: Taken) -> bool:
        if self.low:  # in its own dtypes, for what is stored wrongly
            made = take(mutant, self.spec, taken.step)
        else:
            made = take(mutant, compute_spec(self.spec), widened(taken.step))
        for i, w in enumerate(made.params):
            pairs = [(w, taken.params[i], taken.room.params[i], None)]
            pairs += [
                (x, taken.states[i][name], taken.room.states[i][name], name)
                for name, x in made.states[i].items()
                if name in taken.states[i]
            ]
            for expected, actual, room, name in pairs:
                if expected.shape != actual.shape:
                    return False
                if not expected.size:
                    continue
                if self.low:
                    near = _stored(np.asarray(expected), actual)
                elif self.by_norm is not None and (name is None or name in self.by_norm):
                    near = _by_norm(taken.step.params[i] if name is None else 0, expected, actual)
                else:
                    near = _near(np.asarray(expected), room, actual)
                if not near:
                    return False
        return True


def _near(expected: Array, room: Array, actual: Array) -> bool:
    """Within rounding. A mistake may make steps larger, and their roundings: hence the factor."""
    with np.errstate(all="ignore"):
        own = UNITS * np.finfo(expected.dtype).eps * np.abs(expected.astype(np.float64))
        within, _ = deviation(expected, 4 * (room + np.where(np.isfinite(own), own, 0.0)), actual)
    return bool(within.mean() >= 1 - FLIPS)


def _by_norm(before: Any, expected: Array, actual: Array) -> bool:
    start = wide(np.asarray(before)).astype(np.float64)
    error = np.abs((expected - start) - (actual - start))
    largest = np.abs(expected - start).max(initial=1e-300)
    return bool(error.max(initial=0.0) <= 1e-3 * largest)


def _stored(expected: Array, actual: Array) -> bool:
    """The same numbers, but for few that are one unit of the dtype of storage away."""
    with np.errstate(all="ignore"):
        x, y = wide(expected).astype(np.float64), wide(actual).astype(np.float64)
        low = expected.dtype.itemsize == 2
        one = 2.0**-7 if expected.dtype.name == "bfloat16" else np.finfo(expected.dtype).eps
        one = float(one) if low else 64 * float(one)
        same = (x == y) | (np.isnan(x) & ~np.isfinite(y)) | (np.isnan(y) & ~np.isfinite(x))
        same |= np.abs(x - y) < 2.0**-100
        beside = same | (np.abs(x - y) <= 1.01 * one * np.maximum(np.abs(x), np.abs(y)))
    return bool(beside.all() and (not low or same.mean() >= 1 - OTHERWISE))


def suspects(evidence: Any) -> tuple[Mutant, ...]:
    """The known mistakes that give what was seen; none without evidence."""
    from .mutants import DICTIONARY

    if evidence is None:
        return ()
    found = []
    for mutant in DICTIONARY:
        try:
            if evidence.fits(mutant.backend()):
                found.append(mutant)
        except Exception:  # a mistake in a rule that is not run here, or in shapes it never sees
            continue
    return tuple(found)


NAMES = ("K", "NaN", "AdamW's", "Lion's", "SGD", "Nesterov's", "Muon")
"""First words that keep their capital within a sentence."""


def said(mutants: Sequence[Mutant]) -> str:
    """In words: ``as if: K is rounded to nearest (P3)``."""
    words = []
    for mutant in mutants:
        first, _, rest = mutant.mistake.rstrip(".").partition(" ")
        first = first if first in NAMES else first.lower()
        words.append(f"{first} {rest} ({mutant.clause})")
    return f"as if: {'; or: '.join(words)}" if words else ""


def settle(results: Sequence[Result]) -> list[Result]:
    """The results with one diagnosis for what has one cause.

    Several mistakes may explain a case; the one that explains most cases of its backend is named.
    """
    from .mutants import DICTIONARY

    known = {mutant.name: mutant for mutant in DICTIONARY}
    counts: dict[str, Counter[str]] = {}
    for one in results:
        counts.setdefault(one.backend, Counter()).update(one.suspects)
    settled = []
    for one in results:
        if len(one.suspects) > 1:
            votes = counts[one.backend]
            most = max(votes[name] for name in one.suspects)
            best = tuple(name for name in one.suspects if votes[name] == most)
            mutants = [known[name] for name in best]
            one = replace(
                one,
                suspects=best,
                diagnosis=said(mutants),
                charged=charge(one.clauses, mutants),
            )
        settled.append(one)
    return settled


def charge(clauses: Sequence[str], mutants: Sequence[Mutant]) -> tuple[str, ...]:
    """The clauses to be charged: those of the mistakes that were found, else all of the case's."""
    found = (m.clause + "p" if m.clause + "p" in clauses else m.clause for m in mutants)
    return tuple(dict.fromkeys(found)) or tuple(clauses)
