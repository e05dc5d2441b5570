"""MGUP on any optimizer of PyTorch, from the outside."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from mgup_core import Statistics
from mgup_core.frontend.modes import Mode
from mgup_core.host.signals import HeldSignals
from mgup_core.policy import Policy, Ties
from mgup_core.rules.base import Decay
from mgup_core.statistics import measure

from . import averaging
from .arguments import Scope
from .backend import TorchBackend
from .base.optimizer import RuleOptimizer
from .base.state_dict import tell_of_replaced
from .distributed import (
    PartBackend,
    Proposal,
    Sharding,
    Traffic,
    check_gradient_placement,
    is_dtensor,
    local,
)
from .executors import CUDA, NO_GRADIENT, Explained, Explanation, Ranks, Step, Whole
from .fitting import check_shape
from .groups import (
    Group,
    Shapes,
    check_numbers,
    every,
    listed,
    of_names,
    parameter_name,
    policy_of,
    reads_slices,
    same_shapes,
)
from .inner_step import InnerStep, rescaled, task_of
from .model_groups import NoDecay, parameter_groups
from .parameter_step import Task, all_damped, check_gradient, warn_all_damped
from .wrapped_groups import OWN, PREFIX, check_own_keys, check_wrapped, own_of


def _of_inner(name: str) -> property:
    """An attribute that is the inner optimizer's, and may be assigned."""
    return property(
        lambda self: getattr(self.inner, name),
        lambda self, value: setattr(self.inner, name, value),
    )


