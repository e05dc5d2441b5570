"""Steps of whole tensors, which every parameter can take on any device."""

from __future__ import annotations

from collections.abc import Sequence

from mgup_core import Statistics

from ..parameter_step import Task, move_whole
from .base import Executor, Step, advance


class Whole(Executor):
    """Each operation of the rule and the policy on all coordinates of a parameter at once."""

    name = "whole"

    def run(self, batch: Sequence[Task], step: Step) -> Statistics | None:
        (task,) = batch
        measured = move_whole(task, step.backend(task), step.totals)
        advance(batch)
        return measured
