"""Whether a saved state fits, checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mgup_core import Rule
from mgup_core.frontend.modes import DEFAULTS
from mgup_core.numerics.scalars import STEP_BITS
from mgup_core.rules.base import check_fields

from ..backend import DTYPES
from ..distributed import check_same_placement
from ..fitting import has_state, state_shapes
from ..groups import Group, check_group, check_numbers, check_stacked_dims
from ..notices import warn

Checkpoint = dict[str, Any]


def tell_of_replaced(
    groups: Sequence[Group], saved: Sequence[Group], policy_of: Callable[[Group], Any], prefix: str
) -> None:
    """Warn of a checkpoint's policies that replace those given at construction.

    Args:
        groups: as they are; saved: those of the checkpoint, with all that it lacks.
        policy_of: the policy of a group.
        prefix: of the names of MGUP's arguments in the groups.
    """
    names = [prefix + name for name in DEFAULTS]
    told: dict[str, None] = {}
    for now, then in zip(groups, saved, strict=True):
        if policy_of(now) != policy_of(then):
            told.update(
                (f"{name}={then[name]!r} (not {now[name]!r})", None)
                for name in names
                if then[name] is not now[name] and then[name] != now[name]
            )
    if told:
        warn(
            f"the checkpoint's {', '.join(told)} replaces what this optimizer was made with, as "
            "all hyperparameters do in torch.optim. If it is not what you mean to go on with, set "
            "it in optimizer.param_groups after loading."
        )


def check_checkpoint(
    checkpoint: Checkpoint,
    groups: list[Group],
    rule_of_group: Callable[[Group], Rule],
) -> Checkpoint:
    """The checkpoint with its state copied and its groups completed from the present ones.

    Entries that the rule does not read stay as they are. ``None`` values, as of torch.optim.SGD
    before its first step, are left out, and int steps, as of old checkpoints, become tensors.

    Raises:
        ValueError: when groups, hyperparameters, state names or shapes do not fit.
    """
    _check_form(checkpoint)
    saved = checkpoint["param_groups"]
    if [len(g["params"]) for g in saved] != [len(g["params"]) for g in groups]:
        raise ValueError("the checkpoint's parameter groups differ in number or length.")
    state, completed = dict(checkpoint["state"]), []
    pairs: list[tuple[Rule, Any, Tensor]] = []
    for old, group in zip(saved, groups, strict=True):
        merged = {**group, **old}
        check_group(merged)
        completed.append(merged)
        rule = rule_of_group(merged)
        check_fields(rule)
        check_numbers(merged, group["params"], rule)
        for key, p in zip(old["params"], group["params"], strict=True):
            check_stacked_dims(f"number {key}", p, merged["stacked_dims"])
            if reason := rule.accepts(tuple(p.shape), merged["stacked_dims"]):
                raise ValueError(f"parameter {key}: {reason}")
            if key in state:
                state[key] = {n: value for n, value in state[key].items() if value is not None}
                pairs.append((rule, key, p))
    # The state of a parameter that has not stepped yet may have entries that are not the rule's, if
    # parameters that have stepped have them too. Any other entry belongs to another rule.
    own = [has_state(rule, state_shapes(rule, p), state[key]) for rule, key, p in pairs]
    usual = {
        name for (_, key, _), has in zip(pairs, own, strict=True) if has for name in state[key]
    }
    for (rule, key, p), has in zip(pairs, own, strict=True):
        if has or not state[key].keys() <= usual:
            state[key] = _fitting(rule, key, p, state[key])
    return {**checkpoint, "state": state, "param_groups": completed}


def _check_form(checkpoint: Any) -> None:
    """Refuse anything but an optimizer's state_dict; later checks rely on its form."""
    if not isinstance(checkpoint, Mapping):
        raise ValueError(f"the checkpoint is a {type(checkpoint).__name__}, not a state_dict.")
    if missing := {"state", "param_groups"} - checkpoint.keys():
        raise ValueError(
            f"the checkpoint lacks {sorted(missing)}: it is no optimizer's state_dict."
        )
    state, groups = checkpoint["state"], checkpoint["param_groups"]
    if not (isinstance(state, Mapping) and all(isinstance(s, Mapping) for s in state.values())):
        raise ValueError("the checkpoint's state is no dict of dicts, one for each parameter.")
    whole = isinstance(groups, list) and all(
        isinstance(group, Mapping)
        and isinstance(group.get("params"), (list, tuple))
        and all(isinstance(key, Hashable) for key in group["params"])
        for group in groups
    )
    if not whole:
        raise ValueError("the checkpoint's param_groups are no list of dicts with their params.")


def _fitting(rule: Rule, key: Any, p: Tensor, saved: dict[str, Any]) -> dict[str, Tensor]:
    found = dict(saved)
    if not found:
        return {}
    expected = dict(state_shapes(rule, p))
    if rule.counts_steps:
        expected["step"] = torch.Size()
        if isinstance(found.get("step"), (int, float)):
            found["step"] = torch.tensor(found["step"], dtype=torch.float64)
    if missing := expected.keys() - found.keys():
        raise ValueError(
            f"the state of parameter {key} lacks {sorted(missing)}, which "
            f"{type(rule).__name__} needs; it has {sorted(found)}."
        )
    for name, shape in expected.items():
        value = found[name]
        if not isinstance(value, Tensor) or value.shape != shape:
            what = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(
                f"state {name!r} of parameter {key} is {what}, but a tensor of shape "
                f"{tuple(shape)} is needed."
            )
    for name in (name for name in expected if name != "step"):
        value = found[name]
        if value.layout != torch.strided or value.dtype not in DTYPES:
            raise ValueError(
                f"state {name!r} of parameter {key} is {value.dtype} and {value.layout}, but a "
                "dense tensor of real floating numbers is needed."
            )
        check_same_placement(
            f"state {name!r} of parameter {key}",
            p,
            found[name],
            remedy="load it with torch.distributed.checkpoint.state_dict.set_optimizer_state_dict",
        )
    if rule.counts_steps:
        step = found["step"].item()
        if not (isinstance(step, (int, float)) and 0 <= step < 2**STEP_BITS and step == int(step)):
            raise ValueError(
                f"the step of parameter {key} is {step!r}: it must be a whole number from 0 to "
                f"{2**STEP_BITS - 1}."
            )
        found["step"] = found["step"].to(torch.float32)
    return {name: v.clone() if isinstance(v, Tensor) else v for name, v in found.items()}
