"""One parameter's step: what it needs, what is checked of it, and how whole tensors take it."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mgup_core import MGUP, Policy, Rule, State, Statistics, contribution, summed, update_array
from mgup_core._notices import damped_text
from mgup_core.selection.reference import top_count
from mgup_core.step import Update

from .backend import DTYPES, TorchBackend, compute_dtype
from .distributed import MeshGroup, Part, is_dtensor, is_replicated, local
from .groups import Group, decay_of
from .notices import warn

_top_count = functools.lru_cache(maxsize=4096)(top_count)  # exact arithmetic, at every step


class Task(NamedTuple):
    """The inputs of one parameter's step, checked."""

    name: str
    param: Tensor
    grad: Tensor
    state: dict[str, Any]
    names: tuple[str, ...]
    """Of the rule's arrays in ``state``."""
    count: Any
    """How many steps the parameter has taken: an int, or a 0-d tensor where the host must not wait
    for it. For a rule that does not count its steps, 0 before the first step and then 1."""
    rule: Rule
    policy: Policy | None
    group: Group
    measure: bool = False
    """Whether statistics are wanted."""
    whole: Task | None = None
    """The task of the DTensors, if the arrays of this one are their parts on this rank."""
    part: Part | None = None
    """Which part that is, unless its slices are ranked by themselves (``scope="local"``)."""
    key: int = 0
    """Its number, for a policy of one's own (P13)."""

    @property
    def t(self) -> Any:
        """The step that is taken now, from 1: an int or a 0-d int64 tensor."""
        count = self.count
        return (count.to(torch.int64) if isinstance(count, Tensor) else count) + 1

    @property
    def owner(self) -> Task:
        """The task of the tensors that the optimizer was given."""
        return self.whole or self

    @property
    def needs_gathering(self) -> bool:
        """Whether it is a part of a DTensor whose rule needs what ranks cannot exchange."""
        return self.whole is not None and not (self.rule.elementwise or self.rule.gathers)

    @property
    def slice_group(self) -> MeshGroup | None:
        """The ranks that hold the rest of its slices, if these are sharded."""
        return None if self.part is None else self.part.slice_group

    @property
    def local_length(self) -> int:
        """How many coordinates of each slice lie on this rank."""
        return math.prod(self.param.shape[self.group["stacked_dims"] :])

    @property
    def slice_length(self) -> int:
        """How many coordinates each slice has on all ranks."""
        return self.local_length if self.part is None else self.part.length

    @property
    def slices(self) -> int:
        """How many slices there are."""
        return math.prod(self.param.shape[: self.group["stacked_dims"]])

    @property
    def arrays(self) -> dict[str, Tensor]:
        """The rule's arrays in its order, without the count of steps and what others keep there."""
        return {name: self.state[name] for name in self.names}


def local_task(task: Task, part_of: Callable[[Tensor, int], Part]) -> Task:
    """The task of this rank's parts, if the parameter is a DTensor; else the task itself.

    Args:
        part_of: this rank's part of a DTensor, given that and ``stacked_dims``.
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


def gathered(task: Task) -> Task:
    """The task of the whole tensors, of which that of this rank's parts is given; all ranks ask."""
    owner, part = task.owner, task.part
    assert part is not None
    arrays = {name: part.gathered(value) for name, value in owner.arrays.items()}
    return owner._replace(
        param=part.gathered(owner.param.detach()),
        grad=part.gathered(owner.grad.detach()),
        state={**owner.state, **arrays},
    )


def keep_part(task: Task, whole: Task) -> None:
    """Copy this rank's part of :func:`gathered` tensors that have taken their step back."""
    part = task.part
    assert part is not None
    task.param.detach().copy_(part.part(whole.param))
    for name, value in task.arrays.items():
        made = whole.state[name]
        value.copy_(made if is_replicated(task.owner.state[name]) else part.part(made))


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


def check_whole(task: Task) -> None:
    """Refuse a DTensor whose policy is the caller's own: each rank has but a part (P13)."""
    if is_dtensor(task.param):
        raise ValueError(
            f"parameter {task.name} is a DTensor, but {type(task.policy).__name__} decides by "
            "itself and needs whole slices. Keep this parameter out of fully_shard, or give it a "
            "mode by name."
        )


def readable(p: Tensor, g: Tensor) -> Tensor:
    """A gradient with its values in memory: autograd may leave zeros or minus signs implicit."""
    return torch.zeros_like(p) if g._is_zerotensor() else g.resolve_neg()


def all_damped(policy: Policy | None, p: Tensor, group: Group) -> bool:
    """Whether K = 0, so that every coordinate is multiplied by gamma, as published (P3)."""
    if not isinstance(policy, MGUP):
        return False
    size = _slice_length(p, group)
    return size > 0 and _top_count(policy.tau, size) == 0


def warn_all_damped(damped: Sequence[tuple[str, Tensor, Group]], *, prefix: str = "") -> None:
    """Warn of all parameters that are damped as wholes, in one warning with the remedy.

    Args:
        prefix: precedes the names of MGUP's arguments in the groups.
    """
    each = [(name, _slice_length(p, group), group["tau"]) for name, p, group in damped]
    warn(damped_text(each, f"put them in a group of their own with {prefix}mode='off'"))


def _slice_length(p: Tensor, group: Group) -> int:
    return math.prod(p.shape[group["stacked_dims"] :])


def totals_of(tasks: Sequence[Task]) -> State:
    """The sums over all parameters that some of their rules need."""
    coupled = [task for task in tasks if task.rule.couples_parameters]

    def part(task: Task) -> State:
        task = gathered(task) if task.needs_gathering else task
        be = TorchBackend(compute_dtype(task.param.dtype), task.param.device)
        p, g, group = task.param.detach(), _uphill(task), task.group
        found = contribution(
            be, task.rule, p, g, task.arrays, task.t,
            lr=group["lr"], weight_decay=decay_of(group),
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
    """The gradient of the loss that is minimised."""
    g = task.grad.detach()
    return -g if task.group["maximize"] else g


def propose(task: Task, be: TorchBackend, totals: State) -> Update:
    """The update of a step of whole tensors; changes nothing."""
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
        weight_decay=decay_of(group),
        stacked_dims=group["stacked_dims"],
        statistics=task.measure,
        totals=totals if task.rule.couples_parameters else None,
        key=task.key,
    )


def move_whole(task: Task, be: TorchBackend, totals: State) -> Statistics | None:
    """Take a step of whole tensors, but for the count of steps; the statistics if wanted."""
    p = task.param.detach()
    update = propose(task, be, totals)
    p.copy_(be.cast(p, be.dtype) - update.delta)
    for name, value in task.arrays.items():
        value.copy_(update.state[name])
    return update.statistics
