"""Clause V: identical, rounding, different; and which known mistake a run looks like (issue 17)."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest

from mgup_conformance import all_cases, run_case
from mgup_conformance.compare import wide
from mgup_conformance.data import dtype_of
from mgup_conformance.matrix import markdown_line
from mgup_conformance.mutants import DICTIONARY, MUTANTS
from mgup_conformance.report import as_plain, clause_counts, clause_verdicts
from mgup_conformance.runner import Result, select, settle
from mgup_conformance.steps import UNITS
from mgup_conformance.verdicts import deviation

from . import planted

PAGE = Path(__file__).parents[3] / "docs" / "diagnosis.md"
ORDINARY = (planted.Torch, planted.Double)


@functools.cache
def case(name):
    (one,) = select(all_cases(), [name])
    return one


@pytest.mark.parametrize("form", ORDINARY, ids=lambda form: form.name)
@pytest.mark.parametrize("name", sorted({*planted.TELLING.values(), "nonfinite/lion/float32"}))
def test_an_ordinary_implementation_is_rounding(form, name):
    """Correct and identical nowhere: not one case is different."""
    result = run_case(form(), case(name), set_of="fast", level="rounding")
    assert result.status == "passed", result.judged
    assert result.verdict in ("identical", "rounding")
    assert result.units < UNITS


def test_the_twin_is_identical():
    for name in ("run/adamw/mgup/float32", "rank/nan/float32", "tiny_gradients/lion/float32"):
        assert run_case(planted.Twin(), case(name), set_of="fast").verdict == "identical"


@pytest.mark.parametrize("mistake", planted.MISTAKES)
@pytest.mark.parametrize(
    "form",
    [
        form if form is planted.Torch else pytest.param(form, marks=pytest.mark.slow)
        for form in planted.FORMS
    ],
    ids=lambda form: form.name,
)
def test_a_planted_mistake_is_different_and_its_clause_charged(form, mistake):
    """In an ordinary implementation too, where the bits say nothing."""
    result = run_case(
        form(mistake), case(planted.TELLING[mistake]), set_of="fast", level="rounding"
    )
    assert result.status == "failed"
    assert result.verdict == "different", result.judged
    assert planted.MISTAKES[mistake] in result.charged, (result.diagnosis, result.judged)
    assert result.diagnosis.startswith("as if: ")
    if PAGE.is_file():  # in a checkout
        words = markdown_line(result.diagnosis.removeprefix("as if: "))
        assert written()[mistake, form.name] == words


@functools.cache
def written():
    """What the page says of each mistake in each implementation."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.read_text().splitlines()
        if line.startswith("| ") and not line.startswith("| ---")
    ]
    (_, _, _, *forms), *rest = rows
    return {
        (mistake, form): words
        for mistake, _, _, *said in rest
        for form, words in zip(forms, said, strict=True)
    }


@pytest.mark.skipif(not PAGE.is_file(), reason="the checkout is not beside the tests")
def test_the_page_has_every_mistake():
    """Each cell of it is held against a run above; it is written by benchmarks/diagnosis.py."""
    names = {form.name for form in planted.FORMS}
    here = {(mistake, name) for mistake in planted.MISTAKES for name in names}
    rest = {(row, name) for row in ("none", "named rightly") for name in names}
    assert written().keys() == here | rest
    everything = len(planted.MISTAKES)
    for name in names:
        assert written()["named rightly", name].startswith(f"{everything} of {everything}, ")


def test_the_exit_level_is_the_users():
    ordinary = planted.Torch()
    for level, status in (("identical", "failed"), ("rounding", "passed")):
        result = run_case(ordinary, case("run/adamw/mgup/float32"), set_of="fast", level=level)
        assert (result.status, result.verdict) == (status, "rounding")
        assert f"of {UNITS} units in the last place" in result.judged
    with pytest.raises(ValueError, match="'close' is none of 'identical', 'rounding'"):
        run_case(ordinary, case("count/mean"), level="close")


class Slipping(planted.Twin):
    """One parameter's steps are a little too long."""

    def __init__(self, by):
        super().__init__()
        self.by = by

    def applied(self, w, u, phi, lr, decay):
        return w - (w - super().applied(w, u, phi, lr, decay)) * np.float32(1 + self.by)


def test_what_no_known_mistake_explains_is_named_by_its_first_quantity():
    result = run_case(Slipping(0.3), case("run/adamw/mgup/float32"), set_of="fast")
    assert result.verdict == "different"
    assert result.judged.startswith("different; first to deviate: step by ")
    assert "step 1" in result.judged
    assert not result.suspects
    assert result.charged == case("run/adamw/mgup/float32").clauses


