"""A rule of the core as a ``mindspore.nn.Optimizer``."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from typing import Any, ClassVar

import mindspore as ms
import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn
from mindspore.nn.optim.optimizer import _ConvertToCell

from mgup_core import Rule
from mgup_core._checks import check_fits
from mgup_core.trace.elementwise import check_elementwise

from .backend import DTYPES, Beta
from .cells import Corrections, ParameterStep, Settings, fresh_state
from .emitter import held
from .groups import MGUP_DEFAULTS, Exact, Fixed, Group, as_groups, policy_of, rule_of
from .operations import add, multiply


class RuleOptimizer(nn.Optimizer):
    """What the optimizers made by :func:`mgup_mindspore.optimizer` share.

    Args:
        params: parameters, or groups.
        learning_rate, weight_decay, loss_scale: as in ``nn.Optimizer``.
        settings: the rule's and MGUP's arguments, which a group may replace.
    """

    rule_class: ClassVar[type[Rule]]

    def __init__(
        self,
        params: Iterable[Any],
        learning_rate: Any,
        weight_decay: Any,
        loss_scale: float,
        settings: Group,
    ) -> None:
        _refuse_parallel_optimizer()
        defaults = {**MGUP_DEFAULTS, **settings, "lr": learning_rate, "weight_decay": weight_decay}
        theirs, groups = as_groups(type(self).__name__, params, defaults)
        rules = {name: self._rule(group) for name, group in groups.items()}
        # Where a parameter is float64, a float32 learning rate would not be what was given (N2).
        wide = any(p.dtype == ms.float64 for p in _parameters(theirs))
        object.__setattr__(self, "_rate_dtype", ms.float64 if wide else ms.float32)
        for group in {id(group): group for group in groups.values()}.values():
            check_elementwise(self._rule(group))
        for p in _parameters(theirs):
            _check_parameter(p, groups[p.name], rules[p.name])
        super().__init__(learning_rate, theirs, weight_decay, loss_scale)

        betas: list[Beta] = []
        state: dict[str, list[Parameter]] = {}
        steps, decays, trained = [], [], []
        for i, p in enumerate(self._parameters):
            group, rule = groups[p.name], rules[p.name]
            made = fresh_state(rule, p, group["state_dtype"] or p.dtype)
            for name, parameter in made.items():
                state.setdefault(name, []).append(parameter)
            decays.append(self._schedule(group["weight_decay"]))
            if p.size == 0:  # R6: a no-op
                continue
            settings = Settings(
                rule, policy_of(group), group["weight_decay"] != 0, group["stacked_dims"],
                self.loss_scale,
            )  # fmt: skip
            _warn_all_damped(p, settings, group)
            steps.append(ParameterStep(p, made, settings, self._rate_dtype, betas))
            trained.append(i)
        for name, parameters in state.items():
            setattr(self, name, ParameterTuple(parameters))
        self.decays = nn.CellList(decays, auto_prefix=False)
        self.steps = nn.CellList(steps, auto_prefix=False)
        self.trained = tuple(trained)
        self.coupled = tuple(i for i, step in enumerate(steps) if step.share.gives)
        self.parameter_names = tuple(p.name for p in self._parameters)
        self.corrections = Corrections(betas)
        self.one = held([(1.0, self._rate_dtype)])

    def _rule(self, group: Group) -> Rule:
        """The rule that trains a group."""
        return rule_of(self.rule_class, group)

    # -- rates -----------------------------------------------------------------------------------

    def _build_single_lr(self, learning_rate: Any, name: str) -> Any:
        """As nn.Optimizer, without its losses: see :class:`Exact`, and float64 where needed."""
        built = super()._build_single_lr(learning_rate, name)
        rate = built.learning_rate if isinstance(built, _ConvertToCell) else built
        if isinstance(rate, Parameter) and self._rate_dtype == ms.float64:
            number = learning_rate.asnumpy() if isinstance(learning_rate, Tensor) else learning_rate
            rate = Parameter(Tensor(np.asarray(number, np.float64)), name)
        return Exact(rate) if isinstance(built, _ConvertToCell) else rate

    def _schedule(self, value: Any) -> nn.Cell:
        """A number, or a schedule of it, as a cell that is asked with the step."""
        if isinstance(value, nn.Cell):
            return value
        return Fixed(held([(value, self._rate_dtype)]))

    def get_weight_decay(self) -> Any:
        """The weight decay of this step, as it was given: one, or one for each parameter."""
        if not self.is_group:
            return self.decays[0](self.global_step)
        decays = ()
        for decay in self.decays:
            decays += (decay(self.global_step),)
        return decays

    # -- the step --------------------------------------------------------------------------------

    def construct(self, gradients: tuple[Tensor, ...]) -> bool:
        """Take one step.

        Args:
            gradients: of all parameters, in the order of ``self.parameters``.

        Raises:
            ValueError, TypeError: for gradients that do not fit, before anything changes.
        """
        gradients = self.flatten_gradients(gradients)
        check_gradients(self.parameter_names, self._parameters, gradients)
        lr = self.get_lr()
        rates = ()
        decays = ()
        for i in self.trained:
            # Times 1: MindSpore 2.10 keeps a parameter as float32 that a graph with loops uses
            # twice, and a float64 learning rate would lose its digits.
            rates += (multiply(lr[i] if self.is_group_lr else lr, self.one[0]),)
            decays += (multiply(self.decays[i](self.global_step).reshape(()), self.one[0]),)
        self.assignadd(self.global_step, self.global_step_increase_tensor)
        t = self.global_step.reshape(())
        corrections = self.corrections(t)
        totals = ()
        read = ()
        for j in range(len(self.trained)):
            if j in self.coupled:
                gradient = gradients[self.trained[j]]
                parts = self.steps[j].share(gradient, t, decays[j], corrections)
                n = len(self.steps[j].share.gives)
                totals = added(totals, parts[:n])
                read += (parts[n:],)
            else:
                read += ((),)
        for j in range(len(self.trained)):
            gradient = gradients[self.trained[j]]
            given = totals if j in self.coupled else ()
            self.steps[j](gradient, t, rates[j], decays[j], corrections, given, read[j])
        return True


def added(totals: Any, parts: Any) -> Any:
    """The sums with one parameter's parts added; part of the graph, so plainly written."""
    if len(totals) == 0:
        return parts
    sums = ()
    for i in range(len(parts)):
        sums += (add(totals[i], parts[i]),)
    return sums


