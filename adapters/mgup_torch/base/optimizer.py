"""A rule of the core as a ``torch.optim.Optimizer``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._compile import _disable_dynamo

from mgup_core import Rule, Statistics, fresh_state
from mgup_core._checks import check_fits
from mgup_core._notices import note
from mgup_core.host.signals import HeldSignals

from ..backend import TorchBackend, compute_dtype
from ..distributed import Sharding, Traffic, is_dtensor, local, placed_gradient
from ..executors import (
    CUDA,
    LLVM,
    Executor,
    Explanation,
    Gathered,
    Graph,
    NumPyBlocks,
    Ranks,
    Stacked,
    Step,
    Whole,
    assign,
    explain,
)
from ..fitting import check_shape, check_state, has_state
from ..groups import (
    Group,
    check_numbers,
    check_rates,
    every,
    key_of,
    of_names,
    parameter_name,
    same_shapes,
)
from ..parameter_step import (
    Task,
    all_damped,
    check_gradient,
    check_one_rate,
    check_whole,
    local_task,
    readable,
    totals_of,
    warn_all_damped,
)
from .evaluation import Evaluating
from .grad_scaler import check_scaled, forget, unscale
from .settings import GroupSettings, settings_of

_LEAST_SPARE = 1 << 21
_SPARE = 0.065  # the share of the parameters' bytes that a step may use besides them


class RuleOptimizer(Evaluating):
    """The base class of the optimizers made by :func:`mgup_torch.optimizer`."""

    # No instance attribute has a default on the class: the wrappers of Lightning are of a class
    # made from this one, and ask the optimizer itself for what they lack only.

    def __init__(self, params: Any, defaults: Group, *, statistics: bool = False) -> None:
        self._measure = statistics
        self._init_transient()
        super().__init__(params, defaults)

    def _init_transient(self) -> None:
        """Set the attributes that no pickle keeps."""
        self._measured: dict[Tensor, Statistics] = {}
        self._warned: set[Tensor] = set()
        self._settings: list[GroupSettings] = []
        self._sharding = Sharding()
        self._fusion = CUDA()
        self._executors = (
            Gathered(), self._fusion, Ranks(self._sharding), LLVM(), NumPyBlocks(), Stacked(),
            Whole(),
        )  # fmt: skip

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_measure": self._measure}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "_fusion" not in self.__dict__:  # load_state_dict calls this too
            self._init_transient()
        super().__setstate__(state)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Perform one step.

        Args:
            closure: re-evaluates the model and returns the loss.

        Returns:
            The closure's loss, or ``None``.

        Raises:
            RuntimeError, ValueError: for a sparse gradient, or a gradient or state that does not
                fit its parameter, or in eval mode, before anything changes.
        """
        self._check_training()
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if torch.compiler.is_compiling():
            tasks = self._gather_for_graph()
            Graph().run(tasks, Step(totals_of(tasks), 0))
        else:
            self._step_eager()
        return loss

    @property
    def _step_supports_amp_scaling(self) -> bool:
        """Whether ``torch.amp.GradScaler`` leaves it to :meth:`step` to skip a step.

        As in ``torch.optim``, for ``fused=True`` only: Lightning refuses to clip for an optimizer
        that says so, since its gradients are not unscaled yet. A fused step then reads on the
        device whether it is to be skipped, and nothing waits. For other steps the scaler waits for
        the device and decides.
        """
        asked = all(group["fused"] for group in self.param_groups)
        return asked and self._fusion.wanted(self.param_groups)

    def _step_eager(self) -> None:
        done: list[str] = []
        try:
            held = HeldSignals(lambda: _progress(done))
            with held as signals, np.errstate(all="ignore"):  # as torch, which warns of no overflow
                self._step_now(done, signals.let_in)
        except BaseException:
            forget(self)
            raise

    def _step_now(self, done: list[str], let_in: Callable[[], None]) -> None:
        """Step: gather the tasks, assign each to an executor, run the executors.

        Args:
            done: gets the name of each parameter once it has stepped.
            let_in: lets a signal in; called where no parameter is in the middle of its step.
        """
        if repeated := self._fusion.step.repeat(self.state, self._check_repeat, self._rule):
            done += repeated
            return
        self._sharding.agree(self.param_groups, self.state)
        tasks = self._gather()
        self._warn_all_damped(tasks)
        assigned = assign(self._executors, tasks)
        found = unscale(self, [task.grad for task in tasks])
        if found is not None and not self._can_skip(assigned[self._fusion], tasks):
            if found > 0:
                return
            found = None
        self._measured.clear()
        step = Step(totals_of(tasks), self._spare(), found)
        for executor, mine in assigned.items():
            executor.prepare(mine, step)
        for executor, mine in assigned.items():
            for batch in executor.batches(mine):
                let_in()
                self._run(executor, batch, step, done)
        let_in()
        if tasks and len(assigned[self._fusion]) == len(tasks):
            self._fusion.step.remember(self.param_groups, tasks, self._rule)

    def _check_repeat(self, grads: Iterable[Tensor]) -> Tensor | None:
        """Check what can have changed before a step is repeated; returns ``found_inf``."""
        for group in self.param_groups:
            check_rates(group)
            check_fits({"lr": group["lr"]}, np.float32)
        self._sharding.agree_again(self.param_groups, self.state)
        return unscale(self, grads)

    def _can_skip(self, fused: list[Task], tasks: list[Task]) -> bool:
        """Whether the step can be launched before the host knows if it is to be skipped.

        Only kernels can skip their step on the device. And the host must know whether there is a
        state, since a rule may ask whether a step is the first.
        """
        return len(fused) == len(tasks) and all(
            self.state.get(task.owner.param) is task.owner.state for task in fused
        )

    def _run(self, executor: Executor, batch: list[Task], step: Step, done: list[str]) -> None:
        with _parameters_named(batch, done):
            measured = executor.run(batch, step)
        for task in batch:
            self.state[task.owner.param] = task.owner.state
            done.append(task.name)
        if measured is not None:
            self._measured[batch[0].owner.param] = measured

    def _gather(self) -> list[Task]:
        """The tasks of all parameters with a gradient; nothing changes.

        Raises:
            RuntimeError, ValueError, TypeError: for what no executor could step.
        """
        self._settings = settings_of(self.param_groups, self._settings, self._rule)
        whole = [one.needs_whole for one in self._settings]
        last = self._shapes
        self._shapes = same_shapes(self.param_groups, whole, last, self.state)
        tasks = []
        for n, (group, one) in enumerate(zip(self.param_groups, self._settings, strict=True)):
            check_numbers(group, group["params"], one.rule)
            for i, p in enumerate(group["params"]):
                if p.grad is None:
                    continue
                name, was = parameter_name(group, i), last.get(p)
                state = self.state.get(p) or {}
                if was != p.shape and any(getattr(x, "shape", None) == was for x in state.values()):
                    check_shape(name, p, state, was)
                task = self._task(name, p, group, one)
                if one.policy is not None and one.policy.opaque:
                    check_whole(task)
                    task = task._replace(key=key_of(self.param_groups, n, i))
                tasks.append(local_task(task, self._sharding.part))
        check_scaled(self, (task.grad for task in tasks))
        check_one_rate(tasks)
        return tasks

    def _task(self, name: str, p: Tensor, group: Group, settings: GroupSettings) -> Task:
        rule = settings.rule
        grad = placed_gradient(name, p)
        check_gradient(name, p, grad)
        shapes = settings.state_shapes(name, p)
        state: dict[str, Any] = self.state.get(p) or {}
        count: Any = 0
        if has_state(rule, shapes, state):
            check_state(name, p, state, rule, shapes)
            count = 1
        else:
            state = {**state, **self._fresh_state(rule, group, p)}
        if rule.counts_steps:
            step = state["step"]
            count = int(step) if step.device.type == "cpu" else step
        return Task(
            name, p, readable(p, grad), state, tuple(shapes), count, rule, settings.policy, group,
            self._measure,
        )  # fmt: skip

    def _warn_all_damped(self, tasks: list[Task]) -> None:
        owners = [task.owner for task in tasks if task.owner.param not in self._warned]
        if damped := [task for task in owners if all_damped(task.policy, task.param, task.group)]:
            self._warned.update(task.param for task in damped)
            warn_all_damped([(task.name, task.param, task.group) for task in damped])

    def explain(self) -> Explanation:
        """How each parameter will take the next eager step, as things are now; changes nothing.

        Prints as a table, and is a tuple of records with ``parameter``, ``executor`` and
        ``reason``, why no faster executor takes it. Inside ``torch.compile`` parameters in host
        memory take their steps in the graph instead.

        With DTensors all ranks must call it, since it sums a partial gradient.

        Raises:
            RuntimeError, ValueError: as :meth:`step`.

        >>> import mgup_torch
        >>> p = torch.ones(3, requires_grad=True)
        >>> p.grad = torch.ones(3)
        >>> print(mgup_torch.MGUPLion([("w", p)]).explain())
        parameter  executor  reason
        w          numpy     it is small, and stepped in a stack
        """
        return explain(self._executors, every(self.param_groups), self._gather())

    def communication(self) -> Traffic:
        """What this rank sent to others for its DTensor parameters in the last step."""
        return self._sharding.traffic

    def _fresh_state(self, rule: Rule, group: Group, p: Tensor) -> dict[str, Tensor]:
        be = TorchBackend(compute_dtype(p.dtype), p.device)
        dtype = group["state_dtype"] or p.dtype
        if not is_dtensor(p):
            state = fresh_state(be, rule, p.detach(), dtype)
        elif rule.elementwise or rule.gathers:
            part = self._sharding.part(p, group["stacked_dims"])
            made = fresh_state(be, rule, local(p.detach()), dtype)
            state = {name: part.wrap(value) for name, value in made.items()}
        else:
            part = self._sharding.part(p, group["stacked_dims"])
            made = fresh_state(be, rule, part.gathered(p.detach()), dtype)
            state = {
                name: part.wrap(part.part(x).contiguous())
                if x.shape == p.shape
                else part.replicated(x)
                for name, x in made.items()
            }
        if not rule.counts_steps:
            return state
        device = p.device if group["capturable"] else "cpu"
        return {"step": torch.zeros((), dtype=torch.float32, device=device), **state}

    def _spare(self) -> int:
        params = (local(p) for group in self.param_groups for p in group["params"])
        return max(int(_SPARE * sum(p.nbytes for p in params)), _LEAST_SPARE)

    # As torch.optim has it: torch.compiler.disable loads the compiler, seconds long, on import.
    @_disable_dynamo
    def _gather_for_graph(self) -> list[Task]:
        """The tasks with every value that changes as a tensor, so that no step recompiles (R7).

        Runs outside the graph, and advances the counts of steps there. If any parameter may be
        fused or is a DTensor, all take their step here, and the graph has no task.
        """
        if self._fusion.wanted(self.param_groups) or self._sharding.wanted(self.param_groups):
            self._step_eager()
            return []
        tasks = self._gather()
        self._warn_all_damped(tasks)
        found = unscale(self, [task.grad for task in tasks])
        if found is not None and found > 0:
            return []
        for task in tasks:
            self.state[task.param] = task.state
        return Graph.count(tasks)

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

    def named_statistics(self) -> dict[str, Statistics]:
        """:meth:`statistics` by the names of the parameters that were stepped and are ranked.

        A parameter that was given without a name is called ``0.2``, the third of the first group.
        """
        return of_names(self.param_groups, self.statistics())


@contextmanager
def _parameters_named(batch: list[Task], done: list[str]) -> Iterator[None]:
    """Name the parameters whose step an error broke off, and those that have stepped.

    An error for want of memory keeps its type, for those who catch it.
    """

    def what() -> str:
        names = [task.name for task in batch]
        many = f"s {_listed(names)} ({len(names)} together)" if len(names) > 1 else f" {names[0]}"
        return f"the step of parameter{many} failed"

    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        note(error, f"{what()} and may have moved a part. {_progress(done)}")
        raise
    except Exception as error:
        raise RuntimeError(
            f"{what()} ({error!r}) and may have moved a part. {_progress(done)}"
        ) from error


def _progress(done: list[str]) -> str:
    names = f": {_listed(done)}" if done else ""
    return f"{len(done)} parameters have taken this step{names}."


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
