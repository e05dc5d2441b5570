"""Identical, rounding or different (clause V): how far a step is from the reference's.

A trajectory cannot say it: after one wrong bit a chaotic loop is another loop. So each step is
judged by itself. The reference takes it from where the implementation stood before it, as that
reported it, and what may differ by rounding is measured (:mod:`mgup_conformance.steps`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .backends.core import Reference
from .compare import N7_FROBENIUS, N7_LARGEST, canonical, digest, show, wide
from .evidence import MultiplierEvidence, RunEvidence, Taken
from .protocol import STATE, Array, Backend, PolicySpec, RunSpec
from .steps import UNITS, Bounds, Outcome, Step, bounds, compute_spec, take, widened

REFERENCE = Reference()
LEVELS = ("identical", "rounding", "different")
"""From the best to the worst."""


@dataclass(frozen=True)
class Verdict:
    """Which level a case reached, and what is to be said of it."""

    level: str = "identical"
    units: float = 0.0
    """The largest deviation, in units in the last place of what the output's inputs come to."""
    flips: int = 0
    """Masks that differ beside the threshold."""
    flip_units: float = 0.0
    """How far from the threshold the farthest of them is, in the same units of the score."""
    first: str = ""
    """The first quantity that deviates by more than rounding, and by how much."""
    quantity: str = ""
    """Its name: a state's, ``mask``, ``step`` or ``multiplier``."""
    evidence: RunEvidence | MultiplierEvidence | None = field(
        default=None, repr=False, compare=False
    )
    """What :mod:`mgup_conformance.diagnosis` looks at."""

    def __str__(self) -> str:
        if self.level == "identical":
            return "identical"
        if self.level == "different":
            return f"different; first to deviate: {self.first}"
        said = f"rounding, to {self.units:.2g} of {UNITS} units in the last place"
        if self.flips:
            said += (
                f"; {self.flips} masks differ beside the threshold, to {self.flip_units:.2g} units"
            )
        return said

    def worse(self, other: Verdict) -> Verdict:
        """Both together: the worse level, the larger deviations, what was first said."""
        level = max(self.level, other.level, key=LEVELS.index)
        return replace(
            self,
            level=level,
            units=max(self.units, other.units),
            flips=self.flips + other.flips,
            flip_units=max(self.flip_units, other.flip_units),
            first=self.first or other.first,
            quantity=self.quantity or other.quantity,
        )


OVERWRITTEN = ", which is not to be changed: it was"
"""Of what went in. The steps themselves may be right then: they say nothing of a known mistake."""


def different(quantity: str, detail: str) -> Verdict:
    """The verdict on a quantity that is not the reference's by more than rounding."""
    return Verdict("different", first=f"{quantity}{detail}", quantity=quantity)


# -- one array -------------------------------------------------------------------------------------


def _same(expected: Array, actual: Array) -> Array:
    """Identical by N1, or not finite both: of infinities other orders of operations make NaN."""
    a, b = canonical(expected), canonical(actual)
    nan: Array = np.isnan(a) | np.isnan(b)
    same: Array = (a == b) | (nan & ~np.isfinite(a) & ~np.isfinite(b))
    return same


def deviation(expected: Array, room: Array, actual: Array) -> tuple[Array, Array]:
    """(whether each value is within rounding, its deviation in units).

    Args:
        expected: in the compute dtype.
        room: how far a value may be, as :data:`~.steps.UNITS` units.
        actual: in the dtype of storage, to which what is expected is yet to be rounded (R5).
    """
    with np.errstate(all="ignore"):
        stored = expected.astype(actual.dtype)
        same = _same(stored, actual)
        if wide(actual) is actual and actual.dtype == expected.dtype:
            units = UNITS * np.abs(actual.astype(np.float64) - expected) / room
        else:  # rounded once more: a value near the middle of two may go either way
            units = np.full(actual.shape, np.inf)
            for share in (1.0, 0.5, 0.25, 0.125):
                ends = [(expected + sign * share * room).astype(actual.dtype) for sign in (-1, 1)]
                inside = (wide(ends[0]) <= wide(actual)) & (wide(actual) <= wide(ends[1]))
                units = np.where(inside, UNITS * share, units)
        units = np.where(same, 0.0, np.where(np.isnan(units), np.inf, units))
    return units <= UNITS, units


