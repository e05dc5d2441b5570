"""Which executor takes which parameter, and why none before it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from torch import Tensor

from ..parameter_step import Task
from .base import Executor


class Choice(NamedTuple):
    """The executor of a task, and the reasons of the faster ones that refused it."""

    executor: Executor
    refusals: tuple[str, ...]


def choose(executors: Iterable[Executor], task: Task) -> Choice:
    """The first executor, fastest first, that takes a task.

    Raises:
        ValueError: if ``implementation="fused"`` and the kernels cannot step the parameter.
    """
    refusals: list[str] = []
    for executor in executors:
        if not executor.serves(task):
            continue
        reason = executor.refuses(task)
        if reason is None:
            return Choice(executor, tuple(dict.fromkeys(refusals)))
        if task.group["implementation"] == "fused":
            raise ValueError(
                f"implementation='fused' cannot step parameter {task.name}: {reason}. "
                "implementation='auto' steps it by the reference."
            )
        refusals.append(reason)
    raise AssertionError(f"no executor takes parameter {task.name}")


def assign(executors: Sequence[Executor], tasks: Iterable[Task]) -> dict[Executor, list[Task]]:
    """The tasks of each executor, in their order."""
    taken: dict[Executor, list[Task]] = {executor: [] for executor in executors}
    for task in tasks:
        taken[choose(executors, task).executor].append(task)
    return taken


NO_GRADIENT = "it has no gradient"


class Explained(NamedTuple):
    """How one parameter will take the next step."""

    parameter: str
    """Its name, or its index in its group."""
    executor: str | None
    """``None`` if the parameter takes no step."""
    reason: str | None
    """Why no faster executor takes it; ``None`` if none is faster for tensors where it lies."""


class Explanation(tuple[Explained, ...]):
    """One :class:`Explained` for each parameter, in group order; prints as a table."""

    def __str__(self) -> str:
        rows = [tuple(Explained._fields), *((p, e or "-", r or "") for p, e, r in self)]
        widths = [max(len(row[i]) for row in rows) for i in (0, 1)]
        return "\n".join(f"{p:{widths[0]}}  {e:{widths[1]}}  {r}".rstrip() for p, e, r in rows)


def explain(
    executors: Sequence[Executor],
    parameters: Iterable[tuple[str, Tensor]],
    tasks: Iterable[Task],
) -> Explanation:
    """The executor of each parameter.

    Args:
        parameters: (name, parameter).
        tasks: of those with a gradient.
    """
    known = {id(task.owner.param): task for task in tasks}

    def row(name: str, p: Tensor) -> Explained:
        if id(p) not in known:
            return Explained(name, None, NO_GRADIENT)
        executor, refusals = choose(executors, known[id(p)])
        return Explained(name, executor.name, "; ".join(refusals) or None)

    return Explanation(row(name, p) for name, p in parameters)
