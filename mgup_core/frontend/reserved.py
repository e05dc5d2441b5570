"""The names that a rule's hyperparameters and state cannot have: drivers use them already."""

from __future__ import annotations

import re
from dataclasses import fields

import numpy as np

from ..numerics.backend import backend_for
from ..rules.base import Rule
from .modes import DEFAULTS

RESERVED = frozenset(
    {
        *DEFAULTS,  # the policy's
        *(name for name in vars(Rule) if not name.startswith("_")),  # the rule's own, lr among them
        # Of every driver, or of one framework: an optimizer, a transformation, a parameter group.
        "params", "learning_rate", "stacked_dims", "state_dtype", "statistics", "scope",
        "implementation", "param_names", "initial_lr", "maximize", "foreach", "capturable",
        "differentiable", "fused", "mask", "mu_dtype", "selection", "param_specs", "update_dtype",
        "loss_scale", "order_params", "grad_centralization",
    }
)  # fmt: skip
"""Names that every driver refuses, so that a rule which works with one works with all."""

RESERVED_STATE = RESERVED | {
    # Of a step: the parameter, its gradient, the step, the length of a slice, positive scores.
    "w", "g", "t", "d", "positive",
    # What drivers keep beside a rule's arrays, or have as attributes.
    "step", "count", "moments", "global_step", "state", "defaults", "param_groups", "parameters",
}  # fmt: skip
"""Names that no array of a rule's state may have."""

_BETA = re.compile(r"b(\d)")


def check_names(rule_class: type[Rule]) -> None:
    """Refuse a rule with a field whose name an optimizer's argument has already.

    Drivers keep a rule's fields beside their own arguments, one name each, and b1, b2, … as
    ``betas`` (PyTorch) or ``beta1``, ``beta2``, … (MindSpore). A shared name would give the field
    the argument's value.

    Raises:
        ValueError: naming the field and the remedy.
    """
    names = [field.name for field in fields(rule_class)]
    betas = [match for match in map(_BETA.fullmatch, names) if match]
    others = {f"beta{beta[1]}" for beta in betas} | ({"betas"} if betas else set())
    shared = Rule.__dataclass_fields__
    for name in names:
        if rule_class.__dataclass_fields__[name] is shared.get(name):
            continue
        if name in RESERVED or name in others:
            owner = "b1, b2, … are called so" if name in others else "it is taken"
            meant = "; for the rule's own, a ClassVar" if name in vars(Rule) else ""
            raise ValueError(
                f"{rule_class.__name__} has a field {name!r}, but {owner} in an optimizer's "
                f"arguments: give it another name, such as '{name}_'{meant}. "
                "mgup_core.frontend.reserved.RESERVED lists the names that are taken."
            )


def check_state_names(rule: Rule) -> None:
    """Refuse a rule with an array of state whose name drivers use for something else.

    They keep a rule's arrays beside the count of steps, and give them to a compiled step by name,
    beside the parameter ``w``, the gradient ``g`` and the values of the step.

    Raises:
        ValueError: naming the array and the remedy.
    """
    shape = next((x for x in ((2, 3), (6,), ()) if rule.accepts(x) is None), None)
    if shape is None:
        return
    like = np.zeros(shape, np.float32)
    for name in rule.init(backend_for(like), like):
        if name in RESERVED_STATE:
            raise ValueError(
                f"{type(rule).__name__} keeps an array {name!r} in its state, but that name is "
                f"taken: give it another in init, such as '{name}_'. "
                "mgup_core.frontend.reserved.RESERVED_STATE lists the names that are taken."
            )