def check_gradients(names: Any, parameters: Any, gradients: Any) -> None:
    """Refuse gradients that do not fit their parameters; part of the graph, so plainly written."""
    if len(gradients) != len(parameters):
        raise ValueError(f"{len(gradients)} gradients were given for {len(parameters)} parameters.")
    for i in range(len(parameters)):
        if gradients[i].shape != parameters[i].shape:
            raise ValueError(
                f"the gradient of parameter {names[i]} has shape {gradients[i].shape}, "
                f"but the parameter has {parameters[i].shape}: they must agree."
            )
        if gradients[i].dtype != parameters[i].dtype:
            raise TypeError(
                f"the gradient of parameter {names[i]} is {gradients[i].dtype}, but the "
                f"parameter is {parameters[i].dtype}: they must agree."
            )


def _refuse_parallel_optimizer() -> None:
    """Parameters in parts, one on each device, would be ranked part by part."""
    if ms.get_auto_parallel_context("enable_parallel_optimizer"):
        raise ValueError(
            "enable_parallel_optimizer=True splits parameters over devices, and MGUP ranks whole "
            "ones: switch it off, with ms.set_auto_parallel_context(enable_parallel_optimizer="
            "False). Data parallelism without it gives the same bits on every device."
        )


def _parameters(theirs: list[Any]) -> list[Parameter]:
    groups = [g.get("params", ()) if isinstance(g, dict) else [g] for g in theirs]
    return [p for group in groups for p in group if isinstance(p, Parameter)]


def _check_parameter(p: Parameter, group: Group, rule: Rule) -> None:
    if p.dtype not in DTYPES:
        raise TypeError(
            f"parameter {p.name} has dtype {p.dtype}; only {', '.join(map(str, DTYPES))} can be "
            "trained."
        )
    if p.ndim < group["stacked_dims"]:
        raise ValueError(
            f"stacked_dims={group['stacked_dims']} exceeds the dimensions of parameter {p.name} "
            f"of shape {p.shape}: give that parameter a group of its own."
        )
    if reason := rule.accepts(tuple(p.shape), group["stacked_dims"]):
        raise ValueError(f"parameter {p.name}: {reason}")
    named = {"learning_rate" if name == "lr" else name: value for name, value in group.items()}
    check_fits(named, np.float64 if p.dtype == ms.float64 else np.float32)


def _warn_all_damped(p: Parameter, settings: Settings, group: Group) -> None:
    """Say so where K = 0, so that the whole of a slice gets gamma, as published (P3)."""
    d = math.prod(p.shape[settings.stacked_dims :])
    policy = settings.policy
    if policy is not None and policy.ranks and d > 0 and policy.top(d) == 0:
        warnings.warn(
            f"parameter {p.name} of shape {p.shape} ranks {d} coordinate(s) at "
            f"tau={group['tau']}: none is selected, so all are damped by gamma. To leave it out, "
            "put it in a group of its own with mode='off'.",
            stacklevel=4,
        )
