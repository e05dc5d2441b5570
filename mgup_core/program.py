"""A rule and a policy as a straight-line program, for targets that want to be told what to compute.

A GPU kernel cannot call a rule. So :func:`record` runs the pure step once, on symbols instead of
arrays, and keeps what was asked of them; the target then spells the same operations in its own
language. What a rule says is still written once, in the rule.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from .backend import Backend
from .policy import MGUP, Policy, SignMGUP, Split
from .rules.base import Rule
from .runtime import Expression, Number
from .scalars import STEP_BITS, complements
from .update import gradients, update_array

_FOLD: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "neg": operator.neg,
    "sqrt": np.sqrt,
}


LEAVES = ("input", "const", "number")
"""The operations without symbols that go in."""


class _Length(int):
    """The length of a slice, which differs from slice to slice and is no constant."""


class Symbol:
    """A value of a program: the operation that makes it and the values that go in.

    Args:
        op: ``"input"``, ``"const"``, ``"number"`` (of the rule, at each step: R7), or an operation:
            add, sub, mul, div, neg, sqrt, abs, sign,
            isfinite, maximum, where, cast, floordiv, mod, lt, gt, ge, eq, and, or, invert, or
            another elementwise function of the array API; ``flush`` (to 0 below a bound, N6),
            ``correction`` (of a step and a beta, N3), and ``selected`` (the rank mask of a score).
        args: symbols; for an input its name, for a constant its number, for a number its
            :class:`~mgup_core.forms.Expression`.
        dtype: ``"float32"``, ``"float64"``, ``"int64"`` or ``"bool"``; of a beta ``"host"``, a
            float that is not rounded.
        uniform: whether it is the same for all coordinates of a slice (0-d).
    """

    shape = (1, _Length(2**30))
    device = None

    def __init__(self, op: str, args: tuple[Any, ...], dtype: str, uniform: bool) -> None:
        self.op, self.args, self.dtype, self.uniform = op, args, dtype, uniform

    @property
    def ndim(self) -> int:
        return 0 if self.uniform else 2

    def _with(self, op: str, *others: Any, dtype: str | None = None) -> Symbol:
        return _node(op, self, *others, dtype=dtype)

    def __add__(self, other: Any) -> Symbol:
        return self._with("add", other)

    def __sub__(self, other: Any) -> Symbol:
        return self._with("sub", other)

    def __mul__(self, other: Any) -> Symbol:
        return self._with("mul", other)

    def __truediv__(self, other: Any) -> Symbol:
        return self._with("div", other)

    def __floordiv__(self, other: Any) -> Symbol:
        return self._with("floordiv", other)

    def __mod__(self, other: Any) -> Symbol:
        return self._with("mod", other)

    def __neg__(self) -> Symbol:
        return self._with("neg")

    def __lt__(self, other: Any) -> Symbol:
        return self._with("lt", other, dtype="bool")

    def __gt__(self, other: Any) -> Symbol:
        return self._with("gt", other, dtype="bool")

    def __ge__(self, other: Any) -> Symbol:
        return self._with("ge", other, dtype="bool")

    def __eq__(self, other: Any) -> Symbol:  # type: ignore[override]
        return self._with("eq", other, dtype="bool")

    def __and__(self, other: Any) -> Symbol:
        return self._with("and", other)

    def __or__(self, other: Any) -> Symbol:
        return self._with("or", other)

    def __invert__(self) -> Symbol:
        return self._with("invert")

    def __hash__(self) -> int:
        return id(self)

    def __bool__(self) -> bool:
        raise TypeError("a rule asked for the value of an array: its step cannot be recorded.")


def _constant(value: Any, dtype: str) -> Symbol:
    """A number that is known now, or that the rule's floats give at each step."""
    if isinstance(value, Number):
        return Symbol("number", (value.expression,), dtype, uniform=True)
    return Symbol("const", (value,), dtype, uniform=True)


