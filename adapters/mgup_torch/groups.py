"""Parameter groups: from PyTorch's names to a rule and a policy, and what a group may hold."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar, get_args

import numpy as np
import torch

from mgup_core import Policy, Rule, parameter_key, rules
from mgup_core._checks import check_beta, check_fits, check_flag, check_rate
from mgup_core.frontend import modes

from .arguments import Implementation, Scope

Group = dict[str, Any]
Value = TypeVar("Value")

IMPLEMENTATIONS: tuple[str, ...] = get_args(Implementation)
SCOPES: tuple[str, ...] = get_args(Scope)

MGUP_DEFAULTS: Group = {
    **modes.DEFAULTS,
    "stacked_dims": 0,
    "state_dtype": None,
    "scope": "global",
    "implementation": "auto",
}
"""What MGUP adds to a group."""

TWIN_DEFAULTS: Group = {
    "maximize": False,
    "foreach": None,
    "capturable": False,
    "differentiable": False,
    "fused": None,
}
"""What every optimizer of torch.optim has. foreach and fused choose an implementation there; here
``implementation`` says it, and never changes the result. With fused=True, a GradScaler leaves it to
the step to find out whether it is to be skipped."""

INSTEAD = {
    "amsgrad": " here: it is a rule of its own, MGUPAMSGrad",
    "differentiable": ": no MGUP step can be differentiated through",
}
"""Flags of torch.optim that are refused, with what the error advises."""

_BETA = re.compile(r"b\d")


def _names(rule_class: type[Rule]) -> list[str]:
    """A rule's hyperparameters under PyTorch's names, those that all rules have last."""
    shared = {f.name for f in fields(Rule)}
    names = sorted((f.name for f in fields(rule_class)), key=shared.__contains__)
    return list(dict.fromkeys("betas" if _BETA.fullmatch(name) else name for name in names))


def rule_defaults(rule_class: type[Rule]) -> Group:
    """A rule's hyperparameters under PyTorch's names: b1, b2, … are ``betas``."""
    rule = rule_class()
    named = {f.name: getattr(rule, f.name) for f in fields(rule)}
    betas = tuple(value for name, value in named.items() if _BETA.fullmatch(name))
    others = {name: value for name, value in named.items() if not _BETA.fullmatch(name)}
    return {**({"betas": betas} if betas else {}), **others}


def rule_of(rule_class: type[Rule], group: Group) -> Rule:
    """The rule that a group describes; raises ValueError if its values make none."""
    values: Group = {}
    names = [f.name for f in fields(rule_class)]
    betas = [name for name in names if _BETA.fullmatch(name)]
    if betas:
        given = group["betas"]
        if isinstance(given, str) or not isinstance(given, Sequence) or len(given) != len(betas):
            raise ValueError(
                f"betas={given!r}: {rule_class.__name__} has {len(betas)}, {', '.join(betas)}."
            )
        for i, beta in enumerate(given):
            check_beta(f"betas[{i}]", _number("betas", beta))
        values.update(zip(betas, map(float, given), strict=True))
    values.update({name: group[name] for name in names if name not in betas})
    return rule_class(**values)


def policy_of(group: Group) -> Policy | None:
    """The policy that a group describes; raises ValueError if its values make none."""
    # Factors in host memory become numbers; those on a device stay there, unread.
    alpha, gamma = (
        _number(name, group[name]) if _on_host(group[name]) else group[name]
        for name in ("alpha", "gamma")
    )
    if isinstance(group["mode"], Policy):
        return group["mode"]
    given = {name: group[name] for name in ("tau", "ties", "tau_min")}
    return modes.policy_of(group["mode"], alpha=alpha, gamma=gamma, **given)


def reads_slices(policy: Policy | None) -> bool:
    """Whether a coordinate's multiplier depends on the others of its slice."""
    return policy is not None and (policy.opaque or policy.ranks or policy.counts)


