"""Steps of DTensors that need the other ranks; see :mod:`mgup_torch.distributed`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor

from mgup_core import Statistics

from ..distributed import PartBackend, Proposal, Sharding
from ..parameter_step import Task, move_whole, propose
from .base import Executor, Step, advance


class Ranks(Executor):
    """This rank's parts of DTensors, by what the ranks found out together.

    Args:
        sharding: the optimizer's.
    """

    name = "ranks"

    def __init__(self, sharding: Sharding) -> None:
        self._sharding = sharding
        self._settled: dict[Tensor, tuple[PartBackend, Statistics | None]] = {}

    def serves(self, task: Task) -> bool:
        return task.whole is not None and self._sharding.asks(
            task.whole.param, task.group, task.rule, task.policy, statistics=task.measure
        )

    def prepare(self, tasks: Sequence[Task], step: Step) -> None:
        """Exchange what the steps need, for all parameters at once: ranks have the same tasks."""
        self._settled = self._sharding.settle(
            [_proposal(task, step) for task in tasks],
            statistics=any(task.measure for task in tasks),
        )

    def run(self, batch: Sequence[Task], step: Step) -> Statistics | None:
        (task,) = batch
        be, measured = self._settled.pop(task.owner.param)
        move_whole(_unmeasured(task), be, step.totals)
        advance(batch)
        return measured


def _unmeasured(task: Task) -> Task:
    return task._replace(measure=False)  # the ranks measure it together


def _proposal(task: Task, step: Step) -> Proposal:
    take = partial(propose, _unmeasured(task), totals=step.totals)
    return Proposal(task.name, task.owner.param, task.group, task.rule, task.policy, take)
