"""Elementwise steps in host memory, block by block: no temporary as long as the parameter."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch

from mgup_core import Statistics
from mgup_core.host.blocks import LEAST_BLOCK, BlockStep

from ..backend import cells, compute_dtype, host_backend
from ..llvm import CompiledStep, code_for, count, refusal
from ..parameter_step import Task
from ..statistics import combine
from .base import Executor, Step, advance, foreign
from .stacked import kind, stack_of, stacks, unstack

_MOST_THREADS = 4  # more threads would mostly wait for the interpreter lock
SMALL = 1 << 12
"""Parameters of at most so many coordinates step in stacks: the start of a step takes longer than
their coordinates do."""
_STACK = 1 << 18
"""Bytes of a stack of parameters, which are copied: a part of the memory that a step may use."""


class _Host(Executor):
    def serves(self, task: Task) -> bool:
        return task.param.device.type == "cpu"

    def refuses(self, task: Task) -> str | None:
        if reason := foreign(task.policy):
            return reason
        return None if task.rule.elementwise else f"{type(task.rule).__name__} is not elementwise"


class NumPyBlocks(_Host):
    """NumPy's operations, each on a block that fits the cache; small tensors in stacks."""

    name = "numpy"

    def batches(self, tasks: Sequence[Task]) -> Iterable[list[Task]]:
        small: list[Task] = []
        large: list[Task] = []
        for task in tasks:
            (small if _is_small(task) else large).append(task)
        return [*([task] for task in large), *stacks(small, kind, _STACK)]

    def run(self, batch: Sequence[Task], step: Step) -> Statistics | None:
        task = batch[0] if len(batch) == 1 else stack_of(batch)
        dtype = compute_dtype(task.param.dtype)
        make: Any = functools.partial(
            BlockStep,
            host_backend(dtype),
            task.rule,
            exact_state=all(x.dtype == dtype for x in task.arrays.values()),
        )
        measured = _moved(task, make, step)
        if task is not batch[0]:
            unstack(task, batch)
        count(*_kind(task), coordinates=task.param.numel())
        advance(batch)
        return measured


class LLVM(_Host):
    """Loops of machine code, with llvmlite."""

    name = "llvm"

    def refuses(self, task: Task) -> str | None:
        if _is_small(task) and super().refuses(task) is None:
            return "it is small, and stepped in a stack"
        if reason := super().refuses(task):
            return reason
        if task.group["implementation"] == "reference":
            return "implementation='reference'"
        if _together(task) and task.policy is not None and not task.policy.ranks:
            return "its slices are short, and counted together"
        return refusal(*_kind(task), coordinates=task.param.numel())

    def run(self, batch: Sequence[Task], step: Step) -> Statistics | None:
        (task,) = batch
        code = code_for(*_kind(task))
        assert code is not None  # or the task had been refused
        be = host_backend(compute_dtype(task.param.dtype))
        make = functools.partial(CompiledStep, be, code, task.rule)
        measured = _moved(task, make, step)
        advance(batch)
        return measured


def _is_small(task: Task) -> bool:
    """Whether the parameter steps in a stack of its kind."""
    return 0 < task.param.numel() <= SMALL and not task.measure


def _rows(task: Task) -> int:
    """How many slices the step tells apart: one if the policy neither ranks nor counts."""
    policy = task.policy
    by_slices = policy is not None and (policy.ranks or policy.counts or task.measure)
    return task.slices if by_slices else 1


def _together(task: Task) -> bool:
    """Whether the slices are so short that many are ranked at once."""
    return _rows(task) > 1 and 0 < task.local_length < LEAST_BLOCK and not task.measure


def _kind(task: Task) -> tuple[Any, ...]:
    """What the loops of a step depend on: rule, policy, whether it decays, and the dtype."""
    dtype = host_backend(compute_dtype(task.param.dtype)).host_dtype.__name__
    return task.rule, task.policy, float(task.group["weight_decay"]) != 0, dtype


def _moved(task: Task, make: Callable[..., Any], step: Step) -> Statistics | None:
    """Take a step of one slice or of all at once, whichever is faster; as :func:`_move`."""
    if _together(task):
        return _move(task, 1, functools.partial(make, length=task.local_length), step)
    return _move(task, _rows(task), make, step)


def _move(task: Task, rows: int, make: Callable[..., Any], step: Step) -> Statistics | None:
    """Take a step of ``rows`` slices, but for the count of steps; the statistics if wanted.

    Args:
        make: a step of one slice: ``BlockStep`` or ``CompiledStep``.
    """
    p, group = task.param.detach(), task.group
    dtype = compute_dtype(p.dtype)
    # Other layouts are copied to C order, whose indices decide between ties, and copied back.
    w, g = p.contiguous().resolve_neg(), task.grad.detach().contiguous()
    state = {name: value.contiguous() for name, value in task.arrays.items()}
    tallies = []
    split = (x.view(rows, -1 if x.numel() else 0).unbind() for x in (w, g, *state.values()))
    for w_row, g_row, *state_rows in zip(*split, strict=True):
        one = make(
            task.policy,
            cells(w_row, dtype),
            cells(g_row, dtype, negative=group["maximize"]),
            {name: cells(row, dtype) for name, row in zip(state, state_rows, strict=True)},
            task.t,
            lr=float(group["lr"]),
            weight_decay=float(group["weight_decay"]),
            spare=step.spare,
            threads=min(torch.get_num_threads(), _MOST_THREADS),
            measure=task.measure,
        )
        tallies.append(one.run())
    for worked, original in ((w, p), *((state[n], v) for n, v in task.arrays.items())):
        if worked.data_ptr() != original.data_ptr():
            original.copy_(worked)
    return combine(tallies) if task.measure and task.policy is not None else None