def _on_host(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.device.type == "cpu"


def _number(name: str, value: Any) -> Any:
    """A 0-d tensor as the number it holds, so that its range can be checked once."""
    if not isinstance(value, torch.Tensor):
        return value
    if value.numel() != 1:
        raise ValueError(f"{name} is a tensor of shape {tuple(value.shape)}, not a scalar.")
    return value.item()


def _readable(name: str, value: Any, wait: bool) -> Any:
    """As :func:`_number`; but a tensor on a device is returned unread, unless ``wait``."""
    return _number(name, value) if wait or _on_host(value) else value


def decay_of(group: Group) -> Any:
    """A group's weight decay, a number unless it lies on a device or is an input of a graph.

    A tensor that holds 0 leaves the decay out as 0 does (R0): 0 times an infinite weight is NaN.
    """
    value = group["weight_decay"]
    read = _on_host(value) and not torch.compiler.is_compiling()
    return _number("weight_decay", value) if read else value


def plain(value: Any) -> Any:
    """A value of a group in the types that every checkpoint holds and every loader knows.

    Sequences of configurations (OmegaConf's ListConfig) become tuples, NumPy's numbers Python's.
    """
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(map(plain, value))
    return value


def check_keys(rule_class: type[Rule], group: Group, known: Collection[str]) -> None:
    """Refuse a key that is another rule's hyperparameter, or a slip for a known one.

    Any other is the caller's own, and kept, as in torch.optim.
    """
    others = {name for kind in rules.ALL for name in _names(kind)}
    for key in group.keys() - known - {"params"}:
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.85)
        if _BETA.fullmatch(str(key)) and "betas" in known:
            near = ["betas"]
        if near or key in others:
            raise ValueError(
                f"a parameter group holds {key!r}, which {rule_class.__name__} does not have"
                + (f"; did you mean {near[0]!r}?" if near else ".")
                + f" Its own: {', '.join(_names(rule_class)) or 'none'}."
            )


def check_rates(group: Group, *, wait: bool = False) -> None:
    """Refuse a negative or non-finite learning rate or decay; see :func:`check_group`."""
    for name in ("lr", "weight_decay"):
        check_rate(name, _readable(name, group[name], wait))


def check_group(group: Group, *, wait: bool = True) -> None:
    """Refuse wrong values of a group that are not the rule's: policy, rates, flags.

    Args:
        wait: whether to read numbers that lie on a device, for which the host waits.
    """
    check_rates(group, wait=wait)
    given = {n: _readable(n, group[n], wait) for n in ("tau", "alpha", "gamma", "tau_min")}
    # Each mode's arguments, whatever the mode is now: a group's mode may change.
    for mode in ("sign", "adaptive", group["mode"]):
        policy_of({**group, **given, "mode": mode})
    for name in ("maximize", "capturable"):
        check_flag(name, group.get(name, False))
    for name, instead in INSTEAD.items():
        if group.get(name):
            raise ValueError(f"{name}=True is not available{instead}.")
    for name, values in (("implementation", IMPLEMENTATIONS), ("scope", SCOPES)):
        if group[name] not in values:
            raise ValueError(f"{name}={group[name]!r} is none of {', '.join(map(repr, values))}.")
    if not isinstance(group["stacked_dims"], int) or group["stacked_dims"] < 0:
        raise ValueError(f"stacked_dims={group['stacked_dims']!r} must be an int >= 0.")
    if group["state_dtype"] not in (None, torch.float32, torch.float64, torch.bfloat16):
        raise ValueError(
            f"state_dtype={group['state_dtype']!r} is none of None (the parameter's dtype), "
            "torch.float32, torch.float64, torch.bfloat16."
        )


def check_numbers(group: Group, params: Sequence[torch.Tensor], rule: Rule | None = None) -> None:
    """Refuse numbers of a group or its rule beyond the range of the compute dtype (N2)."""
    numbers = {name: group.get(name) for name in ("lr", "weight_decay", "alpha")}
    numbers = {n: _number(n, x) if _on_host(x) else x for n, x in numbers.items()}
    wide = all(p.dtype == torch.float64 for p in params)
    own = {} if rule is None else vars(rule)
    check_fits({**own, **numbers}, np.float64 if wide else np.float32)


def check_stacked_dims(name: str, p: torch.Tensor, stacked_dims: int) -> None:
    """Refuse more leading axes than a parameter has (P5)."""
    if p.ndim < stacked_dims:
        raise ValueError(
            f"stacked_dims={stacked_dims} exceeds the dimensions of parameter {name}, whose shape "
            f"is {tuple(p.shape)}: give that parameter a group of its own."
        )


