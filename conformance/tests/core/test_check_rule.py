"""The linter of rules: its findings about faulty rules and about the library's (issue 17, item 5).

It checks P1, P11, N1 to N7.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from mgup_core import AdamW, Direction, Rule, check_rule, ema, rules
from mgup_core.numerics.scalars import at_first, inverse_correction


@pytest.mark.parametrize("kind", rules.ALL, ids=lambda kind: kind.__name__)
def test_the_library_has_no_errors(kind):
    report = check_rule(kind)
    assert report.ok, report
    assert bool(report.operations) == kind.elementwise


def test_a_rule_made_already():
    assert check_rule(AdamW(eps=1e-3)).ok


@dataclass(frozen=True)
class Momentum(Rule):
    """A rule without faults; its subclasses below add one each."""

    b1: float = 0.9

    def init(self, be, w):
        return {"m": be.zeros_like(w)}

    def accumulate(self, be, g, w, state, t):
        return {"m": ema(be, state["m"], g, self.b1)}

    def direction(self, be, g, w, state, t):
        return Direction(state["m"], state["m"])


@dataclass(frozen=True)
class Adopt(Rule):
    """Unflushed second moments make a step -0.158 on NumPy and -inf on JAX."""

    b2: float = 0.9

    def init(self, be, w):
        return {"v": be.zeros_like(w)}

    def accumulate(self, be, g, w, state, t):
        beta, rest = be.scalar(self.b2), be.scalar(1 - self.b2)
        return {"v": be.mul(beta, state["v"]) + be.mul(rest, be.mul(g, g))}

    def direction(self, be, g, w, state, t):
        u = be.div(g, be.sqrt(state["v"]))
        return Direction(u, u)


class Divided(Momentum):
    def direction(self, be, g, w, state, t):
        u = state["m"] / (be.sqrt(be.mul(g, g)) + be.scalar(1e-8))
        return Direction(u, u)


class Rooted(Momentum):
    def direction(self, be, g, w, state, t):
        u = be.div(state["m"], be.xp.sqrt(be.mul(g, g)) + be.scalar(1e-8))
        return Direction(u, u)


class Multiplied(Momentum):
    def direction(self, be, g, w, state, t):
        u = state["m"] * be.scalar(0.9) + g
        return Direction(u, u)


class Exponential(Momentum):
    def direction(self, be, g, w, state, t):
        u = be.xp.tanh(state["m"])
        return Direction(u, u)


class Summed(Momentum):
    def direction(self, be, g, w, state, t):
        u = be.div(state["m"], be.total(be.mul(g, g)))
        return Direction(u, u)


class SummedItself(Momentum):
    elementwise: ClassVar[bool] = False

    def direction(self, be, g, w, state, t):
        u = be.div(state["m"], be.xp.sum(be.mul(g, g)))
        return Direction(u, u)


class Branching(Momentum):
    def direction(self, be, g, w, state, t):
        u = state["m"] if float(be.xp.max(g)) > 0 else g
        return Direction(u, u)


class FirstByIf(Momentum):
    def accumulate(self, be, g, w, state, t):
        return {"m": g if isinstance(t, int) and t == 1 else ema(be, state["m"], g, self.b1)}


class Doubled(Momentum):
    def direction(self, be, g, w, state, t):
        u = state["m"] + np.float64(0.5) * g.astype(np.float64)
        return Direction(u, u)


class Constrained(Momentum):
    def constrain(self, be, delta, w, rate, direction):
        return delta + be.mul(be.scalar(0.1), w)


class Writing(Momentum):
    def accumulate(self, be, g, w, state, t):
        state["m"] += g
        return state


class Losing(Momentum):
    def finish(self, be, g, w, state, t):
        return {}


@dataclass(frozen=True)
class Reserved(Momentum):
    tau: float = 0.5


@dataclass(frozen=True)
class NoDefault(Rule):
    strength: float


class Undecorated(Rule):
    strength: float = 1.0


@pytest.mark.parametrize(
    ("kind", "clause", "words"),
    [
        (Adopt, "N6", "'v' keeps"),
        (Divided, "N4", "be.div"),
        (Rooted, "N4", "be.sqrt"),
        (Multiplied, "N5", "be.mul"),
        (Exponential, "N1", "tanh"),
        (Summed, "N5", "elementwise: ClassVar[bool] = False"),
        (SummedItself, "N5", "be.total"),
        (Branching, "N5", "xp.max"),
        (FirstByIf, "N3", "at_first"),
        (Doubled, "N2", "be.scalar"),
        (Writing, "", "read-only"),
        (Losing, "", "'m' is lost"),
        (Constrained, "P11", "constrain"),
        (Reserved, "", "'tau'"),
        (NoDefault, "", "strength has no default"),
        (Undecorated, "", "strength is no field"),
        (int, "", "no subclass of mgup_core.Rule"),
    ],
)
def test_what_is_wrong_is_said_with_its_remedy(kind, clause, words):
    if isinstance(kind, type) and issubclass(kind, Momentum) and kind.__name__ != "Reserved":
        kind = dataclass(frozen=True)(kind)
    report = check_rule(kind)
    assert not report.ok
    said = [f for f in report.findings if f.level == "error" and words in f.text]
    assert said, report
    assert said[0].clause == clause


def test_at_first_and_corrections_pass():
    @dataclass(frozen=True)
    class Right(Momentum):
        def direction(self, be, g, w, state, t):
            u = be.mul(state["m"], inverse_correction(be, self.b1, t))
            u = at_first(be, t, g, u)
            return Direction(u, u)

    report = check_rule(Right)
    assert report.ok, report
    assert "no errors" in str(report)


def test_a_rule_without_state_needs_no_init():
    """As the porting guide says: a direction is enough."""

    @dataclass(frozen=True)
    class Plain(Rule):
        counts_steps: ClassVar[bool] = False

        def direction(self, be, g, w, state, t):
            return Direction(g, a=g)

    assert check_rule(Plain).ok, check_rule(Plain)
    with pytest.raises(NotImplementedError, match=r"Rule has no method direction"):
        Rule().direction(None, None, None, {}, 1)
