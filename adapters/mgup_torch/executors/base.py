"""What an executor is: it takes the steps of parameters, and decides their speed alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from mgup_core import Policy, State, Statistics

from ..backend import TorchBackend, compute_dtype
from ..parameter_step import Task


def foreign(policy: Policy | None) -> str | None:
    """Why only steps of whole tensors can ask a policy of the caller's own (P13), or ``None``."""
    if policy is None or not policy.opaque:
        return None
    return f"{type(policy).__name__} decides by itself"


class Step:
    """What the executors share in one step of an optimizer.

    Args:
        totals: the sums over all parameters that rules of theirs need.
        spare: bytes that may be used besides the parameters, their gradients and state.
        found_inf: 0-d, on a device; above zero if nothing is to change. Only what runs on that
            device can obey, and it is ``None`` where anything else steps.
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
    """A way to take steps. All ways lead to the same bits."""

    name: ClassVar[str]

    def serves(self, task: Task) -> bool:
        """Whether this is a way for tensors where these lie."""
        return True

    def refuses(self, task: Task) -> str | None:
        """Why it cannot take the step of a parameter that it :meth:`serves`; ``None`` if it can."""
        return None

    def batches(self, tasks: Sequence[Task]) -> Iterable[list[Task]]:
        """The tasks, those together that are stepped together; by default one by one."""
        return ([task] for task in tasks)

    def prepare(self, tasks: Sequence[Task], step: Step) -> None:
        """Do what must succeed before any parameter changes, by whatever executor."""

    def run(self, batch: Sequence[Task], step: Step) -> Statistics | None:
        """Step one batch, its counts of steps included; the statistics, if they are wanted."""
        raise NotImplementedError


def advance(batch: Sequence[Task]) -> None:
    """Count a step of parameters whose rule counts them."""
    if counts := [task.state["step"] for task in batch if task.rule.counts_steps]:
        torch._foreach_add_(counts, 1)
