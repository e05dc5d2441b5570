"""The comparison's grids grow until the best learning rate lies inside.

No clause: a best rate at an edge compares two grids, not two optimizers.
"""

from __future__ import annotations

import math

import pytest

pytest.importorskip("torch")
compare_rules = pytest.importorskip("compare_rules")

from lm.torch_trainer import GPT  # noqa: E402
from train_lm import make_parser, make_settings  # noqa: E402

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


@pytest.mark.filterwarnings("ignore:.*by size alone")
@pytest.mark.parametrize("rule", compare_rules.GUESS)
def test_every_rule_trains_the_model(rule):
    """With the options that it is given here; every parameter once."""
    model = GPT(make_settings(make_parser().parse_args(["--layers=1", "--width=8"])))
    made = compare_rules.make_optimizers(Run(rule, "rank", 1e-3, 0), model, 3)
    trained = [p for one in made for group in one.param_groups for p in group["params"]]
    assert len(trained) == len(list(model.parameters()))
    assert {*map(id, trained)} == {*map(id, model.parameters())}
