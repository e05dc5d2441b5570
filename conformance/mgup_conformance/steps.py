"""One step of the reference from any state, with its mask given and its inputs moved a little.

What rounding may do to a step is not guessed: the step is taken again from inputs that are a few
units in the last place away, and what that changes is what an implementation of other roundings may
change, too. Where terms cancel it is much, elsewhere little; the rule itself says it. So may one
change what flushing tiny numbers to 0 changes (N6): not all hardware does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

import mgup_core
from mgup_core import OptimizerState, Policy, Split

from .backends.core import NumPy, spread
from .compare import wide
from .protocol import Array, RunSpec

UNITS = 8
"""How many units in the last place every input may move by: what is a matter of rounding."""


class Step(NamedTuple):
    """What goes into a step, of all parameters of a run, as an implementation reported it."""

    params: list[Array]
    states: list[dict[str, Array]]
    taken: list[int]
    """How many steps each parameter has taken before."""
    grads: list[Array | None]
    lr: float | None


class Decision(NamedTuple):
    """What the policy saw of one parameter and decided: rows (slices, d)."""

    scores: Array
    split: Split

    @property
    def multiplier(self) -> Array:
        """The multiplier of each coordinate, as rows."""
        return spread(self.split)


class Outcome(NamedTuple):
    """What comes out of a step."""

    params: list[Array]
    states: list[dict[str, Array]]
    decided: dict[int, Decision]
    """By parameter; empty without a policy."""


@dataclass(frozen=True)
class Told(Policy):
    """A policy that keeps what it was shown, and selects what it is told to.

    Args:
        inner: decides the factors.
        masks: for each decision in turn, rows; ``None`` lets the inner policy select.
        same_factors: whether the factors are those of the inner policy's own mask.
    """

    inner: Policy = field(default_factory=mgup_core.MGUP)
    masks: Iterator[Array] | None = None
    same_factors: bool = False
    seen: list[Decision] = field(default_factory=list)

    @property
    def opaque(self) -> bool:
        return self.inner.opaque

    def decide(
        self, be: mgup_core.Backend, scores: Any, context: mgup_core.Context | None = None
    ) -> Split:
        split = self.inner.decide(be, scores, context)
        if self.masks is not None:
            mask = next(self.masks)
            high, low = split.high, split.low
            if self.inner.counts and not self.same_factors:
                high, low = self.inner.factors(be, be.count(mask), be.length(scores))
            split = Split(mask, high, low)
        self.seen.append(Decision(scores, split))
        return split


def widened(step: Step) -> Step:
    """The step in the compute dtype, where its results are not yet rounded for storage (R5)."""
    return step._replace(
        params=[wide(w) for w in step.params],
        states=[{name: wide(x) for name, x in state.items()} for state in step.states],
        grads=[None if g is None else wide(g) for g in step.grads],
    )


def compute_spec(spec: RunSpec) -> RunSpec:
    """The same run in its compute dtype."""
    dtype = "float64" if spec["dtype"] == "float64" else "float32"
    return spec.copy() | {"dtype": dtype, "state_dtype": dtype}


def take(
    owner: NumPy,
    spec: RunSpec,
    step: Step,
    masks: Sequence[Array] | None = None,
    *,
    same_factors: bool = False,
    flushes: bool = True,
) -> Outcome:
    """The step of the reference, or of one that is wrong.

    Args:
        owner: :class:`~.backends.core.Reference`, or a mutant.
        spec: of dtypes that are those of the arrays.
        masks: what to select of each parameter that has a gradient, as rows; by default what the
            policy does.
        same_factors: see :class:`Told`.
        flushes: whether tiny moments and scores become 0 (N6, P2).
    """
    optimizer = owner.optimizer(spec)
    if not flushes:
        optimizer = replace(optimizer, backend=lambda x: _keeping(owner.array_backend(x)))
    told = None
    if optimizer.policy is not None:
        given = None if masks is None else iter(masks)
        told = Told(optimizer.policy, given, same_factors)
        optimizer = replace(optimizer, policy=told)
    with owner.context(), np.errstate(all="ignore"):
        fresh = optimizer.init(step.params)
        arrays = {i: {**fresh.arrays[i], **kept} for i, kept in enumerate(step.states)}
        state = OptimizerState(dict(enumerate(step.taken)), arrays)
        before: list[Any] = step.params
        grads: list[Any] = step.grads
        params, state = optimizer.step(before, grads, state, lr=step.lr)
    present = [i for i, g in enumerate(grads) if g is not None]
    decided = dict(zip(present, told.seen, strict=False)) if told else {}
    return Outcome(params, [state.arrays[i] for i in range(len(params))], decided)


def _keeping(be: mgup_core.Backend) -> mgup_core.Backend:
    be.tiny_moment = be.tiny_score = 0.0
    return be


def _moved(x: Array, sign: Array | float) -> Array:
    """``x`` some units away."""
    moved: Array = x + sign * (UNITS * np.finfo(x.dtype).eps * np.abs(x))
    return moved.astype(x.dtype)


def _lifted(step: Step) -> Step:
    """With gradients that are not lost where a wider exponent would keep them."""

    def lifted(g: Array) -> Array:
        tiny = g.dtype.type(2.0**-967 if g.dtype == np.float64 else 2.0**-100)
        return np.where((g != 0) & (np.abs(g) < tiny), np.copysign(tiny, g), g)

    return step._replace(grads=[None if g is None else lifted(g) for g in step.grads])


def _neighbours(step: Step, *, elementwise: bool) -> Iterator[Step]:
    """The step with one kind of input moved at a time, up and down.

    Of rules with sums in them neighbours are moved by random signs too: of a common factor a
    normalised sum would see nothing.
    """
    rng = np.random.default_rng(0)

    def signs(x: Array, kind: float) -> Array | float:
        return kind if abs(kind) == 1.0 else rng.choice([-1.0, 1.0], x.shape)

    for kind in (1.0, -1.0) if elementwise else (1.0, -1.0, 0.0, 0.0):
        yield step._replace(params=[_moved(w, signs(w, kind)) for w in step.params])
        yield step._replace(
            grads=[None if g is None else _moved(g, signs(g, kind)) for g in step.grads]
        )
        for name in dict.fromkeys(n for state in step.states for n in state):
            states = [
                {n: _moved(x, signs(x, kind)) if n == name else x for n, x in state.items()}
                for state in step.states
            ]
            yield step._replace(states=states)


class Bounds(NamedTuple):
    """How far from the reference's each result may be, in the compute dtype."""

    params: list[Array]
    states: list[dict[str, Array]]
    scores: dict[int, Array]
    wild: list[Array]
    """Where not even a finite result is certain: of infinities, ``old + (1 - beta)*(new - old)``
    makes NaN and ``beta*old + (1 - beta)*new`` does not."""


