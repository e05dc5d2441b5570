"""The fused steps of one optimizer: its tasks by kind, and a plan for the tasks of each kind."""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mgup_core import Policy, Rule
from mgup_kernels import layout

from ..distributed.shard import is_dtensor
from ..kernels import unavailable
from ..kernels.cuda_graph import Launcher
from .base import foreign
from .programs import program, program_of, static
from .repeat import LastStep, Ready, RuleOf

if TYPE_CHECKING:
    from mgup_kernels.codegen import Kind
    from mgup_kernels.plan import Plan

    from ..groups import Group
    from ..parameter_step import Task

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
_MOST_PLANS = 16  # a new one is made when other parameters have gradients


def refusal(task: Task) -> str | None:
    """Why a parameter cannot take the fused step, or ``None``."""
    p = task.param
    if reason := unavailable(p.device):
        return reason
    if reason := foreign(task.policy):
        return reason
    if not task.rule.elementwise:
        return f"{type(task.rule).__name__} is not elementwise"
    if reason := _unrecorded(task.rule):
        return reason
    arrays = (p, task.grad, *task.arrays.values())
    if not all(x.dtype in DTYPES for x in arrays):
        return "the kernels compute in float32"
    if not all(x.is_contiguous() and not x.is_neg() for x in arrays):
        return "it, its gradient or its state is not contiguous, or its minus signs are not in it"
    if task.slice_length >= 2**31:
        return "it ranks 2^31 coordinates or more together"
    return None


def _unrecorded(rule: Rule) -> str | None:
    """Why no program can be recorded from a rule, or ``None``."""
    try:
        program(rule, None, False, False)
    except (TypeError, AttributeError) as error:
        return f"{type(rule).__name__} cannot be recorded ({error})"
    return None


class FusedStep:
    """The fused steps of one optimizer."""

    def __init__(self) -> None:
        self._plans: OrderedDict[Any, TaskPlan] = OrderedDict()
        self._launched: list[TaskPlan] = []
        self._last_step: LastStep | None = None

    def run(self, tasks: Sequence[Task], found_inf: Tensor | None = None) -> None:
        """Step parameters that :func:`refusal` does not refuse; returns before the device is done.

        Args:
            found_inf: 0-d, on a device; where it is above zero, nothing changes.
        """
        self._last_step = None
        kinds: dict[tuple[torch.device, Kind, Any], list[Task]] = {}
        for task in tasks:
            if task.rule.counts_steps:  # the kernels read and write the count
                task.state["step"] = task.state["step"].to(task.param.device, torch.float32)
            # With a mesh group even an empty part takes part in the sums over the devices.
            if task.param.numel() or task.slice_group is not None:
                mesh_group = None if task.slice_group is None else task.slice_group.key
                kinds.setdefault((task.param.device, _kind(task), mesh_group), []).append(task)
            elif task.rule.counts_steps:
                count = task.state["step"]
                count += 1 if found_inf is None else _one_unless_found(found_inf, count)
        self._launched = []
        for (device, kind, mesh_group), alike in kinds.items():
            slices = tuple((id(task.owner.param), *_slice_key(task)) for task in alike)
            key = device, kind, mesh_group, slices
            if key not in self._plans:
                self._plans[key] = TaskPlan(kind, alike)
                if len(self._plans) > _MOST_PLANS:
                    self._plans.popitem(last=False)
            self._plans.move_to_end(key)
            self._launched.append(self._plans[key])
        for one, alike in zip(self._launched, kinds.values(), strict=True):
            one.set_tasks(alike, found_inf)
            one.launcher.launch()

    def remember(self, groups: Sequence[Group], tasks: Sequence[Task], rule_of: RuleOf) -> None:
        """Let :meth:`repeat` take the next step, if it is like this one."""
        if all(task.owner.param.numel() for task in tasks):
            self._last_step = LastStep(groups, tasks, self._launched, rule_of)

    def repeat(self, state: Any, ready: Ready, rule_of: RuleOf) -> list[str]:
        """Step with new gradients and values (R7), if nothing else changed since the last step.

        A step of a large model takes the device a millisecond or two, and checking everything
        anew would take the host longer.

        Returns:
            The names of the parameters that stepped: all or none.

        Raises:
            ValueError: for a value out of its range, before anything changes.
        """
        if self._last_step is not None and self._last_step.repeat(state, ready, rule_of):
            return self._last_step.names
        return []

    def release(self) -> None:
        """Keep no state array beyond this step: the next one has others."""
        self._last_step = None
        for one in self._launched:
            one.states, one.arrays, one.group_tasks = [], {}, []

    def memory(self) -> int:
        """Bytes on devices that the plans hold."""
        return sum(one.plan.device.bytes for one in self._plans.values())


def _name(dtype: torch.dtype) -> str:
    """Of a dtype, as NumPy has it."""
    return str(dtype).removeprefix("torch.")


