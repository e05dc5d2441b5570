"""Which known mistake a run looks like: the mutants are a dictionary of them.

Where an implementation differs by more than rounding, every mutant takes the same steps from the
same states. The one whose results are the implementation's, within rounding, is named, and its
clause alone is charged: of the others that the case cites nothing was learnt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .backends.core import NumPy
from .compare import wide
from .evidence import MultiplierEvidence, RunEvidence, Taken
from .mutants import DICTIONARY, Mutant
from .protocol import Array, PolicySpec
from .steps import UNITS, compute_spec, take, widened
from .verdicts import deviation

FLIPS = 0.002
"""Of the values of a step: those whose mask may flip beside the threshold."""
OTHERWISE = 0.03
"""Of the values of a step in low precision: those that may be rounded the other way."""


def fits(evidence: MultiplierEvidence | RunEvidence, mutant: NumPy) -> bool:
    """Whether a mutant gives all that was seen."""
    if isinstance(evidence, MultiplierEvidence):
        return all(_answers(mutant, *answer) for answer in evidence.answers)
    steps = (*evidence.wrong, *evidence.right)
    # One that takes an absent gradient for a step has counted it.
    every = [one._replace(step=one.step._replace(taken=one.elapsed)) for one in steps]
    return any(all(_steps(mutant, evidence, one) for one in some) for some in (steps, every))


def _answers(
    mutant: NumPy, policy: PolicySpec, a: Array, g: Array, stacked_dims: int, actual: Array
) -> bool:
    with np.errstate(all="ignore"):
        expected = np.asarray(mutant.multiplier(policy, a, g, stacked_dims))
    if expected.shape != actual.shape:
        return False
    room = UNITS * np.finfo(expected.dtype).eps * np.abs(expected.astype(np.float64))
    return bool(deviation(expected, room, actual)[0].all())


def _steps(mutant: NumPy, evidence: RunEvidence, taken: Taken) -> bool:
    if evidence.low:  # in its own dtypes, for what is stored wrongly
        made = take(mutant, evidence.spec, taken.step)
    else:
        made = take(mutant, compute_spec(evidence.spec), widened(taken.step))
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
            if evidence.low and expected.dtype.itemsize == 2:
                near = _stored(np.asarray(expected), actual)
            elif evidence.by_norm is not None and (name is None or name in evidence.by_norm):
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
        one = 2.0**-7 if expected.dtype.name == "bfloat16" else float(np.finfo(np.float16).eps)
        same = (x == y) | (np.isnan(x) & ~np.isfinite(y)) | (np.isnan(y) & ~np.isfinite(x))
        same |= np.abs(x - y) < 2.0**-100
        beside = same | (np.abs(x - y) <= 1.01 * one * np.maximum(np.abs(x), np.abs(y)))
    return bool(beside.all() and same.mean() >= 1 - OTHERWISE)


def suspects(evidence: MultiplierEvidence | RunEvidence | None) -> tuple[Mutant, ...]:
    """The known mistakes that give what was seen; none without evidence."""
    if evidence is None:
        return ()
    found = []
    for mutant in DICTIONARY:
        try:
            if fits(evidence, mutant.backend()):
                found.append(mutant)
        except Exception:  # a mistake in a rule that is not run here, or in shapes it never sees
            continue
    return tuple(found)


NAMES = ("K", "NaN", "AdamW", "AdamW's", "Lion's", "SGD", "Nesterov's", "Muon")
"""First words that keep their capital within a sentence."""


def said(mutants: Sequence[Mutant]) -> str:
    """In words: ``as if: K is rounded to nearest (P3)``."""
    words = []
    for mutant in mutants:
        first, _, rest = mutant.mistake.rstrip(".").partition(" ")
        first = first if first in NAMES else first.lower()
        words.append(f"{first} {rest} ({mutant.clause})")
    return f"as if: {'; or: '.join(words)}" if words else ""


def charge(clauses: Sequence[str], mutants: Sequence[Mutant]) -> tuple[str, ...]:
    """The clauses to be charged: those of the mistakes that were found, else all of the case's."""
    found = (m.clause + "p" if m.clause + "p" in clauses else m.clause for m in mutants)
    return tuple(dict.fromkeys(found)) or tuple(clauses)
