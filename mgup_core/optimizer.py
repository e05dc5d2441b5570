"""The reference optimizer: steps lists or dicts of arrays by a rule and a policy."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np

from ._checks import check_fits, check_rate, check_real
from ._typing import Array, State
from .frontend.reserved import check_names, check_state_names
from .numerics.backend import Backend, backend_for
from .policy import MGUP, Policy, parameter_key
from .rules.base import Rule, check_fields, evaluation, fresh_state, size_alone
from .statistics import Statistics
from .step import contribution, summed, update_array
from .trace.elementwise import check_elementwise

Params = TypeVar("Params", list[Any], tuple[Any, ...], dict[str, Any])


class OptimizerState(NamedTuple):
    """Plain data: by each parameter's key, its number of steps and its state."""

    steps: dict[Any, int]
    arrays: dict[Any, State]


def _items(tree: Any, name: str) -> dict[Any, Any]:
    if isinstance(tree, dict):
        return dict(tree)
    if isinstance(tree, (list, tuple)):
        return dict(enumerate(tree))
    raise TypeError(f"{name} must be a list, tuple or dict of arrays, not {type(tree).__name__}.")


def _like(tree: Any, items: dict[Any, Any]) -> Any:
    return items if isinstance(tree, dict) else type(tree)(items.values())


