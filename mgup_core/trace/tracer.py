"""Records a rule and a policy as a straight-line program, for targets that cannot call a rule.

A GPU kernel cannot call Python. So :func:`record` runs the pure step once on symbols instead of
arrays, and records the operations; a target then prints the same operations in its own language.
So each rule is still written once.
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
from ..rules.base import Decay, Rule
from ..step import gradients, rescale, update_array
from .forms import Forms
from .ops import NotElementwise, Unrecordable
from .symbols import LEAVES as LEAVES
from .symbols import Length, Namespace, constant, node
from .symbols import Symbol as Symbol
from .symbols import frontier as frontier
from .symbols import needed as needed


class _Recorder(Backend):
    """A backend of symbols; it records which statistic of a slice the policy needs."""

    def __init__(self, dtype: str = "float32") -> None:
        super().__init__(Namespace(), dtype)
        self.slice_statistic: Symbol | None = None
        self.scores: Symbol | None = None
        self._numbers: dict[Expression, Symbol] = {}

    def scalar(self, value: Any) -> Symbol:
        if isinstance(value, Symbol):
            return self.cast(value, self.dtype)  # type: ignore[no-any-return]
        if isinstance(value, Length):
            return self.scalar(_input("d", "int64"))
        if isinstance(value, Number):  # one symbol, so that a target takes it once
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
        self.slice_statistic = scores
        return Symbol("selected", (scores,), "bool", uniform=False)

    def count(self, mask: Symbol) -> Symbol:
        self.slice_statistic = mask
        return _input("positive", "int64")


def _input(name: str, dtype: str = "float32", *, uniform: bool = True) -> Symbol:
    return Symbol("input", (name,), dtype, uniform)


class Proposal(NamedTuple):
    """A rule's step of one parameter before the policy decides, as symbols."""

    u: Symbol
    scores: Symbol
    state: dict[str, Symbol]


@contextmanager
def naming(rule: Rule) -> Iterator[None]:
    """Add the rule's name to the message of whatever is refused."""
    try:
        yield
    except Unrecordable as error:
        error.args = (f"{type(rule).__name__}: {error}",)
        raise


def record_proposal(rule: Rule, dtype: str, *, coupled: bool, accumulate: bool) -> Proposal:
    """The direction and the canonical scores of a rule, from ``w``, ``g``, ``t`` and its state.

    Args:
        dtype: the compute dtype, ``"float32"`` or ``"float64"``.
        coupled: whether ``weight_decay`` enters the moments' gradient.
        accumulate: whether the moments still have to take in the gradient.
    """
    be = _Recorder(dtype)

    def array(name: str) -> Symbol:
        return _input(name, dtype, uniform=False)

    w, t = array("w"), _input("t", "int64")
    raw, g = gradients(be, w, array("g"), _input("weight_decay", dtype) if coupled else None)
    with naming(rule):
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
    slice_statistic: Symbol | None
    """What a statistic of the whole slice is needed of, before any coordinate can move: scores to
    rank, or a mask to count. ``None`` if no coordinate depends on others."""
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
        decays: whether there is weight decay.
        maximize: whether the gradient is negated first.
        dtype: the compute dtype, ``"float32"`` or ``"float64"``.

    Raises:
        Unrecordable: a TypeError that names the rule and says what to write instead.
        TypeError, AttributeError: for a rule whose step is not elementwise.
    """
    if not rule.elementwise:
        raise TypeError(f"{type(rule).__name__} is not elementwise: it has no such program.")
    be = _Recorder(dtype)

    def array(name: str) -> Symbol:
        return _input(name, dtype, uniform=False)

    with naming(rule):
        w, g = array("w"), array("g")
        states = tuple(rule.init(be, w))
        update = update_array(
            be,
            rule,
            _opened(policy, dtype),
            w,
            -g if maximize else g,
            {name: array(name) for name in states},
            _input("t", "int64"),
            lr=_input("lr", dtype),
            weight_decay=_input("weight_decay", dtype) if decays else 0.0,
        )
    outputs = {"w": w - update.delta, **update.state}
    return Program(states, be.slice_statistic, outputs, be.scores)


def _opened(policy: Policy | None, dtype: str) -> Policy | None:
    """A policy whose factors are inputs."""
    if isinstance(policy, (MGUP, SignMGUP)):
        return replace(policy, alpha=_input("alpha", dtype), gamma=_input("gamma", dtype))
    return policy


def record_rescaling(
    policy: Policy | None, *, decays: bool, decay: Decay = "all", maximize: bool = False
) -> Program:
    """The program of :func:`mgup_core.step.rescale`, in float32.

    Its input ``w`` is where another optimizer moved the parameter to; its one state, ``before``, is
    where that was before, and no output.

    Args:
        decays, maximize: as for :func:`record`.
    """
    be = _Recorder()
    w, g, before = (_input(name, uniform=False) for name in ("w", "g", "before"))
    rescaled = rescale(
        be,
        _opened(policy, "float32"),
        before,
        w,
        -g if maximize else g,
        lr=_input("lr"),
        weight_decay=_input("weight_decay") if decays else 0.0,
        decay=decay,
    )
    return Program(("before",), be.slice_statistic, {"w": rescaled.w}, be.scores)


@Forms
def recorded(rule: Rule) -> Program:
    """The program of a rule with decay and without a policy, recorded once for each form."""
    return record(rule, None, decays=True)


def check_recordable(rule: Rule) -> None:
    """Refuse an elementwise rule that calls a function which cannot be recorded.

    Raises:
        Unrecordable: a TypeError that names the rule, the operation and what to write instead.
    """
    if not rule.elementwise:
        return
    try:
        recorded(rule)
    except Unrecordable:
        raise
    except Exception:  # another fault, which a step of whole arrays need not have
        return


class Numbers:
    """The values of a rule's floats as one row, for a target that cannot evaluate expressions (R7).

    Args:
        outputs: the symbols that the program computes.
    """

    def __init__(self, outputs: Iterable[Symbol]) -> None:
        self.places: dict[Symbol, int] = {}
        """The index in the row of each number, and of each correction's first complement (N3)."""
        self.length = 0
        for symbol in needed(outputs):
            if symbol.op == "correction" or (symbol.op == "number" and symbol.dtype != "host"):
                self.places[symbol] = self.length
                self.length += STEP_BITS if symbol.op == "correction" else 1

    def of(self, rule: Rule) -> list[float]:
        """The row for the floats of a rule, in float64; the target rounds it once."""
        row: list[float] = []
        for symbol in self.places:
            number = symbol.args[1] if symbol.op == "correction" else symbol
            value = number.args[0].of(rule) if number.op == "number" else number.args[0]
            row += complements(value) if symbol.op == "correction" else (value,)
        return row
