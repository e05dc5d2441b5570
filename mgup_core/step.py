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
from .rules.base import Rule
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
    """What a rule is given, in the compute dtype; ``decay`` is that which is left to be done."""

    w: Array
    state: State
    raw: Array
    g: Array
    decay: Array | None


def _entering(
    be: Backend, rule: Rule, w: Array, g: Array, state: State, weight_decay: Any
) -> _Entering:
    w = be.cast(w, be.dtype)
    state = {name: be.cast(value, be.dtype) for name, value in state.items()}
    none = isinstance(weight_decay, (int, float)) and weight_decay == 0
    decay = None if none else be.scalar(weight_decay)
    coupled = decay if rule.couples_decay else None
    raw, g = gradients(be, w, be.cast(g, be.dtype), coupled)
    return _Entering(w, state, raw, g, None if rule.couples_decay else decay)


def contribution(
    be: Backend, rule: Rule, w: Array, g: Array, state: State, t: Any, *, weight_decay: Any = 0.0
) -> State:
    """One parameter's part of the sums that a rule needs over all of them (:meth:`Rule.totals`).

    The arguments are those of :func:`update_array`, to which the sums go as ``totals``, added in
    the order of the parameters.
    """
    w, state, _, g, _ = _entering(be, rule, w, g, state, weight_decay)
    return rule.totals(be, g, w, state, t)


def summed(parts: Iterable[State]) -> State:
    """The contributions of all parameters added up by name, in their order."""
    sums: State = {}
    for part in parts:
        sums |= {n: sums[n] + value if n in sums else value for n, value in part.items()}
    return sums


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
    kept = {name: value.dtype for name, value in state.items()}
    w, state, raw, g, decay = _entering(be, rule, w, g, state, weight_decay)
    sums = {name: be.cast(value, be.dtype) for name, value in (totals or {}).items()}
    state = rule.accumulate(be, g, w, {**state, **sums}, t)
    direction = rule.direction(be, g, w, state, t)
    state = rule.finish(be, g, w, state, t)

    split, measured = None, None
    if policy is not None:
        scores = be.flush(be.mul(direction.a, raw), be.tiny_score)
        split = be.decide(policy, scores, stacked_dims)
        if statistics:
            measured = measure(be, slices(scores, be.xp, stacked_dims), split)
    decay_or_0 = be.scalar(0.0) if decay is None else decay
    rate, decay_rate = rule.rates(be, be.scalar(lr), decay_or_0, t, direction.size)
    delta = apply_split(be, split, rate, direction.u)
    delta = rule.constrain(be, delta, w, rate, direction)
    if decay is not None:
        delta = delta + be.mul(be.mul(decay_rate, decay), w)
    return Update(delta, {name: be.cast(state[name], kept[name]) for name in state}, measured)
