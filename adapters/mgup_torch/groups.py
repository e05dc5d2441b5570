"""Parameter groups: from PyTorch's names to a rule and a policy, and what a group may hold."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from dataclasses import fields
from typing import Any

import torch

from mgup_core import Policy, Rule, rules
from mgup_core._checks import check_beta, check_rate
from mgup_core.frontend import modes

Group = dict[str, Any]

IMPLEMENTATIONS = ("auto", "fused", "reference")
SCOPES = ("global", "local")
"""Whether a DTensor's slices are ranked as wholes, or each rank's part by itself."""

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
``implementation`` says it, and never changes the result."""

_BETA = re.compile(r"b\d")


def _names(rule_class: type[Rule]) -> list[str]:
    """A rule's hyperparameters under PyTorch's names."""
    names = [f.name for f in fields(rule_class)]
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
        if not isinstance(given, (tuple, list)) or len(given) != len(betas):
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
    given = {name: group[name] for name in ("tau", "ties", "tau_min")}
    return modes.policy_of(group["mode"], alpha=alpha, gamma=gamma, **given)


def _on_host(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.device.type == "cpu"


def _number(name: str, value: Any) -> Any:
    """A 0-d tensor as the number it holds, so that its range can be checked once."""
    if not isinstance(value, torch.Tensor):
        return value
    if value.numel() != 1:
        raise ValueError(f"{name} is a tensor of shape {tuple(value.shape)}, not a scalar.")
    return value.item()


def check_keys(rule_class: type[Rule], group: Group, known: Collection[str]) -> None:
    """Refuse a key that is another rule's hyperparameter, or a slip for a known one.

    Any other is the caller's own, and kept, as in torch.optim.
    """
    others = {name for kind in rules.ALL for name in _names(kind)}
    for key in group.keys() - known - {"params"}:
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.85)
        if near or key in others:
            raise ValueError(
                f"a parameter group holds {key!r}, which {rule_class.__name__} does not have"
                + (f"; did you mean {near[0]!r}?" if near else ".")
                + f" Its own: {', '.join(_names(rule_class)) or 'none'}."
            )


def check_group(group: Group) -> None:
    """Refuse, before anything changes, what is not the rule's own: policy, rates, flags."""
    for name in ("lr", "weight_decay"):
        check_rate(name, _number(name, group[name]))
    # Each mode's arguments, whatever the mode is now: a group's mode may change.
    numbers = {n: _number(n, group[n]) for n in ("tau", "alpha", "gamma", "tau_min")}
    for mode in ("sign", "adaptive", group["mode"]):
        policy_of({**group, **numbers, "mode": mode})
    for name in ("amsgrad", "differentiable"):
        if group.get(name):
            raise ValueError(f"{name}=True is not available: there is no MGUP rule of it.")
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


def check_stacked_dims(p: torch.Tensor, stacked_dims: int) -> None:
    """Refuse more leading axes than a parameter has (P5)."""
    if p.ndim < stacked_dims:
        raise ValueError(
            f"stacked_dims={stacked_dims} exceeds the dimensions of a parameter of shape "
            f"{tuple(p.shape)}: give that parameter a group of its own."
        )


def tensors_of(params: Any) -> list[torch.Tensor]:
    """The tensors among what a group may hold: tensors, or (name, tensor) pairs."""
    if isinstance(params, torch.Tensor):
        return [params]
    tensors = [p[1] if isinstance(p, tuple) else p for p in params]
    return [p for p in tensors if isinstance(p, torch.Tensor)]  # torch refuses the others by name
