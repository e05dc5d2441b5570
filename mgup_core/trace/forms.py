"""Separates what decides a rule's program from the values that each step gives (R7).

A schedule may change a learning rate, a beta or eps at every step, and one compiled program must
serve all their values. So a rule is recorded with a number of :mod:`mgup_core.numerics.runtime` in
the place of each float. A rule may compare a float (``if self.dampening != 0``): the comparison has
the result that the rule's floats give, and the program is right for all rules whose comparisons
have the same results. These rules have one *form*.
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

_ALIKE = 32  # forms kept of one class with equal other fields; a rule that reads floats has more

_lock = threading.RLock()


def _new_lock() -> None:
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):  # the thread that holds the lock does not exist in the child
    os.register_at_fork(after_in_child=_new_lock)


def runtime_fields(rule: Rule) -> tuple[str, ...]:
    """The fields whose values each step gives: those that are declared as floats, or hold one."""
    known = {f.name for f in fields(rule)}
    if set(getattr(rule, "__dict__", ())) - known:
        return ()  # another attribute may depend on the floats
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
    """Stands for a result that could not be made, so that not every step tries again."""

    def __init__(self, error: Exception) -> None:
        self.error = error


class Forms(Generic[Made]):
    """Caches ``make(rule, *how)``, which is called once for each form of a rule.

    Args:
        make: takes a copy of a rule that has numbers for floats, which it may record. Its result
            must be right for every rule of the form. If it raises TypeError or AttributeError, so
            does the call.
        maxsize: the number of results that are kept.
    """

    def __init__(self, make: Callable[..., Made], maxsize: int = 256) -> None:
        self.made = 0
        """The number of calls of ``make`` so far."""
        self._make, self._maxsize = make, maxsize
        self._kept: OrderedDict[Any, list[tuple[Branches, Made | _Failure]]] = OrderedDict()
        self._found = lru_cache(maxsize)(self._find)

    def __call__(self, rule: Rule, *how: Any) -> Made:
        _, made = self._found(rule, how)
        if isinstance(made, _Failure):
            raise made.error.with_traceback(None)
        return made

    def asked(self, rule: Rule, *how: Any) -> frozenset[str]:
        """The float fields that decide more of the result than its values."""
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
        # The rule may need true floats. Then the result is right for these floats alone.
        for name in names:
            branches.answer(branches.number(name).expression)
        try:
            return branches, self._make(rule, *how)
        except (TypeError, AttributeError) as error:
            return branches, _Failure(error)


class _Trial(NumPyBackend):
    """Computes with the current floats; the results are not used."""

    def scalar(self, value: Any) -> Any:
        if isinstance(value, Number):
            value = value.expression.of(value.branches.rule)
        return super().scalar(value)

    def correction(self, beta: Any, t: Any) -> Any:
        return self.scalar(0.5)


@Forms
def _tried(rule: Rule) -> bool:
    """Steps a small array; whether the rule trains one of the shapes tried."""
    be = _Trial(numpy_xp, np.float32)
    for shape in ((4, 4), (4,), ()):
        if rule.accepts(shape) is None:
            w, t = np.ones(shape, np.float32), np.asarray(1)
            state = rule.init(be, w)
            with np.errstate(all="ignore"):
                sums = contribution(be, rule, w, w, state, t, lr=0.1, weight_decay=0.1)
                update_array(
                    be, rule, None, w, w, state, t, lr=0.1, weight_decay=0.1, totals=sums
                )  # fmt: skip
            return True
    return False


def free_fields(rule: Rule) -> frozenset[str]:
    """The fields that may be arrays in a graph, since the rule only adds and multiplies them (R7).

    A field that the rule compares, or passes to a function, is a constant of the graph.
    """
    try:
        tried = _tried(rule)
    except (TypeError, AttributeError):
        tried = False
    return frozenset(runtime_fields(rule)) - _tried.asked(rule) if tried else frozenset()