@dataclass(frozen=True)
class Optimizer:
    """A pure optimizer of arrays of any array-API namespace; it changes none of its arguments.

    With NumPy arrays it is the reference that every adapter is compared with. Elementwise rules
    give the same bits on the arrays of PyTorch, JAX and MindSpore (N10), and on other arrays if
    their namespace rounds as NumPy does (N4, N5).

    Args:
        rule: the base optimizer.
        policy: the multiplier; ``None`` is the plain base rule.
        lr: learning rate, finite and >= 0; by default the rule's.
        weight_decay: finite and >= 0; by default the rule's.
        stacked_dims: the number of leading axes whose indices are slices of their own, for all
            parameters or by key (P5).
        state_dtype: the dtype of the state, e.g. ``"float32"``; by default the parameter's (R5).
        backend: makes the :class:`Backend` of a parameter; by default the registered one.

    >>> from mgup_core import AdamW, MGUP
    >>> optimizer = Optimizer(AdamW(), MGUP(), lr=0.1, weight_decay=0.0)
    >>> params = {"w": np.array([1.0, -2.0])}
    >>> state = optimizer.init(params)
    >>> params, state = optimizer.step(params, {"w": np.array([0.5, -3.0])}, state)
    >>> params["w"].round(3)
    array([ 0.95, -1.8 ])
    """

    rule: Rule
    policy: Policy | None = field(default_factory=MGUP)
    lr: float | None = None
    weight_decay: float | None = None
    stacked_dims: int | dict[Any, int] = 0
    state_dtype: str | None = None
    backend: Callable[[Array], Backend] = backend_for

    def __post_init__(self) -> None:
        check_names(type(self.rule))
        check_state_names(self.rule)
        check_elementwise(self.rule)
        check_fields(self.rule)
        if said := size_alone(self.rule, self.policy):
            warnings.warn(said, stacklevel=3)
        for name in ("lr", "weight_decay"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, getattr(self.rule, name))
            check_rate(name, getattr(self, name))

    def init(self, params: Params) -> OptimizerState:
        """The state before the first step.

        Raises:
            ValueError: for an empty collection, or a shape that the rule does not train.
            TypeError: for arrays that are not real floating.
        """
        items = _items(params, "params")
        if not items:
            raise ValueError("params is empty: there is nothing to optimize.")
        arrays = {}
        for key, w in items.items():
            be = self.backend(w)
            check_real(f"params[{key!r}]", w, be.xp)
            if reason := self.rule.accepts(w.shape, self._stacked(key)):
                raise ValueError(f"params[{key!r}]: {reason}")
            check_fits(self._numbers(), be.host_dtype)
            dtype = w.dtype if self.state_dtype is None else getattr(be.xp, self.state_dtype)
            arrays[key] = fresh_state(be, self.rule, w, dtype)
        return OptimizerState(dict.fromkeys(items, 0), arrays)

    def step(
        self, params: Params, grads: Params, state: OptimizerState, *, lr: float | None = None
    ) -> tuple[Params, OptimizerState]:
        """One step of all parameters: (new parameters, new state).

        Args:
            params: list, tuple or dict of real floating arrays.
            grads: the same structure, shapes and dtypes; ``None`` leaves a parameter and its state
                as they are (R6).
            state: from :meth:`init` or the last step.
            lr: this step's learning rate, for a schedule.

        Raises:
            ValueError, TypeError: when grads or state do not fit params, or lr is negative or not
                finite. Nothing is computed then.
        """
        params_out, state_out, _ = self._step(params, grads, state, lr, statistics=False)
        return params_out, state_out

    def step_with_statistics(
        self, params: Params, grads: Params, state: OptimizerState, *, lr: float | None = None
    ) -> tuple[Params, OptimizerState, dict[Any, Statistics]]:
        """As :meth:`step`, with what the policy did to each parameter that had a gradient."""
        return self._step(params, grads, state, lr, statistics=True)

    def evaluation(self, params: Params, state: OptimizerState) -> Params:
        """Where the model is to be evaluated: ``params``, or of Schedule-Free rules the average."""
        weights = _items(params, "params")
        for key, w in weights.items():
            be = self.backend(w)
            own = {name: be.cast(value, be.dtype) for name, value in state.arrays[key].items()}
            weights[key] = be.cast(evaluation(be, be.cast(w, be.dtype), own), w.dtype)
        return cast("Params", _like(params, weights))

    def _step(
        self, params: Any, grads: Any, state: OptimizerState, lr: float | None, statistics: bool
    ) -> tuple[Any, OptimizerState, dict[Any, Statistics]]:
        weights, gradients = _items(params, "params"), _items(grads, "grads")
        own = self._check(weights, gradients, state)
        if lr is not None:
            check_rate("lr", lr)
            for w in weights.values():
                check_fits({"lr": lr}, self.backend(w).host_dtype)
        lr = self.lr if lr is None else lr
        steps, arrays, measured = dict(state.steps), dict(state.arrays), {}
        totals = None
        if self.rule.couples_parameters:
            totals = self._totals(weights, gradients, own, state.steps, lr)
        for key, g in gradients.items():
            if g is None:
                continue
            w, be = weights[key], self.backend(weights[key])
            steps[key] += 1
            with np.errstate(all="ignore"):
                update = update_array(
                    be,
                    self.rule,
                    self.policy,
                    w,
                    g,
                    own[key],
                    steps[key],
                    lr=lr,
                    weight_decay=self.weight_decay,
                    stacked_dims=self._stacked(key),
                    statistics=statistics,
                    totals=totals,
                    key=parameter_key(key),
                )
                weights[key] = be.cast(be.cast(w, be.dtype) - update.delta, w.dtype)
            arrays[key] = {**arrays[key], **update.state}
            if update.statistics is not None:
                measured[key] = update.statistics
        return _like(params, weights), OptimizerState(steps, arrays), measured

    def _totals(
        self,
        weights: dict[Any, Any],
        gradients: dict[Any, Any],
        own: dict[Any, State],
        steps: dict[Any, int],
        lr: float | None,
    ) -> State:
        """The rule's sums over all parameters (:meth:`Rule.totals`)."""

        def part(key: Any, g: Any) -> State:
            w, t = weights[key], steps[key] + 1
            return contribution(
                self.backend(w), self.rule, w, g, own[key], t,
                lr=lr, weight_decay=self.weight_decay,
            )  # fmt: skip

        with np.errstate(all="ignore"):
            return summed(part(key, g) for key, g in gradients.items() if g is not None)

    def _numbers(self) -> dict[str, Any]:
        """Every hyperparameter, by name."""
        policy = {} if self.policy is None else vars(self.policy)
        rates = {"lr": self.lr, "weight_decay": self.weight_decay}
        return {**vars(self.rule), **policy, **rates}

    def _stacked(self, key: Any) -> int:
        if isinstance(self.stacked_dims, dict):
            return self.stacked_dims.get(key, 0)
        return self.stacked_dims

    def _check(
        self, weights: dict[Any, Any], gradients: dict[Any, Any], state: OptimizerState
    ) -> dict[Any, State]:
        """The rule's own state of each parameter that has a gradient, checked."""
        own: dict[Any, State] = {}
        if weights.keys() != gradients.keys() or weights.keys() != state.arrays.keys():
            raise ValueError(
                "params, grads and state name different parameters: "
                f"{sorted(map(str, weights))}, {sorted(map(str, gradients))}, "
                f"{sorted(map(str, state.arrays))}."
            )
        for key, g in gradients.items():
            if g is None:
                continue
            w, be = weights[key], self.backend(weights[key])
            check_real(f"grads[{key!r}]", g, be.xp)
            if g.shape != w.shape or g.dtype != w.dtype:
                raise ValueError(
                    f"grads[{key!r}] is {g.dtype} {tuple(g.shape)}, but the parameter is "
                    f"{w.dtype} {tuple(w.shape)}: they must agree."
                )
            expected = self.rule.init(be, w)
            if absent := sorted(expected.keys() - state.arrays[key].keys()):
                raise ValueError(
                    f"the state of {key!r} lacks {', '.join(map(repr, absent))}, which "
                    f"{type(self.rule).__name__} reads: begin with that of init."
                )
            own[key] = {name: state.arrays[key][name] for name in expected}
            for name, value in own[key].items():
                if value.shape != expected[name].shape:
                    raise ValueError(
                        f"state {name!r} of {key!r} has shape {tuple(value.shape)}, but a "
                        f"parameter of {tuple(w.shape)} has {tuple(expected[name].shape)}."
                    )
        return own
