"""Floats of a rule that are known at each step, and not when its step is recorded (R7).

The sums and products that a rule forms of its floats (``1 - beta``, N2) are kept as expressions,
and carried out in float64 for the floats of each step.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any


class Expression:
    """Arithmetic of a rule's floats, carried out in float64 on the host.

    Args:
        function: of numbers; ``None`` for a field, whose name is the one argument.
        args: expressions and numbers.
    """

    __slots__ = ("args", "function")

    def __init__(self, function: Callable[..., Any] | None, args: tuple[Any, ...]) -> None:
        self.function, self.args = function, args

    def fields(self) -> frozenset[str]:
        """The fields that it is made of."""
        if self.function is None:
            return frozenset(self.args)
        return frozenset().union(*(a.fields() for a in self.args if isinstance(a, Expression)))

    def of(self, rule: Any) -> Any:
        """The value for the floats of a rule."""
        if self.function is None:
            return float(getattr(rule, self.args[0]))
        return self.function(*(a.of(rule) if isinstance(a, Expression) else a for a in self.args))


class Branches:
    """What a rule asks of its floats while it is recorded, with the answers that it gets.

    Args:
        rule: whose floats answer.
    """

    def __init__(self, rule: Any) -> None:
        self.rule = rule
        self._known: dict[Any, Expression] = {}
        self._answers: dict[Expression, Any] = {}

    def expression(self, function: Callable[..., Any] | None, *args: Any) -> Expression:
        """One object for one expression, so that it is handed over once."""
        key = function, *(a if isinstance(a, Expression) else repr(a) for a in args)
        return self._known.setdefault(key, Expression(function, args))

    def number(self, name: str) -> Number:
        """A field of the rule."""
        return Number(self.expression(None, name), self)

    def answer(self, question: Expression) -> Any:
        """The answer, and a note that the program holds only where it is this one."""
        if question not in self._answers:
            self._answers[question] = question.of(self.rule)
        return self._answers[question]

    def hold(self, rule: Any) -> bool:
        """Whether a rule of the same class, whose other fields are equal, would answer alike."""
        return all(_same(q.of(rule), answer) for q, answer in self._answers.items())

    def asked(self) -> frozenset[str]:
        """The fields that decide an answer, or enter more than arithmetic."""
        others = (e for e in self._known.values() if e.function not in (None, *_ARITHMETIC))
        return frozenset().union(*(q.fields() for q in (*self._answers, *others)))


_ARITHMETIC = tuple(getattr(operator, n) for n in ("neg", "pos", "add", "sub", "mul", "truediv"))


def _same(a: Any, b: Any) -> bool:
    return bool(a == b) and math.copysign(1.0, a) == math.copysign(1.0, b)


class Number:
    """A float of a rule while it is recorded, or what the rule made of it.

    Arithmetic is kept as an expression. A comparison is answered, and so is the wish for the float
    itself (``math.log(self.b1)``): then the program holds for that float alone, and another one is
    made for the next. :func:`on_host` spares that.
    """

    __slots__ = ("branches", "expression")
    __array_ufunc__ = None
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, expression: Expression, branches: Branches) -> None:
        self.expression, self.branches = expression, branches

    def apply(self, function: Callable[..., Any], *args: Any) -> Any:
        """``function(*args)``, where this number is among the arguments."""
        if not all(isinstance(a, (int, float, Number)) for a in args):
            return NotImplemented  # an array's business
        parts = (a.expression if isinstance(a, Number) else a for a in args)
        return Number(self.branches.expression(function, *parts), self.branches)

    def answer(self, function: Callable[..., Any], *args: Any) -> Any:
        """The value of ``function(*args)``, on which the program depends from here on."""
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
    """``function(*args)`` of numbers on the host, such as a logarithm of a beta (R7).

    A rule calls functions other than arithmetic so, that they may be carried out anew for the
    floats of each step.

    >>> on_host(math.log, 1.0)
    0.0
    """
    for arg in args:
        if isinstance(arg, Number):
            return arg.apply(function, *args)
    return function(*args)
