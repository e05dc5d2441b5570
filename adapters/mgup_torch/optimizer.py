"""A rule of the core as a ``torch.optim.Optimizer``."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from mgup_core import Policy, Rule, Statistics, top_count, update_array
from mgup_core.blocks import BlockStep
from mgup_core.crew import uninterrupted

from .backend import DTYPES, TorchBackend, cells, compute_dtype, host_backend
from .groups import (
    MGUP_DEFAULTS,
    TWIN_DEFAULTS,
    Group,
    check_group,
    policy_of,
    rule_defaults,
    rule_of,
)
from .statistics import combine

_SPARE = 0.05  # of the parameters' bytes: what a step may use besides them, the blocks included
_MOST_THREADS = 4  # beyond that they wait for the interpreter lock more than they work


class _Job(NamedTuple):
    """One parameter's step, everything looked up and checked."""

    name: str
    param: Tensor
    grad: Tensor
    state: dict[str, Tensor]
    t: Any
    rule: Rule
    policy: Policy | None
    group: Group


class RuleOptimizer(torch.optim.Optimizer):
    """What the optimizers made by :func:`optimizer` share."""

    rule_class: ClassVar[type[Rule]]
    _measure = False

    def __init__(self, params: Any, defaults: Group, *, statistics: bool = False) -> None:
        self._measure = statistics
        self._measured: dict[Tensor, Statistics] = {}
        self._warned: set[Tensor] = set()
        super().__init__(params, {**TWIN_DEFAULTS, **MGUP_DEFAULTS, **defaults})

    def _rule(self, group: Group) -> Rule:
        """The rule that trains a group."""
        return rule_of(self.rule_class, group)

    # -- the contract of torch.optim --------------------------------------------------------------

    def add_param_group(self, param_group: Group) -> None:
        """Add a group; it may have its own lr, weight_decay, tau, alpha, gamma, mode and the rest.

        Raises:
            ValueError, TypeError: naming the argument; the optimizer is as it was then.
        """
        group = dict(param_group)
        if not isinstance(group["params"], (Tensor, set)):
            group["params"] = list(group["params"])
        self._check(group)
        super().add_param_group(group)

    def _check(self, group: Group) -> None:
        merged = {**self.defaults, **group}
        check_group(merged)
        rule = self._rule(merged)
        for item in _tensors(group["params"]):
            if item.dtype not in DTYPES:
                raise TypeError(
                    f"a parameter has dtype {item.dtype}; only "
                    f"{', '.join(str(d) for d in DTYPES)} can be trained."
                )
            if reason := rule.accepts(tuple(item.shape)):
                raise ValueError(reason)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_measure": self._measure}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self.__dict__.setdefault("_measured", {})
        self.__dict__.setdefault("_warned", set())
        for group in self.param_groups:
            for name, value in self.defaults.items():
                group.setdefault(name, value)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a checkpoint of this class, or of its twin in torch.optim.

        What the twin's groups lack (tau, alpha, gamma, …) keeps this optimizer's defaults.

        Raises:
            ValueError: when groups, hyperparameters or shapes do not fit. Nothing changes then.
        """
        saved = state_dict["param_groups"]
        if [len(g["params"]) for g in saved] != [len(g["params"]) for g in self.param_groups]:
            raise ValueError("the checkpoint's parameter groups differ in number or length.")
        values: dict[Tensor, dict[str, Any]] = {}
        for old, group in zip(saved, self.param_groups, strict=True):
            merged = {**self.defaults, **old}
            check_group(merged)
            self._rule(merged)
            for key, p in zip(old["params"], group["params"], strict=True):
                if key in state_dict["state"]:
                    values[p] = self._fitting_state(key, p, merged, state_dict["state"][key])
        kept = {
            key: {name: v for name, v in value.items() if v is not None}
            for key, value in state_dict["state"].items()
        }
        super().load_state_dict({**state_dict, "state": kept})
        # torch casts the loaded state to the parameter's dtype; R5 lets it be another.
        for group in self.param_groups:
            if group["state_dtype"] is not None:
                for p in group["params"]:
                    for name, value in values.get(p, {}).items():
                        if name != "step":
                            self.state[p][name] = value.to(
                                p.device, group["state_dtype"], copy=True
                            )

    def _fitting_state(self, key: Any, p: Tensor, group: Group, state: Any) -> dict[str, Any]:
        """A saved parameter's state, if it is one of this group's rule."""
        found = {name: value for name, value in state.items() if value is not None}
        if not found:
            return {}
        hollow = torch.empty(p.shape, dtype=compute_dtype(p.dtype), device="meta")
        rule = self._rule(group)
        expected: dict[str, Any] = rule.init(TorchBackend(hollow.dtype), hollow)
        if rule.counts_steps:
            expected["step"] = torch.empty((), device="meta")
        if missing := expected.keys() - found.keys():
            raise ValueError(
                f"the state of parameter {key} lacks {sorted(missing)}, which "
                f"{type(rule).__name__} needs; it has {sorted(found)}."
            )
        for name, like in expected.items():
            if torch.as_tensor(found[name]).shape != like.shape:
                raise ValueError(
                    f"state {name!r} of parameter {key} has shape "
                    f"{tuple(found[name].shape)}, but {tuple(like.shape)} is needed."
                )
        return found

    # -- the step --------------------------------------------------------------------------------

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
            jobs, rates = self._gather_for_graph()
            backends = {
                dtype: TorchBackend(dtype) for dtype in {compute_dtype(j.param.dtype) for j in jobs}
            }
            for job, lr in zip(jobs, rates, strict=True):
                self._move_whole(job, backends[compute_dtype(job.param.dtype)], lr)
        else:
            self._step_eager()
        return loss

    def _step_eager(self) -> None:
        jobs = self._gather()
        blockwise = [job for job in jobs if job.param.device.type == "cpu" and job.rule.elementwise]
        done: list[str] = []

        def move_all(stop: Callable[[], bool]) -> None:
            for job in blockwise:
                if stop():
                    return
                self._guarded(self._move_in_blocks, job, done)

        if blockwise:
            try:
                uninterrupted(move_all)
            except KeyboardInterrupt:
                raise KeyboardInterrupt(_progress(done)) from None
        backends: dict[torch.dtype, TorchBackend] = {}
        chosen = {id(job) for job in blockwise}
        for job in jobs:
            if id(job) not in chosen:
                dtype = compute_dtype(job.param.dtype)
                be = backends.setdefault(dtype, TorchBackend(dtype))
                self._guarded(lambda j, be=be: self._move_whole(j, be, j.group["lr"]), job, done)

    def _guarded(self, move: Callable[[_Job], None], job: _Job, done: list[str]) -> None:
        try:
            move(job)
        except Exception as error:
            raise RuntimeError(
                f"the step of parameter {job.name} failed ({error!r}); its values may be half "
                f"moved. {_progress(done)}"
            ) from error
        done.append(job.name)

    def _gather(self) -> list[_Job]:
        """All that is to be stepped; whatever can be refused is refused here."""
        rules = [(self._rule(group), policy_of(group)) for group in self.param_groups]
        for group in self.param_groups:
            for i, p in enumerate(group["params"]):
                if p.grad is not None:
                    _check_gradient(_name(group, i), p, p.grad)
        jobs = []
        for group, (rule, policy) in zip(self.param_groups, rules, strict=True):
            for i, p in enumerate(group["params"]):
                if p.grad is None:
                    continue
                state = self.state[p]
                fresh = not state
                if fresh:
                    self._init_state(rule, group, p, state)
                t: Any = 1 if fresh else 2
                if rule.counts_steps:
                    step = state["step"]
                    t = step + 1 if step.is_cuda else int(step.item()) + 1
                grad = -p.grad if group["maximize"] else p.grad
                job = _Job(_name(group, i), p, grad, state, t, rule, policy, group)
                self._warn_if_all_damped(job)
                jobs.append(job)
        return jobs

    def _init_state(self, rule: Rule, group: Group, p: Tensor, state: dict[str, Tensor]) -> None:
        be = TorchBackend(compute_dtype(p.dtype))
        dtype = group["state_dtype"] or p.dtype
        if rule.counts_steps:
            device = p.device if group["capturable"] else "cpu"
            state["step"] = torch.zeros((), dtype=torch.float32, device=device)
        for name, value in rule.init(be, be.cast(p.detach(), be.dtype)).items():
            state[name] = value.to(dtype)

    def _warn_if_all_damped(self, job: _Job) -> None:
        """P3: K = 0 damps the whole slice, as published; say so once."""
        if job.policy is None or not job.policy.ranks or job.param in self._warned:
            return
        size = job.param[(0,) * job.group["stacked_dims"]].numel() if job.param.numel() else 0
        if size and top_count(job.group["tau"], size) == 0:
            self._warned.add(job.param)
            warnings.warn(
                f"parameter {job.name} of shape {tuple(job.param.shape)} ranks {size} coordinate(s) "
                f"at tau={job.group['tau']}: none is selected, so all are damped by gamma. To leave "
                "it out, put it in a group of its own with mode='off'.",
                stacklevel=5,
            )

    # -- one parameter ---------------------------------------------------------------------------

    def _move_in_blocks(self, job: _Job) -> None:
        """In host memory, elementwise rules: no temporary as long as the parameter."""
        p, group = job.param, job.group
        dtype = compute_dtype(p.dtype)
        arrays = {name: value for name, value in job.state.items() if name != "step"}
        # Other layouts are worked on in C order, in which ties are told apart, and copied back.
        w = p.detach().contiguous()
        flat_state = {name: value.contiguous() for name, value in arrays.items()}
        g = job.grad.detach().contiguous()
        slices = 1
        for length in p.shape[: group["stacked_dims"]]:
            slices *= length
        threads = min(torch.get_num_threads(), _MOST_THREADS)
        tallies = []
        for i in range(slices):
            d = w.numel() // slices
            span = slice(i * d, (i + 1) * d)
            tallies.append(
                BlockStep(
                    host_backend(dtype),
                    job.rule,
                    job.policy,
                    cells(w.view(-1)[span], dtype),
                    cells(g.view(-1)[span], dtype),
                    {name: cells(v.view(-1)[span], dtype) for name, v in flat_state.items()},
                    job.t,
                    lr=float(group["lr"]),
                    weight_decay=float(group["weight_decay"]),
                    exact_state=all(v.dtype == dtype for v in flat_state.values()),
                    spare=self._spare(),
                    threads=threads,
                ).run()
            )
        if w.data_ptr() != p.data_ptr():
            p.copy_(w)
        for name, value in arrays.items():
            if flat_state[name].data_ptr() != value.data_ptr():
                value.copy_(flat_state[name])
        if "step" in job.state:
            job.state["step"] += 1
        if self._measure and job.policy is not None:
            self._measured[p] = combine(tallies)

    def _spare(self) -> int:
        size = sum(p.numel() * p.element_size() for g in self.param_groups for p in g["params"])
        return max(int(_SPARE * size), 1 << 20)

    def _move_whole(self, job: _Job, be: TorchBackend, lr: Any) -> None:
        """Whole tensors: compiled graphs, accelerators, rules that are not elementwise."""
        p, group = job.param, job.group
        arrays = {name: value for name, value in job.state.items() if name != "step"}
        update = update_array(
            be,
            job.rule,
            job.policy,
            p.detach(),
            job.grad.detach(),
            arrays,
            job.t,
            lr=lr,
            weight_decay=group["weight_decay"],
            stacked_dims=group["stacked_dims"],
            statistics=self._measure and not torch.compiler.is_compiling(),
        )
        p.copy_(be.cast(p, be.dtype) - update.delta)
        for name, value in arrays.items():
            value.copy_(update.state[name])
        if "step" in job.state and not torch.compiler.is_compiling():
            job.state["step"] += 1
        if update.statistics is not None:
            self._measured[p] = update.statistics

    @torch.compiler.disable
    def _gather_for_graph(self) -> tuple[list[_Job], list[Tensor]]:
        """The jobs with every scalar that changes as a tensor, so that no step recompiles.

        Runs outside the graph. Jobs at the same step share its tensor.
        """
        steps: dict[int, Tensor] = {}
        jobs, rates = [], []
        for job in self._gather():
            if job.rule.counts_steps:
                t = int(job.t)
                job.state["step"] += 1
                job = job._replace(t=steps.setdefault(t, torch.tensor(t)))
            jobs.append(job)
            rates.append(torch.as_tensor(job.group["lr"], dtype=torch.float64))
        return jobs, rates

    # -- statistics --------------------------------------------------------------------------------

    def statistics(self) -> list[Statistics | None]:
        """What the policy did in the last step, one entry per parameter in group order.

        ``None`` for a parameter that has not been stepped or has ``mode="off"``. Fields are 0-d
        tensors on the parameter's device; reading them there costs no synchronisation.

        Raises:
            RuntimeError: unless the optimizer was made with ``statistics=True``.
        """
        if not self._measure:
            raise RuntimeError("statistics are off: make the optimizer with statistics=True.")
        return [self._measured.get(p) for group in self.param_groups for p in group["params"]]


def _tensors(params: Any) -> Iterable[Tensor]:
    """The tensors among what a group may hold: tensors, or (name, tensor) pairs."""
    if isinstance(params, Tensor):
        return [params]
    tensors = [p[1] if isinstance(p, tuple) else p for p in params]
    return [p for p in tensors if isinstance(p, Tensor)]  # torch refuses the others by name


def _name(group: Group, i: int) -> str:
    return repr(group["param_names"][i]) if "param_names" in group else f"number {i} of its group"


def _progress(done: list[str]) -> str:
    return f"{len(done)} parameters had taken this step: {', '.join(done[:5])}" + (
        ", …" if len(done) > 5 else "."
    )


def _check_gradient(name: str, p: Tensor, g: Tensor) -> None:
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


def optimizer(
    rule_class: type[Rule], *, name: str | None = None, positional: tuple[str, ...] = ("lr",)
) -> type[RuleOptimizer]:
    """A ``torch.optim.Optimizer`` class of any rule.

    Args:
        rule_class: a :class:`mgup_core.Rule`; its fields become arguments and group entries (``b1``
            and ``b2`` together as ``betas``).
        name: the class's name; by default ``MGUP`` and the rule's.
        positional: the arguments after ``params`` that may be given by position, in order.

    The class takes ``(params, lr, …, weight_decay)`` and the MGUP arguments ``tau, alpha, gamma,
    mode, ties, tau_min, stacked_dims, state_dtype, statistics``, described in the PyTorch guide.
    """
    defaults: Group = {
        "lr": rule_class.lr,
        "weight_decay": rule_class.weight_decay,
        **rule_defaults(rule_class),
    }
    everything = {**defaults, **TWIN_DEFAULTS, **MGUP_DEFAULTS, "statistics": False}
    if rule_class.__name__ == "AdamW":
        everything["amsgrad"] = False
    kind = inspect.Parameter
    signature = inspect.Signature(
        [
            kind("self", kind.POSITIONAL_ONLY),
            kind("params", kind.POSITIONAL_OR_KEYWORD),
            *(kind(n, kind.POSITIONAL_OR_KEYWORD, default=everything[n]) for n in positional),
            *(
                kind(n, kind.KEYWORD_ONLY, default=value)
                for n, value in everything.items()
                if n not in positional
            ),
        ]
    )

    def __init__(self: RuleOptimizer, *args: Any, **kwargs: Any) -> None:
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        values = dict(bound.arguments)
        del values["self"]
        params, measure = values.pop("params"), values.pop("statistics")
        RuleOptimizer.__init__(self, params, values, statistics=measure)

    __init__.__signature__ = signature  # type: ignore[attr-defined]
    title = name or f"MGUP{rule_class.__name__}"
    lead = f"{rule_class.__name__} with MGUP, for PyTorch.\n\n"
    return type(
        title,
        (RuleOptimizer,),
        {
            "__init__": __init__,
            "__doc__": lead + (rule_class.__doc__ or ""),
            "__module__": "mgup_torch",
            "rule_class": rule_class,
        },
    )
