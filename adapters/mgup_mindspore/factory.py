"""Optimizer classes made from rules."""

from __future__ import annotations

import inspect
import re
import sys
from types import new_class
from typing import Any

from mgup_core import Rule
from mgup_core.frontend.documentation import docstring
from mgup_core.frontend.reserved import check_names, check_state_names
from mgup_core.frontend.signatures import bind, optimizer_signature
from mgup_core.trace.elementwise import check_elementwise

from .arguments import MINDSPORE_ARGUMENTS
from .base import RuleOptimizer
from .groups import MGUP_DEFAULTS, rule_defaults

OF_OPTIMIZER = ("params", "learning_rate", "weight_decay", "loss_scale")


class FromRule(RuleOptimizer):
    """What makes ``class MGUPLion(FromRule, rule=Lion)`` an optimizer with Lion's arguments.

    Class arguments:
        rule: a :class:`mgup_core.Rule`; its fields become arguments and entries of groups.
        positional: the arguments after ``params`` that may be given by position, in order.

    Raises:
        ValueError: for a field with a reserved name, and a step that is not elementwise though the
            rule says so.
    """

    def __init_subclass__(
        cls,
        rule: type[Rule] | None = None,
        positional: tuple[str, ...] = ("learning_rate",),
        **kwargs: Any,
    ) -> None:
        super().__init_subclass__(**kwargs)
        if rule is None:  # a subclass of one that is made
            return
        check_names(rule)
        check_state_names(rule())
        check_elementwise(rule())
        title, signature = cls.__name__, _signature(rule, positional)

        def __init__(self: RuleOptimizer, *args: Any, **kwargs: Any) -> None:
            if len(args) > 1 + len(positional):
                raise TypeError(
                    f"{title}: {len(args)} arguments were given by position, but only params, "
                    f"{', '.join(positional)} may be: give the others by name, since MindSpore's "
                    "own optimizers differ in what comes next."
                )
            given = bind(title, signature, self, *args, **kwargs)
            settings = {key: given[key] for key in given if key not in ("self", *OF_OPTIMIZER)}
            params, rate, decay, scale = (given[key] for key in OF_OPTIMIZER)
            RuleOptimizer.__init__(self, params, rate, decay, scale, settings)

        __init__.__signature__ = signature  # type: ignore[attr-defined]
        cls.__init__ = __init__  # type: ignore[method-assign]
        cls.rule_class = rule
        if cls.__doc__ is None:
            betas = {name: re.sub("^beta", "b", name) for name in signature.parameters}
            cls.__doc__ = docstring(rule, "MindSpore", signature, MINDSPORE_ARGUMENTS, betas)


def optimizer(
    rule_class: type[Rule],
    *,
    name: str | None = None,
    positional: tuple[str, ...] = ("learning_rate",),
) -> type[RuleOptimizer]:
    """A ``mindspore.nn.Optimizer`` class of any rule.

    Args:
        rule_class: a :class:`mgup_core.Rule`; its fields become arguments (``b1`` and ``b2`` as
            ``beta1`` and ``beta2``).
        name: the class's name; by default ``MGUP`` and the rule's.
        positional: the arguments after ``params`` that may be given by position, in order.

    The class takes ``(params, learning_rate, …, weight_decay, loss_scale)`` and the MGUP arguments
    ``tau, alpha, gamma, mode, ties, tau_min, stacked_dims, state_dtype``, described in the
    MindSpore guide.

    Raises:
        ValueError: for a field with a reserved name, and a step that is not elementwise though the
            rule says so.
    """
    title = name or f"MGUP{rule_class.__name__}"
    members = {"__module__": sys._getframe(1).f_globals.get("__name__", __name__)}
    arguments = {"rule": rule_class, "positional": tuple(positional)}
    return new_class(title, (FromRule,), arguments, lambda body: body.update(members))


def _signature(rule_class: type[Rule], positional: tuple[str, ...]) -> inspect.Signature:
    defaults = {
        "learning_rate": rule_class.lr,
        **rule_defaults(rule_class),
        "weight_decay": rule_class.weight_decay,
        "loss_scale": 1.0,
        **MGUP_DEFAULTS,
    }
    return optimizer_signature(defaults, positional)
