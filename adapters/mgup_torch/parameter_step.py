"""One parameter's step, in blocks of host memory or as whole tensors."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mgup_core import MGUP, Policy, Rule, State, Statistics, contribution, summed, update_array
from mgup_core.host.blocks import LEAST_BLOCK, BlockStep
from mgup_core.selection.reference import top_count
from mgup_core.step import Update

from .backend import DTYPES, TorchBackend, cells, compute_dtype, host_backend
from .distributed import MeshGroup, is_dtensor, local
from .groups import Group
from .llvm import CompiledStep, code_for
from .notices import warn
from .statistics import combine

_top_count = functools.lru_cache(maxsize=4096)(top_count)  # exact arithmetic, at every step
_MOST_THREADS = 4  # beyond that they wait for the interpreter lock more than they work


class Job(NamedTuple):
    """One parameter's step, everything looked up and checked."""

    name: str
    param: Tensor
    grad: Tensor
    state: dict[str, Any]
    names: tuple[str, ...]
    """Of what the rule keeps there."""
    t: Any
    """The step, from 1, as an int or a 0-d integer tensor; or how many steps have been taken, as
    the floating tensor on the device that only it can read."""
    rule: Rule
    policy: Policy | None
    group: Group
    whole: Job | None = None
    """The step of the DTensors of whose parts on this rank this is the step."""
    team: MeshGroup | None = None
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
        state = {**self.state, **{name: local(value) for name, value in self.arrays.items()}}
        param = local(self.param)
        return self._replace(
            param=param, grad=readable(param, local(self.grad)), state=state, whole=self
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
        """The rule's state, in its order: without the count of steps and what others keep there."""
        return {name: self.state[name] for name in self.names}


def next_step(t: Any) -> Any:
    """:attr:`Job.t` as a rule wants it."""
    return t.to(torch.int64) + 1 if isinstance(t, Tensor) and t.is_floating_point() else t


def check_gradient(name: str, p: Tensor, g: Tensor) -> None:
    """Refuse a gradient that cannot be scored (R6) or does not fit its parameter."""
    if g.is_sparse or g.layout != torch.strided:
        raise RuntimeError(
            f"the gradient of parameter {name} is sparse: ranking needs every coordinate's score. "
            "Use sparse=False in its layer."
        )
    if g.is_complex() or p.is_complex():
        raise RuntimeError(f"parameter {name} or its gradient is complex: scores have no order.")
    if p.dtype not in DTYPES:
        raise TypeError(f"parameter {name} is {p.dtype}, which cannot be trained; freeze it.")
    if g.shape != p.shape or g.dtype != p.dtype or g.device != p.device:
        raise ValueError(
            f"the gradient of parameter {name} is {g.dtype} {tuple(g.shape)} on {g.device}, but "
            f"the parameter is {p.dtype} {tuple(p.shape)} on {p.device}: they must agree."
        )


def readable(p: Tensor, g: Tensor) -> Tensor:
    """A gradient as it is in memory: autograd leaves zeros without any, and minus signs undone."""
    return torch.zeros_like(p) if g._is_zerotensor() else g.resolve_neg()


def all_damped(policy: Policy | None, p: Tensor, group: Group) -> bool:
    """Whether K = 0, so that the whole of a slice gets gamma, as published (P3)."""
    size = _slice_length(p, group)
    return isinstance(policy, MGUP) and size > 0 and _top_count(policy.tau, size) == 0


def warn_all_damped(damped: Sequence[tuple[str, Tensor, Group]], *, prefix: str = "") -> None:
    """Say so of parameters, once for all of them, with the remedy.

    Args:
        prefix: before the names of MGUP's arguments in the groups.
    """
    each = [f"{name} ({_slice_length(p, g)} at tau={g['tau']})" for name, p, g in damped]
    warn(
        f"{len(damped)} parameter(s) have too few coordinates to rank, so none is selected and all "
        f"are damped by gamma: {', '.join(each)}. To leave parameters out, put them in a group of "
        f"their own with {prefix}mode='off'."
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
    w, g = p.contiguous().resolve_neg(), job.grad.detach().contiguous()
    state = {name: value.contiguous() for name, value in job.arrays.items()}
    be, decay = host_backend(dtype), float(group["weight_decay"])
    exact_state = all(value.dtype == dtype for value in state.values())
    make: Any = functools.partial(BlockStep, be, job.rule, exact_state=exact_state, measure=measure)
    rows = 1
    # Where neither ranks nor shares of a slice matter, slices do not.
    if job.policy is not None and (job.policy.ranks or job.policy.counts or measure):
        rows = job.slices
    if rows > 1 and 0 < job.length < LEAST_BLOCK and not measure:
        make, rows = functools.partial(make, length=job.length), 1
    elif group["implementation"] != "reference":
        kind = job.rule, job.policy, decay != 0, be.host_dtype.__name__
        if code := code_for(*kind, coordinates=w.numel()):
            make = functools.partial(CompiledStep, be, code, job.rule, measure=measure)
    tallies = []
    split = (x.view(rows, -1 if x.numel() else 0).unbind() for x in (w, g, *state.values()))
    for w_row, g_row, *state_rows in zip(*split, strict=True):
        step = make(
            job.policy,
            cells(w_row, dtype),
            cells(g_row, dtype, negative=group["maximize"]),
            {name: cells(row, dtype) for name, row in zip(state, state_rows, strict=True)},
            job.t,
            lr=float(group["lr"]),
            weight_decay=decay,
            spare=spare,
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
