"""Steps that differ from the last one in gradients and values only, and so can repeat it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from mgup_core import Policy, Rule
from mgup_core.trace.forms import runtime_fields
from mgup_kernels import layout

from ..groups import policy_of
from .programs import program_of

if TYPE_CHECKING:
    from ..groups import Group
    from ..parameter_step import Task

RuleOf = Callable[["Group"], Rule]
Ready = Callable[[Iterable[Tensor]], Tensor | None]
"""Checks the gradients of a step before anything is launched; returns ``found_inf``."""


class LastStep:
    """What the last step found, so that the next one can compare it quickly.

    Args:
        groups: the optimizer's.
        tasks: of the parameters that stepped.
        plans: the ``TaskPlan`` objects that stepped them.
        rule_of: makes the rule of a group. It is not kept: it holds the optimizer, which is to go,
            and the memory of its plans with it, as soon as nobody else holds it.
    """

    def __init__(
        self,
        groups: Sequence[Group],
        tasks: Sequence[Task],
        plans: Sequence[Any],
        rule_of: RuleOf,
    ) -> None:
        self.names = [task.name for task in tasks]
        self.groups = [_GroupValues(group, rule_of(group)) for group in groups]
        self.tasks = {id(task.group): (task, program_of(task)) for task in tasks}
        stepped = {task.owner.param for task in tasks}
        self.idle = [p for group in groups for p in group["params"] if p not in stepped]
        self.plans = plans
        for one in plans:  # a rule that counts no steps only distinguishes the first one
            one.plan.rows[:, layout.STEP] = 2

    def repeat(self, state: Any, ready: Ready, rule_of: RuleOf) -> bool:
        """Step with new gradients and values (R7); ``False`` if anything else has changed."""
        if not all(group.others_unchanged() for group in self.groups):
            return False
        for p in self.idle:
            if p.grad is not None:
                return False
        changed = self._changed_groups(rule_of)
        addresses = [one.addresses(state) for one in self.plans]
        if changed is None or any(found is None for found in addresses):
            return False
        found_inf = ready(g for one in self.plans for g in one.grads())
        for one, found in zip(self.plans, addresses, strict=True):
            if changed:
                one.set_group_values(changed)
            one.upload(found, found_inf)
            one.launcher.launch()
        return True

    def _changed_groups(self, rule_of: RuleOf) -> dict[int, tuple[Rule, Policy | None]] | None:
        """The groups with other values, by their id; ``None`` if one has another program now."""
        changed: dict[int, tuple[Rule, Policy | None]] = {}
        for values in self.groups:
            if values.unchanged():
                continue
            group = values.group
            rule, policy = rule_of(group), policy_of(group)
            if id(group) in self.tasks:
                task, program = self.tasks[id(group)]
                if program_of(task._replace(rule=rule, policy=policy)) is not program:
                    return None
                changed[id(group)] = rule, policy
        for values in self.groups:
            values.remember()
        return changed


class _GroupValues:
    """The entries of a group in the last step, but for its learning rate, which is always read."""

    def __init__(self, group: Group, rule: Rule) -> None:
        self.group = group
        self.names = {"betas", "weight_decay", "alpha", "gamma", *runtime_fields(rule)}
        """Of the entries that may differ from step to step (R7)."""
        self.others = list(self._others())
        self.remember()

    def _others(self) -> Iterator[Any]:
        for name, value in self.group.items():
            if name == "params":
                yield from value
            elif name != "lr" and name not in self.names:
                yield value

    def others_unchanged(self) -> bool:
        """Whether only entries have changed that may."""
        now = list(self._others())
        return len(now) == len(self.others) and all(map(operator.is_, now, self.others))

    def _values(self) -> list[Any]:
        return [_plain(self.group.get(name)) for name in sorted(self.names)]

    def remember(self) -> None:
        """Take the present values for those of the last step."""
        self.values = self._values()

    def unchanged(self) -> bool:
        """Whether every value is that of the last step."""
        return all(map(_equal, self._values(), self.values))


def _equal(a: Any, b: Any) -> bool:
    """Whether two values are known to be the same, without waiting for a device."""
    return a is b or not (isinstance(a, Tensor) or isinstance(b, Tensor) or a != b)


def _plain(value: Any) -> Any:
    """A value that stays as it is when someone writes into the tensor or list that it was in."""
    if isinstance(value, Tensor) and value.device.type == "cpu" and value.numel() == 1:
        return value.item()
    return tuple(map(_plain, value)) if isinstance(value, (list, tuple)) else value