def _compare(
    quantity: str,
    place: str,
    expected: Array,
    room: Array,
    actual: Array,
    wild: Array | None = None,
) -> Verdict:
    if actual.shape != expected.shape:
        return different(quantity, f" has shape {actual.shape}, not {expected.shape}{place}")
    if actual.size == 0:
        return Verdict()
    within, units = deviation(expected, room, actual)
    if wild is not None and wild.shape == actual.shape:
        excused = wild & ~np.isfinite(wide(actual))
        within, units = within | excused, np.where(excused, 0.0, units)
    if within.all():
        most = float(units.max())
        return Verdict("rounding" if most else "identical", units=most)
    at = tuple(int(i) for i in np.unravel_index(int(np.argmax(units)), units.shape))
    return different(
        quantity,
        f" by {units[at]:.3g} units ({UNITS} allowed), {int((~within).sum())} of {within.size} "
        f"values{place}, coordinate {list(at)}: expected {show(expected[at])}, "
        f"got {show(actual[at])}",
    )


def _compare_norm(quantity: str, place: str, expected: Array, actual: Array) -> Verdict:
    """N7, for what has matrix products in it."""
    error = np.abs(actual - expected)
    share = np.linalg.norm(error) / max(float(np.linalg.norm(expected)), 1e-300)
    largest = error.max(initial=0.0) / max(float(np.abs(expected).max(initial=0.0)), 1e-300)
    if share <= N7_FROBENIUS and largest <= N7_LARGEST:
        return Verdict()
    return different(
        quantity,
        f" by {share:.1e} of its norm and {largest:.1e} of its largest entry "
        f"({N7_FROBENIUS:.0e} and {N7_LARGEST:.0e} allowed){place}",
    )


# -- one step --------------------------------------------------------------------------------------


def inferred_masks(
    spec: RunSpec, step: Step, center: Outcome, otherwise: Outcome, actual: Sequence[Array]
) -> dict[int, tuple[Array, Array]]:
    """What a step selected, read off the parameters: (mask, where it can be told), as rows.

    Each coordinate took the step with the high factor or the one with the low, whichever is
    nearer. Where the two are hardly apart (``u`` is 0, or ``w`` large) it cannot be told, and the
    mask is that of ``otherwise``.
    """
    forced = []
    for selected in (True, False):
        masks = [np.full(d.scores.shape, selected) for d in center.decided.values()]
        forced.append(take(REFERENCE, spec, step, masks, same_factors=True))
    found = {}
    for i, decision in center.decided.items():
        high, low = (one.params[i].astype(np.float64).reshape(-1) for one in forced)
        w = wide(actual[i]).astype(np.float64).reshape(-1)
        with np.errstate(all="ignore"):
            eps = 2.0**-8 if actual[i].dtype.itemsize == 2 else np.finfo(actual[i].dtype).eps
            told = np.abs(high - low) > 4 * eps * np.maximum(np.abs(high), np.abs(low))
            nearer = np.abs(w - high) < np.abs(w - low)
        told &= np.isfinite(w)
        shape = decision.scores.shape
        own = otherwise.decided[i].split.mask
        found[i] = np.where(told.reshape(shape), nearer.reshape(shape), own), told.reshape(shape)
    return found


def _flips(decision: Any, room: Array, mask: Array, told: Array, *, ranks: bool) -> Any:
    """(how many masks differ, how far from the threshold in units, why that is too much)."""
    own, scores = decision.split.mask, decision.scores.astype(np.float64)
    flipped = mask != own
    if not flipped.any():
        return 0, 0.0, ""
    farthest = 0.0
    with np.errstate(all="ignore"):
        for row in np.flatnonzero(flipped.any(axis=1)):
            s, r, chosen = scores[row], room[row], own[row]
            if ranks and told[row].all() and mask[row].sum() != chosen.sum():
                said = f": {mask[row].sum()} of {s.size} are selected, not {chosen.sum()}"
                return int(flipped.sum()), np.inf, said
            for i in np.flatnonzero(flipped[row]):
                others: Any = np.flatnonzero(~chosen if chosen[i] else chosen) if ranks else ()
                distance, slack = abs(s[i]), r[i]
                if len(others):
                    j = others[np.nanargmin(np.abs(s[others] - s[i]))] if len(others) else i
                    distance, slack = abs(s[i] - s[j]), r[i] + r[j]
                units = UNITS * distance / slack if distance else 0.0
                farthest = max(farthest, np.inf if np.isnan(units) else units)
    said = "" if farthest <= UNITS else (
        f": {int(flipped.sum())} of {flipped.size} differ, to {farthest:.3g} units from the "
        f"threshold ({UNITS} allowed)"
    )  # fmt: skip
    return int(flipped.sum()), farthest, said


