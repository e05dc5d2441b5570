"""The step of all parameters: a rule's two halves for each, and between them the decision.

A program holds each half once for all parameters of one shape: to trace them for every array took
as long as XLA takes to compile what comes of it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
from jax import lax

from mgup_core import Policy, Rule, Split, State, contribution, summed
from mgup_core.step import Proposal, conclude, propose

from .backend import JaxBackend, Known
from .settings import Settings, Step


class Leaf(NamedTuple):
    """A parameter that has a gradient."""

    be: JaxBackend
    w: Any
    """``None`` where the parameters were not passed."""
    g: Any
    state: State
    decay: Any
    """The weight decay, a scalar of the backend, or ``None``."""
    stacked_dims: int
    kind: Any
    """The dtype of the update."""


class Moved(NamedTuple):
    """The result of a step for one leaf."""

    update: Any
    """To be added to the parameter."""
    state: State


class ParameterStep:
    """The step of a rule."""

    def __init__(self, rule: Rule, settings: Settings) -> None:
        self.rule = rule
        self.follows = type(rule).follow is not Rule.follow

        def traced_propose(dtype: Any, where: Any, scored: bool, known: Known, *given: Any) -> Any:
            be = settings.backend(dtype, where, known)
            return self._propose(be, scored, known.t, *given)

        def traced_conclude(dtype: Any, where: Any, kinds: Any, known: Known, *given: Any) -> Any:
            return self._conclude(settings.backend(dtype, where, known), kinds, known.t, *given)

        self._traced_propose = jax.jit(traced_propose, static_argnums=(0, 1, 2))
        self._traced_conclude = jax.jit(traced_conclude, static_argnums=(0, 1, 2))

    def __call__(self, leaves: list[Leaf], t: Any, step: Step) -> list[Moved]:
        """Take the step ``t``, from 1: an int or a traced 0-d integer array."""
        totals = None
        if self.rule.couples_parameters:
            totals = summed(self._contribution(leaf, t, step) for leaf in leaves)
        proposed = self._proposals(leaves, t, totals, step)
        splits: list[Split | None] = [None] * len(leaves)
        if step.policy is not None:
            splits[:] = decide_all(
                step.policy,
                [leaf.be for leaf in leaves],
                [one.scores for one in proposed],
                [leaf.stacked_dims for leaf in leaves],
            )
        moved = []
        for leaf, one, split in zip(leaves, proposed, splits, strict=True):
            be = leaf.be
            # What has its state already gets it past the second half.
            state = one.state if self.follows else {}
            given = (leaf.w, Proposal(state, one.direction, None), split,
                     be.scalar(step.learning_rate), leaf.decay)  # fmt: skip
            kinds = leaf.kind, tuple((name, leaf.state[name].dtype) for name in state)
            if be.known.t is None:
                update, state = self._conclude(be, kinds, t, *given)
            else:
                update, state = self._traced_conclude(be.dtype, be.where, kinds, be.known, *given)
            moved.append(Moved(update, state if self.follows else one.state))
        return moved

    def _proposals(
        self, leaves: list[Leaf], t: Any, totals: State | None, step: Step
    ) -> list[Proposal]:
        scored = step.policy is not None
        seen: set[int] = set()
        found = []
        for leaf in leaves:
            be = leaf.be
            lr = be.scalar(step.learning_rate) if self.rule.reads_lr else None
            given = (leaf.w, leaf.g, leaf.state, lr, leaf.decay, totals)
            # The first is traced in the open, where the backend learns what all of them need.
            if be.known.t is None or id(be) not in seen:
                found.append(self._propose(be, scored, t, *given))
            else:
                found.append(self._traced_propose(be.dtype, be.where, scored, be.known, *given))
            seen.add(id(be))
        return found

    def _contribution(self, leaf: Leaf, t: Any, step: Step) -> State:
        decay = 0.0 if leaf.decay is None else leaf.decay
        w, lr = _values(leaf.w, leaf.be, leaf.g), step.learning_rate
        return contribution(leaf.be, self.rule, w, leaf.g, leaf.state, t, lr=lr, weight_decay=decay)

    def _propose(
        self, be: JaxBackend, scored: bool, t: Any,
        w: Any, g: Any, state: State, lr: Any, decay: Any, totals: State | None,
    ) -> Proposal:  # fmt: skip
        done = propose(
            be, self.rule, _values(w, be, g), g, state, t,
            lr=lr, weight_decay=0.0 if decay is None else decay, totals=totals, scored=scored,
        )  # fmt: skip
        kept = {
            name: done.state[name] if self.follows else be.cast(done.state[name], x.dtype)
            for name, x in state.items()
        }
        return Proposal(kept, done.direction, unmoved(done.scores))

    def _conclude(
        self, be: JaxBackend, kinds: Any, t: Any,
        w: Any, one: Proposal, split: Split | None, lr: Any, decay: Any,
    ) -> Any:  # fmt: skip
        w, decay = _values(w, be, one.direction.u), 0.0 if decay is None else decay
        delta, state = conclude(be, self.rule, w, one, split, t, lr=lr, weight_decay=decay)
        kind, dtypes = kinds
        return be.cast(-delta, kind), {name: be.cast(state[name], x) for name, x in dtypes}


def _values(w: Any, be: JaxBackend, like: Any) -> Any:
    """The parameter, or a stand-in from which no rule can read a value."""
    return jax.ShapeDtypeStruct(like.shape, be.dtype) if w is None else w


def unmoved(scores: Any) -> Any:
    """``scores`` for a policy: a mask has the derivative 0, and a search has none."""
    return None if scores is None else lax.stop_gradient(scores)


def decide_all(
    policy: Policy, backends: list[JaxBackend], scores: list[Any], stacked_dims: list[int]
) -> list[Split]:
    """The split of each array's canonical scores; those of one backend share a search."""
    splits: dict[int, Split] = {}
    for be in dict.fromkeys(backends):
        own = [i for i, one in enumerate(backends) if one is be]
        found = be.decide_all(policy, [scores[i] for i in own], [stacked_dims[i] for i in own])
        splits |= zip(own, found, strict=True)
    return [splits[i] for i in range(len(scores))]
