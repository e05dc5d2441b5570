"""The audit's protocol (issue 19.3): what runs next, and what is chosen.

No clause: how the audit chooses its runs.
"""

from __future__ import annotations

import dataclasses
import math
import random

import pytest

pytest.importorskip("audit", reason="the examples are not beside the tests")

from audit.config import RATIO, Experiment
from audit.plan import Cell, Plan, rate


def simulated(one: Experiment, loss, rows=(), others=None) -> list[dict[str, str]]:
    """The rows when nothing is wanted any more, each cell's loss being a function's."""
    rows = list(rows)
    for _ in range(10_000):
        cells = Plan(one, rows, {**(others or {}), one.name: one}).cells()
        if not cells:
            return rows
        rows += [
            {"experiment": one.name, "arm": cells[0].arm, "lr": repr(cells[0].lr),
             "beta1": repr(cells[0].beta1), "weight_decay": repr(cells[0].decay),
             "seed": str(seed), "loss": repr(loss(cells[0], seed))}
            for seed in cells[0].seeds
        ]  # fmt: skip
    raise AssertionError("the plan has no end")


ONE = Experiment(
    "one", "signals", "mlp", ("adamw", "mgup"), {"*": 0.01}, steps=1, betas1=(0.9, 0.95, 0.98),
    decays=(0.1, 0.2), report_seeds=(11, 12, 13),
)  # fmt: skip


def valley(best_lr, best_beta=0.9, best_decay=0.1):
    def loss(cell: Cell, seed: int) -> float:
        place = math.log(cell.lr / best_lr, RATIO)
        off = abs(cell.beta1 - best_beta) + abs(cell.decay - best_decay)
        return place**2 / 10 + off + 0.001 * random.Random(seed).random()

    return loss


@pytest.mark.parametrize("steps", [-6, -2, 0, 1, 5])
def test_the_best_learning_rate_is_never_at_an_edge(steps):
    """Issue 19.3: the grid grows until both neighbours of its best have run."""
    rows = simulated(ONE, valley(rate(0.01, steps), 0.98, 0.2))
    plan = Plan(ONE, rows, {})
    for arm in ONE.arms:
        best = plan.chosen(arm).best
        assert best == (steps, 0.98, 0.2)
        for i in (steps - 1, steps, steps + 1):
            seeds = plan.losses(arm, best._replace(i=i)).keys()
            assert {*ONE.selection_seeds, *ONE.report_seeds} <= seeds
        tried = {float(row["lr"]) for row in rows if row["arm"] == arm}
        assert len(tried) >= 5
        assert min(tried) < rate(0.01, steps) < max(tried)


def test_fresh_seeds_have_no_say_in_the_choice():
    """Issue 19.3: selection is on other seeds than the report's."""
    flattering = valley(0.01)

    def loss(cell, seed):
        return flattering(cell, seed) if seed in ONE.selection_seeds else -cell.lr

    assert Plan(ONE, simulated(ONE, loss), {}).chosen("mgup").best.i == 0


def test_what_diverges_is_never_chosen():
    def loss(cell, seed):
        return math.nan if cell.lr > 0.011 else -cell.lr

    plan = Plan(ONE, simulated(ONE, loss), {})
    assert plan.chosen("adamw").best.i == 0


def test_a_valley_without_a_floor_ends():
    rows = simulated(ONE, lambda cell, seed: -cell.lr)
    assert len({row["lr"] for row in rows if row["arm"] == "mgup"}) <= ONE.most + 1


def test_rates_of_another_experiment():
    """Issue 19.3: rates are transferred, and checked again beside."""
    two = dataclasses.replace(ONE, name="two", rates={}, rates_of="one", grid=3, betas1=(0.9,))
    before = {"one": ONE, "two": two}
    rows = simulated(ONE, valley(0.02))
    for known in ([], rows[:10]):  # it waits until the other has chosen
        assert Plan(two, known, before).cells() == []
    rows = simulated(two, valley(0.02 / RATIO), rows, before)
    assert Plan(two, rows, before).chosen("mgup").best.i == -1


def test_rates_that_are_taken_as_they_are():
    """Issue 19.3: the largest model, once."""
    two = dataclasses.replace(ONE, name="two", rates={}, rates_of="one", grid=1, neighbours=False)
    before = {"one": ONE, "two": two}
    rows = simulated(ONE, valley(0.02))
    cells = Plan(two, rows, before).cells()
    assert [(cell.lr, cell.seeds) for cell in cells] == [(0.02, two.report_seeds)] * 2


def test_what_is_cut_off_is_still_paired():
    """All arms' first seeds run before any arm's next."""
    one = dataclasses.replace(ONE, stack=2, betas1=(0.9,), decays=(0.1,))
    chose = [r for r in simulated(one, valley(0.01)) if int(r["seed"]) in one.selection_seeds]
    _, fresh, beside = Plan(one, chose, {}).stages()
    assert [(cell.arm, cell.seeds) for cell in fresh] == [
        ("adamw", (11, 12)), ("mgup", (11, 12)), ("adamw", (13,)), ("mgup", (13,)),
    ]  # fmt: skip
    assert len(beside) == 2 * 2 * 2


def test_the_order_of_the_rows_does_not_matter():
    rows = simulated(ONE, valley(0.014))
    wanted = [Plan(ONE, rows[:20], {}).cells(), Plan(ONE, rows, {}).chosen("mgup")]
    shuffled = random.Random(0).sample(rows[:20], 20)
    assert wanted == [Plan(ONE, shuffled, {}).cells(), Plan(ONE, rows[::-1], {}).chosen("mgup")]
