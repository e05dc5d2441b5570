"""The part of ``torch.optim.Optimizer`` besides the step: groups, pickles, checkpoints."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from mgup_core import Rule
from mgup_core.rules.base import check_fields, size_alone
from mgup_core.trace.elementwise import check_elementwise
from mgup_core.trace.tracer import check_recordable

from ..backend import DTYPES
from ..distributed import check_placement, check_rule
from ..fitting import state_shapes
from ..groups import (
    MGUP_DEFAULTS,
    TWIN_DEFAULTS,
    Group,
    Shapes,
    check_group,
    check_keys,
    check_numbers,
    check_stacked_dims,
    listed,
    named,
    plain,
    policy_of,
    rule_defaults,
    rule_of,
)
from ..model_groups import NoDecay, parameter_groups
from ..notices import warn
from .state_dict import Checkpoint, check_checkpoint, tell_of_replaced

Made = TypeVar("Made", bound="RuleGroups")


class RuleGroups(torch.optim.Optimizer):
    """An optimizer whose groups are trained by a rule of the core; it has no step yet."""

    rule_class: ClassVar[type[Rule]]

    def __init__(self, params: Any, defaults: Group) -> None:
        self._shapes: Shapes = {}
        defaults = {name: plain(value) for name, value in defaults.items()}
        params = listed(params)
        super().__init__(params, {**TWIN_DEFAULTS, **MGUP_DEFAULTS, **defaults})

    @classmethod
    def from_model(
        cls: type[Made],
        model: torch.nn.Module,
        *,
        weight_decay: float | None = None,
        no_decay: NoDecay = None,
        **arguments: Any,
    ) -> Made:
        """An optimizer of a model's trainable parameters, with names, decay on matrices only.

        Args:
            model: any module; of models that are wrapped (FSDP2, DDP, PEFT), the wrapped one.
            weight_decay: of what decays; by default the class's.
            no_decay: further parameters without decay: words in their names, such as ``"embed"``,
                or a function of name and parameter; see :func:`mgup_torch.parameter_groups`.
            arguments: the class's own.

        Raises:
            ValueError, TypeError: naming the argument.
        """
        groups = parameter_groups(model, no_decay=no_decay)
        if weight_decay is not None:
            arguments["weight_decay"] = weight_decay
        make: Any = cls
        made: Made = make(cls._groups_of(model, groups), **arguments)
        return made

    @classmethod
    def _groups_of(cls, model: torch.nn.Module, groups: list[Group]) -> list[Group]:
        """What a class makes of the groups of a model."""
        return groups

    def _rule(self, group: Group) -> Rule:
        """The rule that trains a group."""
        return rule_of(self.rule_class, group)

    def add_param_group(self, param_group: Group) -> None:
        """Add a group; it may have its own lr, weight_decay, tau, alpha, gamma, mode and the rest.

        Raises:
            ValueError, TypeError: naming the argument, before the optimizer changes.
        """
        group = {n: plain(x) if n in self.defaults else x for n, x in param_group.items()}
        group["params"] = listed(group["params"])
        self._check(group)
        super().add_param_group(group)
        self._shapes.update((p, p.shape) for p in group["params"])

    def _check(self, group: Group) -> None:
        merged = {**self.defaults, **group}
        check_keys(self.rule_class, group, self._known_defaults().keys() | self.defaults.keys())
        check_group(merged)
        rule = self._rule(merged)
        check_elementwise(rule)
        check_fields(rule)
        if said := size_alone(rule, policy_of(merged)):
            warn(said)
        check_recordable(rule)
        check_numbers(merged, [p for _, p in named(group["params"])], rule)
        for name, p in named(group["params"]):
            if p.dtype not in DTYPES:
                if isinstance(p, torch.nn.Parameter) and not p.requires_grad:
                    continue  # frozen, as the packed weights of a quantised model
                raise TypeError(
                    f"parameter {name} has dtype {p.dtype}; only "
                    f"{', '.join(str(d) for d in DTYPES)} can be trained."
                )
            check_placement(name, p)
            check_rule(name, p, rule, merged["scope"])
            check_stacked_dims(name, p, merged["stacked_dims"])
            if reason := rule.accepts(tuple(p.shape), merged["stacked_dims"]):
                raise ValueError(f"parameter {name}: {reason}")

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_shapes": self._shapes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "_shapes" not in self.__dict__:  # a pickle of a version that did not have them
            self._shapes = {p: p.shape for group in self.param_groups for p in group["params"]}
        for group in self.param_groups:
            for name, value in {**self._known_defaults(), **self.defaults}.items():
                group.setdefault(name, value)

    def _known_defaults(self) -> Group:
        """The defaults of entries that a group of an older pickle may lack."""
        return {**TWIN_DEFAULTS, **MGUP_DEFAULTS, **rule_defaults(self.rule_class)}

    def state_dict(self) -> Checkpoint:
        """As in ``torch.optim``; what groups hold besides is in types that every loader knows."""
        packed: Checkpoint = super().state_dict()
        for group in packed["param_groups"]:
            group.update({n: x if type(x) is list else plain(x) for n, x in group.items()})
        return packed

    def load_state_dict(self, state_dict: Checkpoint) -> None:
        """Load a checkpoint of this class, or of its twin in torch.optim.

        What the checkpoint's groups lack (tau, alpha, gamma, … in a twin's) stays as it is; what
        they have replaces it, with a warning where the policy becomes another. The tensors are
        copied.

        Raises:
            ValueError: when groups, hyperparameters or shapes do not fit. Nothing changes then.
        """
        # The hooks run before the checks, since they may make a checkpoint fit, and only once.
        hooks, self._optimizer_load_state_dict_pre_hooks = (
            self._optimizer_load_state_dict_pre_hooks,
            OrderedDict(),
        )
        try:
            for hook in hooks.values():
                state_dict = hook(self, state_dict) or state_dict
            fitting = check_checkpoint(state_dict, self.param_groups, self._rule)
            tell_of_replaced(self.param_groups, fitting["param_groups"], policy_of, "")
            super().load_state_dict(fitting)
        finally:
            self._optimizer_load_state_dict_pre_hooks = hooks
        # torch casts the state to the parameter's dtype, but the state may have another (R5).
        for old, group in zip(fitting["param_groups"], self.param_groups, strict=True):
            rule = self._rule(group)
            for key, p in zip(old["params"], group["params"], strict=True):
                for name in (*state_shapes(rule, p), "step"):
                    value = fitting["state"].get(key, {}).get(name)
                    if not isinstance(value, Tensor):
                        continue
                    wanted = group["state_dtype"] or p.dtype
                    dtype = value.dtype if name in ("step", *rule.exact_state) else wanted
                    if self.state[p][name].dtype != dtype:
                        self.state[p][name] = value.to(self.state[p][name].device, dtype)