def listed(params: Any) -> Any:
    """The ``params`` of a group: a tensor as it is, anything else as a list.

    Raises:
        TypeError: for a module, and for a set, whose order changes between runs.
    """
    if isinstance(params, torch.nn.Module):
        raise TypeError(
            f"params is a {type(params).__name__}, which is a module: give model.parameters(), or "
            "model.named_parameters(), whose names messages use then."
        )
    if isinstance(params, (set, frozenset)):
        raise TypeError(
            "params of a group is a set, whose order changes between runs, so that a checkpoint "
            "would mix parameters up: give a list."
        )
    return params if isinstance(params, torch.Tensor) else list(params)


def parameter_name(group: Group, i: int) -> str:
    """The name by which errors call a parameter."""
    return repr(group["param_names"][i]) if "param_names" in group else f"number {i} of its group"


def key_of(groups: Sequence[Group], n: int, i: int) -> int:
    """The key of parameter i of group n, which a policy of the user's is given (P13).

    Without names, it is the key of the parameter's place among all, as in a list of arrays.
    """
    if "param_names" in groups[n]:
        return parameter_key(groups[n]["param_names"][i])
    return parameter_key(sum(len(group["params"]) for group in groups[:n]) + i)


def every(groups: Sequence[Group]) -> Iterator[tuple[str, torch.Tensor]]:
    """All parameters with their names; without names, ``0.2`` is the third of the first group."""
    for n, group in enumerate(groups):
        places = [f"{n}.{i}" for i in range(len(group["params"]))]
        names = group.get("param_names", places)
        yield from zip(map(str, names), group["params"], strict=True)


def of_names(groups: Sequence[Group], values: Sequence[Value | None]) -> dict[str, Value]:
    """Values of all parameters, given in group order, by name; values of ``None`` are left out."""
    pairs = zip(every(groups), values, strict=True)
    return {name: value for (name, _), value in pairs if value is not None}


def named(params: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """(the name by which errors call it, the tensor) of each tensor of a group's ``params``."""
    for i, entry in enumerate([params] if isinstance(params, torch.Tensor) else params):
        name, p = entry if isinstance(entry, tuple) and len(entry) == 2 else (None, entry)
        if isinstance(p, torch.Tensor):  # torch refuses the others by name
            yield (f"number {i} of its group" if name is None else repr(name)), p


Shapes = dict[torch.Tensor, torch.Size | None]
"""The shape that each parameter had when the optimizer was given it; ``None`` for a tensor that it
was never given."""


def same_shapes(
    groups: Sequence[Group], whole: Sequence[bool], shapes: Shapes, state: Mapping[Any, Any]
) -> Shapes:
    """The shapes to remember from now on.

    FSDP1 and DeepSpeed's ZeRO replace parameters by flat pieces. Ranking a piece would give another
    update than ranking the parameter, and another one for each number of processes. An unknown
    tensor is taken for such a piece if known tensors have disappeared. It is not, if it has the
    shape of a known parameter, since FSDP2 replaces parameters by tensors of equal shape, or if it
    has a state.

    Args:
        whole: for each group, whether its steps need each parameter as a whole.
        shapes: what was remembered.

    Raises:
        ValueError: for a parameter with a gradient that is another now.
    """
    now: Shapes = {p: p.shape for group in groups for p in group["params"]}
    if now == shapes:
        return shapes
    known, replaced = set(shapes.values()), not shapes.keys() <= now.keys()
    for group, needed in zip(groups, whole, strict=True):
        for i, p in enumerate(group["params"]):
            before = shapes.get(p)
            expected = p not in shapes and (not replaced or p.shape in known or state.get(p))
            if before == p.shape or expected:
                continue
            if any(getattr(x, "shape", None) == before for x in (state.get(p) or {}).values()):
                continue  # the state of what it was is refused by its name
            if needed and p.grad is not None:
                was = "is none that it was given" if before is None else f"was {tuple(before)}"
                raise ValueError(
                    f"parameter {parameter_name(group, i)} has shape {tuple(p.shape)}, but {was} "
                    "when this optimizer was made: FSDP1 and DeepSpeed's ZeRO put flat pieces in "
                    "the place of parameters, and each must be ranked as a whole. Use FSDP2 "
                    "(torch.distributed.fsdp.fully_shard), or mode='sign' with an elementwise "
                    "rule; after a change of your own, make the optimizer anew."
                )
            now[p] = before
    return now
