"""A step in host memory: the core on NumPy views of MindSpore's tensors, nothing dispatched."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import array_api_compat.numpy as numpy_xp
import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor

from mgup_core import NumPyBackend, Rule, State
from mgup_core._checks import check_fits, check_rate
from mgup_core.host.blocks import BlockStep
from mgup_core.host.signals import HeldSignals
from mgup_core.step import summed

from .backend import compute_dtype
from .operations import NUMPY
from .training import Settings, contributed, proposed, unscaled


class Task(Protocol):
    """One parameter, its state by ``names``, and how they are trained."""

    slots: tuple[Parameter, ...]
    """The parameter, then its state."""
    names: tuple[str, ...]
    settings: Settings


_THREADS = min(os.cpu_count() or 1, 4)  # beyond that they wait for the interpreter lock


def view(x: Tensor) -> Any:
    """A tensor in host memory as NumPy sees it; bfloat16, which it does not know, as float32.

    It waits for whatever MindSpore has been told to compute.
    """
    return (x.astype(ms.float32) if x.dtype == ms.bfloat16 else x).asnumpy()


def is_view(array: Any, x: Tensor) -> bool:
    """Whether writing to what :func:`view` gave writes to ``x``, which may be a part of another."""
    return bool(array.__array_interface__["data"][0] == x.data_ptr())


def _backend(p: Parameter) -> NumPyBackend:
    return NumPyBackend(numpy_xp, NUMPY[compute_dtype(p.dtype)])


def fresh_state(rule: Rule, p: Parameter, dtype: Any) -> dict[str, Parameter]:
    """A rule's state before the first step, as parameters ``<state>.<name of p>``."""
    be = _backend(p)
    made = {}
    for name, value in rule.init(be, be.cast(view(p), be.dtype)).items():
        # A copy: some rules begin with the parameter itself.
        parameter = Parameter(Tensor(np.array(value)), name=f"{name}.{p.name}", requires_grad=False)
        if name not in rule.exact_state:
            parameter.set_dtype(dtype)
        made[name] = parameter
    return made


class _Work:
    """One parameter's step on views; what cannot be written through a view waits in ``stored``."""

    def __init__(self, task: Task, g: Tensor, lr: float, decay: float, be: NumPyBackend) -> None:
        self.task, self.be, self.lr, self.decay = task, be, lr, decay
        self.w, *self.arrays = (view(x) for x in task.slots)
        self.g = view(g)
        self.in_place = [
            is_view(array, x) for array, x in zip((self.w, *self.arrays), task.slots, strict=True)
        ]
        self.stored: list[tuple[Parameter, Any]] = []

    def part(self, t: int) -> State:
        """This parameter's part of the sums over all parameters."""
        task = self.task
        return contributed(
            self.be, task.settings, self.w, self.g, self.arrays, t, self.lr, self.decay, task.names
        )

    def run(self, t: int, totals: State) -> None:
        """Move the parameter and its state."""
        settings = self.task.settings
        rule = settings.rule
        if rule.elementwise and settings.stacked_dims == 0 and all(self.in_place):
            return self._run_in_blocks(t)
        if not rule.couples_parameters:
            totals = {}
        new = proposed(
            self.be, settings, self.w, self.g, self.arrays, t, self.lr, self.decay,
            self.task.names, totals,
        )  # fmt: skip
        old = (self.w, *self.arrays)
        for p, x, value, in_place in zip(self.task.slots, old, new, self.in_place, strict=True):
            if in_place:
                np.copyto(x, value)
            else:
                self.stored.append((p, value))

    def _run_in_blocks(self, t: int) -> None:
        settings, be = self.task.settings, self.be
        cells = [x.reshape(-1) for x in (self.w, *self.arrays)]
        BlockStep(
            be,
            settings.rule,
            settings.policy,
            cells[0],
            unscaled(be, settings, self.g).reshape(-1),
            dict(zip(self.task.names, cells[1:], strict=True)),
            t,
            lr=self.lr,
            weight_decay=self.decay if settings.decays else 0.0,
            exact_state=all(x.dtype == be.host_dtype for x in self.arrays),
            threads=_THREADS,
        ).run()


def step(
    tasks: Iterable[Task],
    places: Sequence[int],
    count: Parameter,
    gradients: Sequence[Tensor | None],
    rates: Sequence[Tensor],
    decays: Sequence[Tensor],
) -> None:
    """Take the step of :class:`mgup_mindspore.cells.Step`, whole even if a signal comes.

    Raises:
        ValueError: for a learning rate or decay that is negative, not finite, or beyond the dtype
            in which a parameter is computed, before anything changes.
    """
    numbers: dict[Any, float] = {}

    def number(name: str, x: Tensor, dtype: Any) -> float:
        if (id(x), dtype) not in numbers:  # one for many parameters, mostly
            value = numbers[id(x), dtype] = float(x.asnumpy().reshape(()))
            check_rate(name, value)
            check_fits({name: value}, dtype)
        return numbers[id(x), dtype]

    backends: dict[Any, NumPyBackend] = {}
    work = []
    for task, i in zip(tasks, places, strict=True):
        g = gradients[i]
        if g is not None:
            p = task.slots[0]
            be = backends.setdefault(compute_dtype(p.dtype), _backend(p))
            lr = number("learning_rate", rates[i], be.host_dtype)
            decay = number("weight_decay", decays[i], be.host_dtype)
            work.append(_Work(task, g, lr, decay, be))
    taken = view(count)

    with HeldSignals(lambda: "All parameters have taken this step."), np.errstate(all="ignore"):
        taken[...] += 1
        t = int(taken[0])
        coupled = [one for one in work if one.task.settings.rule.couples_parameters]
        totals = summed([one.part(t) for one in coupled])
        try:
            for one in work:
                one.run(t, totals)
        finally:  # the state of those that ran has moved
            for p, value in (pair for one in work for pair in one.stored):
                p.set_data(Tensor(np.ascontiguousarray(value).reshape(p.shape)).astype(p.dtype))
