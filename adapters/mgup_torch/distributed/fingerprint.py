"""What enters a step, as far as a rank knows it on the host: what all ranks must have alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..groups import Group

_NOT_FACTS = ("params", "param_names")
_SIMPLE = (bool, int, float, str, torch.dtype)
_FLEETING = ("lr", "initial_lr")  # changes at every step, as the count of steps does


class Entry(NamedTuple):
    """What one parameter has of its own."""

    name: str
    group: int
    shape: tuple[int, ...]
    gradient: bool
    """Whether it has one."""
    step: Any
    """How many it has taken; ``None`` if only the device knows."""


class Facts(NamedTuple):
    """Of the parameters that one team shares."""

    groups: tuple[dict[str, Any], ...]
    entries: tuple[Entry, ...]

    def lasting(self) -> Facts:
        """Without what changes at every step."""
        groups = tuple({k: v for k, v in g.items() if k not in _FLEETING} for g in self.groups)
        return Facts(groups, tuple(entry._replace(step=None) for entry in self.entries))

    def at_rates_of(self, groups: Sequence[Group]) -> Facts:
        """With the learning rates that the groups have now."""
        now = [{k: _plain(group[k]) for k in _FLEETING if k in group} for group in groups]
        known = zip(self.groups, now, strict=True)
        return self._replace(groups=tuple({**old, **new} if old else old for old, new in known))

    def spelled(self) -> dict[str, dict[str, Any]]:
        """By the parameters' names."""
        return {
            entry.name: {
                "shape": entry.shape,
                "has a gradient": entry.gradient,
                "step": entry.step,
                **self.groups[entry.group],
            }
            for entry in self.entries
        }


def group_facts(group: Group) -> dict[str, Any]:
    """The hyperparameters of a group."""
    return {name: _plain(value) for name, value in group.items() if name not in _NOT_FACTS}


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):  # one on a device stays unread
        return value.item() if value.device.type == "cpu" and value.numel() == 1 else None
    if isinstance(value, (tuple, list)):
        return tuple(map(_plain, value))
    # Of other things the text may hold an address, and differ where they do not.
    return value if isinstance(value, (*_SIMPLE, type(None))) else type(value).__name__


def steps_taken(state: Mapping[str, Any]) -> Any:
    """The count of steps in a parameter's state, if the host has it."""
    step = _plain(state.get("step", 1 if state else 0))
    return step if step is None else int(step)


def difference(everyone: Mapping[str, Facts]) -> str:
    """The first thing in which the facts of some differ, in words.

    Args:
        everyone: by how they are called.
    """
    spelled = {who: facts.spelled() for who, facts in everyone.items()}
    names = dict.fromkeys(name for facts in spelled.values() for name in facts)
    for name in names:
        if lacking := [who for who, facts in spelled.items() if name not in facts]:
            return f"parameter {name} is not among those of {_listed(lacking)}"
    for name in names:
        for what in dict.fromkeys(w for facts in spelled.values() for w in facts[name]):
            values: dict[str, list[str]] = {}
            for who, facts in spelled.items():
                values.setdefault(repr(facts[name].get(what)), []).append(who)
            if len(values) > 1:
                told = "; ".join(f"{value} on {_listed(who)}" for value, who in values.items())
                return f"parameter {name}, {what}: {told}"
    return "the order of their parameters"


def _listed(who: list[str]) -> str:
    return ", ".join(who[:8]) + (", …" if len(who) > 8 else "")
