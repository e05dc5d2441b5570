"""An optimizer class for any rule."""

from __future__ import annotations

import inspect
from typing import Any

from mgup_core import Rule
from mgup_core.frontend.reserved import check_names
from mgup_core.frontend.signatures import bind, optimizer_signature
from mgup_core.trace.elementwise import check_elementwise

from .base.optimizer import RuleOptimizer
from .groups import MGUP_DEFAULTS, TWIN_DEFAULTS, Group, rule_defaults


def optimizer(
    rule_class: type[Rule],
    *,
    name: str | None = None,
    positional: tuple[str, ...] = ("lr",),
    extra: Group | None = None,
) -> type[RuleOptimizer]:
    """A ``torch.optim.Optimizer`` class of any rule.

    Args:
        rule_class: a :class:`mgup_core.Rule`; its fields become arguments and group entries (``b1``
            and ``b2`` together as ``betas``).
        name: the class's name; by default ``MGUP`` and the rule's.
        positional: the arguments after ``params`` that may be given by position, in order.
        extra: further arguments of the twin in torch.optim, with defaults.

    The class takes ``(params, lr, …, weight_decay)`` and the MGUP arguments ``tau, alpha, gamma,
    mode, ties, tau_min, stacked_dims, state_dtype, statistics``, described in the PyTorch guide.

    Raises:
        ValueError: for a field with a reserved name, and a step that is not elementwise though the
            rule says so.
    """
    check_names(rule_class)
    check_elementwise(rule_class())
    title = name or f"MGUP{rule_class.__name__}"
    signature = _signature(rule_class, positional, extra or {})

    def __init__(self: RuleOptimizer, *args: Any, **kwargs: Any) -> None:
        values = bind(title, signature, self, *args, **kwargs)
        del values["self"]
        params, measure = values.pop("params"), values.pop("statistics")
        RuleOptimizer.__init__(self, params, values, statistics=measure)

    __init__.__signature__ = signature  # type: ignore[attr-defined]
    lead = f"{rule_class.__name__} with MGUP, for PyTorch.\n\n"
    members = {
        "__init__": __init__,
        "__doc__": lead + (rule_class.__doc__ or ""),
        "__module__": "mgup_torch",
        "rule_class": rule_class,
    }
    return type(title, (RuleOptimizer,), members)


def _signature(
    rule_class: type[Rule], positional: tuple[str, ...], extra: Group
) -> inspect.Signature:
    defaults: Group = {
        "lr": rule_class.lr,
        "weight_decay": rule_class.weight_decay,
        **rule_defaults(rule_class),
        **extra,
        **TWIN_DEFAULTS,
        **MGUP_DEFAULTS,
        "statistics": False,
    }
    return optimizer_signature(defaults, positional)
