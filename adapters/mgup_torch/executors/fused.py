"""From the tasks of a step to plans, kept from step to step."""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mgup_core import Policy, Rule

from ..distributed.shard import is_dtensor
from ..kernels import table, unavailable
from ..kernels.launch import Launcher
from .programs import program, program_of, static
from .repeat import Last, Ready

if TYPE_CHECKING:
    from ..groups import Group
    from ..kernels.plan import Plan
    from ..kernels.source import Kind
    from ..parameter_step import Task

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_KEPT = 16  # plans; another one is made when other parameters have gradients


def refusal(job: Task) -> str | None:
    """Why a parameter cannot take the fused step, or ``None``."""
    p = job.param
    if reason := unavailable(p.device):
        return reason
    if not job.rule.elementwise:
        return f"{type(job.rule).__name__} is not elementwise"
    if reason := _unrecorded(job.rule):
        return reason
    arrays = (p, job.grad, *job.arrays.values())
    if not all(x.dtype in DTYPES for x in arrays):
        return "the kernels compute in float32"
    if not all(x.is_contiguous() and not x.is_neg() for x in arrays):
        return "it, its gradient or its state is not contiguous, or its minus signs are not in it"
    if job.total >= 2**31:
        return "it ranks 2^31 coordinates or more together"
    return None


def _unrecorded(rule: Rule) -> str | None:
    """Why the kernels cannot say what a rule computes, or ``None``."""
    try:
        program(rule, None, False, False)
    except (TypeError, AttributeError) as error:
        return f"{type(rule).__name__} cannot be recorded ({error})"
    return None


class FusedStep:
    """The fused steps of one optimizer."""

    def __init__(self) -> None:
        self._tables: OrderedDict[Any, _Table] = OrderedDict()
        self._used: list[_Table] = []
        self._last: Last | None = None

    def run(self, jobs: Sequence[Task], found_inf: Tensor | None = None) -> None:
        """Step parameters that :func:`refusal` has nothing against; returns before it is done.

        Args:
            found_inf: 0-d, on a device; where it is above zero, nothing changes.
        """
        self._last = None
        kinds: dict[tuple[torch.device, Kind, Any], list[Task]] = {}
        for job in jobs:
            if job.rule.counts_steps:  # the kernels read and write it
                job.state["step"] = job.state["step"].to(job.param.device, torch.float32)
            if job.param.numel() or job.team is not None:  # an empty part has a part in the counts
                team = None if job.team is None else job.team.key
                kinds.setdefault((job.param.device, _kind(job), team), []).append(job)
            elif job.rule.counts_steps:
                count = job.state["step"]
                count += 1 if found_inf is None else _zero(found_inf, count)
        self._used = []
        for (device, kind, team), mine in kinds.items():
            key = device, kind, team, tuple((id(job.owner.param), *_ranked(job)) for job in mine)
            if key not in self._tables:
                self._tables[key] = _Table(kind, mine)
                if len(self._tables) > _KEPT:
                    self._tables.popitem(last=False)
            self._tables.move_to_end(key)
            self._used.append(self._tables[key])
        for one, mine in zip(self._used, kinds.values(), strict=True):
            one.fill(mine, found_inf)
            one.launcher.launch()

    def remember(
        self, groups: Sequence[Group], jobs: Sequence[Task], rule_of: Callable[[Group], Rule]
    ) -> None:
        """Let :meth:`repeat` do the next step, if it is like this one."""
        if all(job.owner.param.numel() for job in jobs):
            self._last = Last(groups, jobs, self._used, rule_of)

    def repeat(self, state: Any, ready: Ready) -> list[str]:
        """Step as in the last step, with new gradients and values (R7), if no more changed.

        Args:
            ready: called with the gradients before anything is launched; returns ``found_inf``.

        Returns:
            The names of the parameters that stepped: all or none.

        Raises:
            ValueError: for a value out of its range, before anything changes.

        A step of a large model takes the device a millisecond or two, and looking at everything
        anew would take the host longer.
        """
        if self._last is not None and self._last.repeat(state, ready):
            return self._last.names
        return []

    def release(self) -> None:
        """Hold no array beyond this step; the next one is none like it."""
        self._last = None
        for one in self._used:
            one.states, one.arrays, one.first = [], {}, []

    def memory(self) -> int:
        """Bytes on devices that the plans hold."""
        return sum(one.plan.memory() for one in self._tables.values())


