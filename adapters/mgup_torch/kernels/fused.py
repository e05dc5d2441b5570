"""From the jobs of a step to plans, kept from step to step."""

from __future__ import annotations

import functools
import operator
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mgup_core import Policy, Rule

from ..sharded.layout import is_dtensor
from . import table
from .launch import Launcher
from .programs import program, program_of, static
from .repeat import Last, Ready

if TYPE_CHECKING:
    from ..groups import Group
    from ..jobs import Job
    from .plan import Plan
    from .source import Kind

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_KEPT = 16  # plans; another one is made when other parameters have gradients


@functools.cache
def unavailable(device: torch.device) -> str | None:
    """Why nothing can be fused on a device, or ``None``."""
    if device.type != "cuda":
        return f"it is on {device.type}, and the kernels are for CUDA"
    if torch.version.hip is not None:
        return "the kernels have been checked on NVIDIA GPUs only"
    if torch.cuda.get_device_capability(device) < (7, 0):
        return f"{torch.cuda.get_device_name(device)} is older than compute capability 7.0"
    try:
        import triton  # noqa: F401
    except ImportError as error:
        return f"Triton cannot be imported ({error})"
    return None


def refusal(job: Job) -> str | None:
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
    if not all(x.is_contiguous() for x in arrays):
        return "it, its gradient or its state is not contiguous"
    if (job.total or job.length) >= 2**31:
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

    def run(self, jobs: Sequence[Job], found_inf: Tensor | None = None) -> None:
        """Step parameters that :func:`refusal` has nothing against; returns before it is done.

        Args:
            found_inf: 0-d, on a device; where it is above zero, nothing changes.
        """
        self._last = None
        kinds: dict[tuple[torch.device, Kind, Any], list[Job]] = {}
        for job in jobs:
            if "step" in job.state and job.state["step"].device != job.param.device:
                job.state["step"] = job.state["step"].to(job.param.device, torch.float32)
            if job.param.numel() or job.team is not None:  # an empty part has a part in the counts
                team = None if job.team is None else job.team.key
                kinds.setdefault((job.param.device, _kind(job), team), []).append(job)
            elif "step" in job.state:
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
        self, groups: Sequence[Group], jobs: Sequence[Job], rule_of: Callable[[Group], Rule]
    ) -> None:
        """Let :meth:`repeat` do the next step, if it is like this one."""
        if all(job.owner.param.numel() for job in jobs):
            self._last = Last(groups, jobs, self._used, rule_of)

    def repeat(self, state: Any, ready: Ready) -> bool:
        """Step as in the last step, with new gradients and values (R7); False if more changed.

        Args:
            ready: called with the gradients before anything is launched; returns ``found_inf``.

        Raises:
            ValueError: for a value out of its range, before anything changes.

        A step of a large model takes the device a millisecond or two, and looking at everything
        anew would take the host longer.
        """
        return self._last is not None and self._last.repeat(state, ready)

    def memory(self) -> int:
        """Bytes on devices that the plans hold."""
        return sum(one.plan.memory() for one in self._tables.values())


def _ranked(job: Job) -> tuple[Any, ...]:
    """What decides the slices of a parameter, and how many of each are selected."""
    tau = getattr(job.policy, "tau", None)
    return tuple(job.param.shape), job.group["stacked_dims"], tau


def _kind(job: Job) -> Kind:
    """Jobs of a kind, on one device, take their steps in the same launches."""
    from .source import Kind

    return Kind(
        program_of(job),
        static(job.policy),
        dtype=job.param.dtype,
        state_dtypes=tuple(x.dtype for x in job.arrays.values()),
        # All devices of a team must sort their jobs alike, so each looks at its own later.
        aligned=job.team is None and _aligned(job),
    )


def _aligned(job: Job) -> bool:
    """Whether loads may be sixteen bytes wide."""
    arrays = (job.param, job.grad, *job.arrays.values())
    return job.length % 8 == 0 and all(x.data_ptr() % 16 == 0 for x in arrays)


class _Table:
    """A plan, and what fills its tables."""

    def __init__(self, kind: Kind, jobs: Sequence[Job]) -> None:
        from . import plan, source

        team = jobs[0].team
        if team is not None:
            kind = kind._replace(aligned=all(map(_aligned, jobs)))
        itemsize = [dtype.itemsize for dtype in (kind.dtype, kind.dtype, *kind.state_dtypes)]
        sizes = [job.length for job in jobs]
        totals = [job.total or job.length for job in jobs]
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
        self.jobs: Sequence[Job] = ()

    # -- what the tables say ----------------------------------------------------------------------

    def fill(self, jobs: Sequence[Job], found_inf: Tensor | None) -> None:
        """Everything that a step needs to know."""
        self.jobs = jobs
        self.params = [job.owner.param for job in jobs]
        self.states = [job.owner.state for job in jobs]
        self.arrays = {name: [kept[name] for kept in self.states] for name in self.states[0]}
        self.shapes = [job.param.shape for job in jobs]
        groups = {id(job.group): job for job in jobs}
        self.first = list(groups.values())  # of each group
        self.groups = [job.group for job in self.first]
        self.grouped = np.array([list(groups).index(id(job.group)) for job in jobs])[self.owner]
        self._set_values()
        counters = [job.state.get("step") for job in jobs]
        counted = [0 if counter is None else counter.data_ptr() for counter in counters]
        self.plan.rows[:, table.STEP] = np.array(counted)[self.owner]
        steps = [job.t if isinstance(job.t, int) else 1 for job in jobs]
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
        params, grads = _here(self.params), _here(grads)
        same = (
            same
            and all(g.dtype is self.dtype and g.layout is torch.strided for g in grads)
            and all(map(Tensor.is_contiguous, grads))
            and all(map(Tensor.is_contiguous, params))
            and list(map(Tensor.size, grads)) == self.shapes
            and all(g.device == self.device for g in grads)
        )
        if not same:
            return None
        columns = [params, grads]
        for name, arrays in self.arrays.items():
            if not all(map(operator.is_, [kept.get(name) for kept in self.states], arrays)):
                return None
            if name != "step":
                columns.append(_here(arrays))
        found = np.array([list(map(Tensor.data_ptr, column)) for column in columns]).T
        return None if self.aligned and (found & 15).any() else found

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
