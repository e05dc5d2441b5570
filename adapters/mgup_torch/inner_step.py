"""What an inner optimizer did to a parameter, and where MGUP moves that instead."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from mgup_core import Policy, Split
from mgup_core.step import rescale

from . import averaging
from .backend import TorchBackend, compute_dtype
from .distributed import local
from .executors.programs import ReadOff
from .groups import Group
from .parameter_step import Task, readable
from .wrapped_groups import PREFIX, own_of


class InnerStep(NamedTuple):
    """What ``inner`` is about to do to one parameter."""

    name: str
    param: Tensor
    before: Tensor
    """A copy."""
    grad: Tensor
    """As it came: a copy where ``inner`` may overwrite it."""
    group: Group
    policy: Policy | None
    averaging: averaging.Averaging | None = None
    """Where ``inner`` averages another iterate than the parameter."""


def task_of(step: InnerStep, *, statistics: bool) -> Task:
    """A step that was read off, as the kernels take it."""
    group = {
        "weight_decay": 0.0, "lr": 0.0, "maximize": False, "implementation": "auto",
        **step.group, **own_of(step.group),
    }  # fmt: skip
    rule = ReadOff(decay=group["decay"])
    return Task(
        step.name, step.param, readable(step.param, step.grad), {"before": step.before},
        ("before",), 1, rule, step.policy, group, statistics,
    )  # fmt: skip


def rescaled(
    step: InnerStep, state: dict[str, Any], be: TorchBackend | None = None
) -> tuple[list[tuple[Tensor, Tensor]], tuple[TorchBackend, Tensor, Split] | None]:
    """(the new values, what the policy's statistics are measured of).

    Args:
        step: once ``inner`` has moved the parameter.
        state: what ``inner`` keeps of the parameter.
        be: what knows of other ranks; by default the parameter is whole.

    Returns:
        Each tensor with its new value, of which what lies here: the iterate that ``inner`` averages
        is the second. Then the arguments of :func:`mgup_core.statistics.measure`; ``None`` without
        a policy.
    """
    group, average = step.group, step.averaging
    p, before, g = local(step.param), local(step.before), local(step.grad)
    be = be or TorchBackend(compute_dtype(p.dtype), p.device)
    w, y = be.cast(before, be.dtype), be.cast(p, be.dtype)
    way, operand = (w, y), None
    if average is not None:
        way, operand = averaging.way(be, average, w, state)
    done = rescale(
        be,
        step.policy,
        *way,
        be.cast(-g if group.get("maximize") else g, be.dtype),
        operand=operand,
        w=w,
        lr=group.get("lr", 0.0) if average is None else averaging.rate_of_decay(group),
        weight_decay=group.get("weight_decay") or 0.0,
        decay=group[PREFIX + "decay"],
        stacked_dims=group[PREFIX + "stacked_dims"],
    )
    measurable = None
    if done.split is not None:
        assert done.scores is not None
        measurable = be, done.scores.reshape(done.split.mask.shape), done.split
    if average is None:
        return [(step.param, done.w)], measurable
    y = averaging.followed(be, average, y, done.w - way[1], group)
    return [(step.param, y), (state[averaging.ITERATE], done.w)], measurable
