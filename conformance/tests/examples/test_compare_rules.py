"""The comparison's grids grow until the best learning rate lies inside.

No clause: a best rate at an edge compares two grids, not two optimizers.
"""

from __future__ import annotations

import math

import pytest

pytest.importorskip("torch")
compare_rules = pytest.importorskip("compare_rules")

Run = compare_rules.Run
GUESS = compare_rules.GUESS["Lion"]


def losses(best: float) -> dict:
    """Of both modes and one seed, where ``best`` is the best learning rate there could be."""
    found: dict = {}
    while runs := compare_rules.wanted(found, ["Lion"], [1]):
        assert not found.keys() & set(runs)  # nothing is run twice
        found |= {run: abs(math.log2(run.lr / best)) for run in runs}
    return found


@pytest.mark.parametrize("octaves", [-5, -1, 0, 1, 6])
def test_the_best_lies_inside(octaves):
    best = GUESS * 2.0**octaves
    found = losses(best)
    for mode in compare_rules.MODES:
        kept = compare_rules.best(found, "Lion", mode)
        assert (kept.lr, kept.at_the_edge) == (best, False)


def test_a_grid_ends():
    """One that never turns is marked."""
    found = losses(GUESS * 2.0**99)
    rates = {run.lr for run in found}
    assert len(rates) == compare_rules.MOST
    assert "*" in compare_rules.table(found, ["Lion"])


def test_results_are_kept(tmp_path):
    found = losses(GUESS)
    compare_rules.write(tmp_path / "compare.csv", found)
    kept = compare_rules.read(tmp_path / "compare.csv")
    assert kept.keys() == found.keys()
    assert kept == {run: round(loss, 4) for run, loss in found.items()}
    assert not compare_rules.wanted(kept, ["Lion"], [1])


def test_every_rule_has_an_optimizer():
    import mgup_torch

    assert all(hasattr(mgup_torch, f"MGUP{name}") for name in compare_rules.GUESS)
    assert compare_rules.OPTIONS.keys() <= compare_rules.GUESS.keys()
    assert set(compare_rules.MATRIX_RULES) <= compare_rules.GUESS.keys()
