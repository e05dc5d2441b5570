"""Matrices of one shape on an accelerator, stepped as one stack of them (P5).

A model has each shape of matrix in every layer. One by one they are too small to fill a GPU, and
each costs the host some hundred launches.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from mgup_core import State
from mgup_core.rules.matrix import MatrixRule

from ..backend import TorchBackend, compute_dtype
from ..parameter_step import Job, propose

BYTES = 64 << 20
"""Of a stack of parameters, in the compute dtype. A step holds some fifteen arrays of this size."""


def stacks(jobs: Sequence[Job]) -> list[list[Job]]:
    """Jobs on accelerators, those together that can be stepped together."""
    found: list[list[Job]] = []
    open_stacks: dict[Hashable, list[Job]] = {}
    for job in jobs:
        kind = _kind(job)
        stack = open_stacks.get(kind, [])
        size = job.param.numel() * compute_dtype(job.param.dtype).itemsize
        if kind is None or not stack or (len(stack) + 1) * size > BYTES:
            stack = []
            found.append(stack)
            open_stacks[kind] = stack
        stack.append(job)
    return found


def _kind(job: Job) -> Hashable:
    """What the jobs of a stack have in common; ``None`` for one that must be stepped alone."""
    if not isinstance(job.rule, MatrixRule) or job.whole is not None or isinstance(job.t, Tensor):
        return None
    state = tuple((name, x.dtype, x.shape) for name, x in job.arrays.items())
    p = job.param
    return p.device, p.dtype, p.shape, id(job.group), job.t, state


def move_stack(jobs: Sequence[Job], be: TorchBackend, totals: State) -> None:
    """Step jobs of a kind as whole tensors; see :func:`mgup_torch.parameter_step.move_whole`."""
    first = jobs[0]
    group = {**first.group, "stacked_dims": first.group["stacked_dims"] + 1}
    params = [job.param.detach() for job in jobs]
    stack = first._replace(
        param=torch.stack(params),
        grad=torch.stack([job.grad.detach() for job in jobs]),
        state={name: torch.stack([job.state[name] for job in jobs]) for name in first.names},
        group=group,
    )
    update = propose(stack, be, group["lr"], measure=False, totals=totals)
    moved = be.cast(stack.param, be.dtype) - update.delta
    torch._foreach_copy_(params, list(moved.unbind()))
    for name, value in update.state.items():
        torch._foreach_copy_([job.state[name] for job in jobs], list(value.unbind()))
