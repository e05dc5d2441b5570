"""One parameter's step: what it needs, what is checked of it, and how whole tensors take it."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mgup_core import MGUP, Policy, Rule, State, Statistics, contribution, summed, update_array
from mgup_core.selection.reference import top_count
from mgup_core.step import Update

from .backend import DTYPES, TorchBackend, compute_dtype
from .distributed import MeshGroup, Part, is_dtensor, local
from .groups import Group
from .notices import warn

_top_count = functools.lru_cache(maxsize=4096)(top_count)  # exact arithmetic, at every step


class Task(NamedTuple):
    """One parameter's step, everything looked up and checked."""

    name: str
    param: Tensor
    grad: Tensor
    state: dict[str, Any]
    names: tuple[str, ...]
    """Of what the rule keeps there."""
    count: Any
    """How many steps it has taken: an int, or a 0-d tensor where the host must not ask. Of a rule
    that does not count its steps, 0 before the first and then 1."""
    rule: Rule
    policy: Policy | None
    group: Group
    measure: bool = False
    """Whether statistics are wanted."""
    whole: Task | None = None
    """The step of the DTensors of whose parts on this rank this is the step."""
    part: Part | None = None
    """Which part that is, where its slices are ranked as wholes."""

    @property
    def t(self) -> Any:
        """The step, from 1: an int or a 0-d int64 tensor."""
        count = self.count
        return (count.to(torch.int64) if isinstance(count, Tensor) else count) + 1

    @property
    def owner(self) -> Task:
        """The step of what the optimizer was given."""
        return self.whole or self

    @property
    def team(self) -> MeshGroup | None:
        """The ranks that hold the rest of its slices, where these are parts."""
        return None if self.part is None else self.part.slice_group

    @property
    def length(self) -> int:
        """Of what lies here of each slice."""
        return math.prod(self.param.shape[self.group["stacked_dims"] :])

    @property
    def total(self) -> int:
        """The length of its slices as wholes."""
        return self.length if self.part is None else self.part.length

    @property
    def slices(self) -> int:
        """How many there are."""
        return math.prod(self.param.shape[: self.group["stacked_dims"]])

    @property
    def arrays(self) -> dict[str, Tensor]:
        """The rule's state, in its order: without the count of steps and what others keep there."""
        return {name: self.state[name] for name in self.names}


def here(task: Task, part_of: Callable[[Tensor, int], Part]) -> Task:
    """What this rank does of a step.

    Args:
        part_of: what lies here of a DTensor, given it and ``stacked_dims``.
    """
    if not is_dtensor(task.param):
        return task
    param, group = local(task.param), task.group
    return task._replace(
        param=param,
        grad=readable(param, local(task.grad)),
        state={**task.state, **{name: local(value) for name, value in task.arrays.items()}},
        whole=task,
        part=None if group["scope"] == "local" else part_of(task.param, group["stacked_dims"]),
    )


def check_gradient(name: str, p: Tensor, g: Tensor) -> None:
    """Refuse a gradient that cannot be scored (R6) or does not fit its parameter."""
    same = g.dtype == p.dtype and g.device == p.device and g.shape == p.shape
    if same and p.dtype in DTYPES and g.layout == torch.strided:
        return
    if g.is_sparse or g.layout != torch.strided:
        raise RuntimeError(
            f"the gradient of parameter {name} is sparse: ranking needs every coordinate's score. "
            "Use sparse=False in its layer."
        )
    if g.is_complex() or p.is_complex():
        raise RuntimeError(f"parameter {name} or its gradient is complex: scores have no order.")
    if p.dtype not in DTYPES:
        raise TypeError(f"parameter {name} is {p.dtype}, which cannot be trained; freeze it.")
    if g.shape != p.shape or g.dtype != p.dtype or g.device != p.device:
        raise ValueError(
            f"the gradient of parameter {name} is {g.dtype} {tuple(g.shape)} on {g.device}, but "
            f"the parameter is {p.dtype} {tuple(p.shape)} on {p.device}: they must agree."
        )


