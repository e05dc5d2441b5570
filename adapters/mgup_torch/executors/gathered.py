"""Steps of DTensors whose rule needs whole tensors: norms, row sums, sums over all parameters."""

from __future__ import annotations

from collections.abc import Sequence

from mgup_core import Statistics

from ..parameter_step import Task, gathered, keep_part, move_whole
from .base import Executor, Step, advance


class Gathered(Executor):
    """One parameter after the other, gathered with its gradient and state, on every rank alike."""

    name = "gathered"

    def serves(self, task: Task) -> bool:
        return task.needs_gathering

    def run(self, batch: Sequence[Task], step: Step) -> Statistics | None:
        (task,) = batch
        whole = gathered(task)
        measured = move_whole(whole, step.backend(whole), step.totals)
        keep_part(task, whole)
        advance(batch)
        return measured
