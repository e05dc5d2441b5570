"""One step of one parameter, from its rule, policy, decay and learning rate (R0, R5).

:func:`update_array` is pure and traceable. Every driver that has whole arrays (the reference
optimizer, compiled graphs, accelerators) calls it for each parameter.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import Any, NamedTuple

from ._typing import Array, Split, State
from .numerics.backend import Backend
from .policy import Context, Policy, score
from .rules.base import Decay, Direction, Rule
from .selection.counting import device, index_dtype
from .selection.reference import slices
from .statistics import Statistics, measure


class Update(NamedTuple):
    """The result of one step of one parameter."""

    delta: Array
    """The difference to subtract, in the compute dtype, so that ``w - delta`` is rounded once."""
    state: State
    """The new state, in the dtypes of the old one."""
    statistics: Statistics | None
    """What the policy did, if it is measured."""


def gradients(be: Backend, w: Array, g: Array, coupled: Array | None) -> tuple[Array, Array]:
    """(the raw gradient of the score, the gradient of the moments), with tiny values as 0 (N6).

    Args:
        w, g: in the compute dtype.
        coupled: the decay that enters the moments' gradient (R3), or ``None``.
    """
    raw = be.flush(g)
    return raw, raw if coupled is None else raw + be.mul(coupled, w)


def apply_split(be: Backend, split: Split | None, rate: Array, u: Array) -> Array:
    """``(rate * phi) * u`` (R0); a selected step that alone overflows takes the low factor (P7).

    Args:
        split: the multiplier of ``u`` as rows (slices, d), or ``None`` for phi = 1.
        rate: 0-d, or a shape that broadcasts with ``u``.
        u: the direction, any shape.
    """
    if split is None:
        return be.mul(rate, u)
    rows = be.xp.reshape(u, split.mask.shape)
    if rate.ndim:
        rate = be.xp.reshape(be.xp.broadcast_to(rate, u.shape), split.mask.shape)
    high = be.mul(be.mul(rate, split.high), rows)
    low = be.mul(be.mul(rate, split.low), rows)
    overflows = be.xp.isfinite(rows) & ~be.xp.isfinite(high)
    return be.xp.reshape(be.xp.where(split.mask & ~overflows, high, low), u.shape)


def decay_term(be: Backend, decay: Decay, rate: Array, w: Array, u: Array) -> Array:
    """``rate * w``; where only what is aligned decays, 0 elsewhere (R0c).

    Args:
        decay: :attr:`Rule.decay`.
        rate: learning rate times decay, 0-d or as it broadcasts with ``w``.
        u: the direction, or what is a positive multiple of it.
    """
    term = be.mul(rate, w)
    if decay == "all":
        return term
    # A product too small for some backends counts as 0, and so as aligned (N6).
    aligned = be.flush(be.mul(u, w), be.tiny_score) >= be.scalar(0.0)
    return be.xp.where(aligned, term, be.scalar(0.0))


class _Entering(NamedTuple):
    """The arguments of a rule, in the compute dtype."""

    w: Array
    state: State
    raw: Array
    """The gradient of the score."""
    g: Array
    """The gradient of the moments."""


def _decay(be: Backend, weight_decay: Any) -> Array | None:
    none = isinstance(weight_decay, (int, float)) and weight_decay == 0
    return None if none else be.scalar(weight_decay)


def _entering(
    be: Backend, rule: Rule, w: Array, g: Array, state: State, lr: Any, weight_decay: Any
) -> _Entering:
    w = be.cast(w, be.dtype)
    state = {name: be.cast(value, be.dtype) for name, value in state.items()}
    if rule.reads_lr:
        state["lr"] = be.scalar(lr)
    coupled = _decay(be, weight_decay) if rule.couples_decay else None
    raw, g = gradients(be, w, be.cast(g, be.dtype), coupled)
    return _Entering(w, state, raw, g)


def contribution(
    be: Backend,
    rule: Rule,
    w: Array,
    g: Array,
    state: State,
    t: Any,
    *,
    lr: Any,
    weight_decay: Any = 0.0,
) -> State:
    """One parameter's part of the sums over all parameters (:meth:`Rule.totals`).

    The arguments are those of :func:`update_array`, which takes the sums as ``totals``. They are
    added in the order of the parameters.
    """
    w, state, _, g = _entering(be, rule, w, g, state, lr, weight_decay)
    return rule.totals(be, g, w, state, t)


def summed(parts: Iterable[State]) -> State:
    """The contributions of all parameters added up by name, in their order."""
    sums: State = {}
    for part in parts:
        sums |= {n: sums[n] + value if n in sums else value for n, value in part.items()}
    return sums


class Proposal(NamedTuple):
    """A rule's step of one parameter before the policy decides, in the compute dtype."""

    state: State
    direction: Direction
    scores: Array | None
    """The canonical scores (P2), of the parameter's shape; ``None`` without a policy."""


def propose(
    be: Backend,
    rule: Rule,
    w: Array,
    g: Array,
    state: State,
    t: Any,
    *,
    lr: Any,
    weight_decay: Any = 0.0,
    totals: State | None = None,
    scored: bool = True,
) -> Proposal:
    """The first half of :func:`update_array`, with the same arguments: moments and scores.

    Args:
        scored: whether to compute scores for a policy.
    """
    w, state, raw, g = _entering(be, rule, w, g, state, lr, weight_decay)
    sums = {name: be.cast(value, be.dtype) for name, value in (totals or {}).items()}
    state = rule.accumulate(be, g, w, {**state, **sums}, t)
    direction = rule.direction(be, g, w, state, t)
    state = rule.finish(be, g, w, state, t)
    scores = be.flush(be.mul(direction.a, raw), be.tiny_score) if scored else None
    return Proposal(state, direction, scores)


