"""One parameter's step, in blocks of host memory or as whole tensors."""

from __future__ import annotations

import copy
import functools
import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mgup_core import (
    MGUP,
    Policy,
    Rule,
    SignMGUP,
    State,
    Statistics,
    contribution,
    summed,
    update_array,
)
from mgup_core.blocks import BlockStep
from mgup_core.forms import free_fields
from mgup_core.rank import top_count
from mgup_core.update import Update

from .backend import TorchBackend, cells, compute_dtype, host_backend
from .compiled import CompiledStep, code_for
from .groups import Group
from .sharded import Team, is_dtensor, local
from .statistics import combine

_top_count = functools.lru_cache(maxsize=4096)(top_count)  # exact arithmetic, at every step
_MOST_THREADS = 4  # beyond that they wait for the interpreter lock more than they work


class Job(NamedTuple):
    """One parameter's step, everything looked up and checked."""

    name: str
    param: Tensor
    grad: Tensor
    state: dict[str, Tensor]
    t: Any
    """The step, from 1, as an int or a 0-d integer tensor; or how many steps have been taken, as
    the floating tensor on the device that only it can read."""
    rule: Rule
    policy: Policy | None
    group: Group
    whole: Job | None = None
    """The step of the DTensors of whose parts on this rank this is the step."""
    team: Team | None = None
    """Who holds the rest of its slices, where these are parts."""
    total: int | None = None
    """The length of its slices as wholes, if these are parts."""

    @property
    def owner(self) -> Job:
        """The step of what the optimizer was given."""
        return self.whole or self

    def here(self) -> Job:
        """What this rank does of it."""
        if not is_dtensor(self.param):
            return self
        state = {name: local(value) for name, value in self.state.items()}
        return self._replace(
            param=local(self.param), grad=local(self.grad), state=state, whole=self
        )

    @property
    def length(self) -> int:
        """Of what lies here of each slice."""
        return math.prod(self.param.shape[self.group["stacked_dims"] :])

    @property
    def slices(self) -> int:
        """How many there are."""
        return math.prod(self.param.shape[: self.group["stacked_dims"]])

    @property
    def arrays(self) -> dict[str, Tensor]:
        """The rule's state, without the count of steps."""
        return {name: value for name, value in self.state.items() if name != "step"}


def next_step(t: Any) -> Any:
    """:attr:`Job.t` as a rule wants it."""
    return t.to(torch.int64) + 1 if isinstance(t, Tensor) and t.is_floating_point() else t


def for_graph(jobs: Sequence[Job]) -> list[Job]:
    """Jobs with each value of a step as a tensor in host memory, on which no graph depends (R7).

    float64, so that what a rule makes of its floats is rounded once (N2). Jobs of a group share
    them, and a graph has them as inputs once.
    """
    shared: dict[int, tuple[Rule, Policy | None, Group]] = {}
    for job in jobs:
        if id(job.group) not in shared:
            shared[id(job.group)] = _with_tensors(job)
    moved = (shared[id(job.group)] for job in jobs)
    return [
        job._replace(rule=rule, policy=policy, group=group)
        for job, (rule, policy, group) in zip(jobs, moved, strict=True)
    ]


def _with_tensors(job: Job) -> tuple[Rule, Policy | None, Group]:
    rule, policy, group = copy.copy(job.rule), job.policy, {**job.group}
    for name in free_fields(rule):
        object.__setattr__(rule, name, _tensor(getattr(rule, name)))
    if isinstance(policy, (MGUP, SignMGUP)):
        policy = replace(policy, alpha=_tensor(policy.alpha), gamma=_tensor(policy.gamma))
    group["lr"] = _tensor(group["lr"])
    if group["weight_decay"] != 0:  # none is another program (R0)
        group["weight_decay"] = _tensor(group["weight_decay"])
    return rule, policy, group


def _tensor(value: Any) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float64)


def parameter_name(group: Group, i: int) -> str:
    """How errors call a parameter."""
    return repr(group["param_names"][i]) if "param_names" in group else f"number {i} of its group"


def check_gradient(name: str, p: Tensor, g: Tensor) -> None:
    """Refuse a gradient that cannot be scored (R6) or does not fit its parameter."""
    if g.is_sparse or g.layout != torch.strided:
        raise RuntimeError(
            f"the gradient of parameter {name} is sparse: ranking needs every coordinate's score. "
            "Use sparse=False in its layer."
        )
    if g.is_complex() or p.is_complex():
        raise RuntimeError(f"parameter {name} or its gradient is complex: scores have no order.")
    if g.shape != p.shape or g.dtype != p.dtype or g.device != p.device:
        raise ValueError(
            f"the gradient of parameter {name} is {g.dtype} {tuple(g.shape)} on {g.device}, but "
            f"the parameter is {p.dtype} {tuple(p.shape)} on {p.device}: they must agree."
        )


