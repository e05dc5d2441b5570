"""The suite catches every mutant, and for the right reason.

It checks every clause that the suite knows (``mgup_conformance.clauses``).
"""

from __future__ import annotations

import re

import pytest

from mgup_conformance import all_cases, run_case
from mgup_conformance.backends.core import Reference
from mgup_conformance.compare import Mismatch
from mgup_conformance.mutants import MUTANTS
from mgup_conformance.protocol import lacking

CASES = {case.id: case for case in all_cases(fast=True)}

CAUGHT_BY = {
    "k_rounded": "count/decimals",
    "k_float": "count/decimals",
    "k_ceil": "count/decimals",
    "k_never_zero": "count/mean",
    "k_padded": "count/mean",
    "ties_reversed": "rank/ties/float32",
    "ties_all": "count/mean",
    "ties_none": "count/mean",
    "nan_highest": "rank/nan/float32",
    "smallest": "rank/normal/float32",
    "magnitude": "rank/normal/float32",
    "score_not_canonical": "rank/tiny/float32",
    "zero_signed": "rank/signed_zeros/float32",
    "whole_array": "stacked/adamw/float32",
    "zero_selected": "sign/scores/float32",
    "multiplier_swapped": "rank/normal/float32",
    "unsafe": "rank/infinities/float32",
    "adaptive_unclipped": "adaptive/scores/float32",
    "cautious_floor": "cautious/scores/float32",
    "gradient_for_momentum": "compact/adamw/mgup/float32",
    "mask_after_decay": "compact/adamw/mgup/float32",
    "decay_in_score": "compact/adamw/mgup/float32",
    "phi_on_decay": "compact/adamw/mgup/float32",
    "decay_regrouped": "compact/adamw/mgup/float32",
    "aligned_ignored": "aligned_decay/adamw/float32",
    "aligned_with_descent": "aligned_decay/adamw/float32",
    "step_off_by_one": "compact/adamw/mgup/float32",
    "rounded_twice": "compact/lion/sign_aligned/bfloat16_state32",
    "truncated": "compact/lion/sign_aligned/bfloat16_state32",
    "overflow": "overflow/sgd/float32",
    "phi_after_rate": "schedule/adamw/float32",
    "absent_is_zero": "absent/adamw/float32",
    "schedule_ignored": "schedule/adamw/float32",
    "eps_before_correction": "compact/adamw/mgup/float32",
    "eps_in_root": "compact/adamw/mgup/float32",
    "divided": "compact/adamw/mgup/float32",
    "uncorrected": "compact/adamw/mgup/float32",
    "forms_swapped": "compact/adamw_paper/adaptive/float64",
    "lion_late": "compact/lion/sign_aligned/bfloat16_state32",
    "lion_zero": "tiny_gradients/lion/float32",
    "sgd_first_dampened": "run/sgd_dampened/mgup/float32",
    "sgd_nesterov": "run/sgd_nesterov/sign/float64",
    "sgd_scores_direction": "run/sgd_nesterov/sign/float64",
    "muon_late": "run/muon_default/mgup/float32",
    "muon_scale": "run/muon_default/mgup/float32",
    "muon_four_steps": "run/muon_default/mgup/float32",
    "complement_float32": "compact/adamw/mgup/float32",
    "contracted": "compact/adamw/mgup/float32",
    "moments_not_flushed": "tiny_gradients/adamw/float32",
    "flushed_early": "tiny_gradients/adamw/float32",
    "sqrt_inexact": "compact/adamw/mgup/float32",
    "power": "compact/adamw/mgup/float32",
}
"""The case of the fast set that is there for each mistake."""


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_caught(mutant):
    """By the case that is there for it."""
    case, backend = CASES[CAUGHT_BY[mutant.name]], mutant.backend()
    assert lacking(backend, case.needs) is None
    with pytest.raises(Mismatch):  # without the diagnosis, which takes most of run_case's time
        case.check(backend, set_of="fast")


NAMES_ITS_PLACE = [
    "ties_reversed", "phi_on_decay", "muon_late", "overflow", "rounded_twice", "sgd_nesterov",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES_ITS_PLACE)
def test_the_message_says_where_and_what(name):
    """Clause, first differing step, coordinate, both values in hex, and the threshold."""
    (mutant,) = (one for one in MUTANTS if one.name == name)
    case = CASES[CAUGHT_BY[name]]
    message = run_case(mutant.backend(), case, set_of="fast").message
    assert message.startswith(f"{case.id} ({', '.join(case.clauses)})\n")
    assert "coordinate [" in message
    assert "step " in message or "scores (" in message
    assert re.search(r"expected -?(0x|inf|nan)[^\n]*\n  got      -?(0x|inf|nan)", message)
    if "\nstate " not in message:
        assert "threshold" in message or "its score is NaN" in message


@pytest.mark.parametrize("case_id", sorted(set(CAUGHT_BY.values())))
def test_the_reference_itself_passes(case_id):
    """Unchanged, through the same door as the mutants."""
    result = run_case(Reference(), CASES[case_id], set_of="fast")
    assert result.status == "passed", result.message


def test_mutants_are_told_apart():
    names = [mutant.name for mutant in MUTANTS]
    assert len(set(names)) == len(names) >= 40
    assert all(mutant.mistake.endswith(".") for mutant in MUTANTS)


def test_a_mutant_leaves_the_core_as_it_was():
    """Its patches hold only while it works."""
    for mutant in MUTANTS:
        before = [vars(target)[attribute] for target, attribute in mutant.places]
        with mutant.backend().context():
            for target, attribute in mutant.places:
                assert vars(target)[attribute] is mutant.wrong
        assert [vars(target)[attribute] for target, attribute in mutant.places] == before
