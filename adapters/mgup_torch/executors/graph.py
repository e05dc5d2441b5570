"""Steps inside a graph of ``torch.compile``: whole tensors, and every value a tensor (R7)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mgup_core import MGUP, Policy, Rule, SignMGUP
from mgup_core.trace.forms import free_fields

from ..backend import TorchBackend, compute_dtype
from ..groups import Group
from ..parameter_step import Task, move_whole
from .base import Executor, Step, advance


class Graph(Executor):
    """Whole tensors inside a graph; it steps only tasks that :meth:`count` returned."""

    name = "graph"

    @staticmethod
    def count(tasks: Sequence[Task]) -> list[Task]:
        """Count the step, outside the graph; the tasks with all their values as tensors (R7).

        The tensors are float64, so that what a rule computes of its floats is rounded once (N2).
        Tasks of a group share them, so that each is one input of the graph.
        """
        shared: dict[int, tuple[Rule, Policy | None, Group]] = {}
        counted = []
        for task in tasks:
            if id(task.group) not in shared:
                shared[id(task.group)] = _with_tensors(task)
            rule, policy, group = shared[id(task.group)]
            if task.rule.counts_steps:  # a copy, which no later step advances
                task = task._replace(count=torch.as_tensor(task.t - 1))
            counted.append(task._replace(rule=rule, policy=policy, group=group))
        advance(tasks)
        return counted

    def batches(self, tasks: Sequence[Task]) -> list[list[Task]]:
        return [list(tasks)]

    def run(self, batch: Sequence[Task], step: Step) -> None:
        for task in batch:
            be = TorchBackend(compute_dtype(task.param.dtype), task.param.device)
            move_whole(task, be, step.totals)


def _with_tensors(task: Task) -> tuple[Rule, Policy | None, Group]:
    rule, policy, group = copy.copy(task.rule), task.policy, {**task.group}
    for name in free_fields(rule):
        object.__setattr__(rule, name, _tensor(getattr(rule, name)))
    if isinstance(policy, (MGUP, SignMGUP)):
        policy = replace(policy, alpha=_tensor(policy.alpha), gamma=_tensor(policy.gamma))
    group["lr"] = _tensor(group["lr"])
    decays = group["weight_decay"] != 0  # none is another program (R0)
    group["weight_decay"] = _tensor(group["weight_decay"]) if decays else 0.0
    return rule, policy, group


def _tensor(value: Any) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float64)