def all_damped(policy: Policy | None, p: Tensor, group: Group) -> bool:
    """Whether K = 0, so that the whole of a slice gets gamma, as published (P3)."""
    size = _slice_length(p, group)
    return isinstance(policy, MGUP) and size > 0 and _top_count(policy.tau, size) == 0


def warn_all_damped(name: str, p: Tensor, group: Group, *, stacklevel: int) -> None:
    """Say so, with the remedy; ``stacklevel`` counts from the caller to a ``step`` method."""
    warnings.warn(
        f"parameter {name} of shape {tuple(p.shape)} ranks {_slice_length(p, group)} coordinate(s) "
        f"at tau={group['tau']}: none is selected, so all are damped by gamma. To leave it out, "
        "put it in a group of its own with mode='off'.",
        stacklevel=stacklevel + 3,  # torch wraps step twice
    )


def _slice_length(p: Tensor, group: Group) -> int:
    return math.prod(p.shape[group["stacked_dims"] :])


def move_in_blocks(job: Job, *, spare: int, measure: bool) -> Statistics | None:
    """In host memory, elementwise rules: no temporary as long as the parameter.

    Args:
        spare: bytes that may be used besides the parameter, its gradient and its state.
    """
    p, group = job.param.detach(), job.group
    dtype = compute_dtype(p.dtype)
    # Other layouts are worked on in C order, in which ties are told apart, and copied back.
    w, g = p.contiguous(), job.grad.detach().contiguous()
    state = {name: value.contiguous() for name, value in job.arrays.items()}
    be, decay = host_backend(dtype), float(group["weight_decay"])
    exact_state = all(value.dtype == dtype for value in state.values())
    make: Any = functools.partial(BlockStep, be, job.rule, exact_state=exact_state)
    if group["implementation"] != "reference":
        kind = job.rule, job.policy, decay != 0, be.host_dtype.__name__
        if code := code_for(*kind, coordinates=w.numel()):
            make = functools.partial(CompiledStep, be, code, job.rule)
    whole = (w, g, *state.values())
    rows: Any = [whole]
    if job.slices != 1:
        rows = zip(*(x.view(job.slices, job.length).unbind() for x in whole), strict=True)
    tallies = []
    for w_row, g_row, *state_rows in rows:
        step = make(
            job.policy,
            cells(w_row, dtype),
            cells(g_row, dtype, negative=group["maximize"]),
            {name: cells(row, dtype) for name, row in zip(state, state_rows, strict=True)},
            job.t,
            lr=float(group["lr"]),
            weight_decay=decay,
            spare=spare,
            measure=measure,
            threads=min(torch.get_num_threads(), _MOST_THREADS),
        )
        tallies.append(step.run())
    for worked, original in ((w, p), *((state[n], v) for n, v in job.arrays.items())):
        if worked.data_ptr() != original.data_ptr():
            original.copy_(worked)
    return combine(tallies) if measure and job.policy is not None else None


def totals_of(jobs: Sequence[Job]) -> State:
    """The sums over all parameters that rules of theirs need."""
    coupled = [job for job in jobs if job.rule.couples_parameters]

    def part(job: Job) -> State:
        be = TorchBackend(compute_dtype(job.param.dtype), job.param.device)
        p, g, decay = job.param.detach(), _uphill(job), job.group["weight_decay"]
        found = contribution(be, job.rule, p, g, job.arrays, next_step(job.t), weight_decay=decay)
        return {name: value.to(coupled[0].param.device) for name, value in found.items()}

    return summed([part(job) for job in coupled])


def _uphill(job: Job) -> Tensor:
    """The gradient of what is minimised."""
    g = job.grad.detach()
    return -g if job.group["maximize"] else g


def propose(job: Job, be: TorchBackend, lr: Any, *, measure: bool, totals: State) -> Update:
    """What a step of whole tensors would do; nothing changes."""
    group = job.group
    return update_array(
        be,
        job.rule,
        job.policy,
        job.param.detach(),
        _uphill(job),
        job.arrays,
        next_step(job.t),
        lr=lr,
        weight_decay=group["weight_decay"],
        stacked_dims=group["stacked_dims"],
        statistics=measure,
        totals=totals if job.rule.couples_parameters else None,
    )


def move_whole(
    job: Job, be: TorchBackend, lr: Any, *, measure: bool, totals: State
) -> Statistics | None:
    """As whole tensors: compiled graphs, accelerators, rules that are not elementwise."""
    p = job.param.detach()
    update = propose(job, be, lr, measure=measure, totals=totals)
    p.copy_(be.cast(p, be.dtype) - update.delta)
    for name, value in job.arrays.items():
        value.copy_(update.state[name])
    return update.statistics