def judge_step(
    spec: RunSpec,
    step: Step,
    params: Sequence[Array],
    states: Sequence[dict[str, Array]],
    *,
    place: str = "",
    by_norm: tuple[str, ...] | None = None,
) -> tuple[Verdict, Bounds]:
    """One step of an implementation, beside the reference's from the same state.

    Returns the verdict, and how far by rounding each result may be.

    Args:
        spec: what the reference runs.
        step: what went in.
        params, states: what came out.
        place: is added to what is said.
        by_norm: for rules with matrix products (N7): the states that have them in them.
    """
    inside, precise = widened(step), compute_spec(spec)
    center = take(REFERENCE, precise, inside)
    verdict, room = _judge(spec, step, center, center, params, states, place, by_norm)
    if verdict.level == "different" and spec["policy"]["name"] in ("adaptive", "cautious"):
        # Their factors count the positive scores, those too that are flushed and move nothing.
        keeping = take(REFERENCE, precise, inside, flushes=False)
        again, around = _judge(spec, step, center, keeping, params, states, place, by_norm)
        if again.level != "different":
            return again, around
    return verdict, room


def _judge(
    spec: RunSpec,
    step: Step,
    center: Outcome,
    otherwise: Outcome,
    params: Sequence[Array],
    states: Sequence[dict[str, Array]],
    place: str,
    by_norm: tuple[str, ...] | None,
) -> tuple[Verdict, Bounds]:
    inside, precise = widened(step), compute_spec(spec)
    found = inferred_masks(precise, inside, center, otherwise, params)
    masks = [mask for mask, _ in found.values()] or None
    forced = take(REFERENCE, precise, inside, masks) if masks else center
    room = bounds(REFERENCE, precise, inside, forced, masks)
    whole = Verdict()
    names = STATE[spec["rule"]["name"]]
    ranks = bool(masks) and spec["policy"]["name"] == "mgup"
    for i, (w, state) in enumerate(zip(params, states, strict=True)):
        here = f", parameter {i}{place}"
        if step.grads[i] is None:
            whole = whole.worse(_unchanged(step, i, w, state, here))
            continue
        for name in (n for n in names if n in forced.states[i]):
            expected, actual = forced.states[i][name], np.asarray(state[name])
            if by_norm is not None and name in by_norm:
                own = _compare_norm(f"state {name}", here, expected, actual)
            else:
                own = _compare(
                    f"state {name}", here, expected, room.states[i][name], actual, room.wild[i]
                )
            whole = whole.worse(own)
        whole = whole.worse(_parameter(step, i, w, forced, room, here, by_norm is not None))
        if i in found:
            mask, told = found[i]
            # A number that became NaN leaves its place to another.
            lost = (room.wild[i] & ~np.isfinite(wide(np.asarray(w)))).reshape(mask.shape)
            mask = np.where(lost.any(axis=1, keepdims=True), center.decided[i].split.mask, mask)
            n, units, said = _flips(center.decided[i], room.scores[i], mask, told, ranks=ranks)
            if said:
                wrong = different("mask", said + here)
                # A step that is wrong in itself says nothing of its mask.
                whole = whole.worse(wrong) if whole.quantity != "step" else whole
            elif n:
                whole = whole.worse(Verdict("rounding", flips=n, flip_units=units))
    return whole, room


def _unchanged(step: Step, i: int, w: Array, state: dict[str, Array], here: str) -> Verdict:
    pairs = [("step", step.params[i], w)]
    pairs += [(f"state {n}", step.states[i][n], x) for n, x in state.items() if n in step.states[i]]
    for quantity, old, new in pairs:
        if not _same(old, new).all():
            return different(quantity, f" without a gradient: it is not to change{here}")
    return Verdict()


