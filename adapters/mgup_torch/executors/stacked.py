"""Tensors of one shape that step as one stack (P5).

A model has matrices of the same shape in every layer. One of them alone does not fill a GPU, and
each costs the host some hundred launches.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor

from mgup_core import Statistics

from ..backend import compute_dtype
from ..parameter_step import Task, move_whole
from .base import Executor, Step, advance, foreign

BYTES = 64 << 20
"""Of the parameters of a stack in the compute dtype; a step holds some fifteen such arrays."""


class Stacked(Executor):
    """Matrices on an accelerator, those of one shape together."""

    name = "stacked"

    def serves(self, task: Task) -> bool:
        return task.param.device.type != "cpu"

    def refuses(self, task: Task) -> str | None:
        if reason := foreign(task.policy):
            return reason  # it asks which parameter this is
        if not task.rule.matrices:
            return f"{type(task.rule).__name__} is no rule of matrices"
        if task.param.ndim < 2:
            return "it is no matrix"
        if task.measure:
            return "statistics are measured"
        if task.whole is not None:
            return "it is a DTensor"
        if isinstance(task.count, Tensor):
            return "its count of steps is on the device"
        return None

    def batches(self, tasks: Sequence[Task]) -> list[list[Task]]:
        return stacks(tasks, kind, BYTES)

    def run(self, batch: Sequence[Task], step: Step) -> Statistics | None:
        be = step.backend(batch[0])
        if len(batch) == 1:
            move_whole(batch[0], be, step.totals)
        else:
            stack = stack_of(batch)
            move_whole(stack, be, step.totals)
            unstack(stack, batch)
        advance(batch)
        return None


def stacks(tasks: Sequence[Task], kind: Callable[[Task], Hashable], most: int) -> list[list[Task]]:
    """The tasks in stacks of one kind.

    Args:
        kind: of a task.
        most: bytes of the parameters of a stack in the compute dtype.
    """
    found: list[list[Task]] = []
    growing: dict[Hashable, tuple[list[Task], int]] = {}
    for task in tasks:
        mine = kind(task)
        if mine not in growing or len(growing[mine][0]) >= growing[mine][1]:
            size = task.param.numel() * compute_dtype(task.param.dtype).itemsize
            growing[mine] = [], max(most // max(size, 1), 1)
            found.append(growing[mine][0])
        growing[mine][0].append(task)
    return found


def kind(task: Task) -> Hashable:
    """What the tasks of one stack must have in common."""
    p = task.param
    dtypes = tuple([(task.state[n].dtype, task.state[n].shape) for n in task.names])
    return p.device, p.dtype, p.shape, id(task.group), task.count, dtypes


def stack_of(batch: Sequence[Task]) -> Task:
    """The task of a stack of copies of the tasks' tensors."""
    first = batch[0]
    return first._replace(
        param=torch.stack([task.param.detach() for task in batch]),
        grad=torch.stack([task.grad.detach() for task in batch]),
        state={n: torch.stack([task.state[n] for task in batch]) for n in first.names},
        group={**first.group, "stacked_dims": first.group["stacked_dims"] + 1},
    )


def unstack(stack: Task, batch: Sequence[Task]) -> None:
    """Copy a stack that has taken its step back to the tensors that it was made from."""
    torch._foreach_copy_([task.param.detach() for task in batch], list(stack.param.unbind()))
    for name, value in stack.arrays.items():
        torch._foreach_copy_([task.state[name] for task in batch], list(value.unbind()))
