"""The cases are worth running: named, cited, and neither settled nor blown up.

No clause: the suite itself: which clauses its cases cite.
"""

from __future__ import annotations

import numpy as np
import pytest

from mgup_conformance import CLAUSES, all_cases
from mgup_conformance.cases import SETS
from mgup_conformance.clauses import clause_key
from mgup_conformance.data import SCORES, dtype_of, operands
from mgup_conformance.runs import MatrixCase, Replay, RunCase

FAST, ALL = all_cases(fast=True), all_cases()
CHAOTIC = [case for case in FAST if type(case) is RunCase and case.gradients == "chaotic"]


def test_ids_are_unique():
    assert len({case.id for case in ALL}) == len(ALL) > 200


def test_every_clause_is_cited_and_every_citation_exists():
    for cases in (FAST, ALL):
        assert {clause for case in cases for clause in case.clauses} == set(CLAUSES)


def test_clauses_sort_as_the_specification_numbers_them():
    assert sorted(CLAUSES, key=clause_key) == list(CLAUSES)


def test_the_fast_set_is_a_part():
    assert {case.id for case in FAST} < {case.id for case in ALL}


@pytest.mark.parametrize(
    "case",
    [
        # Of exact products nothing but time is to be seen here.
        pytest.param(
            case,
            marks=[pytest.mark.slow]
            * (case.id.startswith("exact/") and not case.id.startswith("exact/muon")),
        )
        for case in CHAOTIC
    ],
    ids=lambda case: case.id,
)
def test_trajectories_stay_alive(case):
    """Finite, and still moving."""
    replay = Replay(case)
    for _ in range(min(case.steps, 40)):
        before = replay.run.params()
        replay.advance()
    for old, new in zip(before, replay.run.params(), strict=True):
        assert np.isfinite(new.astype(np.float64)).all()
        if new.size > 8:
            assert np.mean(old != new) > 0.25


def test_one_wrong_bit_spreads():
    """The loop is chaotic: a parameter that is off by one unit is never back in step."""
    case = next(case for case in CHAOTIC if case.id == "run/adamw/mgup/float32")
    right, wrong = Replay(case), Replay(case)
    wrong.run.arrays = [w.copy() for w in wrong.run.arrays]
    first = wrong.run.arrays[0]
    first[:] = np.nextafter(first, np.float32(np.inf))
    for _ in range(20):
        right.advance()
        wrong.advance()
    assert (right.run.params()[0] != wrong.run.params()[0]).mean() > 0.5


@pytest.mark.parametrize("pattern", SCORES)
def test_patterns_are_what_they_say(pattern):
    """The products of the operands are the scores of the pattern."""
    for dtype in ("float32", "float64", "bfloat16"):
        a, g = operands(pattern, dtype, (1000,))
        assert a.dtype == g.dtype == dtype_of(dtype)
        with np.errstate(all="ignore"):
            s = a.astype(np.float64) * g.astype(np.float64)
        if pattern == "nan":
            nan = a[np.isnan(a)].astype(np.float64)
            assert 0 < np.signbit(nan).sum() < nan.size
        if pattern == "signed_zeros":
            assert 0 < np.signbit(s).sum() < s.size
        if pattern == "tiny":
            tiny = np.finfo(np.float64 if dtype == "float64" else np.float32).tiny
            assert ((s != 0) & (np.abs(s) < 2 * tiny)).any()
            assert (np.abs(s) > 2 * tiny).any()
        if pattern in ("ties", "narrow", "signs", "equal"):
            assert np.unique(s).size <= 7
        if pattern == "zeros":
            assert 0.8 < (s == 0).mean() < 0.97
        if pattern == "rare_positive":
            assert (s > 0).sum() == 1


def test_the_special_runs_do_what_they_are_for():
    """Overflow overflows, absent is absent, nonfinite is not finite, tiny is tiny."""
    by_id = {case.id: case for case in ALL}
    replay = Replay(by_id["overflow/sgd/float32"])
    gradients, _ = replay.feed.next(replay.run.params())
    with np.errstate(over="ignore"):
        assert np.isinf(gradients[0] * np.float32(4)).all()
    replay = Replay(by_id["absent/adamw/float32"])
    assert replay.feed.next(replay.run.params())[0][0] is None
    replay = Replay(by_id["nonfinite/adamw/float32"])
    replay.advance()
    (g, *_), _ = replay.feed.next(replay.run.params())
    assert np.isnan(g).any()
    assert np.isposinf(g).any()
    assert np.isneginf(g).any()
    replay = Replay(by_id["tiny_gradients/adamw/float32"])
    gradients, _ = replay.feed.next(replay.run.params())
    g = np.concatenate([one.ravel() for one in gradients])
    size = np.abs(g[g != 0])
    assert size.min() < 2.0**-126
    assert size.max() > 1
    replay = Replay(by_id["schedule/adamw/float32"])
    rates = {replay.feed.next(replay.run.params())[1] for _ in range(8)}
    assert len(rates) == 7


def test_matrix_runs_do_not_feed_back():
    """N7: their parameters agree by norm only, so their gradients must not depend on them."""
    assert {case.gradients for case in ALL if isinstance(case, MatrixCase)} == {"noise"}


def test_a_larger_set_takes_no_fewer_steps():
    """Issue 3: the exhaustive set takes all 200 steps of each elementwise trajectory."""
    runs = [case for case in ALL if isinstance(case, RunCase)]
    for case in runs:
        fast, standard, exhaustive = (case.length(set_of) for set_of in SETS)
        assert 0 < fast <= standard <= exhaustive
        if case.id.startswith("run/") and not isinstance(case, MatrixCase):
            assert exhaustive == 200
