"""Floats of a rule whose values each step gives, after its program has been recorded (R7).

The sums and products that a rule forms of its floats (``1 - beta``, N2) are recorded as
expressions, which are evaluated in float64 with the floats of each step.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any


class Expression:
    """Arithmetic on a rule's floats, evaluated in float64 on the host.

    Args:
        function: a function of numbers; ``None`` for a field, whose name is the only argument.
        args: the function's arguments, expressions and numbers.
    """

    __slots__ = ("args", "function")

    def __init__(self, function: Callable[..., Any] | None, args: tuple[Any, ...]) -> None:
        self.function, self.args = function, args

    def fields(self) -> frozenset[str]:
        """The names of the fields on which the expression depends."""
        if self.function is None:
            return frozenset(self.args)
        return frozenset().union(*(a.fields() for a in self.args if isinstance(a, Expression)))

    def of(self, rule: Any) -> Any:
        """The value of the expression with the floats of a rule."""
        if self.function is None:
            return float(getattr(rule, self.args[0]))
        return self.function(*(a.of(rule) if isinstance(a, Expression) else a for a in self.args))


class Branches:
    """The comparisons that a rule makes of its floats while it is recorded, and their results.

    Args:
        rule: the rule whose floats decide the comparisons.
    """

    def __init__(self, rule: Any) -> None:
        self.rule = rule
        self._known: dict[Any, Expression] = {}
        self._answers: dict[Expression, Any] = {}

    def expression(self, function: Callable[..., Any] | None, *args: Any) -> Expression:
        """The expression; equal ones are one object, so that a program takes its value once."""
        key = function, *(a if isinstance(a, Expression) else repr(a) for a in args)
        return self._known.setdefault(key, Expression(function, args))

    def number(self, name: str) -> Number:
        """A field of the rule, as a number to be recorded."""
        return Number(self.expression(None, name), self)

    def answer(self, question: Expression) -> Any:
        """The value of an expression; the program is right only where it has this value."""
        if question not in self._answers:
            self._answers[question] = question.of(self.rule)
        return self._answers[question]

    def hold(self, rule: Any) -> bool:
        """Whether a rule of the same class, with equal other fields, gives the same answers."""
        return all(_same(q.of(rule), answer) for q, answer in self._answers.items())

    def asked(self) -> frozenset[str]:
        """The fields on which an answer depends, or a function other than arithmetic."""
        others = (e for e in self._known.values() if e.function not in (None, *_ARITHMETIC))
        return frozenset().union(*(q.fields() for q in (*self._answers, *others)))


_ARITHMETIC = tuple(getattr(operator, n) for n in ("neg", "pos", "add", "sub", "mul", "truediv"))


def _same(a: Any, b: Any) -> bool:
    return bool(a == b) and math.copysign(1.0, a) == math.copysign(1.0, b)


class Number:
    """A float of a rule while the rule is recorded, or the result of arithmetic on it.

    Arithmetic is recorded as an expression. A comparison returns its result at once, and so does a
    conversion to float (``math.log(self.b1)``). A program with a converted float is right for that
    float alone, and the next float needs another program; :func:`on_host` avoids that.
    """

    __slots__ = ("branches", "expression")
    __array_ufunc__ = None
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, expression: Expression, branches: Branches) -> None:
        self.expression, self.branches = expression, branches

    def apply(self, function: Callable[..., Any], *args: Any) -> Any:
        """``function(*args)``, where this number is among the arguments."""
        if not all(isinstance(a, (int, float, Number)) for a in args):
            return NotImplemented  # the array decides
        parts = (a.expression if isinstance(a, Number) else a for a in args)
        return Number(self.branches.expression(function, *parts), self.branches)

    def answer(self, function: Callable[..., Any], *args: Any) -> Any:
        """The value of ``function(*args)`` now; the program is right only where it is the same."""
        number = self.apply(function, *args)
        if number is NotImplemented:
            return number
        return self.branches.answer(number.expression)

    def __float__(self) -> float:
        return float(self.branches.answer(self.expression))

    def __int__(self) -> int:
        return int(float(self))

    def __bool__(self) -> bool:
        return bool(self.answer(operator.ne, self, 0))

    def __round__(self, digits: int | None = None) -> Any:
        return round(float(self), digits)


def _unary(function: Callable[..., Any]) -> Callable[[Number], Any]:
    return lambda self: self.apply(function, self)


def _binary(function: Callable[..., Any]) -> Callable[[Number, Any], Any]:
    return lambda self, other: self.apply(function, self, other)


def _swapped(function: Callable[..., Any]) -> Callable[[Number, Any], Any]:
    return lambda self, other: self.apply(function, other, self)


def _compared(function: Callable[..., Any]) -> Callable[[Number, Any], Any]:
    return lambda self, other: self.answer(function, self, other)


for _name in ("neg", "pos", "abs"):
    setattr(Number, f"__{_name}__", _unary(getattr(operator, _name)))
for _name in ("add", "sub", "mul", "truediv", "pow", "mod", "floordiv"):
    setattr(Number, f"__{_name}__", _binary(getattr(operator, _name)))
    setattr(Number, f"__r{_name}__", _swapped(getattr(operator, _name)))
for _name in ("lt", "le", "eq", "ne", "ge", "gt"):
    setattr(Number, f"__{_name}__", _compared(getattr(operator, _name)))


def on_host(function: Callable[..., Any], *args: Any) -> Any:
    """``function(*args)`` of numbers on the host, such as the logarithm of a beta (R7).

    Rules call every function other than arithmetic in this way, so that it can be evaluated again
    with the floats of each step.

    >>> on_host(math.log, 1.0)
    0.0
    """
    for arg in args:
        if isinstance(arg, Number):
            return arg.apply(function, *args)
    return function(*args)