def _slice_key(task: Task) -> tuple[Any, ...]:
    """What the slices of a parameter and the number of selected coordinates depend on."""
    tau = getattr(task.policy, "tau", None)
    return tuple(task.param.shape), task.group["stacked_dims"], tau


def _kind(task: Task) -> Kind:
    """The kind of a task; tasks of one kind on one device step in the same launches."""
    from mgup_kernels.codegen import Kind

    return Kind(
        program_of(task),
        static(task.policy),
        dtype=_name(task.param.dtype),
        state_dtypes=tuple(_name(x.dtype) for x in task.arrays.values()),
        # All devices of a mesh group must agree on the kinds, so alignment is looked at later.
        aligned=task.slice_group is None and _aligned(task),
    )


def _aligned(task: Task) -> bool:
    """Whether loads of its arrays may be sixteen bytes wide."""
    arrays = (task.param, task.grad, *task.arrays.values())
    return task.local_length % 8 == 0 and all(x.data_ptr() % 16 == 0 for x in arrays)


class TaskPlan:
    """A plan for the tasks of one kind, and the values that they put into its arrays.

    Args:
        kind: of all tasks.
        tasks: at least one.
    """

    def __init__(self, kind: Kind, tasks: Sequence[Task]) -> None:
        from mgup_kernels import batches, codegen, plan

        from ..kernels.device import TorchDevice

        mesh_group = tasks[0].slice_group
        if mesh_group is not None:
            kind = kind._replace(aligned=all(map(_aligned, tasks)))
        arrays = (tasks[0].param, tasks[0].grad, *tasks[0].arrays.values())
        itemsize = [x.dtype.itemsize for x in arrays]
        local_lengths = [task.local_length for task in tasks]
        lengths = [task.slice_length for task in tasks]
        counts = [task.slices for task in tasks]
        self.device, self.aligned = tasks[0].param.device, kind.aligned
        self.dtype = tasks[0].param.dtype
        self.task_of = np.repeat(np.arange(len(tasks)), counts)
        """The task of each slice, (slices,)."""
        number = np.concatenate([np.arange(count) for count in counts])  # of a slice in its task
        starts = (number * np.array(local_lengths)[self.task_of])[:, None]
        self.offsets = starts * np.array(itemsize)
        """Bytes from the address of a task's arrays to those of each slice, (slices, arrays)."""
        ranks = kind.policy is not None and kind.policy.ranks
        top = [
            p.top(n) if ranks and (p := task.policy) else 0
            for task, n in zip(tasks, lengths, strict=True)
        ]
        slices = [batches.Slice(*each) for each in zip(local_lengths, lengths, top, strict=True)]
        self.plan: Plan = plan.Plan(
            [slices[i] for i in self.task_of.tolist()],
            codegen.functions(kind),
            len(itemsize),
            TorchDevice(self.device),
            ranks=ranks,
            aligned=kind.aligned,
            rules=len(tasks),
            mesh_group=mesh_group,
        )
        self.plan.rows[:, layout.ADVANCES_STEP] = number == 0
        self.launcher = Launcher(self.plan, self.device)
        self.state_dtypes = [x.dtype for x in tasks[0].arrays.values()]

    # -- what the slice table holds ---------------------------------------------------------------

    def set_tasks(self, tasks: Sequence[Task], found_inf: Tensor | None) -> None:
        """Set everything that a step needs: the same parameters as when the plan was made."""
        self.params = [task.owner.param for task in tasks]
        self.states = [task.owner.state for task in tasks]
        self.arrays = {n: [state[n] for state in self.states] for n in tasks[0].names}
        self.state_shapes = [[task.state[n].shape for task in tasks] for n in tasks[0].names]
        self.shapes = [task.param.shape for task in tasks]
        groups = {id(task.group): task for task in tasks}
        self.group_tasks = list(groups.values())
        """One task of each group."""
        group_of = np.array([list(groups).index(id(task.group)) for task in tasks])
        self.group_of = group_of[self.task_of]
        """The group of each slice, (slices,)."""
        self._set_values()
        counts = tasks[0].rule.counts_steps
        self.counts = [task.state["step"] for task in tasks] if counts else []
        self.count_addresses = list(map(Tensor.data_ptr, self.counts))
        rows = self.plan.rows
        rows[:, layout.STEP_ADDRESS] = np.array(self.count_addresses)[self.task_of] if counts else 0
        steps = [task.t if isinstance(task.count, int) else 1 for task in tasks]
        rows[:, layout.STEP] = np.array(steps)[self.task_of]
        arrays = [(task.param, task.grad, *task.arrays.values()) for task in tasks]
        self.upload(np.array([[x.data_ptr() for x in each] for each in arrays]), found_inf)

    def set_group_values(self, values: Mapping[int, tuple[Rule, Policy | None]]) -> None:
        """Set other rules and policies of groups, by their id, with the same programs (R7)."""
        for i, task in enumerate(self.group_tasks):
            if id(task.group) in values:
                rule, policy = values[id(task.group)]
                self.group_tasks[i] = task._replace(rule=rule, policy=policy)
        self._set_values()

    def _set_values(self) -> None:
        tasks = self.group_tasks
        self.device_scalars = [
            *self._set(layout.WEIGHT_DECAY, [task.group["weight_decay"] for task in tasks]),
            *self._set(layout.ALPHA, [getattr(task.policy, "alpha", 1.0) for task in tasks]),
            *self._set(layout.GAMMA, [getattr(task.policy, "gamma", 1.0) for task in tasks]),
        ]
        numbers = self.plan.functions.numbers
        values = np.array([numbers.of(task.rule) for task in tasks], np.float32)
        self.plan.set_numbers(values.reshape(len(tasks), numbers.length), self.group_of)

    def grads(self) -> list[Tensor]:
        """The gradients whose addresses :meth:`addresses` has found."""
        return _local_tensors([g for p in self.params if (g := p.grad) is not None])

    def addresses(self, state: Any) -> Any:
        """The addresses of parameters, gradients and state arrays: (tasks, arrays) int64.

        ``None`` if anything but the addresses has changed since :meth:`set_tasks`. This runs at
        every step, so each question is asked of all tensors in one call.
        """
        grads = [g for p in self.params if (g := p.grad) is not None]
        if len(grads) < len(self.params):
            return None
        same = all(map(operator.is_, map(state.get, self.params), self.states))
        if is_dtensor(self.params[0]):
            pairs: Any = zip(self.params, grads, strict=True)
            same = same and all(p.placements == g.placements for p, g in pairs)
        same = same and all(
            all(map(operator.is_, [kept.get(name) for kept in self.states], arrays))
            for name, arrays in {**self.arrays, "step": self.counts}.items()
            if arrays
        )
        if not same or list(map(Tensor.data_ptr, self.counts)) != self.count_addresses:
            return None
        columns = list(map(_local_tensors, [self.params, grads, *self.arrays.values()]))
        shapes = [self.shapes, self.shapes, *self.state_shapes]
        dtypes = [self.dtype, self.dtype, *self.state_dtypes]
        # The same tensors may have been given other storage: `.data` can be assigned.
        if not all(map(self._fits, columns, shapes, dtypes)):
            return None
        found = np.array([list(map(Tensor.data_ptr, column)) for column in columns]).T
        return None if self.aligned and (found & 15).any() else found

    def _fits(self, tensors: list[Tensor], shapes: list[torch.Size], dtype: torch.dtype) -> bool:
        """Whether the kernels may have the addresses of tensors: they check nothing themselves."""
        return (
            all(x.dtype is dtype and x.layout is torch.strided for x in tensors)
            and all(x.device == self.device for x in tensors)
            and not any(x.is_neg() or x._is_zerotensor() for x in tensors)
            and all(map(Tensor.is_contiguous, tensors))
            and list(map(Tensor.size, tensors)) == shapes
        )

    def upload(self, addresses: Any, found_inf: Tensor | None) -> None:
        """Copy the slice table to the device, with these addresses and the groups' learning rates.

        Args:
            addresses: (tasks, arrays) int64.
            found_inf: 0-d, on a device; where it is above zero, nothing will change.
        """
        plan = self.plan
        plan.rows[:, layout.ADDRESSES :] = addresses[self.task_of] + self.offsets
        rates = self._set(layout.LR, [task.group["lr"] for task in self.group_tasks])
        self.launcher.upload()
        for column, first, end, value in self.device_scalars + rates:
            plan.slice_table.view(torch.float64)[first:end, column] = value.reshape(()).double()
        if found_inf is not None:  # slices of no coordinates, none selected, no count to advance
            factor = _one_unless_found(found_inf, plan.slice_table)
            for column in (layout.LOCAL_LENGTH, layout.K, layout.ADVANCES_STEP):
                plan.slice_table[:, column].mul_(factor)

    def _set(self, column: int, values: list[Any]) -> list[tuple[int, int, int, Tensor]]:
        """Set a column of float64 from the groups' values.

        Returns:
            (column, first slice, end, value) of each value that only the device knows.
        """
        on_device = []
        for i, value in enumerate(values):
            if _on_device(value):
                first, end = np.searchsorted(self.group_of, [i, i + 1])
                on_device.append((column, int(first), int(end), value))
        numbers = [0.0 if _on_device(value) else float(value) for value in values]
        self.plan.rows.view(np.float64)[:, column] = np.array(numbers)[self.group_of]
        return on_device


def _local_tensors(tensors: list[Tensor]) -> list[Tensor]:
    """The parts on this rank of tensors, all of which are DTensors or none."""
    if not is_dtensor(tensors[0]):
        return tensors
    sharded: Any = tensors
    return [x._local_tensor for x in sharded]


def _one_unless_found(found_inf: Tensor, like: Tensor) -> Tensor:
    """0 where ``found_inf`` is above zero, else 1: 0-d, with dtype and device of ``like``."""
    return (found_inf <= 0).to(like)


def _on_device(value: Any) -> bool:
    return isinstance(value, Tensor) and value.device.type != "cpu"
