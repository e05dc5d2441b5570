"""A rule and a policy as a straight-line program, for targets that want to be told what to compute.

A GPU kernel cannot call a rule. So :func:`record` runs the pure step once, on symbols instead of
arrays, and keeps what was asked of them; the target then spells the same operations in its own
language. What a rule says is still written once, in the rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, NoReturn

import numpy as np

from .._typing import Decider, Split
from ..numerics.backend import Backend
from ..numerics.runtime import Expression, Number
from ..numerics.scalars import STEP_BITS, complements
from ..policy import MGUP, Policy, SignMGUP
from ..rules.base import Rule
from ..step import gradients, update_array
from .forms import Forms
from .ops import NotElementwise, Unrecordable
from .symbols import LEAVES as LEAVES
from .symbols import Length, Namespace, constant, node
from .symbols import Symbol as Symbol
from .symbols import frontier as frontier
from .symbols import needed as needed


class _Recorder(Backend):
    """Hands out symbols in place of arrays, and notes what the policy looks at."""

    def __init__(self, dtype: str = "float32") -> None:
        super().__init__(Namespace(), dtype)
        self.seen: Symbol | None = None
        self.scores: Symbol | None = None
        self._numbers: dict[Expression, Symbol] = {}

    def scalar(self, value: Any) -> Symbol:
        if isinstance(value, Symbol):
            return self.cast(value, self.dtype)  # type: ignore[no-any-return]
        if isinstance(value, Length):
            return self.scalar(_input("d", "int64"))
        if isinstance(value, Number):  # one symbol, so that it is handed over once
            number = constant(value, self.dtype)
            return self._numbers.setdefault(value.expression, number)
        with np.errstate(over="ignore"):
            return constant(self.host_dtype(value), self.dtype)

    def flush(self, x: Symbol, below: float | None = None) -> Symbol:
        return node("flush", x, self.host_dtype(self.tiny_moment if below is None else below))

    def correction(self, beta: float, t: Symbol) -> Symbol:
        return Symbol("correction", (t, constant(beta, "host")), self.dtype, uniform=True)

    def total(self, x: Symbol, axis: int | None = None) -> NoReturn:
        raise NotElementwise("be.total")

    def matmul(self, a: Symbol, b: Symbol, dtype: str | None = None) -> NoReturn:
        raise NotElementwise("be.matmul")

    def whole(self, function: Callable[..., Any], x: Symbol) -> NoReturn:
        raise NotElementwise("be.whole")

    def decide(self, policy: Decider, scores: Symbol, stacked_dims: int = 0) -> Split:
        self.scores = scores
        return policy.decide(self, scores)

    def length(self, rows: Symbol) -> int:
        return Length(2**30)

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


@contextmanager
def _recording(rule: Rule) -> Iterator[None]:
    """Whatever is refused names the rule."""
    try:
        yield
    except Unrecordable as error:
        error.args = (f"{type(rule).__name__}: {error}",)
        raise


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
    with _recording(rule):
        state = {name: array(name) for name in rule.init(be, w)}
        if accumulate:
            state = rule.accumulate(be, g, w, state, t)
        proposed = rule.direction(be, g, w, state, t)
    return Proposal(proposed.u, be.flush(be.mul(proposed.a, raw), be.tiny_score), state)


@dataclass(frozen=True, eq=False)
class Program:
    """One step of one parameter, by any rule of one form (:mod:`mgup_core.trace.forms`).

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
        Unrecordable: a TypeError that names the rule and says what to write instead.
        TypeError, AttributeError: for a rule whose step is not elementwise.
    """
    if not rule.elementwise:
        raise TypeError(f"{type(rule).__name__} is not elementwise: it has no such program.")
    be = _Recorder(dtype)

    def scalar(name: str) -> Symbol:
        return _input(name, dtype)

    def array(name: str) -> Symbol:
        return _input(name, dtype, uniform=False)

    with _recording(rule):
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
    outputs = {"w": w - update.delta, **update.state}
    return Program(states, be.seen, outputs, be.scores)


@Forms
def _recorded(rule: Rule) -> Program:
    return record(rule, None, decays=True)


def check_recordable(rule: Rule) -> None:
    """Refuse an elementwise rule that calls what a step cannot be recorded in, with the remedy.

    Raises:
        Unrecordable: a TypeError that names the rule, the operation and what to write instead.
    """
    if not rule.elementwise:
        return
    try:
        _recorded(rule)
    except Unrecordable:
        raise
    except Exception:  # another fault, which a step of whole arrays may not have
        return


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