class WrongMoment(planted.Twin):
    def average(self, old, new, beta, weight=None):
        return super().average(old, new, beta * beta, weight)


def test_a_wrong_moment_is_the_first_quantity():
    result = run_case(WrongMoment(), case("run/adamw/mgup/float32"), set_of="fast")
    assert "first to deviate: state exp_avg" in result.judged


def test_a_wrong_mask_is_told_from_a_wrong_step():
    """phi is read off the parameters, whatever the multiplier entry says."""

    class TwoFaced(planted.Twin):
        def multiplier(self, policy, a, g, stacked_dims):
            if self.asked:
                return super().multiplier(policy, a, g, stacked_dims)
            return super().multiplier({**policy, "tau": 0.75}, a, g, stacked_dims)

        asked = True

        def run(self, spec, params):
            trained = type(self)()
            trained.asked = False
            return planted.Twin.run(trained, spec, params)

    backend = TwoFaced()
    assert run_case(backend, case("rank/normal/float32")).verdict == "identical"
    result = run_case(backend, case("run/adamw/mgup/float32"), set_of="fast")
    assert "mask: 48 of 64 are selected, not 32" in result.judged


def test_the_deviation_is_in_units_of_what_may_move():
    expected = np.array([1.0, 1.0, np.inf, np.nan, 2.0], np.float32)
    room = UNITS * np.array([1e-3, 1e-3, 0.0, 0.0, 1e-3])
    actual = np.array([1.0, 1.002, np.inf, np.inf, 2.5], np.float32)
    within, units = deviation(expected, room, actual)
    assert within.tolist() == [True, True, True, True, False]
    assert units[1] == pytest.approx(2.0, rel=1e-3)
    assert units[4] == pytest.approx(500, rel=1e-3)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_low_precision_may_round_to_either_neighbour_only_near_the_middle(dtype):
    kind = dtype_of(dtype)
    one, next_one = (
        np.array([1.0], kind),
        np.nextafter(np.array([1.0], kind), np.array([2.0], kind)),
    )
    middle = ((wide(one) + wide(next_one)) / 2).astype(np.float32)
    room = np.array([1e-6])
    for stored in (one, next_one):
        assert deviation(middle, room, stored)[0].all()
    assert not deviation(np.array([1.0], np.float32), room, next_one)[0].all()


def results(*verdicts):
    return [
        Result("b", f"c{i}", ("P1", "R0"), "failed", verdict=verdict, charged=charged,
               suspects=suspects, runs=True)
        for i, (verdict, charged, suspects) in enumerate(verdicts)
    ]  # fmt: skip


def test_the_others_of_a_case_are_not_judged():
    found = results(("different", ("R0",), ("phi_on_decay",)), ("rounding", (), ()))
    verdicts = clause_verdicts(found)
    assert verdicts["P1"]["not judged"] == verdicts["P1"]["rounding"] == 1
    assert verdicts["P1"]["level"] == "rounding"
    assert verdicts["R0"]["level"] == "different"
    assert verdicts["R1"]["level"] == ""
    assert clause_counts(found)["R0"]["failed"] == 2
    assert clause_counts(found)["P1"]["failed"] == 1


def test_one_cause_has_one_name():
    """Two mistakes explain the first case; the second settles which it is."""
    found = results(
        ("different", ("R0", "P1"), ("phi_on_decay", "decay_in_score")),
        ("different", ("R0",), ("phi_on_decay",)),
    )
    first, second = settle(found)
    assert first.suspects == second.suspects == ("phi_on_decay",)
    assert first.charged == ("R0",)
    assert first.diagnosis == "as if: the decay is multiplied by the multiplier, too (R0)"


def test_every_mistake_has_its_clause_and_reads_as_a_sentence():
    from mgup_conformance import CLAUSES

    assert set(MUTANTS) < set(DICTIONARY)
    assert len({mutant.name for mutant in DICTIONARY}) == len(DICTIONARY)
    for mutant in DICTIONARY:
        assert mutant.clause in CLAUSES
        assert mutant.mistake.endswith(".")


def test_a_clause_without_a_training_run_says_so():
    result = run_case(planted.Twin(), case("rank/ties/float32"), set_of="fast")
    plain = as_plain([result], [planted.Twin()], set_of="fast")
    assert plain["backends"][0]["verdicts"]["P4"]["run_cases"] == 0
    from mgup_conformance.report import untrained

    assert untrained(plain["backends"][0]) == [
        "no training run was judged by: P1, P2, P4, P6, P7, N8"
    ]


def test_every_clause_that_a_run_can_show_is_cited_by_one():
    cited = {clause for one in all_cases() if one.runs for clause in one.clauses}
    from mgup_conformance import CLAUSES

    assert cited == set(CLAUSES)
