"""The fused step (:mod:`mgup_kernels`) on NVIDIA GPUs."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from ..distributed import is_partial
from ..groups import Group
from ..kernels import unavailable
from ..notices import warn
from ..parameter_step import Task
from .base import Executor, Step
from .fused import FusedStep, refusal


@functools.cache
def _warn_unavailable(reason: str) -> None:
    warn(
        f"CUDA parameters take the reference step, which gives the same result more slowly: "
        f"{reason}. implementation='reference' says so without this warning."
    )


class CUDA(Executor):
    """All parameters of a kind in a few launches, which do not wait for the host."""

    name = "cuda"

    def __init__(self) -> None:
        self.step = FusedStep()

    def __deepcopy__(self, memo: object) -> CUDA:
        return CUDA()  # a plan holds the addresses of the original's tensors

    def __reduce__(self) -> tuple[type[CUDA], tuple[()]]:
        return CUDA, ()

    @staticmethod
    def wanted(groups: Sequence[Group]) -> bool:
        """Whether any parameter may be fused, so that a compiled graph leaves its step out."""
        return any(
            p.device.type == "cuda"
            for group in groups
            if group["implementation"] != "reference"
            for p in group["params"]
        )

    def serves(self, task: Task) -> bool:
        return task.param.device.type == "cuda" or task.group["implementation"] == "fused"

    def refuses(self, task: Task) -> str | None:
        how = task.group["implementation"]
        if how == "reference":
            return "implementation='reference'"
        reason = _reason(task)
        if how != "fused" and reason is not None and (missing := unavailable(task.param.device)):
            _warn_unavailable(missing)
        return reason

    def batches(self, tasks: Sequence[Task]) -> list[list[Task]]:
        return [list(tasks)] if tasks else []

    def run(self, batch: Sequence[Task], step: Step) -> None:
        """Step all tasks. The kernels count the steps, so the counts move to the device."""
        self.step.run(batch, step.found_inf)
        for task in batch:
            if task.rule.counts_steps:
                task.owner.state["step"] = task.state["step"]


def _reason(task: Task) -> str | None:
    if task.measure:
        return "statistics are measured"
    if is_partial(task.owner.param.grad):
        return "its gradient is partial, and summed anew at every step"
    if task.part is not None and task.part.slice_group and not task.part.consecutive:
        return "its shards are no runs of consecutive coordinates"
    return refusal(task)
