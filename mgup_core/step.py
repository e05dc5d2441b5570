"""One step of one parameter: rule, policy, decay and step size put together (R0, R5).

Pure and traceable: every driver that sees whole arrays (the NumPy optimizer, compiled graphs,
accelerators) is this function in a loop.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from ._typing import Array, Split, State
from .numerics.backend import Backend
from .policy import Policy
from .rules.base import Direction, Rule
from .selection.reference import slices
from .statistics import Statistics, measure


class Update(NamedTuple):
    """What one step of one parameter gives."""

    delta: Array
    """To be subtracted from the parameter, in the compute dtype: ``w - delta`` is rounded once."""
    state: State
    """In the dtypes of the state given."""
    statistics: Statistics | None


def gradients(be: Backend, w: Array, g: Array, coupled: Array | None) -> tuple[Array, Array]:
    """(the raw gradient of the score, the one that the moments take in), tiny values as 0 (N6).

    Args:
        w, g: in the compute dtype.
        coupled: the decay that enters the moments' gradient (R3), or ``None``.
    """
    raw = be.flush(g)
    return raw, raw if coupled is None else raw + be.mul(coupled, w)


def apply_split(be: Backend, split: Split | None, rate: Array, u: Array) -> Array:
    """``(rate * phi) * u`` (R0), where no selected step overflows that need not (P7).

    Args:
        split: the multiplier of ``u`` as rows (slices, d), or ``None`` for phi = 1.
        rate: 0-d, or of a shape that broadcasts with ``u``. u: any shape.
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


class _Entering(NamedTuple):
    """What a rule is given, in the compute dtype."""

    w: Array
    state: State
    raw: Array
    g: Array


def _decay(be: Backend, weight_decay: Any) -> Array | None:
    none = isinstance(weight_decay, (int, float)) and weight_decay == 0
    return None if none else be.scalar(weight_decay)


def _entering(
    be: Backend, rule: Rule, w: Array, g: Array, state: State, weight_decay: Any
) -> _Entering:
    w = be.cast(w, be.dtype)
    state = {name: be.cast(value, be.dtype) for name, value in state.items()}
    coupled = _decay(be, weight_decay) if rule.couples_decay else None
    raw, g = gradients(be, w, be.cast(g, be.dtype), coupled)
    return _Entering(w, state, raw, g)


def contribution(
    be: Backend, rule: Rule, w: Array, g: Array, state: State, t: Any, *, weight_decay: Any = 0.0
) -> State:
    """One parameter's part of the sums that a rule needs over all of them (:meth:`Rule.totals`).

    The arguments are those of :func:`update_array`, to which the sums go as ``totals``, added in
    the order of the parameters.
    """
    w, state, _, g = _entering(be, rule, w, g, state, weight_decay)
    return rule.totals(be, g, w, state, t)


def summed(parts: Iterable[State]) -> State:
    """The contributions of all parameters added up by name, in their order."""
    sums: State = {}
    for part in parts:
        sums |= {n: sums[n] + value if n in sums else value for n, value in part.items()}
    return sums


class Proposal(NamedTuple):
    """What a rule proposes for one parameter before the policy decides; in the compute dtype."""

    state: State
    direction: Direction
    scores: Array | None
    """Canonical (P2), of the parameter's shape; ``None`` where no policy asks for them."""


def propose(
    be: Backend,
    rule: Rule,
    w: Array,
    g: Array,
    state: State,
    t: Any,
    *,
    weight_decay: Any = 0.0,
    totals: State | None = None,
    scored: bool = True,
) -> Proposal:
    """The first half of :func:`update_array`, whose arguments these are: moments and scores.

    Args:
        scored: whether a policy is to decide.
    """
    w, state, raw, g = _entering(be, rule, w, g, state, weight_decay)
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
    direction: Direction,
    split: Split | None,
    t: Any,
    *,
    lr: Any,
    weight_decay: Any = 0.0,
) -> Array:
    """The second half of :func:`update_array`: the difference that the policy's split makes."""
    decay = None if rule.couples_decay else _decay(be, weight_decay)
    decay_or_0 = be.scalar(0.0) if decay is None else decay
    w = be.cast(w, be.dtype)
    rate, decay_rate = rule.rates(be, be.scalar(lr), decay_or_0, t, direction.size)
    delta = apply_split(be, split, rate, direction.u)
    delta = rule.constrain(be, delta, w, rate, direction)
    if decay is not None:
        delta = delta + be.mul(be.mul(decay_rate, decay), w)
    return delta


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
) -> Update:
    """One step of one parameter, as a difference (R0).

    Args:
        be: bound to the compute dtype of ``w``.
        policy: ``None`` for the plain base rule.
        w, g: the parameter and its raw gradient, real floating, of one shape.
        state: as :meth:`Rule.init` made it, in any floating dtype.
        t: the step, from 1: an int or a 0-d integer array.
        lr, weight_decay: numbers or 0-d arrays. A Python 0 leaves the decay out.
        stacked_dims: how many leading axes are slices of their own (P5).
        statistics: whether to measure the decision.
        totals: what :func:`contribution` gave, summed over all parameters; for rules that couple
            them.
    """
    w = be.cast(w, be.dtype)
    proposed = propose(
        be, rule, w, g, state, t,
        weight_decay=weight_decay, totals=totals, scored=policy is not None,
    )  # fmt: skip
    split, measured = None, None
    if policy is not None:
        split = be.decide(policy, proposed.scores, stacked_dims)
        if statistics:
            measured = measure(be, slices(proposed.scores, be.xp, stacked_dims), split)
    delta = conclude(
        be, rule, w, proposed.direction, split, t, lr=lr, weight_decay=weight_decay
    )  # fmt: skip
    kept = {name: be.cast(proposed.state[name], state[name].dtype) for name in state}
    return Update(delta, kept, measured)
