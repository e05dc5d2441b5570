"""Optimizer classes made from rules."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from functools import lru_cache
from types import new_class
from typing import Any, ClassVar

from mgup_core import Rule
from mgup_core.frontend.documentation import docstring
from mgup_core.frontend.reserved import check_names, check_state_names
from mgup_core.frontend.signatures import bind, optimizer_signature
from mgup_core.trace.elementwise import check_elementwise

from .arguments import TORCH_ARGUMENTS
from .base.optimizer import RuleOptimizer
from .groups import MGUP_DEFAULTS, TWIN_DEFAULTS, Group, rule_defaults

Recipe = tuple[type[Rule], str, tuple[str, ...], tuple[tuple[str, Any], ...], str]


class FromRule(RuleOptimizer):
    """What makes ``class MGUPLion(FromRule, rule=Lion)`` an optimizer with Lion's arguments.

    Class arguments:
        rule: a :class:`mgup_core.Rule`; its fields become arguments and entries of groups.
        positional: the arguments after ``params`` that may be given by position, in order.
        extra: further arguments of the twin in torch.optim, with defaults.

    Raises:
        ValueError: for a field with a reserved name, and a step that is not elementwise though the
            rule says so.
    """

    _recipe: ClassVar[Recipe | None] = None
    """How :func:`optimizer` made the class."""

    def __init_subclass__(
        cls,
        rule: type[Rule] | None = None,
        positional: tuple[str, ...] = ("lr",),
        extra: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init_subclass__(**kwargs)
        if rule is None:  # a subclass of one that is made
            return
        check_names(rule)
        check_state_names(rule())
        check_elementwise(rule())
        title, signature = cls.__name__, _signature(rule, positional, extra or {})

        def __init__(self: RuleOptimizer, *args: Any, **kwargs: Any) -> None:
            values = bind(title, signature, self, *args, **kwargs)
            del values["self"]
            params, measure = values.pop("params"), values.pop("statistics")
            RuleOptimizer.__init__(self, params, values, statistics=measure)

        __init__.__signature__ = signature  # type: ignore[attr-defined]
        cls.__init__ = __init__  # type: ignore[method-assign]
        cls.rule_class = rule
        if cls.__doc__ is None:
            betas = {"betas": "b1"}
            cls.__doc__ = docstring(rule, "PyTorch", signature, TORCH_ARGUMENTS, betas)

    def __reduce_ex__(self, protocol: Any) -> Any:
        # A class that no name leads to is made again where the pickle is read.
        cls = type(self)
        found = getattr(sys.modules.get(cls.__module__), cls.__qualname__, None)
        if cls._recipe is None or found is cls:
            return super().__reduce_ex__(protocol)
        return _blank, (cls._recipe,), self.__getstate__()


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
    Its optimizers can be pickled wherever the rule can.

    Raises:
        ValueError: for a field with a reserved name, and a step that is not elementwise though the
            rule says so.
    """
    title = name or f"MGUP{rule_class.__name__}"
    caller = sys._getframe(1).f_globals.get("__name__", __name__)
    return _made((rule_class, title, tuple(positional), tuple((extra or {}).items()), caller))


@lru_cache(maxsize=256)
def _made(recipe: Recipe) -> type[FromRule]:
    rule, title, positional, extra, module = recipe
    arguments = {"rule": rule, "positional": positional, "extra": dict(extra)}
    members = {"__module__": module, "_recipe": recipe}
    return new_class(title, (FromRule,), arguments, lambda body: body.update(members))


def _blank(recipe: Recipe) -> FromRule:
    cls = _made(recipe)
    return cls.__new__(cls)


def _signature(
    rule_class: type[Rule], positional: tuple[str, ...], extra: Mapping[str, Any]
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
