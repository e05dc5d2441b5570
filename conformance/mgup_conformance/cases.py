"""What a case is, and stage one of the comparison (N8): one multiplier at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import floor, prod
from typing import ClassVar

import numpy as np

import mgup_core

from . import data
from .backends.core import Reference, make_policy
from .compare import Mismatch, check_identical, nearness
from .data import Shape
from .evidence import MultiplierEvidence
from .protocol import Array, Backend, Needs, PolicySpec, needs
from .verdicts import Verdict, judge_multiplier

REFERENCE = Reference()

SETS = ("fast", "standard", "exhaustive")
"""How much is asked: of cases, and of steps."""


@dataclass(frozen=True)
class Case:
    """One check, citing the clauses it checks."""

    id: str
    clauses: tuple[str, ...]
    fast: bool = field(default=False, kw_only=True)
    """Whether the fast set holds it."""
    compact: bool = field(default=False, kw_only=True)
    """Whether the fast set holds it even for a backend that compiles for long."""
    own: bool = field(default=False, kw_only=True)
    """Whether it is of a rule that the user named, so that every set holds it for every backend."""

    @property
    def needs(self) -> Needs:
        """What a backend must offer to be asked."""
        raise NotImplementedError

    runs: ClassVar[bool] = False
    """Whether it is about a training run, and not ``multiplier`` alone."""

    def check(self, backend: Backend, *, set_of: str = "standard") -> None:
        """Raise :class:`Mismatch` if the backend differs, in the steps of one of :data:`SETS`."""
        raise NotImplementedError

    def judge(self, backend: Backend, *, set_of: str = "standard") -> Verdict:
        """Whether a backend that differs does so by rounding (clause V)."""
        raise NotImplementedError


@dataclass(frozen=True)
class Question:
    """One call of ``multiplier``."""

    pattern: str
    policy: PolicySpec
    shape: Shape
    stacked_dims: int = 0

    def __str__(self) -> str:
        stacked = f", stacked_dims={self.stacked_dims}" if self.stacked_dims else ""
        return f"{self.pattern} scores {self.shape}, {self.policy}{stacked}"


@dataclass(frozen=True)
class MultiplierCase(Case):
    """Stage one of N8: the same (a, g) in, the same multiplier out."""

    dtype: str
    questions: tuple[Question, ...]

    @property
    def needs(self) -> Needs:
        stacked = any(question.stacked_dims for question in self.questions)
        options = {"multiplier", "stacked_dims"} if stacked else {"multiplier"}
        return needs(
            dtypes={self.dtype}, policy=self.questions[0].policy, rule=None, options=options
        )

    def check(self, backend: Backend, *, set_of: str = "standard") -> None:
        for question, a, g in self.operands():
            given = a.copy(), g.copy()
            check_multiplier(backend, question.policy, a, g, question.stacked_dims, str(question))
            for name, before, after in zip("ag", given, (a, g), strict=True):
                check_identical(f"operand {name}, which is not to be changed", before, after)

    def operands(self) -> Iterator[tuple[Question, Array, Array]]:
        """The questions, with their data."""
        for question in self.questions:
            a, g = data.operands(question.pattern, self.dtype, question.shape, self.id)
            yield question, a, g

    def judge(self, backend: Backend, *, set_of: str = "standard") -> Verdict:
        asked = [(q.policy, a, g, q.stacked_dims, str(q)) for q, a, g in self.operands()]
        return judge_multipliers(backend, asked)


def judge_multipliers(
    backend: Backend, asked: Sequence[tuple[PolicySpec, Array, Array, int, str]]
) -> Verdict:
    """All the answers of a backend to (policy, a, g, stacked_dims, what to call it)."""
    whole, answers = Verdict(), []
    for policy, a, g, stacked_dims, setting in asked:
        own, actual = judge_multiplier(backend, policy, a, g, stacked_dims, setting)
        if own.quantity == "operand":
            return own
        whole = whole.worse(own)
        answers.append((policy, a, g, stacked_dims, actual))
    return replace(whole, evidence=MultiplierEvidence(answers))


def check_multiplier(
    backend: Backend, policy: PolicySpec, a: Array, g: Array, stacked_dims: int, setting: str
) -> None:
    """Compare one multiplier with the reference's."""
    expected = REFERENCE.multiplier(policy, a, g, stacked_dims)
    actual = backend.multiplier(policy, a, g, stacked_dims)
    try:
        check_identical("multiplier", expected, actual, setting=setting)
    except Mismatch as mismatch:
        made = make_policy(policy)
        if mismatch.coordinate is not None and made is not None:
            mismatch.near = _near(made, a, g, stacked_dims, mismatch.coordinate)
        raise


def _near(
    policy: mgup_core.Policy, a: Array, g: Array, stacked_dims: int, coordinate: tuple[int, ...]
) -> str:
    be = REFERENCE.array_backend(a)
    scores = mgup_core.score(a, g, be=be)
    rows = scores.reshape(prod(a.shape[:stacked_dims]), -1)
    row, column = divmod(int(np.ravel_multi_index(coordinate, a.shape)), rows.shape[1])
    return nearness(rows, policy.decide(be, rows).mask, row, column, ranked=policy.ranks)


@dataclass(frozen=True)
class MeanCase(Case):
    """The mean multiplier of P12, and with it exactly K selected, from no reference at all."""

    dtype: str
    sizes: tuple[int, ...]
    ratios: tuple[float, ...]

    @property
    def needs(self) -> Needs:
        return needs(
            dtypes={self.dtype}, policy={"name": "mgup"}, rule=None, options={"multiplier"}
        )

    def operands(self) -> Iterator[tuple[int, float, PolicySpec, Array, Array]]:
        """Sizes, ratios, policies and data."""
        for d in self.sizes:
            for tau in self.ratios:
                policy: PolicySpec = {"name": "mgup", "tau": tau, "alpha": 2.0, "gamma": 0.5}
                yield d, tau, policy, *data.operands("ties", self.dtype, (d,), self.id)

    def judge(self, backend: Backend, *, set_of: str = "standard") -> Verdict:
        asked = [(policy, a, g, 0, f"tau={tau}, d={d}") for d, tau, policy, a, g in self.operands()]
        return judge_multipliers(backend, asked)

    def check(self, backend: Backend, *, set_of: str = "standard") -> None:
        for d, tau, policy, a, g in self.operands():
            k = floor(Fraction(repr(tau)) * d)
            # Twice the sum is a whole number, so it is exact in any order.
            expected = Fraction(4 * k + (d - k), 2)
            phi = backend.multiplier(policy, a, g, 0)
            if Fraction(float(phi.sum(dtype=np.float64))) != expected:
                raise Mismatch(
                    "sum of the multipliers",
                    f"{k} of {d} coordinates should be selected",
                    setting=f"tau={tau}, d={d}",
                    expected=str(float(expected)),
                    actual=str(float(phi.sum())),
                )
