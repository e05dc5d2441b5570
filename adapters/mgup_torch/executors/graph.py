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

from ..groups import Group
from ..parameter_step import Job


def for_graph(jobs: Sequence[Job]) -> list[Job]:
    """Jobs with each value of a step as a tensor in host memory, on which no graph depends (R7).

    float64, so that what a rule makes of its floats is rounded once (N2). Jobs of a group share
    them, and a graph has them as inputs once.
    """
    shared: dict[int, tuple[Rule, Policy | None, Group]] = {}
    for job in jobs:
        if id(job.group) not in shared:
            shared[id(job.group)] = _with_tensors(job)
    moved = (shared[id(job.group)] for job in jobs)
    return [
        job._replace(rule=rule, policy=policy, group=group)
        for job, (rule, policy, group) in zip(jobs, moved, strict=True)
    ]


def _with_tensors(job: Job) -> tuple[Rule, Policy | None, Group]:
    rule, policy, group = copy.copy(job.rule), job.policy, {**job.group}
    for name in free_fields(rule):
        object.__setattr__(rule, name, _tensor(getattr(rule, name)))
    if isinstance(policy, (MGUP, SignMGUP)):
        policy = replace(policy, alpha=_tensor(policy.alpha), gamma=_tensor(policy.gamma))
    group["lr"] = _tensor(group["lr"])
    if group["weight_decay"] != 0:  # none is another program (R0)
        group["weight_decay"] = _tensor(group["weight_decay"])
    return rule, policy, group


def _tensor(value: Any) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float64)
