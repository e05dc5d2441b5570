"""Hyperparameters as values of a step (R7): other numbers in the places of a compiled graph."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from mindspore import Tensor

from mgup_core import Rule
from mgup_core._checks import check_fits

from .backend import Betas, compute_dtype
from .cells import Step
from .groups import Fixed, Group, check_group, policy_of
from .operations import NUMPY, assign
from .program import Program, Recording

_STATIC = {"tau", "tau_min", "lr", "adamw_learning_rate"}


def numbers_of(group: Group) -> set[str]:
    """The names of the numbers of a group that a schedule may change."""
    numbers = {name for name, value in group.items() if isinstance(value, float)}
    return (numbers | {"alpha", "gamma", "weight_decay"}) - _STATIC


def renew(
    step: Step,
    groups: list[Group],
    values: Group,
    rule_of: Callable[[Group], Rule],
    decays: tuple[Any, ...],
    rate_dtype: Any,
) -> list[Group]:
    """Give a step other numbers, as :meth:`RuleOptimizer.set_hyperparameters` does.

    Args:
        decays: the weight decay of each group, as the optimizer keeps it.
        rate_dtype: of learning rates and decays.

    Returns:
        The groups with these values.
    """
    known: set[str] = set().union(*map(numbers_of, groups))
    if unknown := sorted(values.keys() - known):
        raise KeyError(
            f"{', '.join(unknown)}: no number of this optimizer that may change "
            f"between steps. These may: {', '.join(sorted(known))}. For others make a new "
            "optimizer."
        )
    groups = [{**group, **values} for group in groups]
    for group in groups:
        check_group(group)
    rules = [rule_of(group) for group in groups]
    policies = [policy_of(group) for group in groups]
    changes: list[Callable[[], None]] = []

    def plan(program: Program, recording: Recording) -> None:
        if program.source != recording.source:
            _refuse(values)
        changes.append(partial(program.take, recording))

    betas = Betas()
    for task in step.tasks:
        i = task.group
        check_fits(groups[i], NUMPY[compute_dtype(task.slots[0].dtype)])
        settings = task.settings._replace(rule=rules[i], policy=policies[i])
        if settings.decays != (groups[i]["weight_decay"] != 0):
            _refuse(values)
        recording, share, _ = task.record(settings, betas)
        plan(task.program, recording)
        plan(task.share.program, share)
        changes.append(partial(setattr, task, "settings", settings))
    plan(step.corrections.program, step.corrections.record(betas))
    if "weight_decay" in values:
        for decay in decays:
            if not isinstance(decay, Fixed):
                raise ValueError("weight_decay is a schedule: it gives the values itself.")
            number = Tensor(np.asarray(values["weight_decay"], NUMPY[rate_dtype]))
            changes.append(partial(assign, decay.value[0], number))
    for change in changes:
        change()
    return groups


def _refuse(values: Group) -> None:
    given = ", ".join(f"{name}={value!r}" for name, value in values.items())
    raise ValueError(
        f"{given} makes another program, as a number does that comes from or goes to 0: make a new "
        "optimizer."
    )