def _node(op: str, *args: Any, dtype: str | None = None) -> Symbol:
    kind = next(x.dtype for x in args if isinstance(x, Symbol))
    symbols = tuple(x if isinstance(x, Symbol) else _constant(x, kind) for x in args)
    if op in _FOLD and all(x.op == "const" for x in symbols):
        return _constant(_FOLD[op](*(x.args[0] for x in symbols)), kind)
    return Symbol(op, symbols, dtype or kind, all(x.uniform for x in symbols))


class _Namespace:
    """The functions of the array API that elementwise rules and policies call, on symbols."""

    float32, float64, int32, int64 = "float32", "float64", "int32", "int64"

    def where(self, condition: Symbol, x: Symbol, y: Symbol) -> Symbol:
        kind = x.dtype
        uniform = condition.uniform and x.uniform and y.uniform
        return Symbol("where", (condition, x, y), kind, uniform)

    def reshape(self, x: Symbol, shape: Any) -> Symbol:
        return x

    def astype(self, x: Symbol, dtype: str) -> Symbol:
        return _node("cast", x, dtype=dtype)

    def isfinite(self, x: Symbol) -> Symbol:
        return _node("isfinite", x, dtype="bool")

    def zeros_like(self, x: Symbol, dtype: str) -> Symbol:
        return _constant(0.0, dtype)

    def __getattr__(self, name: str) -> Callable[..., Symbol]:
        return lambda *args: _node(name, *args)


class _Recorder(Backend):
    """Hands out symbols in place of arrays, and notes what the policy looks at."""

    def __init__(self, dtype: str = "float32") -> None:
        super().__init__(_Namespace(), dtype)
        self.seen: Symbol | None = None
        self.scores: Symbol | None = None
        self._numbers: dict[Expression, Symbol] = {}

    def scalar(self, value: Any) -> Symbol:
        if isinstance(value, Symbol):
            return self.cast(value, self.dtype)  # type: ignore[no-any-return]
        if isinstance(value, _Length):
            return self.scalar(_input("d", "int64"))
        if isinstance(value, Number):  # one symbol, so that it is handed over once
            number = _constant(value, self.dtype)
            return self._numbers.setdefault(value.expression, number)
        return _constant(self.host_dtype(value), self.dtype)

    def flush(self, x: Symbol, below: float | None = None) -> Symbol:
        return _node("flush", x, self.host_dtype(self.tiny_moment if below is None else below))

    def correction(self, beta: float, t: Symbol) -> Symbol:
        return Symbol("correction", (t, _constant(beta, "host")), self.dtype, uniform=True)

    def decide(self, policy: Policy, scores: Symbol, stacked_dims: int = 0) -> Split:
        self.scores = scores
        return super().decide(policy, scores, stacked_dims)

    def rank_mask(self, scores: Symbol, k: int) -> Symbol:
        self.seen = scores
        return Symbol("selected", (scores,), "bool", uniform=False)

    def count(self, mask: Symbol) -> Symbol:
        self.seen = mask
        return _input("positive", "int64")


def _input(name: str, dtype: str = "float32", *, uniform: bool = True) -> Symbol:
    return Symbol("input", (name,), dtype, uniform)


class Proposal(NamedTuple):
    """What a step would do to one parameter, before anything is selected."""

    u: Symbol
    scores: Symbol
    state: dict[str, Symbol]


def record_proposal(rule: Rule, dtype: str, *, coupled: bool, accumulate: bool) -> Proposal:
    """The direction and the canonical score of a rule, from ``w``, ``g``, ``t`` and its state.

    Args:
        dtype: the compute dtype, ``"float32"`` or ``"float64"``.
        coupled: whether ``weight_decay`` enters the moments' gradient.
        accumulate: whether the moments are yet to take in the gradient.
    """
    be = _Recorder(dtype)

    def array(name: str) -> Symbol:
        return _input(name, dtype, uniform=False)

    w, t = array("w"), _input("t", "int64")
    raw, g = gradients(be, w, array("g"), _input("weight_decay", dtype) if coupled else None)
    state = {name: array(name) for name in rule.init(be, w)}
    if accumulate:
        state = rule.accumulate(be, g, w, state, t)
    proposed = rule.direction(be, g, w, state, t)
    return Proposal(proposed.u, be.flush(be.mul(proposed.a, raw), be.tiny_score), state)


