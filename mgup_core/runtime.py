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

    def of(self, rule: Any) -> Any:
        """The value for the floats of a rule."""
        if self.function is None:
            return float(getattr(rule, self.args[0]))
        return self.function(*(a.of(rule) if isinstance(a, Expression) else a for a in self.args))


class Branches:
    """What a rule asked of its floats while it was recorded, with the answers it got."""

    def __init__(self) -> None:
        self._known: dict[Any, Expression] = {}
        self._answers: dict[Expression, Any] = {}

    def expression(self, function: Callable[..., Any] | None, *args: Any) -> Expression:
        """One object for one expression, so that it is handed over once."""
        key = function, *(a if isinstance(a, Expression) else repr(a) for a in args)
        return self._known.setdefault(key, Expression(function, args))

    def answer(self, question: Expression, answer: Any) -> Any:
        """Note that the program holds only where the question has this answer."""
        self._answers[question] = answer
        return answer

    def hold(self, rule: Any) -> bool:
        """Whether a rule of the same class, whose other fields are equal, would answer alike."""
        return all(_same(q.of(rule), answer) for q, answer in self._answers.items())


def _same(a: Any, b: Any) -> bool:
    return bool(a == b) and math.copysign(1.0, a) == math.copysign(1.0, b)


class Number:
    """A float of a rule while it is recorded, or what the rule made of it.

    Arithmetic is kept as an expression. A comparison is answered, and so is the wish for the float
    itself (``math.log(self.b1)``): then the program holds for that float alone, and another one is
    made for the next. :func:`on_host` spares that.
    """

    __slots__ = ("_branches", "expression", "value")
    __array_ufunc__ = None
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, expression: Expression, value: Any, branches: Branches) -> None:
        self.expression, self.value, self._branches = expression, value, branches

    def apply(self, function: Callable[..., Any], *args: Any) -> Any:
        """``function(*args)``, where this number is among the arguments."""
        if not all(isinstance(a, (int, float, Number)) for a in args):
            return NotImplemented  # an array's business
        value = function(*(a.value if isinstance(a, Number) else a for a in args))
        parts = (a.expression if isinstance(a, Number) else a for a in args)
        return Number(self._branches.expression(function, *parts), value, self._branches)

    def answer(self, function: Callable[..., Any], *args: Any) -> Any:
        """The value of ``function(*args)``, on which the program depends from here on."""
        number = self.apply(function, *args)
        if number is NotImplemented:
            return number
        return self._branches.answer(number.expression, number.value)

    def __float__(self) -> float:
        return float(self._branches.answer(self.expression, self.value))

    def __int__(self) -> int:
        return int(float(self))

    def __bool__(self) -> bool:
        return bool(self.answer(operator.ne, self, 0))

    def __repr__(self) -> str:
        return repr(float(self))

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