def readable(p: Tensor, g: Tensor) -> Tensor:
    """A gradient as it is in memory: autograd leaves zeros without any, and minus signs undone."""
    return torch.zeros_like(p) if g._is_zerotensor() else g.resolve_neg()


def all_damped(policy: Policy | None, p: Tensor, group: Group) -> bool:
    """Whether K = 0, so that the whole of a slice gets gamma, as published (P3)."""
    if not isinstance(policy, MGUP):
        return False
    size = _slice_length(p, group)
    return size > 0 and _top_count(policy.tau, size) == 0


def warn_all_damped(damped: Sequence[tuple[str, Tensor, Group]], *, prefix: str = "") -> None:
    """Say so of parameters, once for all of them, with the remedy.

    Args:
        prefix: before the names of MGUP's arguments in the groups.
    """
    each = [f"{name} ({_slice_length(p, g)} at tau={g['tau']})" for name, p, g in damped]
    warn(
        f"{len(damped)} parameter(s) have too few coordinates to rank, so none is selected and all "
        f"are damped by gamma: {', '.join(each)}. To leave parameters out, put them in a group of "
        f"their own with {prefix}mode='off'."
    )


def _slice_length(p: Tensor, group: Group) -> int:
    return math.prod(p.shape[group["stacked_dims"] :])


def totals_of(tasks: Sequence[Task]) -> State:
    """The sums over all parameters that rules of theirs need."""
    coupled = [task for task in tasks if task.rule.couples_parameters]

    def part(task: Task) -> State:
        be = TorchBackend(compute_dtype(task.param.dtype), task.param.device)
        p, g, group = task.param.detach(), _uphill(task), task.group
        found = contribution(
            be, task.rule, p, g, task.arrays, task.t,
            lr=group["lr"], weight_decay=group["weight_decay"],
        )  # fmt: skip
        return {name: value.to(coupled[0].param.device) for name, value in found.items()}

    return summed([part(task) for task in coupled])


def check_one_rate(tasks: Sequence[Task]) -> None:
    """Refuse several learning rates where a sum over all parameters has one, as Prodigy's.

    Raises:
        ValueError: with the remedy; a learning rate of 0 trains nothing and is no other.
    """
    rates = {
        float(task.group["lr"]): task.name
        for task in tasks
        if task.rule.couples_parameters and task.rule.reads_lr
    }
    rates.pop(0.0, None)
    if len(rates) > 1:
        one, other = list(rates)[:2]
        raise ValueError(
            f"parameter {rates[one]} has lr={one}, and parameter {rates[other]} lr={other}: one "
            "estimate serves all parameters of this rule, so their groups must have one learning "
            "rate, or 0. Give the others an optimizer of their own."
        )


def _uphill(task: Task) -> Tensor:
    """The gradient of what is minimised."""
    g = task.grad.detach()
    return -g if task.group["maximize"] else g


def propose(task: Task, be: TorchBackend, totals: State) -> Update:
    """What a step of whole tensors would do; nothing changes."""
    group = task.group
    return update_array(
        be,
        task.rule,
        task.policy,
        task.param.detach(),
        _uphill(task),
        task.arrays,
        task.t,
        lr=group["lr"],
        weight_decay=group["weight_decay"],
        stacked_dims=group["stacked_dims"],
        statistics=task.measure,
        totals=totals if task.rule.couples_parameters else None,
    )


def move_whole(task: Task, be: TorchBackend, totals: State) -> Statistics | None:
    """Take a step of whole tensors: all but the count of steps."""
    p = task.param.detach()
    update = propose(task, be, totals)
    p.copy_(be.cast(p, be.dtype) - update.delta)
    for name, value in task.arrays.items():
        value.copy_(update.state[name])
    return update.statistics
