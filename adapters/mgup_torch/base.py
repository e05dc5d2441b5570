"""A rule of the core as a ``torch.optim.Optimizer``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from mgup_core import Rule, State, Statistics, fresh_state
from mgup_core.crew import uninterrupted
from mgup_core.program import check_recordable

from .backend import TorchBackend, compute_dtype
from .contract import RuleGroups
from .fusion import Fusion
from .groups import Group, policy_of
from .jobs import (
    Job,
    all_damped,
    check_gradient,
    for_graph,
    move_in_blocks,
    move_whole,
    next_step,
    parameter_name,
    propose,
    totals_of,
    warn_all_damped,
)
from .scaling import check_scaled, forget, unscale
from .sharded import (
    PartBackend,
    Proposal,
    Sharding,
    Traffic,
    is_dtensor,
    local,
    placed_gradient,
)
from .stacks import move_stack, stacks

_LEAST_SPARE = 1 << 21
_SPARE = 0.065  # of the parameters' bytes: what a step may use besides them, the blocks included


class RuleOptimizer(RuleGroups):
    """What the optimizers made by :func:`mgup_torch.optimizer` share."""

    _measure = False

    def __init__(self, params: Any, defaults: Group, *, statistics: bool = False) -> None:
        self._measure = statistics
        self._begin()
        super().__init__(params, defaults)

    def _begin(self) -> None:
        """What no pickle keeps."""
        self._measured: dict[Tensor, Statistics] = {}
        self._warned: set[Tensor] = set()
        self._fusion = Fusion()
        self._sharding = Sharding()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_measure": self._measure}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "_fusion" not in self.__dict__:  # load_state_dict calls this too
            self._begin()
        super().__setstate__(state)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Perform one step.

        Args:
            closure: re-evaluates the model and returns the loss.

        Returns:
            The closure's loss, or ``None``.

        Raises:
            RuntimeError, ValueError: for a sparse gradient or one that does not fit its parameter,
                before anything changes.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if torch.compiler.is_compiling():
            jobs = self._gather_for_graph()
            totals = totals_of(jobs)
            for job in jobs:
                be = TorchBackend(compute_dtype(job.param.dtype), job.param.device)
                move_whole(job, be, job.group["lr"], measure=False, totals=totals)
        else:
            self._step_eager()
        return loss

    @property
    def _step_supports_amp_scaling(self) -> bool:
        """Whether ``torch.amp.GradScaler`` lets :meth:`step` find out if it is to be skipped.

        Where the step is fused it need not wait for the device to know. Elsewhere the scaler asks.
        """
        return self._fusion.wanted(self.param_groups)

    def _step_eager(self) -> None:
        try:
            self._step_now()
        except BaseException:
            forget(self)
            raise

    def _step_now(self) -> None:
        def ready(grads: Iterable[Tensor]) -> Tensor | None:
            self._sharding.agree_again(self.param_groups)
            return unscale(self, grads)

        if self._fusion.step.repeat(self.state, ready):
            return
        self._sharding.agree(self.param_groups, self.state)
        jobs = [job.here() for job in self._gather()]
        fused, jobs = self._fusion.divide(jobs, self._sharding.part, measure=self._measure)
        found = unscale(self, [job.grad for job in (*fused, *jobs)])
        # Only kernels can skip what they were told to do. And whether there is a state must be
        # known here: a rule may ask whether a step is the first.
        if found is not None and (jobs or not all(self.state.get(j.owner.param) for j in fused)):
            if found > 0:
                return
            found = None
        self._measured.clear()
        spare = max(int(_SPARE * self._bytes()), _LEAST_SPARE)
        backends: dict[Any, TorchBackend] = {}
        totals = totals_of(jobs)
        settled = self._settle(jobs, totals)
        done: list[str] = []

        def move(stack: list[Job]) -> Statistics | None:
            job = stack[0]
            if job.owner.param in settled:
                be, measured = settled.pop(job.owner.param)
                move_whole(job, be, job.group["lr"], measure=False, totals=totals)
                return measured
            if job.param.device.type == "cpu" and job.rule.elementwise:
                return move_in_blocks(job, spare=spare, measure=self._measure)
            kind = compute_dtype(job.param.dtype), job.param.device
            be = backends.setdefault(kind, TorchBackend(*kind))
            if len(stack) > 1:
                move_stack(stack, be, totals)
                return None
            return move_whole(job, be, job.group["lr"], measure=self._measure, totals=totals)

        def move_host(stop: Callable[[], bool]) -> None:
            with torch.no_grad():  # it is a state of the thread
                for job in host:
                    if stop():
                        return
                    self._run([job], done, move)

        host = [job for job in jobs if job.param.device.type == "cpu"]
        if host:
            try:
                uninterrupted(move_host)
            except KeyboardInterrupt:
                raise KeyboardInterrupt(_progress(done)) from None
        # Here, where the caller's stream is current.
        away = [job for job in jobs if job.param.device.type != "cpu"]
        for stack in [[job] for job in away] if self._measure else stacks(away):
            self._run(stack, done, move)
        if fused:
            self._run_fused(fused, found, done)
            if len(fused) == len(done):
                self._fusion.step.remember(self.param_groups, fused, self._rule)

    def _run(
        self, stack: list[Job], done: list[str], move: Callable[[list[Job]], Statistics | None]
    ) -> None:
        try:
            measured = move(stack)
        except Exception as error:
            names = ", ".join(job.name for job in stack)
            raise RuntimeError(
                f"the step of parameter {names} failed ({error!r}) and may have moved it in "
                f"part. {_progress(done)}"
            ) from error
        for job in stack:
            if "step" in job.state:
                job.state["step"] += 1
            self.state[job.owner.param] = job.owner.state
            if measured is not None:
                self._measured[job.owner.param] = measured
            done.append(job.name)

    def _run_fused(self, jobs: list[Job], found: Tensor | None, done: list[str]) -> None:
        try:
            self._fusion.step.run(jobs, found)
        except Exception as error:
            raise RuntimeError(
                f"the fused step of {len(jobs)} parameters failed ({error!r}) and may have moved "
                f"some of them. {_progress(done)}"
            ) from error
        for job in jobs:
            # The count of steps has moved to the device, and has no parts.
            job.owner.state.update({"step": job.state["step"]} if "step" in job.state else {})
            self.state[job.owner.param] = job.owner.state
            done.append(job.name)

    def _gather(self) -> list[Job]:
        """All that is to be stepped. Whatever can be refused is refused here; nothing changes."""
        rules = [(self._rule(group), policy_of(group)) for group in self.param_groups]
        for rule, _ in rules:
            check_recordable(rule)
        jobs = []
        for group, (rule, policy) in zip(self.param_groups, rules, strict=True):
            for i, p in enumerate(group["params"]):
                if p.grad is None:
                    continue
                name = parameter_name(group, i)
                grad = placed_gradient(name, p)
                check_gradient(name, p, grad)
                state = self.state.get(p) or self._fresh_state(rule, group, p)
                t: Any = 2 if self.state.get(p) else 1
                if rule.counts_steps:
                    step = state["step"]
                    t = int(step) + 1 if step.device.type == "cpu" else step
                # Autograd's symbolic zeros have no storage to read.
                grad = torch.zeros_like(p) if grad._is_zerotensor() else grad
                jobs.append(Job(name, p, grad, state, t, rule, policy, group))
        check_scaled(self, (job.grad for job in jobs))
        for job in jobs:
            if job.param not in self._warned and all_damped(job.policy, job.param, job.group):
                self._warned.add(job.param)
                warn_all_damped(job.name, job.param, job.group, stacklevel=5)
        return jobs

    def _settle(
        self, jobs: list[Job], totals: State
    ) -> dict[Tensor, tuple[PartBackend, Statistics | None]]:
        """What other ranks know of the steps of DTensors; see :mod:`mgup_torch.sharded`."""

        def take(job: Job) -> Callable[[PartBackend], object]:
            return lambda be: propose(job, be, job.group["lr"], measure=False, totals=totals)

        return self._sharding.settle(
            (
                Proposal(job.name, job.owner.param, job.group, job.rule, job.policy, take(job))
                for job in jobs
            ),
            statistics=self._measure,
        )

    def communication(self) -> Traffic:
        """What this rank sent to others in the last step, for the sake of DTensor parameters."""
        return self._sharding.traffic

    def _fresh_state(self, rule: Rule, group: Group, p: Tensor) -> dict[str, Tensor]:
        be = TorchBackend(compute_dtype(p.dtype), p.device)
        dtype = group["state_dtype"] or p.dtype
        state = fresh_state(be, rule, local(p.detach()), dtype)
        if is_dtensor(p):
            part = self._sharding.part(p, group["stacked_dims"])
            state = {name: part.wrap(value) for name, value in state.items()}
        if not rule.counts_steps:
            return state
        device = p.device if group["capturable"] else "cpu"
        return {"step": torch.zeros((), dtype=torch.float32, device=device), **state}

    def _bytes(self) -> int:
        params = (local(p) for group in self.param_groups for p in group["params"])
        return sum(p.numel() * p.element_size() for p in params)

    @torch.compiler.disable
    def _gather_for_graph(self) -> list[Job]:
        """The jobs with every value that changes as a tensor, so that no step recompiles (R7).

        Runs outside the graph, where the count of steps advances, and where parameters that may
        be fused take their step: a graph has nothing to add to that.
        """
        jobs: list[Job] = []
        if self._fusion.wanted(self.param_groups) or self._sharding.wanted(self.param_groups):
            self._step_eager()
            return jobs
        gathered = self._gather()
        found = unscale(self, [local(job.grad) for job in gathered])
        if found is not None and found > 0:
            return jobs
        for job in gathered:
            if job.rule.counts_steps:
                job = job._replace(t=torch.as_tensor(next_step(job.t)))
                job.state["step"] += 1
            self.state[job.param] = job.state
            jobs.append(job)
        return for_graph(jobs)

    def statistics(self) -> list[Statistics | None]:
        """What the policy did in the last eager step, one entry per parameter in group order.

        ``None`` for a parameter that was not stepped or has ``mode="off"``. Fields are 0-d tensors
        on the parameter's device; reading them there costs no synchronisation.

        Raises:
            RuntimeError: unless the optimizer was made with ``statistics=True``.
        """
        if not self._measure:
            raise RuntimeError("statistics are off: make the optimizer with statistics=True.")
        return [self._measured.get(p) for group in self.param_groups for p in group["params"]]


def _progress(done: list[str]) -> str:
    names = ", ".join(done[:5]) + (", …" if len(done) > 5 else "")
    return f"{len(done)} parameters have taken this step{': ' + names if done else ''}."