def _ranked(job: Task) -> tuple[Any, ...]:
    """What decides the slices of a parameter, and how many of each are selected."""
    tau = getattr(job.policy, "tau", None)
    return tuple(job.param.shape), job.group["stacked_dims"], tau


def _kind(job: Task) -> Kind:
    """Jobs of a kind, on one device, take their steps in the same launches."""
    from ..kernels.source import Kind

    return Kind(
        program_of(job),
        static(job.policy),
        dtype=job.param.dtype,
        state_dtypes=tuple(x.dtype for x in job.arrays.values()),
        # All devices of a team must sort their jobs alike, so each looks at its own later.
        aligned=job.team is None and _aligned(job),
    )


def _aligned(job: Task) -> bool:
    """Whether loads may be sixteen bytes wide."""
    arrays = (job.param, job.grad, *job.arrays.values())
    return job.length % 8 == 0 and all(x.data_ptr() % 16 == 0 for x in arrays)


class _Table:
    """A plan, and what fills its tables."""

    def __init__(self, kind: Kind, jobs: Sequence[Task]) -> None:
        from ..kernels import plan, source

        team = jobs[0].team
        if team is not None:
            kind = kind._replace(aligned=all(map(_aligned, jobs)))
        itemsize = [dtype.itemsize for dtype in (kind.dtype, kind.dtype, *kind.state_dtypes)]
        sizes = [job.length for job in jobs]
        totals = [job.total for job in jobs]
        counts = [job.slices for job in jobs]
        self.device, self.dtype, self.aligned = jobs[0].param.device, kind.dtype, kind.aligned
        self.owner = np.repeat(np.arange(len(jobs)), counts)
        within = np.concatenate([np.arange(count) for count in counts])
        self.offsets = (within * np.array(sizes)[self.owner])[:, None] * np.array(itemsize)
        ranks = kind.policy is not None and kind.policy.ranks
        slices = [
            plan.Slice(sizes[i], totals[i], jobs[i].policy.top(totals[i]) if ranks else 0)
            for i in self.owner
        ]
        self.plan: Plan = plan.Plan(
            slices,
            source.functions(kind),
            len(itemsize),
            self.device,
            ranks=ranks,
            aligned=kind.aligned,
            rules=len(jobs),
            team=team,
        )
        self.plan.rows[:, table.LEADS] = within == 0
        self.launcher = Launcher(self.plan, self.device)
        self.state_dtypes = kind.state_dtypes

    # -- what the tables say ----------------------------------------------------------------------

    def fill(self, jobs: Sequence[Task], found_inf: Tensor | None) -> None:
        """Everything that a step needs to know."""
        self.params = [job.owner.param for job in jobs]
        self.states = [job.owner.state for job in jobs]
        self.arrays = {n: [kept[n] for kept in self.states] for n in jobs[0].names}
        self.state_shapes = [[job.state[n].shape for job in jobs] for n in jobs[0].names]
        self.shapes = [job.param.shape for job in jobs]
        groups = {id(job.group): job for job in jobs}
        self.first = list(groups.values())  # of each group
        self.groups = [job.group for job in self.first]
        self.grouped = np.array([list(groups).index(id(job.group)) for job in jobs])[self.owner]
        self._set_values()
        counts = jobs[0].rule.counts_steps
        self.counters = [job.state["step"] for job in jobs] if counts else []
        self.counted = list(map(Tensor.data_ptr, self.counters))
        self.plan.rows[:, table.STEP] = np.array(self.counted)[self.owner] if counts else 0
        steps = [job.t if isinstance(job.count, int) else 1 for job in jobs]
        self.plan.rows[:, table.T] = np.array(steps)[self.owner]
        every = [(job.param, job.grad, *job.arrays.values()) for job in jobs]
        self.refill(np.array([[x.data_ptr() for x in arrays] for arrays in every]), found_inf)

    def revalue(self, moved: Mapping[int, tuple[Rule, Policy | None]]) -> None:
        """Other values for groups, by their id, whose programs are as they were (R7)."""
        for i, group in enumerate(self.groups):
            if id(group) in moved:
                rule, policy = moved[id(group)]
                self.first[i] = self.first[i]._replace(rule=rule, policy=policy)
        self._set_values()

    def _set_values(self) -> None:
        first = self.first
        self.late = [
            *self._set(table.WEIGHT_DECAY, [job.group["weight_decay"] for job in first]),
            *self._set(table.ALPHA, [getattr(job.policy, "alpha", 1.0) for job in first]),
            *self._set(table.GAMMA, [getattr(job.policy, "gamma", 1.0) for job in first]),
        ]
        numbers = self.plan.functions.numbers
        values = np.array([numbers.of(job.rule) for job in first], np.float32)
        self.plan.set_numbers(values.reshape(len(first), numbers.length), self.grouped)

    def grads(self) -> list[Tensor]:
        """The gradients that :meth:`addresses` found."""
        return _here([p.grad for p in self.params])

    def addresses(self, state: Any) -> Any:
        """Of parameters, gradients and state arrays, (jobs, arrays), as int64.

        ``None`` if anything but the addresses is not as it was: this runs at every step, so each
        question is asked of all tensors in one go.
        """
        grads = [p.grad for p in self.params]
        if any(g is None for g in grads):
            return None
        same = all(map(operator.is_, map(state.get, self.params), self.states))
        if is_dtensor(self.params[0]):
            pairs = zip(self.params, grads, strict=True)
            same = same and all(p.placements == g.placements for p, g in pairs)
        same = same and all(
            all(map(operator.is_, [kept.get(name) for kept in self.states], arrays))
            for name, arrays in {**self.arrays, "step": self.counters}.items()
            if arrays
        )
        if not same or list(map(Tensor.data_ptr, self.counters)) != self.counted:
            return None
        columns = [_here(self.params), _here(grads), *map(_here, self.arrays.values())]
        sizes = [self.shapes, self.shapes, *self.state_shapes]
        dtypes = [self.dtype, self.dtype, *self.state_dtypes]
        # The same tensors may have been given other storage: `.data` can be assigned.
        if not all(map(self._fits, columns, sizes, dtypes)):
            return None
        found = np.array([list(map(Tensor.data_ptr, column)) for column in columns]).T
        return None if self.aligned and (found & 15).any() else found

    def _fits(self, tensors: list[Tensor], sizes: list[torch.Size], dtype: torch.dtype) -> bool:
        """Whether the kernels may be told the addresses of tensors: they ask nothing else."""
        return (
            all(x.dtype is dtype and x.layout is torch.strided for x in tensors)
            and all(x.device == self.device for x in tensors)
            and not any(x.is_neg() or x._is_zerotensor() for x in tensors)
            and all(map(Tensor.is_contiguous, tensors))
            and list(map(Tensor.size, tensors)) == sizes
        )

    def refill(self, addresses: Any, found_inf: Tensor | None) -> None:
        """New addresses and learning rates."""
        rows = self.plan.rows
        rows[:, table.POINTERS :] = addresses[self.owner] + self.offsets
        late = self.late + self._set(table.LR, [group["lr"] for group in self.groups])
        self.launcher.upload()
        for column, first, last, value in late:
            scalars = self.plan.tables.view(torch.float64)
            scalars[first:last, column] = value.reshape(()).double()
        if found_inf is not None:  # slices of no coordinates, none selected, no count to advance
            goes = _zero(found_inf, self.plan.tables)
            for column in (table.D, table.K, table.LEADS):
                self.plan.tables[:, column].mul_(goes)

    def _set(self, column: int, values: list[Any]) -> list[tuple[int, int, int, Tensor]]:
        """Scalars of each group; those that only the device knows are returned, with their rows."""
        late = []
        for i, value in enumerate(values):
            if _on_device(value):
                first, last = np.searchsorted(self.grouped, [i, i + 1])
                late.append((column, int(first), int(last), value))
        numbers = [0.0 if _on_device(value) else float(value) for value in values]
        self.plan.rows.view(np.float64)[:, column] = np.array(numbers)[self.grouped]
        return late


def _here(tensors: list[Tensor]) -> list[Tensor]:
    """What lies on this rank of tensors, which are all DTensors or none."""
    return [x._local_tensor for x in tensors] if is_dtensor(tensors[0]) else tensors


def _zero(found_inf: Tensor, like: Tensor) -> Tensor:
    """1 where nothing was found, else 0: 0-d, as ``like``."""
    return (found_inf <= 0).to(like)


def _on_device(value: Any) -> bool:
    return isinstance(value, Tensor) and value.device.type != "cpu"
