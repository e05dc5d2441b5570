"""What of a rule decides its program, and what is a value of each step (R7).

A schedule may change a learning rate, a beta or eps at every step, and what was compiled must serve
for all of them. So a rule is recorded with a number of :mod:`mgup_core.numerics.runtime` in the
place of each float. A rule may compare a float (``if self.dampening != 0``). It gets the answer
that its floats give, and the program is right for all rules that answer alike: they have one
*form*.
"""

from __future__ import annotations

import copy
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import fields
from functools import lru_cache
from typing import Any, Generic, TypeVar

import array_api_compat.numpy as numpy_xp
import numpy as np

from ..numerics.backend import NumPyBackend
from ..numerics.runtime import Branches, Number
from ..rules.base import Rule
from ..step import contribution, update_array

Made = TypeVar("Made")

_ALIKE = 32  # forms of one class with equal other fields: more only where floats are read

_lock = threading.RLock()


def _new_lock() -> None:
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):  # the thread that holds it is not in the child
    os.register_at_fork(after_in_child=_new_lock)


def runtime_fields(rule: Rule) -> tuple[str, ...]:
    """The fields that are values of a step: those declared as floats, or that hold one."""
    known = {f.name for f in fields(rule)}
    if set(getattr(rule, "__dict__", ())) - known:
        return ()  # made with the rule, perhaps of its floats
    return tuple(f.name for f in fields(rule) if _is_float(f.type, getattr(rule, f.name)))


def _is_float(declared: Any, value: Any) -> bool:
    if isinstance(value, float):
        return True
    return type(value) is int and declared in ("float", "float | None", float)


def opened(branches: Branches, names: Iterable[str]) -> Rule:
    """A copy of the rule of ``branches`` with a number in the place of each of these fields."""
    twin: Rule = copy.copy(branches.rule)
    for name in names:
        object.__setattr__(twin, name, branches.number(name))
    return twin


class _Failure:
    """In the place of what could not be made, so that it is not tried at every step."""

    def __init__(self, error: Exception) -> None:
        self.error = error


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
        self._found = lru_cache(maxsize)(self._find)

    def __call__(self, rule: Rule, *how: Any) -> Made:
        _, made = self._found(rule, how)
        if isinstance(made, _Failure):
            raise made.error.with_traceback(None)
        return made

    def asked(self, rule: Rule, *how: Any) -> frozenset[str]:
        """The float fields on which more than a value of the result depends."""
        return self._found(rule, how)[0].asked()

    def _find(self, rule: Rule, how: tuple[Any, ...]) -> tuple[Branches, Made | _Failure]:
        names = runtime_fields(rule)
        others = tuple((f.name, getattr(rule, f.name)) for f in fields(rule) if f.name not in names)
        key = type(rule), names, others, rule if not names else None, how
        with _lock:
            forms = self._kept.setdefault(key, [])
            self._kept.move_to_end(key)
            for found in forms:
                if found[0].hold(rule):
                    return found
            forms.append(self._new(rule, names, how))
            self.made += 1
            del forms[:-_ALIKE]
            while len(self._kept) > self._maxsize:
                self._kept.popitem(last=False)
            return forms[-1]

    def _new(
        self, rule: Rule, names: tuple[str, ...], how: tuple[Any, ...]
    ) -> tuple[Branches, Made | _Failure]:
        branches = Branches(rule)
        try:
            return branches, self._make(opened(branches, names), *how)
        except (TypeError, AttributeError):
            pass
        # Perhaps it wants true floats. Then the result is right for these alone.
        for name in names:
            branches.answer(branches.number(name).expression)
        try:
            return branches, self._make(rule, *how)
        except (TypeError, AttributeError) as error:
            return branches, _Failure(error)


class _Trial(NumPyBackend):
    """Arithmetic on whatever the floats are now; nobody looks at the result."""

    def scalar(self, value: Any) -> Any:
        if isinstance(value, Number):
            value = value.expression.of(value.branches.rule)
        return super().scalar(value)

    def correction(self, beta: Any, t: Any) -> Any:
        return self.scalar(0.5)


@Forms
def _tried(rule: Rule) -> bool:
    """A step of a small array: whether there is a shape that the rule trains."""
    be = _Trial(numpy_xp, np.float32)
    for shape in ((4, 4), (4,), ()):
        if rule.accepts(shape) is None:
            w, t = np.ones(shape, np.float32), np.asarray(1)
            state = rule.init(be, w)
            with np.errstate(all="ignore"):
                sums = contribution(be, rule, w, w, state, t, weight_decay=0.1)
                update_array(
                    be, rule, None, w, w, state, t, lr=0.1, weight_decay=0.1, totals=sums
                )  # fmt: skip
            return True
    return False


def free_fields(rule: Rule) -> frozenset[str]:
    """The fields that may be arrays in a graph, where they can be added and multiplied only (R7).

    A field that the rule compares, or gives to a function, is a constant of the graph.
    """
    try:
        tried = _tried(rule)
    except (TypeError, AttributeError):
        tried = False
    return frozenset(runtime_fields(rule)) - _tried.asked(rule) if tried else frozenset()
