"""What of a rule decides its program, and what is a value of each step (R7).

A schedule may change a learning rate, a beta or eps at every step, and what was compiled must
serve for all of them. So a rule is recorded with a :class:`~mgup_core.runtime.Number` in the place
of each float. A rule may compare a float (``if self.dampening != 0``). It gets the answer that its
floats give, and the program is right for all rules that answer alike: they have one *form*.
"""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import fields
from functools import lru_cache
from typing import Any, Generic, TypeVar

from .rules.base import Rule
from .runtime import Branches, Number

Made = TypeVar("Made")

_ALIKE = 32  # forms of one class with equal other fields: more only where floats are read


def runtime_fields(rule: Rule) -> tuple[str, ...]:
    """The fields that are values of a step: those declared as floats, or that hold one."""
    known = {f.name for f in fields(rule)}
    if set(getattr(rule, "__dict__", ())) - known:  # made of its floats with the rule, which others would not change
        return ()
    return tuple(f.name for f in fields(rule) if _is_float(f.type, getattr(rule, f.name)))


def _is_float(declared: Any, value: Any) -> bool:
    if isinstance(value, float):
        return True
    return type(value) is int and declared in ("float", "float | None", float)


def _opened(rule: Rule, names: tuple[str, ...]) -> tuple[Rule, Branches]:
    """A copy of a rule with numbers for these fields, and what it will ask of them."""
    twin, branches = copy.copy(rule), Branches()
    for name in names:
        expression = branches.expression(None, name)
        value = expression.of(rule)
        object.__setattr__(twin, name, Number(expression, value, branches))
    return twin, branches


class _Failure:
    """In the place of what could not be made, so that it is not tried at every step."""

    def __init__(self, error: Exception) -> None:
        self.error = error.with_traceback(None)


class Forms(Generic[Made]):
    """``make(rule, *how)``, called once for each form of a rule.

    Args:
        make: called with a copy of a rule that has numbers for floats; it may record it. What it
            returns must hold for every rule of the form. It may raise TypeError or AttributeError,
            and so does the call then.
        maxsize: how many results are kept.
    """

    def __init__(self, make: Callable[..., Made], maxsize: int = 256) -> None:
        self.made = 0
        """How often something was made."""
        self._make, self._maxsize = make, maxsize
        self._kept: OrderedDict[Any, list[tuple[Branches, Made | _Failure]]] = OrderedDict()
        self._lock = threading.RLock()
        self._found = lru_cache(maxsize)(self._find)

    def __call__(self, rule: Rule, *how: Any) -> Made:
        made = self._found(rule, how)
        if isinstance(made, _Failure):
            raise made.error
        return made

    def _find(self, rule: Rule, how: tuple[Any, ...]) -> Made | _Failure:
        names = runtime_fields(rule)
        others = tuple((f.name, getattr(rule, f.name)) for f in fields(rule) if f.name not in names)
        key = type(rule), names, others, rule if not names else None, how
        with self._lock:
            forms = self._kept.setdefault(key, [])
            self._kept.move_to_end(key)
            for branches, made in forms:
                if branches.hold(rule):
                    return made
            branches, made = self._new(rule, names, how)
            self.made += 1
            forms.append((branches, made))
            del forms[:-_ALIKE]
            while len(self._kept) > self._maxsize:
                self._kept.popitem(last=False)
            return made

    def _new(
        self, rule: Rule, names: tuple[str, ...], how: tuple[Any, ...]
    ) -> tuple[Branches, Made | _Failure]:
        twin, branches = _opened(rule, names)
        try:
            return branches, self._make(twin, *how)
        except (TypeError, AttributeError):
            pass
        # Perhaps it wants true floats. Then the result is right for these alone.
        for name in names:
            field = branches.expression(None, name)
            branches.answer(field, field.of(rule))
        try:
            return branches, self._make(rule, *how)
        except (TypeError, AttributeError) as error:
            return branches, _Failure(error)
