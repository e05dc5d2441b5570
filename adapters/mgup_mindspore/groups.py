"""Parameter groups: from MindSpore's names to a rule and a policy, and what a group may hold."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Parameter, nn

from mgup_core import Policy, Rule
from mgup_core._checks import check_rate
from mgup_core.frontend import modes

Group = dict[str, Any]

MGUP_DEFAULTS: Group = {
    **modes.DEFAULTS,
    "stacked_dims": 0,
    "state_dtype": None,
}
"""What MGUP adds to the arguments, and to a group."""

OF_MINDSPORE = ("params", "lr", "weight_decay", "order_params", "grad_centralization")
"""What a group of nn.Optimizer may hold."""

_BETA = re.compile(r"b(\d)")


def rule_defaults(rule_class: type[Rule]) -> Group:
    """A rule's hyperparameters under MindSpore's names: b1, b2, … are ``beta1, beta2, …``."""
    rule = rule_class()
    return {_argument(f.name): getattr(rule, f.name) for f in fields(rule)}


def _argument(field: str) -> str:
    """What MindSpore calls a field of a rule."""
    beta = _BETA.fullmatch(field)
    return f"beta{beta[1]}" if beta else field


def rule_of(rule_class: type[Rule], group: Group) -> Rule:
    """The rule that a group describes; raises ValueError if its values make none."""
    names = {_argument(f.name): f.name for f in fields(rule_class)}
    try:
        return rule_class(**{name: group[key] for key, name in names.items()})
    except ValueError as error:  # which names the core's field
        raise ValueError(re.sub(r"^b(\d)=", r"beta\1=", str(error))) from None


def policy_of(group: Group) -> Policy | None:
    """The policy that a group describes; raises ValueError if its values make none."""
    return modes.policy_of(**{name: group[name] for name in modes.DEFAULTS})


def check_group(group: Group) -> None:
    """Refuse wrong values of a group that are not the rule's: policy, rates, dtypes."""
    for name, value in (("learning_rate", group["lr"]), ("weight_decay", group["weight_decay"])):
        if isinstance(value, bool):  # a flag that another optimizer takes at this place
            raise TypeError(f"{name}={value!r} is a bool, and not a number: give it by its name.")
        if isinstance(value, (int, float)):  # the other kinds are nn.Optimizer's to check
            check_rate(name, value)
    # Each mode's arguments, whatever the mode is.
    for mode in ("sign", "adaptive", group["mode"]):
        policy_of({**group, "mode": mode})
    if not isinstance(group["stacked_dims"], int) or group["stacked_dims"] < 0:
        raise ValueError(f"stacked_dims={group['stacked_dims']!r} must be an int >= 0.")
    if group["state_dtype"] not in (None, ms.float32, ms.float64, ms.bfloat16):
        raise ValueError(
            f"state_dtype={group['state_dtype']!r} is none of None (the parameter's dtype), "
            "mindspore.float32, mindspore.float64, mindspore.bfloat16."
        )
    if group.get("grad_centralization"):
        raise ValueError("grad_centralization=True is not available: MGUP scores the gradient.")


def as_groups(
    title: str, params: Iterable[Any], defaults: Group
) -> tuple[list[Any], dict[int, Group]]:
    """The parameters for nn.Optimizer, and the settings of each parameter by its id.

    Args:
        title: the optimizer's name.
        params: parameters, or groups.
        defaults: all settings that a group may replace.

    Raises:
        KeyError: for a key that no group may hold, naming the nearest that it may.
        TypeError: for what holds no parameters in order.
    """
    params = listed(title, params)
    if not any(isinstance(entry, dict) for entry in params):
        check_group(defaults)
        return params, {id(p): defaults for p in params if isinstance(p, Parameter)}
    theirs: list[Any] = []
    settings: dict[int, Group] = {}
    known = {*OF_MINDSPORE, *defaults}
    for entry in params:
        for key in entry if isinstance(entry, dict) else ():
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1)
                raise KeyError(
                    f"a parameter group of {title} holds {key!r}"
                    + (f"; did you mean {near[0]!r}?" if near else ".")
                    + f" It may hold: {', '.join(sorted(known))}."
                )
        if not isinstance(entry, dict):
            theirs.append(entry)
            continue
        if "order_params" in entry:
            theirs.append({**entry, "order_params": listed(title, entry["order_params"])})
            continue
        if "params" not in entry:
            raise KeyError(f"a parameter group of {title} holds no 'params': give it a list.")
        entry = {name: plain(value) for name, value in entry.items() if name != "params"} | {
            "params": listed(title, entry["params"])
        }
        group = {**defaults, **entry}
        check_group(group)
        settings.update({id(p): group for p in entry["params"] if isinstance(p, Parameter)})
        theirs.append({key: entry[key] for key in OF_MINDSPORE if key in entry})
    return theirs, settings


def listed(title: str, params: Any) -> list[Any]:
    """The given parameters or groups as a list; a parameter alone is a list of one.

    Raises:
        TypeError: for a network, and for a set or a dict, which hold no parameters in order.
    """
    if isinstance(params, Parameter):
        return [params]
    if isinstance(params, nn.Cell):
        raise TypeError(
            f"{title} was given a {type(params).__name__}, which is a network: give it "
            "net.trainable_params()."
        )
    if isinstance(params, (set, frozenset, Mapping)):
        raise TypeError(
            f"{title} was given its parameters as a {type(params).__name__}, but gradients are "
            "matched with them by position: give a list."
        )
    return list(params)


def plain(value: Any) -> Any:
    """A value of a group, its sequences (of configuration files, say) as tuples."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(map(plain, value))
    return value


class Exact(nn.learning_rate_schedule.LearningRateSchedule):
    """A value that stays as it is, in the place of a schedule.

    nn.Optimizer's own adds 1 and takes it away, which costs a learning rate of 1e-3 most digits.
    """

    def __init__(self, learning_rate: Parameter) -> None:
        super().__init__()
        self.learning_rate = learning_rate

    def construct(self, global_step: Any) -> Any:
        return self.learning_rate


class Fixed(nn.Cell):
    """A number as a cell that is asked with the step, as schedules are.

    Args:
        value: of one entry, as :func:`mgup_mindspore.program.held` gives it.
    """

    def __init__(self, value: tuple[Parameter, ...]) -> None:
        super().__init__(auto_prefix=False)
        self.value = value

    def construct(self, global_step: Any) -> Any:
        return self.value[0]
