"""The inputs of a step that all ranks must agree on, as far as the host knows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..groups import Group

_NOT_INPUTS = ("params", "param_names")
_SIMPLE = (bool, int, float, str, torch.dtype)

Said = Mapping[str, Mapping[str, str]]
"""Of each parameter the inputs of its step, in words."""


class Entry(NamedTuple):
    """The inputs of one parameter's step."""

    name: str
    group: int
    shape: tuple[int, ...]
    gradient: bool
    """Whether the parameter has a gradient."""
    step: Any
    """The number of steps taken; ``None`` if only the device knows it."""


class StepInputs(NamedTuple):
    """The inputs of the parameters that one mesh group shares."""

    groups: tuple[dict[str, Any], ...]
    entries: tuple[Entry, ...]

    def lasting(self) -> StepInputs:
        """The inputs that do not change at every step: all but what a schedule may (R7)."""
        groups = tuple({k: v for k, v in g.items() if not _scheduled(k, v)} for g in self.groups)
        return StepInputs(groups, tuple(entry._replace(step=None) for entry in self.entries))

    def with_values_of(self, groups: Sequence[Group]) -> StepInputs:
        """The same parameters' inputs with the present hyperparameters of the groups."""
        now = zip(self.groups, groups, strict=True)
        return self._replace(groups=tuple(old and group_inputs(group) for old, group in now))

    def said(self) -> Said:
        """For each parameter, by name, each input in words."""
        return {
            entry.name: {
                what: repr(value)
                for what, value in (
                    ("shape", entry.shape),
                    ("has a gradient", entry.gradient),
                    ("step", entry.step),
                    *self.groups[entry.group].items(),
                )
            }
            for entry in self.entries
        }


def _scheduled(name: str, value: Any) -> bool:
    """Whether a hyperparameter is a value of a step and none of a program (R7): numbers but tau."""
    numbers = value if isinstance(value, tuple) else (value,)
    return not name.endswith("tau") and all(isinstance(x, float) for x in numbers)


def group_inputs(group: Group) -> dict[str, Any]:
    """The hyperparameters of a group."""
    return {name: _plain(value) for name, value in group.items() if name not in _NOT_INPUTS}


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):  # reading one on a device would wait for it
        return value.item() if value.device.type == "cpu" and value.numel() == 1 else None
    if isinstance(value, (tuple, list)):
        return tuple(map(_plain, value))
    # The text of any other object may hold an address, and so differ where the objects do not.
    return value if isinstance(value, (*_SIMPLE, type(None))) else type(value).__name__


def steps_taken(state: Mapping[str, Any]) -> Any:
    """The number of steps in a parameter's state, or ``None`` if only the device knows it."""
    step = _plain(state.get("step", 1 if state else 0))
    return step if step is None else int(step)


def difference(everyone: Mapping[str, Said]) -> str:
    """A sentence about the first input that differs.

    Args:
        everyone: the inputs of each rank or step, by its name in the message: ``"rank 3"``.
    """
    names = dict.fromkeys(name for given in everyone.values() for name in given)
    for name in names:
        if lacking := [who for who, given in everyone.items() if name not in given]:
            return f"parameter {name} is not among those of {_listed(lacking)}"
    for name in names:
        for what in dict.fromkeys(w for given in everyone.values() for w in given[name]):
            values: dict[str, list[str]] = {}
            for who, given in everyone.items():
                values.setdefault(given[name].get(what, "None"), []).append(who)
            if len(values) > 1:
                told = "; ".join(f"{value} on {_listed(who)}" for value, who in values.items())
                return f"parameter {name}, {what}: {told}"
    return "the order of their parameters"


def _listed(who: list[str]) -> str:
    return ", ".join(who[:8]) + (", …" if len(who) > 8 else "")