def conclude(
    be: Backend,
    rule: Rule,
    w: Array,
    proposed: Proposal,
    split: Split | None,
    t: Any,
    *,
    lr: Any,
    weight_decay: Any = 0.0,
) -> tuple[Array, State]:
    """The second half of :func:`update_array`: the difference and the state, from the split."""
    direction = proposed.direction
    decay = None if rule.couples_decay else _decay(be, weight_decay)
    decay_or_0 = be.scalar(0.0) if decay is None else decay
    w = be.cast(w, be.dtype)
    rate, decay_rate = rule.rates(be, be.scalar(lr), decay_or_0, t, direction.size)
    delta = apply_split(be, split, rate, direction.u)
    delta = rule.constrain(be, delta, w, rate, direction)
    if decay is not None:
        delta = delta + decay_term(be, rule.decay, be.mul(decay_rate, decay), w, direction.u)
    return rule.follow(be, delta, w, proposed.state, t)


def _decide_in_context(
    be: Backend, policy: Policy, proposed: Proposal, t: Any, stacked_dims: int, key: int
) -> Split:
    """The split by a policy of one's own (P13)."""
    xp = be.xp
    scores, u = (slices(x, xp, stacked_dims) for x in (proposed.scores, proposed.direction.u))
    size = prod(scores.shape)
    index = xp.arange(size, dtype=index_dtype(xp, size), device=device(scores))
    return policy.decide(be, scores, Context(t, key, xp.reshape(index, scores.shape), u))


def update_array(
    be: Backend,
    rule: Rule,
    policy: Policy | None,
    w: Array,
    g: Array,
    state: State,
    t: Any,
    *,
    lr: Any,
    weight_decay: Any = 0.0,
    stacked_dims: int = 0,
    statistics: bool = False,
    totals: State | None = None,
    key: int = 0,
) -> Update:
    """One step of one parameter, as a difference (R0).

    Args:
        be: bound to the compute dtype of ``w``.
        rule: what the optimizer proposes.
        policy: ``None`` for the plain base rule.
        w, g: the parameter and its raw gradient, real floating, of one shape.
        state: the state from :meth:`Rule.init` or the last step, in any floating dtype.
        t: the step, from 1: an int or a 0-d integer array.
        lr, weight_decay: numbers or 0-d arrays. A Python 0 leaves the decay out.
        stacked_dims: the number of leading axes whose indices are slices of their own (P5).
        statistics: whether to measure the decision.
        totals: the sums of :func:`contribution` over all parameters, for rules that need them.
        key: the parameter's number, for a policy of one's own (P13).
    """
    w = be.cast(w, be.dtype)
    proposed = propose(
        be, rule, w, g, state, t,
        lr=lr, weight_decay=weight_decay, totals=totals, scored=policy is not None,
    )  # fmt: skip
    split, measured = None, None
    if policy is not None:
        if policy.opaque:
            split = _decide_in_context(be, policy, proposed, t, stacked_dims, key)
        else:
            split = be.decide(policy, proposed.scores, stacked_dims)
        if statistics:
            measured = measure(be, slices(proposed.scores, be.xp, stacked_dims), split)
    delta, after = conclude(be, rule, w, proposed, split, t, lr=lr, weight_decay=weight_decay)
    kept = {name: be.cast(after[name], state[name].dtype) for name in state}
    return Update(delta, kept, measured)


class Rescaling(NamedTuple):
    """A step that another optimizer took, rescaled; arrays in the compute dtype."""

    w: Array
    """Where the parameter goes."""
    scores: Array | None
    """The canonical scores (P2), of the parameter's shape; ``None`` without a policy."""
    split: Split | None


def rescale(
    be: Backend,
    policy: Policy | None,
    before: Array,
    after: Array,
    g: Array,
    *,
    operand: Array | None = None,
    w: Array | None = None,
    lr: Any = 0.0,
    weight_decay: Any = 0.0,
    decay: Decay = "all",
    stacked_dims: int = 0,
) -> Rescaling:
    """Rescale the step ``before`` to ``after``, which an optimizer took without decay (R0).

    The difference is ``lr * u``, and it is the alignment operand too unless one is given.

    Args:
        before, after, g: a parameter, where it was moved to, and its raw gradient, of one shape and
            in the compute dtype.
        operand: the alignment operand.
        w: what decays; by default ``before``.
        lr, weight_decay: numbers or 0-d arrays. A Python 0 as ``weight_decay`` leaves it out.
        decay: :attr:`Rule.decay`.
    """
    moved, w = before - after, before if w is None else w
    scores, split = None, None
    if policy is not None:
        scores = score(moved if operand is None else operand, be.flush(g), be=be)
        split = be.decide(policy, scores, stacked_dims)
    delta = apply_split(be, split, be.scalar(1.0), moved)
    rate = _decay(be, weight_decay)
    if rate is not None:
        delta = delta + decay_term(be, decay, be.mul(be.scalar(lr), rate), w, moved)
    return Rescaling(before - delta, scores, split)