def bounds(
    owner: NumPy,
    spec: RunSpec,
    step: Step,
    center: Outcome,
    masks: Sequence[Array] | None,
) -> Bounds:
    """What :data:`UNITS` units in the last place of every input, and of the result, come to.

    Args:
        owner: as for :func:`take`.
        spec: in its compute dtype, as is ``step``.
        center: what the step itself gave.
        masks: the same as for ``center``: how a selection flips is judged apart.
    """

    def own(x: Array) -> Array:
        tiny = 2.0**-967 if x.dtype == np.float64 else 2.0**-100
        room = UNITS * np.finfo(x.dtype).eps * np.abs(x.astype(np.float64)) + tiny
        return np.where(np.isfinite(room), room, 0.0)

    def widest(room: Array, x: Array, moved: Array) -> Array:
        by = np.abs(moved.astype(np.float64) - x)
        return np.maximum(room, np.where(np.isfinite(by), by, 0.0))

    params = [own(w) for w in center.params]
    states = [{n: own(x) for n, x in state.items()} for state in center.states]
    scores = {i: own(decision.scores) for i, decision in center.decided.items()}
    elementwise = owner.rule(spec["rule"]).elementwise
    with np.errstate(all="ignore"):
        rooms: list[Outcome] = [
            take(owner, spec, near, masks) for near in _neighbours(step, elementwise=elementwise)
        ]
        kinds = 2 + len({n for state in step.states for n in state})
        pairs = [[(center, near) for near in rooms[kind::kinds]] for kind in range(kinds)]
        # Where flushing decides whether there is a step at all, its multiplier is unknown, too.
        selections = [masks]
        if masks is not None:
            selections += [[np.full(m.shape, on) for m in masks] for on in (True, False)]
        flushing = [
            (take(owner, spec, step, one), take(owner, spec, near, one, flushes=False))
            for one in selections
            for near in (step, _lifted(step))
        ]
        for same in (flushing, flushing, *pairs):  # twice: it is rounded on top of that
            for i, w in enumerate(center.params):
                room = np.zeros(w.shape)
                for here, near in same:
                    room = widest(room, here.params[i], near.params[i])
                params[i] = params[i] + room
                for name, x in center.states[i].items():
                    room = np.zeros(x.shape)
                    for here, near in same:
                        room = widest(room, here.states[i][name], near.states[i][name])
                    states[i][name] = states[i][name] + room
            for i, decision in center.decided.items():
                room = np.zeros(decision.scores.shape)
                for here, near in same:
                    room = widest(room, here.decided[i].scores, near.decided[i].scores)
                scores[i] = scores[i] + room
    return Bounds(params, states, scores, [_wild(step, i) for i in range(len(params))])


def _wild(step: Step, i: int) -> Array:
    """Where a parameter's gradient or state is not finite before the step."""
    w, g = step.params[i], step.grads[i]
    arrays = [x for x in (g, *step.states[i].values()) if x is not None and x.shape == w.shape]
    wild = np.zeros(w.shape, bool)
    for x in arrays:
        wild = wild | ~np.isfinite(x)
    return wild