class MGUP(torch.optim.Optimizer):
    """Rescale the steps of an optimizer that knows nothing of MGUP.

    Each step lets ``inner`` move the parameters without decay, reads off ``lr * u`` as the
    difference, and applies ``phi * (lr * u)`` and the decay instead. ``u`` is also the alignment
    operand. This costs a copy of the parameters, and in float16 or bfloat16 the difference has only
    that precision: prefer ``MGUPAdamW`` and the others, or :func:`mgup_torch.optimizer`, where they
    exist. A step interrupted in the middle leaves the parameters before or after their step, but
    the state of ``inner`` after it.

    ``param_groups``, ``state`` and ``defaults`` are those of ``inner``; step, schedule, scale and
    save this object, not ``inner``. So are :meth:`train` and :meth:`eval`: of the optimizers of the
    package ``schedulefree`` the step of z is rescaled, and ``y - z`` is the alignment operand, as
    of :class:`mgup_core.ScheduleFreeAdamW`.

    Args:
        inner: any ``torch.optim.Optimizer`` that steps without a closure.
        tau, alpha, gamma, mode, ties, tau_min, stacked_dims, scope, decay: as for every MGUP
            optimizer; a group may have its own, with the prefix ``mgup_``: ``{"params": …,
            "mgup_tau": 0.3}``.
        statistics: whether :meth:`statistics` is kept.

    Raises:
        ValueError: for a ``weight_decay`` that ``inner`` adds to the gradient (L2). It runs through
            the momentum and cannot be told from the step, so it would enter the score.
    """

    def __init__(
        self,
        inner: torch.optim.Optimizer,
        *,
        tau: float = 0.5,
        alpha: float | Tensor | None = None,
        gamma: float | Tensor | None = None,
        mode: Mode = "rank",
        ties: Ties = "damped",
        tau_min: float = 0.01,
        stacked_dims: int = 0,
        scope: Scope = "global",
        decay: Decay = "all",
        statistics: bool = False,
    ) -> None:
        if not isinstance(inner, torch.optim.Optimizer):
            raise TypeError(f"inner is a {type(inner).__name__}, not a torch.optim.Optimizer.")
        if isinstance(inner, torch.optim.LBFGS):
            raise TypeError("LBFGS moves the parameters several times a step; it has no direction.")
        if isinstance(inner, (RuleOptimizer, MGUP)):
            raise TypeError(f"{type(inner).__name__} has MGUP already; it would be applied twice.")
        given = (tau, alpha, gamma, mode, ties, tau_min, stacked_dims, scope, decay)
        own = {PREFIX + name: value for name, value in zip(OWN, given, strict=True)}
        for group in inner.param_groups:
            check_own_keys(inner, group, near=own)
            check_wrapped(inner, {**own, **group})
        inner.defaults.update(own)
        self.inner = inner
        self._measure = statistics
        self._shapes: Shapes = {p: p.shape for g in inner.param_groups for p in g["params"]}
        self._adopt()

    @classmethod
    def from_model(
        cls,
        model: torch.nn.Module,
        inner: Callable[[list[Group]], torch.optim.Optimizer],
        *,
        weight_decay: float | None = None,
        no_decay: NoDecay = None,
        **arguments: Any,
    ) -> MGUP:
        """As :meth:`mgup_torch.RuleOptimizer.from_model`, around ``inner`` of the model's groups.

        Args:
            inner: a class of optimizers, or a ``functools.partial`` of one with its arguments.
        """
        return cls(inner(parameter_groups(model, weight_decay, no_decay)), **arguments)

    def _adopt(self) -> None:
        """Become an Optimizer for schedulers, scalers and hooks without owning any parameter."""
        self._measured: dict[Tensor, Statistics | None] = {}
        self._warned: set[Tensor] = set()
        self._state_shapes: Shapes = {}  # for which inner made its state
        self._sharding = Sharding(PREFIX)
        self._fusion = CUDA()
        self._complete()
        # Optimizer.__setstate__ makes the hook tables that its __init__ would; the three shared
        # attributes are properties.
        super().__setstate__({})
        self._patch_step_function()

    def _complete(self) -> None:
        """Give groups that do not know of MGUP this wrapper's arguments."""
        self.inner.defaults.setdefault(PREFIX + "decay", "all")  # pickles of 0.1.0 lack it
        for group in self.inner.param_groups:
            for name in OWN:
                group.setdefault(PREFIX + name, self.inner.defaults[PREFIX + name])

    param_groups = _of_inner("param_groups")
    state = _of_inner("state")
    defaults = _of_inner("defaults")

    def __getstate__(self) -> dict[str, Any]:
        return {"inner": self.inner, "_measure": self._measure, "_shapes": self._shapes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "inner" in state:
            groups = state["inner"].param_groups
            self._shapes = {p: p.shape for group in groups for p in group["params"]}
            self.__dict__.update(state)
            self._adopt()
        else:  # what load_state_dict hands over
            self.inner.__setstate__(state)

    def add_param_group(self, param_group: Group) -> None:
        """Add a group to ``inner``; it may have its own ``mgup_tau``, ``mgup_mode`` and so on."""
        group = {**param_group, "params": listed(param_group["params"])}
        check_own_keys(self.inner, group, near=self.inner.defaults)
        check_wrapped(self.inner, {**self.inner.defaults, **group})
        self.inner.add_param_group(group)
        self._shapes.update((p, p.shape) for p in self.param_groups[-1]["params"])

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a checkpoint of this wrapper or of ``inner`` alone; what it lacks stays as is."""
        saved = state_dict["param_groups"]
        if len(saved) == len(self.param_groups):  # torch says so otherwise
            present = ({k: v for k, v in g.items() if k != "params"} for g in self.param_groups)
            saved = [{**now, **old} for now, old in zip(present, saved, strict=True)]
        for group in saved:
            check_wrapped(self.inner, group)
        if len(saved) == len(self.param_groups):
            own = [{**own_of(g), **g} for g in self.param_groups]
            tell_of_replaced(own, saved, lambda group: policy_of(own_of(group)), PREFIX)
        super().load_state_dict({**state_dict, "param_groups": saved})
        self._state_shapes.clear()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Perform one step; see :meth:`mgup_torch.RuleOptimizer.step`."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        taken = "None of the"

        def news() -> str:
            return f"{taken} parameters have taken this step."

        with HeldSignals(news):
            self._step_now()
            taken = "All"
        return loss

    def _step_now(self) -> None:
        self._complete()
        self._measured.clear()
        self._sharding.agree(self.param_groups, self.state)
        moving = self._gather()
        try:
            self._step_inner()
            self._state_shapes.update((step.param, step.param.shape) for step in moving)
            self._rescale_fused(moving)
            settled = self._settle(moving)
            while moving:
                step = moving[-1]
                for kept, value in self._rescaled(step, *settled.get(step.param, ())):
                    local(kept).copy_(value)
                moving.pop()
        finally:  # interrupted: at least no parameter keeps a step that was not rescaled
            for step in moving:
                step.param.copy_(step.before)

    def _rescale_fused(self, moving: list[InnerStep]) -> None:
        """Let the kernels rescale the steps that they can, and remove these from the list."""
        fused, others = [], []
        for step in moving:
            if (task := self._fused_task(step)) is not None:
                fused.append(task)
            else:
                others.append(step)
        if fused:
            self._fusion.run(fused, Step({}, 0))
            self._fusion.step.release()
            moving[:] = others

    def _fused_task(self, step: InnerStep) -> Task | None:
        """The task of a step for the kernels; ``None`` if they cannot, as in host memory."""
        elsewhere = step.param.device.type != "cuda" or is_dtensor(step.param)
        if elsewhere or step.averaging is not None:
            return None
        task = task_of(step, statistics=self._measure)
        return task if self._fusion.refuses(task) is None else None

    def train(self) -> None:
        """``inner.train()``, where it has one: move the parameters to where they are trained."""
        getattr(self.inner, "train", lambda: None)()

    def eval(self) -> None:
        """``inner.eval()``, where it has one: move the parameters to where they are evaluated."""
        getattr(self.inner, "eval", lambda: None)()

    def communication(self) -> Traffic:
        """As :meth:`mgup_torch.RuleOptimizer.communication`, without what ``inner`` sends."""
        return self._sharding.traffic

    def _step_inner(self) -> None:
        """Let ``inner`` move the parameters by ``lr * u``, without decay."""
        decays = [group.get("weight_decay", 0) for group in self.param_groups]
        try:
            for group in self.param_groups:
                if "weight_decay" in group:
                    group["weight_decay"] = 0.0
            self.inner.step()
        finally:
            for group, decay in zip(self.param_groups, decays, strict=True):
                if "weight_decay" in group:
                    group["weight_decay"] = decay

    def _gather(self) -> list[InnerStep]:
        """The steps that ``inner`` is about to take, checked."""
        moving, damped = [], []
        policies = [policy_of(own_of(group)) for group in self.param_groups]
        whole = [reads_slices(policy) for policy in policies]
        # Optimizers from elsewhere may overwrite gradients.
        keeps = type(self.inner).step.__module__.startswith("torch.optim.")
        self._shapes = same_shapes(self.param_groups, whole, self._shapes, self.state)
        for group in self.param_groups:
            check_wrapped(self.inner, group, wait=False)
        for group, policy in zip(self.param_groups, policies, strict=True):
            own = own_of(group)
            check_numbers({**group, **own}, group["params"])
            for i, p in enumerate(group["params"]):
                if p.grad is None:
                    continue
                name = parameter_name(group, i)
                check_gradient_placement(name, p, p.grad)
                check_gradient(name, p, p.grad)
                if self.state.get(p):
                    check_shape(name, p, self.state[p], self._state_shapes.setdefault(p, p.shape))
                if p not in self._warned and all_damped(policy, p, own):
                    damped.append((name, p, own))
                average = averaging.before(p, group, self.state.get(p) or {})
                grad = p.grad.detach() if keeps else p.grad.detach().clone()
                moving.append(InnerStep(name, p, torch.empty_like(p), grad, group, policy, average))
        if damped:
            self._warned.update(p for _, p, _ in damped)
            warn_all_damped(damped, prefix=PREFIX)
        if moving:
            befores = [local(step.before) for step in moving]
            torch._foreach_copy_(befores, [local(step.param) for step in moving])
        return moving

    def _settle(
        self, moving: list[InnerStep]
    ) -> dict[Tensor, tuple[PartBackend, Statistics | None]]:
        """What other ranks know of the steps of DTensors; see :mod:`mgup_torch.distributed`."""
        return self._sharding.settle(
            (
                Proposal(s.name, s.param, s.group, None, s.policy, partial(self._rescaled, s))
                for s in moving
            ),
            statistics=self._measure,
        )

    def _rescaled(
        self, step: InnerStep, be: TorchBackend | None = None, measured: Statistics | None = None
    ) -> list[tuple[Tensor, Tensor]]:
        """Where a parameter goes, of which ``inner`` has shown the way; keeps its statistics."""
        moved, measurable = rescaled(step, self.state[step.param], be)
        if self._measure and measurable is not None:
            self._measured[step.param] = measure(*measurable) if be is None else measured
        return moved

    def explain(self) -> Explanation:
        """As :meth:`mgup_torch.RuleOptimizer.explain`: who rescales the step of each parameter.

        ``inner`` takes the step in its own way. What it did is rescaled by kernels, or as whole
        tensors, with what other ranks know of them where they are asked.
        """
        reason = f"it is read off the step of {type(self.inner).__name__}"

        def row(name: str, p: Tensor, group: Group, policy: Policy | None) -> Explained:
            if p.grad is None:
                return Explained(name, None, NO_GRADIENT)
            if self._fused_task(InnerStep(name, p, p.detach(), p.grad, group, policy)) is not None:
                return Explained(name, CUDA.name, reason)
            asks = self._sharding.asks(p, group, None, policy, statistics=self._measure)
            return Explained(name, (Ranks if asks else Whole).name, reason)

        self._complete()
        placed = [(g, policy_of(own_of(g))) for g in self.param_groups for _ in g["params"]]
        return Explanation(
            row(*one, *where) for one, where in zip(every(self.param_groups), placed, strict=True)
        )

    def statistics(self) -> list[Statistics | None]:
        """As :meth:`mgup_torch.RuleOptimizer.statistics`."""
        if not self._measure:
            raise RuntimeError("statistics are off: make the wrapper with statistics=True.")
        return [self._measured.get(p) for group in self.param_groups for p in group["params"]]

    def named_statistics(self) -> dict[str, Statistics]:
        """As :meth:`mgup_torch.RuleOptimizer.named_statistics`."""
        return of_names(self.param_groups, self.statistics())
