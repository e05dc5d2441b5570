"""What an executor is: a way to take the steps of parameters, which decides their speed alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from mgup_core import State, Statistics

from ..backend import TorchBackend, compute_dtype
from ..parameter_step import Task


class Step:
    """What the executors share in one step of an optimizer.

    Args:
        totals: the sums over all parameters that some of their rules need.
        spare: bytes that a step may use besides the parameters, their gradients and state.
        found_inf: 0-d, on a device; above zero if nothing is to change. It is ``None`` unless
            kernels on that device take all the steps, for only they read it in time.
    """

    def __init__(self, totals: State, spare: int, found_inf: Tensor | None = None) -> None:
        self.totals, self.spare, self.found_inf = totals, spare, found_inf
        self._backends: dict[Any, TorchBackend] = {}

    def backend(self, task: Task) -> TorchBackend:
        """The arithmetic of a task's whole tensors.

        Made anew in each step, since its scalars lie on the device, in the order of one stream.
        """
        kind = compute_dtype(task.param.dtype), task.param.device
        return self._backends.setdefault(kind, TorchBackend(*kind))


class Executor:
    """A way to take steps. All executors give the same bits."""

    name: ClassVar[str]

    def serves(self, task: Task) -> bool:
        """Whether the executor is made for tensors where these lie."""
        return True

    def refuses(self, task: Task) -> str | None:
        """Why it cannot take a step that it :meth:`serves`; ``None`` if it can."""
        return None

    def batches(self, tasks: Sequence[Task]) -> Iterable[list[Task]]:
        """The tasks in lists of those that step together; by default each by itself."""
        return ([task] for task in tasks)

    def prepare(self, tasks: Sequence[Task], step: Step) -> None:
        """Do what must succeed before any executor changes a parameter."""

    def run(self, batch: Sequence[Task], step: Step) -> Statistics | None:
        """Step one batch, the counts of steps included; the statistics, if they are wanted."""
        raise NotImplementedError


def advance(batch: Sequence[Task]) -> None:
    """Add 1 to the counts of steps of those parameters whose rule counts them."""
    if counts := [task.state["step"] for task in batch if task.rule.counts_steps]:
        torch._foreach_add_(counts, 1)