@dataclass(frozen=True, eq=False)
class Program:
    """One step of one parameter, by any rule of one form (:mod:`mgup_core.forms`).

    Inputs are named ``w``, ``g`` and by the rule's state; uniform ones ``t`` and ``d`` (int64),
    ``positive`` (int64, how many scores are), ``lr``, ``weight_decay``, ``alpha`` and ``gamma``.
    """

    states: tuple[str, ...]
    seen: Symbol | None
    """What must be known of the whole slice first: a score, to be ranked; a mask, to be counted."""
    outputs: dict[str, Symbol]
    """``w`` and the state, in the compute dtype."""
    scores: Symbol | None
    """The canonical scores; ``None`` without a policy."""


def record(
    rule: Rule,
    policy: Policy | None,
    *,
    decays: bool,
    maximize: bool = False,
    dtype: str = "float32",
) -> Program:
    """The program of a rule and a policy.

    Args:
        decays: whether there is weight decay at all.
        maximize: whether the gradient is negated first.
        dtype: the compute dtype, ``"float32"`` or ``"float64"``.

    Raises:
        TypeError, AttributeError: for a rule whose step is not elementwise.
    """
    if not rule.elementwise:
        raise TypeError(f"{type(rule).__name__} is not elementwise: it has no such program.")
    be = _Recorder(dtype)

    def scalar(name: str) -> Symbol:
        return _input(name, dtype)

    def array(name: str) -> Symbol:
        return _input(name, dtype, uniform=False)

    w, g = array("w"), array("g")
    states = tuple(rule.init(be, w))
    if isinstance(policy, (MGUP, SignMGUP)):
        policy = replace(policy, alpha=scalar("alpha"), gamma=scalar("gamma"))
    update = update_array(
        be,
        rule,
        policy,
        w,
        -g if maximize else g,
        {name: array(name) for name in states},
        _input("t", "int64"),
        lr=scalar("lr"),
        weight_decay=scalar("weight_decay") if decays else 0.0,
    )
    return Program(states, be.seen, {"w": w - update.delta, **update.state}, be.scores)


def needed(symbols: Iterable[Symbol], known: Iterable[Symbol] = ()) -> list[Symbol]:
    """All symbols that these depend on, themselves included, each after what it needs.

    Args:
        known: symbols that need not be computed.
    """
    order: dict[Symbol, None] = {}
    stack = [(symbol, False) for symbol in reversed(list(symbols))]
    known = set(known)
    while stack:
        symbol, ready = stack.pop()
        if symbol in order:
            continue
        if ready or symbol in known or symbol.op in LEAVES:
            order[symbol] = None
            continue
        stack.append((symbol, True))
        stack += [(arg, False) for arg in reversed(symbol.args)]
    return list(order)


def frontier(symbols: Iterable[Symbol]) -> list[Symbol]:
    """The uniform symbols that the arrays among ``symbols`` and their needs are computed from."""
    found: dict[Symbol, None] = {}
    for symbol in needed(symbols):
        if not symbol.uniform and symbol.op not in LEAVES:
            for arg in symbol.args:
                if arg.uniform and arg.op != "const":
                    found[arg] = None
    return list(found)


class Numbers:
    """What a program takes of the rule's floats, as a row for a target that cannot form it (R7).

    Args:
        outputs: the symbols that are wanted of the program.
    """

    def __init__(self, outputs: Iterable[Symbol]) -> None:
        self.places: dict[Symbol, int] = {}
        """Where the row has each number, and the complements of each correction (N3)."""
        self.length = 0
        for symbol in needed(outputs):
            if symbol.op == "correction" or (symbol.op == "number" and symbol.dtype != "host"):
                self.places[symbol] = self.length
                self.length += STEP_BITS if symbol.op == "correction" else 1

    def of(self, rule: Rule) -> list[float]:
        """The row for the floats of a rule, in float64: to be rounded once."""
        row: list[float] = []
        for symbol in self.places:
            number = symbol.args[1] if symbol.op == "correction" else symbol
            value = number.args[0].of(rule) if number.op == "number" else number.args[0]
            row += complements(value) if symbol.op == "correction" else (value,)
        return row
