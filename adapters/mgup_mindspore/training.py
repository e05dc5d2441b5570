"""How one parameter is trained, as the core computes it on any backend."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from mgup_core import Backend, Policy, Rule, State, contribution, update_array


class Settings(NamedTuple):
    """How one parameter is trained."""

    rule: Rule
    policy: Policy | None
    decays: bool
    stacked_dims: int
    scale: float
    """The gradient is divided by it first."""


def unscaled(be: Backend, settings: Settings, g: Any) -> Any:
    """The gradient without its loss scale."""
    if settings.scale == 1.0:
        return g
    return be.mul(be.cast(g, be.dtype), be.scalar(1.0 / settings.scale))


def contributed(
    be: Backend,
    settings: Settings,
    w: Any,
    g: Any,
    arrays: Sequence[Any],
    t: Any,
    lr: Any,
    decay: Any,
    names: Iterable[str],
) -> State:
    """This parameter's part of the sums over all."""
    state = dict(zip(names, arrays, strict=True))
    g, decay = unscaled(be, settings, g), decay if settings.decays else 0.0
    return contribution(be, settings.rule, w, g, state, t, lr=lr, weight_decay=decay)


def proposed(
    be: Backend,
    settings: Settings,
    w: Any,
    g: Any,
    arrays: Sequence[Any],
    t: Any,
    lr: Any,
    decay: Any,
    names: Iterable[str],
    totals: State,
) -> list[Any]:
    """The parameter and its state after one step, each in the dtype it had."""
    update = update_array(
        be,
        settings.rule,
        settings.policy,
        w,
        unscaled(be, settings, g),
        dict(zip(names, arrays, strict=True)),
        t,
        lr=lr,
        weight_decay=decay if settings.decays else 0.0,
        stacked_dims=settings.stacked_dims,
        totals=totals,
    )
    moved = be.cast(be.cast(w, be.dtype) - update.delta, w.dtype)
    return [moved, *(update.state[name] for name in names)]
