"""Which known mistake a run looks like: the mutants are a dictionary of them.

Where an implementation differs by more than rounding, every mutant takes the same steps from the
same states. The one whose results are the implementation's, within rounding, is named, and its
clause alone is charged: of the others that the case cites nothing was learnt.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .backends.core import NumPy
from .compare import Mismatch, check_close, wide
from .evidence import MultiplierEvidence, RunEvidence, Taken
from .mutants import DICTIONARY, Mutant
from .protocol import Array, PolicySpec
from .steps import UNITS, compute_spec, take, widened
from .verdicts import deviation

FLIPS = 0.002
"""The share of a step's values that may be elsewhere: their masks flip beside the threshold."""
OTHERWISE = 0.03
"""The share of a step's values in low precision that may be rounded the other way."""


def fits(evidence: MultiplierEvidence | RunEvidence, wrong: NumPy) -> bool:
    """Whether an implementation with a mistake gives all that was seen."""
    if isinstance(evidence, MultiplierEvidence):
        return all(_answers(wrong, *answer) for answer in evidence.answers)
    steps = (*evidence.wrong, *evidence.right)
    # A mistake may count absent gradients as steps.
    counting = [one._replace(step=one.step._replace(taken=one.elapsed)) for one in steps]
    return any(all(_steps(wrong, evidence, one) for one in some) for some in (steps, counting))


def _answers(
    wrong: NumPy, policy: PolicySpec, a: Array, g: Array, stacked_dims: int, actual: Array
) -> bool:
    with np.errstate(all="ignore"):
        expected = np.asarray(wrong.multiplier(policy, a, g, stacked_dims))
    if expected.shape != actual.shape:
        return False
    room = UNITS * np.finfo(expected.dtype).eps * np.abs(expected.astype(np.float64))
    return bool(deviation(expected, room, actual)[0].all())


def _steps(wrong: NumPy, evidence: RunEvidence, taken: Taken) -> bool:
    """Whether its step from the same state is the one that was taken."""
    if evidence.low:  # in its own dtypes, for what is stored wrongly
        made = take(wrong, evidence.spec, taken.step)
    else:
        made = take(wrong, compute_spec(evidence.spec), widened(taken.step))
    for i, w in enumerate(made.params):
        start = taken.step.params[i]
        if not _fits(evidence, None, start, w, taken.params[i], taken.room.params[i]):
            return False
        for name in made.states[i].keys() & taken.states[i].keys():
            made_of = made.states[i][name], taken.states[i][name], taken.room.states[i][name]
            if not _fits(evidence, name, np.zeros(()), *made_of):
                return False
    return True


def _fits(
    evidence: RunEvidence,
    name: str | None,
    start: Array,
    expected: Array,
    actual: Array,
    room: Array,
) -> bool:
    """Whether one array is the one that was seen: a state by its name, or else the parameter."""
    if expected.shape != actual.shape:
        return False
    if not expected.size:
        return True
    if evidence.low and expected.dtype.itemsize == 2:
        return _stored(np.asarray(expected), actual)
    if evidence.by_norm is not None and (name is None or name in evidence.by_norm):
        return _by_norm(start, expected, actual)
    return _near(np.asarray(expected), room, actual)


def _near(expected: Array, room: Array, actual: Array) -> bool:
    """Within rounding: four times the reference's, since a mistake may make a step larger."""
    with np.errstate(all="ignore"):
        own = UNITS * np.finfo(expected.dtype).eps * np.abs(expected.astype(np.float64))
        within, _ = deviation(expected, 4 * (room + np.where(np.isfinite(own), own, 0.0)), actual)
    return bool(within.mean() >= 1 - FLIPS)


def _by_norm(start: Array, expected: Array, actual: Array) -> bool:
    """Whether what was added to ``start`` is the same by the norms of N7."""
    before = wide(np.asarray(start)).astype(np.float64)
    try:
        check_close("", expected - before, actual - before)
    except Mismatch:
        return False
    return True


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
    """The clauses to be charged: those of the mistakes that were found, else all of the case's.

    A case of AdamW in another form cites R1p where a mistake in AdamW names R1.
    """
    found = (m.clause + "p" if m.clause + "p" in clauses else m.clause for m in mutants)
    return tuple(dict.fromkeys(found)) or tuple(clauses)
