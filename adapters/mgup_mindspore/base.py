"""A rule of the core as a ``mindspore.nn.Optimizer``."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, ClassVar, TypeVar

import mindspore as ms
import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn
from mindspore.nn.optim.optimizer import _ConvertToCell

from mgup_core import MGUP, Rule
from mgup_core._checks import check_fits
from mgup_core._notices import damped_text, warn
from mgup_core.rules.base import TO_AVERAGE, check_fields, size_alone
from mgup_core.trace.elementwise import check_elementwise

from .backend import DTYPES, Betas
from .cells import Step, Task
from .fit import Fit
from .groups import MGUP_DEFAULTS, Exact, Fixed, Group, as_groups, plain, policy_of, rule_of
from .host import fresh_state
from .model_groups import NoDecay, parameter_groups
from .operations import assign
from .program import held
from .runtime import renew
from .training import Settings

Made = TypeVar("Made", bound="RuleOptimizer")


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
        learning_rate, weight_decay = plain(learning_rate), plain(weight_decay)
        settings = {name: plain(value) for name, value in settings.items()}
        defaults = {**MGUP_DEFAULTS, **settings, "lr": learning_rate, "weight_decay": weight_decay}
        theirs, groups = as_groups(type(self).__name__, params, defaults)
        rules = {key: self._rule(group) for key, group in groups.items()}
        # Where a parameter is float64, a float32 learning rate would not be what was given (N2).
        wide = any(p.dtype == ms.float64 for p in _parameters(theirs))
        object.__setattr__(self, "_rate_dtype", ms.float64 if wide else ms.float32)
        for group in {id(group): group for group in groups.values()}.values():
            rule = self._rule(group)
            check_elementwise(rule)
            check_fields(rule)
            if said := size_alone(rule, policy_of(group)):
                warn(said, __file__, ms.__file__)
        for p in _parameters(theirs):
            _check_parameter(p, groups[id(p)], rules[id(p)])
        super().__init__(learning_rate, theirs, weight_decay, loss_scale)
        coupled = [rule for rule in rules.values() if rule.couples_parameters and rule.reads_lr]
        if self.is_group_lr and coupled:
            raise ValueError(
                f"groups have learning rates of their own, but one estimate of "
                f"{type(coupled[0]).__name__} serves all parameters: give one learning rate, and "
                "the others an optimizer of their own."
            )

        betas = Betas()
        object.__setattr__(self, "evaluates", False)
        object.__setattr__(self, "_trained_at", {})
        object.__setattr__(self, "_averaged", {})
        numbers = {id(group): i for i, group in enumerate(_distinct(groups.values()))}
        object.__setattr__(self, "_groups", _distinct(groups.values()))
        state: dict[str, list[Parameter]] = {}
        states, tasks, decays, places = [], [], [], []
        for i, p in enumerate(self._parameters):
            group, rule = groups[id(p)], rules[id(p)]
            made = fresh_state(rule, p, group["state_dtype"] or p.dtype)
            states.append(made)
            for name, parameter in made.items():
                if hasattr(self, name):
                    raise ValueError(
                        f"{type(rule).__name__} calls a state {name!r}, which nn.Optimizer uses "
                        "for something else: give it another name."
                    )
                state.setdefault(name, []).append(parameter)
                self._averaged[parameter.name] = p
            decays.append(self._schedule(group["weight_decay"]))
            if p.size == 0:  # R6: a no-op
                continue
            own = Settings(
                rule, policy_of(group), group["weight_decay"] != 0, group["stacked_dims"],
                self.loss_scale,
            )  # fmt: skip
            tasks.append(Task(p, made, own, self._rate_dtype, betas, numbers[id(group)]))
            places.append(i)
        _warn_all_damped(tasks)
        for name, parameters in state.items():
            setattr(self, name, ParameterTuple(parameters))
        self.decays = nn.CellList(decays, auto_prefix=False)
        self.step = Step(tasks, places, self.global_step, self._rate_dtype, betas)
        self.fit = Fit(self._parameters, states)

    @classmethod
    def from_model(
        cls: type[Made],
        network: nn.Cell,
        *,
        weight_decay: Any = None,
        no_decay: NoDecay = None,
        **arguments: Any,
    ) -> Made:
        """An optimizer of a network's trainable parameters, with decay on matrices only.

        Args:
            network: any cell.
            weight_decay: of what decays; by default the class's.
            no_decay: further parameters without decay: words in their names, or a function of the
                parameter.
            arguments: the class's own.

        Raises:
            ValueError, TypeError: naming the argument.
        """
        groups = cls._groups_of(network, parameter_groups(network, no_decay))
        if weight_decay is not None:
            arguments["weight_decay"] = weight_decay
        make: Any = cls
        made: Made = make(groups, **arguments)
        return made

    @classmethod
    def _groups_of(cls, network: nn.Cell, groups: list[Group]) -> list[Group]:
        """The groups of a network as this class takes them."""
        return groups

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
        decays: tuple[Any, ...] = ()
        for decay in self.decays:
            decays += (decay(self.global_step),)
        return decays

    def set_hyperparameters(self, **values: float) -> None:
        """Give hyperparameters other values from the next step on, in all groups; none compiles.

        For schedules of what is no learning rate (R7). A learning rate is assigned to
        ``optimizer.learning_rate``, or is a schedule, as with every ``nn.Optimizer``.

        Args:
            values: by name: the rule's numbers (``beta1``, ``momentum``, ``eps``, …), ``alpha``,
                ``gamma``, ``weight_decay``.

        Raises:
            ValueError, KeyError: for what is out of range, no such number, or would be another
                program, such as ``tau``: nothing changes then.
        """
        groups = renew(self.step, self._groups, values, self._rule, self.decays, self._rate_dtype)
        object.__setattr__(self, "_groups", groups)

    # -- where to evaluate ------------------------------------------------------------------------

    def eval(self) -> None:
        """Move the parameters to where the model is to be evaluated.

        Of Schedule-Free rules that is the average x; other rules have nothing to move. A step is
        refused then, except within a compiled graph, where nothing can refuse it: call
        :meth:`train` first. It costs a copy of the parameters, so that :meth:`train` brings
        back their bits. Save checkpoints in training mode: one of this mode has no copy.
        """
        ways = getattr(self, TO_AVERAGE, ()) if not self._trained_at else ()
        for way in ways:
            p = self._averaged[way.name]
            wide = ms.float64 if p.dtype == ms.float64 else ms.float32
            self._trained_at[p.name] = (p, Tensor(p.value().copy()))
            assign(p, (p.value().astype(wide) + way.value().astype(wide)).astype(p.dtype))
        object.__setattr__(self, "evaluates", True)

    def train(self) -> None:
        """Move the parameters back to where they are trained, to the bit; they begin there."""
        for p, trained in self._trained_at.values():
            assign(p, trained)
        self._trained_at.clear()
        object.__setattr__(self, "evaluates", False)

    # -- the step --------------------------------------------------------------------------------

    def __call__(self, *gradients: Any, **named: Any) -> Any:
        """Take one step, as :meth:`construct` says; refused in eval mode."""
        if self.evaluates:
            raise RuntimeError(
                "the optimizer is in eval mode, where a step would start from the wrong point: "
                "call optimizer.train() before the forward pass."
            )
        return super().__call__(*gradients, **named)

    def construct(self, gradients: tuple[Tensor, ...]) -> bool:
        """Take one step.

        Args:
            gradients: of all parameters, in the order of ``self.parameters``; ``None`` leaves a
                parameter and its state as they are (R6).

        Raises:
            ValueError, TypeError: for gradients that do not fit, or parameters that no longer fit
                their state, before anything changes.
        """
        gradients = self.flatten_gradients(gradients)
        self.fit(gradients)
        lr = self.get_lr()
        rates: tuple[Any, ...] = ()
        decays: tuple[Any, ...] = ()
        for i in range(len(gradients)):
            rates += (lr[i] if self.is_group_lr else lr,)
            decays += (self.decays[i](self.global_step),)
        self.step(gradients, rates, decays)
        return True


def _refuse_parallel_optimizer() -> None:
    """Parameters in parts, one on each device, would be ranked part by part."""
    if ms.get_auto_parallel_context("enable_parallel_optimizer"):
        raise ValueError(
            "enable_parallel_optimizer=True splits parameters over devices, and MGUP ranks whole "
            "ones: switch it off, with ms.set_auto_parallel_context(enable_parallel_optimizer="
            "False). Data parallelism without it gives the same bits on every device."
        )


def _distinct(groups: Iterable[Group]) -> list[Group]:
    return list({id(group): group for group in groups}.values())


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


def _warn_all_damped(tasks: Iterable[Task]) -> None:
    """Warn once of parameters with K = 0, whose whole slices get gamma, as published (P3)."""
    damped = []
    for task in tasks:
        p, policy = task.slots[0], task.settings.policy
        d = math.prod(p.shape[task.settings.stacked_dims :])
        if isinstance(policy, MGUP) and d > 0 and policy.top(d) == 0:
            damped.append((p.name, d, policy.tau))
    if damped:
        text = damped_text(damped, "put them in a group of their own with mode='off'")
        warn(text, __file__, ms.__file__)