def _parameter(
    step: Step, i: int, w: Array, forced: Outcome, room: Bounds, here: str, by_norm: bool
) -> Verdict:
    if not by_norm:
        return _compare("step", here, forced.params[i], room.params[i], np.asarray(w), room.wild[i])
    phi = np.ones(w.shape)
    if i in forced.decided:
        phi = forced.decided[i].multiplier.reshape(w.shape).astype(np.float64)
    before = wide(step.params[i]).astype(np.float64)
    moved, actually = ((before - wide(x)) / phi for x in (forced.params[i], w))
    return _compare_norm("step", here, moved, actually)


# -- whole cases -----------------------------------------------------------------------------------


def state_of(
    spec: RunSpec, params: Sequence[Array], reported: Sequence[dict[str, Array]]
) -> list[dict[str, Array]]:
    """The states that a run reported, by the names of the protocol; what is not there is fresh."""
    fresh = REFERENCE.optimizer(spec).init([np.asarray(w) for w in params]).arrays
    found = []
    for i, state in enumerate(reported):
        wanted = {n: np.asarray(x) for n, x in fresh[i].items()}
        found.append({n: np.array(state.get(n, x), copy=True) for n, x in wanted.items()})
    return found


def judge_run(
    backend: Backend,
    spec: RunSpec,
    start: Sequence[Array],
    feed: Iterable[tuple[Sequence[Array | None], float | None]],
    *,
    reference_spec: RunSpec | None = None,
    by_norm: tuple[str, ...] | None = None,
) -> Verdict:
    """Every step of a run, each from the state that the implementation itself was in.

    Args:
        spec: what the backend runs; ``reference_spec`` what the reference does, if not the same.
        start: the parameters before the first step.
        feed: gradients and learning rate of each step.
        by_norm: see :func:`judge_step`.
    """
    given = [w.copy() for w in start]
    run, expects = backend.run(spec, given), reference_spec or spec
    params = [w.copy() for w in start]
    states = state_of(expects, params, [{} for _ in start])
    taken = [0] * len(params)
    evidence = RunEvidence(expects, by_norm)
    whole = Verdict()
    for t, (grads, lr) in enumerate(feed, 1):
        run.step([None if g is None else g.copy() for g in grads], lr)
        after = [np.array(w, copy=True) for w in run.params()]
        kept = state_of(expects, after, run.state())
        step = Step(params, states, list(taken), list(grads), lr)
        for i, (w, old) in enumerate(zip(after, params, strict=True)):
            if w.shape != old.shape or w.dtype != old.dtype:
                said = f" {i} is {w.dtype.name} {w.shape}, not {old.dtype.name} {old.shape}"
                return different("parameter", said)
        own, room = judge_step(expects, step, after, kept, place=f", step {t}", by_norm=by_norm)
        whole = whole.worse(own)
        evidence.add(
            Taken(step, after, kept, room, [t - 1] * len(after)), wrong=own.level == "different"
        )
        if evidence.complete:
            break
        params, states = after, kept
        taken = [n + (g is not None) for n, g in zip(taken, grads, strict=True)]
    if digest(*given) != digest(*start):
        return different("initial parameter", OVERWRITTEN)
    return replace(whole, evidence=evidence)


def judge_multiplier(
    backend: Backend, policy: PolicySpec, a: Array, g: Array, stacked_dims: int, setting: str
) -> tuple[Verdict, Array]:
    """One multiplier: the scores are exact, so the mask must be; the factors may be rounded."""
    expected = REFERENCE.multiplier(policy, a, g, stacked_dims)
    given = a.copy(), g.copy()
    actual = np.asarray(backend.multiplier(policy, *given, stacked_dims))
    if digest(*given) != digest(a, g):
        return different("operand", OVERWRITTEN), actual
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        said = f" is {actual.dtype.name} {actual.shape}, not {expected.dtype.name} {expected.shape}"
        return different("multiplier", said), actual
    room = UNITS * np.finfo(expected.dtype).eps * np.abs(expected.astype(np.float64))
    return _compare("multiplier", f", {setting}", expected, room, actual), actual
