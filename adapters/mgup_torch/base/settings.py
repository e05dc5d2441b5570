"""The rule and the policy of each group, made and checked once for each change of its values."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch

from mgup_core import Policy, Rule
from mgup_core.rules.base import check_fields
from mgup_core.trace.tracer import check_recordable

from ..fitting import state_shapes
from ..groups import Group, check_group, check_stacked_dims, policy_of, reads_slices

_IMMUTABLE = (bool, int, float, str, type(None), torch.dtype)


class GroupSettings:
    """The rule and the policy that the values of a group make.

    Raises:
        ValueError, TypeError: if they make no rule or no policy.
    """

    def __init__(self, group: Group, rule_of: Callable[[Group], Rule]) -> None:
        self._names, self._values = tuple(group), tuple(group.values())
        self._immutable = all(
            _immutable(x) for n, x in group.items() if n not in ("params", "param_names")
        )
        check_group(group, wait=False)
        self.rule = rule_of(group)
        check_fields(self.rule)
        self.policy: Policy | None = policy_of(group)
        check_recordable(self.rule)
        self.needs_whole = not self.rule.elementwise or reads_slices(self.policy)
        """Whether a step needs all coordinates of a parameter, not each by itself."""
        self._stacked_dims: int = group["stacked_dims"]
        self._shapes: dict[Any, dict[str, torch.Size]] = {}

    def unchanged(self, group: Group) -> bool:
        """Whether the group certainly still has these values.

        They must be the same objects, of immutable types: someone may have written into a tensor or
        a list of betas.
        """
        return (
            self._immutable
            and len(group) == len(self._values)
            and all(map(operator.is_, group.values(), self._values))
            and tuple(group) == self._names
        )

    def state_shapes(self, name: str, p: torch.Tensor) -> dict[str, torch.Size]:
        """The shapes of a parameter's state arrays by name, in the rule's order.

        Raises:
            ValueError: if the group's values do not suit the shape of the parameter so named.
        """
        key = p.shape, p.dtype
        if key not in self._shapes:
            check_stacked_dims(name, p, self._stacked_dims)
            if reason := self.rule.accepts(tuple(p.shape), self._stacked_dims):
                raise ValueError(f"parameter {name}: {reason}")
            self._shapes[key] = state_shapes(self.rule, p)
        return self._shapes[key]


def settings_of(
    groups: Sequence[Group], last: Sequence[GroupSettings], rule_of: Callable[[Group], Rule]
) -> list[GroupSettings]:
    """The settings of each group; those of the ``last`` call where its values are the same."""
    known = [*last, *[None] * len(groups)]
    return [
        one if one is not None and one.unchanged(group) else GroupSettings(group, rule_of)
        for one, group in zip(known, groups, strict=False)
    ]


def _immutable(value: Any) -> bool:
    if isinstance(value, Policy):
        return all(map(_immutable, vars(value).values()))
    return type(value) in _IMMUTABLE or (type(value) is tuple and all(map(_immutable, value)))
