"""What the runs say: the chosen points, paired differences and their intervals, the curves."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from audit.arms import ARMS
from audit.config import Experiment
from audit.plan import Plan, Point, rate
from audit.records import Row

BASE = "adamw"
RESAMPLES = 10_000
WIDE = 0.01
"""Nats above the floor that still count as in the valley."""
STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 12: 2.201,
           16: 2.131, 24: 2.069}  # fmt: skip
"""By the number of pairs: the factor of a 95 % interval of a mean (two-sided Student's t)."""


class Difference(NamedTuple):
    """The mean of paired differences over seeds, and its 95 % intervals."""

    mean: float
    low: float
    high: float
    """Both by the percentile bootstrap over seeds."""
    student: float
    """Half the width of Student's interval, which does not flatter few seeds."""
    pairs: int


def difference(ours: dict[int, float], theirs: dict[int, float]) -> Difference | None:
    """``ours - theirs`` over the seeds that both have; ``None`` with fewer than two."""
    seeds = sorted(ours.keys() & theirs.keys())
    d = np.array([ours[seed] - theirs[seed] for seed in seeds])
    if len(d) < 2 or not np.isfinite(d).all():
        return None
    drawn = np.random.default_rng(0).integers(0, len(d), (RESAMPLES, len(d)))
    low, high = np.percentile(d[drawn].mean(1), [2.5, 97.5])
    half = STUDENT[len(d)] * d.std(ddof=1) / math.sqrt(len(d))
    return Difference(float(d.mean()), float(low), float(high), float(half), len(d))


def floor(beside: np.ndarray) -> np.ndarray:
    """The least of the parabola through losses at three neighbouring learning rates (…, 3).

    A grid of sqrt(2) can miss an arm's best rate by half a step, and the arms by different parts of
    one. Where the three are not convex it is their least.
    """
    a, b, c = np.moveaxis(beside, -1, 0)
    bend = a - 2 * b + c
    safe = np.where(bend > 0, bend, 1.0)
    least = b - (a - c) ** 2 / (8 * safe)
    inside = (bend > 0) & (np.abs(a - c) <= 2 * safe)
    return np.where(inside, least, beside.min(-1))


class Analysis:
    """One experiment.

    Args:
        experiment: as its configuration has it.
        rows: of all experiments.
        curves: by name.
        others: all experiments by name.
    """

    def __init__(
        self,
        experiment: Experiment,
        rows: Sequence[Row],
        curves: dict[str, Any],
        others: dict[str, Experiment],
    ) -> None:
        self.one, self.curves = experiment, curves
        self.plan = Plan(experiment, rows, others)
        self.rows = [row for row in rows if row["experiment"] == experiment.name]

    @cached_property
    def chosen(self) -> dict[str, Point]:
        """Of the arms whose selection is complete."""
        found = {}
        for arm in self.one.arms:
            if self.plan.middle(arm) is not None:
                choice = self.plan.chosen(arm)
                if choice.best is not None and not choice.wanted:
                    found[arm] = choice.best
        return found

    def lr(self, arm: str) -> float:
        """The chosen learning rate, as the optimizer had it."""
        middle = self.plan.middle(arm)
        assert middle is not None
        return rate(middle, self.chosen[arm].i) * ARMS[arm].factor

    def fresh(self, arm: str) -> dict[int, float]:
        """The losses of the fresh seeds at the chosen point."""
        if arm not in self.chosen:
            return {}
        known = self.plan.losses(arm, self.chosen[arm])
        return {seed: known[seed] for seed in self.one.report_seeds if seed in known}

    def selected(self, arm: str) -> dict[int, float]:
        """The losses of the selection seeds at the chosen point."""
        known = self.plan.losses(arm, self.chosen[arm])
        return {seed: known[seed] for seed in self.one.selection_seeds}

    @property
    def reported(self) -> list[str]:
        """The arms with fresh seeds."""
        return [arm for arm in self.one.arms if self.fresh(arm)]

    def loss(self, arm: str) -> float:
        return statistics.fmean(self.fresh(arm).values())

    def spread(self, arm: str) -> float:
        """The standard deviation over the fresh seeds."""
        values = list(self.fresh(arm).values())
        return statistics.stdev(values) if len(values) > 1 else 0.0

    def against(self, arm: str, base: str = BASE) -> Difference | None:
        return difference(self.fresh(arm), self.fresh(base))

    def beside(self, arm: str) -> dict[int, list[float]]:
        """The fresh seeds' losses at the chosen learning rate and its neighbours, in order."""
        if arm not in self.chosen:
            return {}
        best = self.chosen[arm]
        three = [self.plan.losses(arm, best._replace(i=best.i + d)) for d in (-1, 0, 1)]
        seeds = [s for s in self.one.report_seeds if all(s in known for known in three)]
        return {seed: [known[seed] for known in three] for seed in seeds}

    def floors(self, arm: str, base: str = BASE) -> Difference | None:
        """The difference of the floors of both valleys, means over seeds before the parabola."""
        ours, theirs = self.beside(arm), self.beside(base)
        seeds = sorted(ours.keys() & theirs.keys())
        if len(seeds) < 2:
            return None
        a, b = (np.array([one[seed] for seed in seeds]) for one in (ours, theirs))
        drawn = np.random.default_rng(0).integers(0, len(seeds), (RESAMPLES, len(seeds)))
        d = floor(a[drawn].mean(1)) - floor(b[drawn].mean(1))
        low, high = np.percentile(d, [2.5, 97.5])
        mean = float(floor(a.mean(0)) - floor(b.mean(0)))
        return Difference(mean, float(low), float(high), math.nan, len(seeds))

    def valley(self, arm: str) -> dict[float, dict[int, float]]:
        """Losses by learning rate, as the optimizer had it, and seed, at the first b1 and decay."""
        found: dict[float, dict[int, float]] = {}
        first = float(self.one.betas1[0]), float(self.one.decays[0])
        for row in self.rows:
            if row["arm"] == arm and (float(row["beta1"]), float(row["weight_decay"])) == first:
                lr = float(row["lr"]) * ARMS[arm].factor
                found.setdefault(lr, {})[int(row["seed"])] = float(row["loss"])
        return dict(sorted(found.items()))

    def fresh_valley(self, arm: str) -> dict[float, dict[int, float]]:
        """Losses of the fresh seeds by learning rate, at the chosen b1 and decay."""
        found: dict[float, dict[int, float]] = {}
        if arm not in self.chosen:
            return found
        best = self.chosen[arm]
        for row in self.rows:
            point = float(row["beta1"]), float(row["weight_decay"])
            fresh = int(row["seed"]) in self.one.report_seeds
            if row["arm"] == arm and fresh and point == (best.beta1, best.decay):
                lr = float(row["lr"]) * ARMS[arm].factor
                found.setdefault(lr, {})[int(row["seed"])] = float(row["loss"])
        return dict(sorted(found.items()))

    def selection_means(self, arm: str) -> dict[float, float]:
        """The mean over the selection seeds by learning rate."""
        seeds = self.one.selection_seeds
        return {
            lr: statistics.fmean(losses[seed] for seed in seeds)
            for lr, losses in self.valley(arm).items()
            if all(seed in losses for seed in seeds)
        }

    def width(self, arm: str) -> float:
        """The ratio of the learning rates between which the loss is within ``WIDE`` of its least.

        Between two learning rates the loss is taken as straight over the logarithm; where the grid
        ends before, so does the valley.
        """
        means = self.selection_means(arm)
        rates, values = np.log(list(means)), np.array(list(means.values()))
        fine = np.linspace(rates[0], rates[-1], 4001)
        inside = fine[np.interp(fine, rates, values) <= values.min() + WIDE]
        return float(np.exp(inside[-1] - inside[0]))

    def hotter(self, arm: str) -> float | None:
        """What a learning rate sqrt(2) above the chosen one costs, on the fresh seeds."""
        beside = self.beside(arm).values()
        return statistics.fmean(c - b for _, b, c in beside) if beside else None

    def curve(self, arm: str) -> tuple[list[int], list[float]]:
        """Steps, and the mean held-out loss of the fresh seeds on the few windows of a curve."""
        runs = [self.curves[row["curve"]]["points"] for row in self.chosen_rows(arm)]
        steps = [point["step"] for point in runs[0]]
        return steps, [
            statistics.fmean(p["held_out"] for p in at) for at in zip(*runs, strict=True)
        ]

    def chosen_rows(self, arm: str) -> list[Row]:
        """The runs at the chosen point: of the fresh seeds, or while there are none, the others."""
        best, lr = self.chosen[arm], self.lr(arm) / ARMS[arm].factor
        here = [
            row
            for row in self.rows
            if row["arm"] == arm
            and math.isclose(float(row["lr"]), lr, rel_tol=1e-3)
            and (float(row["beta1"]), float(row["weight_decay"])) == (best.beta1, best.decay)
        ]
        fresh = [row for row in here if int(row["seed"]) in self.one.report_seeds]
        return fresh or [row for row in here if int(row["seed"]) in self.one.selection_seeds]

    def share_of_steps(self, arm: str, base: str = BASE) -> float | None:
        """Of the steps, how many until the base's last loss is reached; ``None`` if it is not."""
        _, target = self.curve(base)
        steps, losses = self.curve(arm)
        for i in range(1, len(steps)):
            if losses[i] <= target[-1]:
                if losses[i] == losses[i - 1]:
                    return steps[i] / steps[-1]
                part = (losses[i - 1] - target[-1]) / (losses[i - 1] - losses[i])
                return (steps[i - 1] + part * (steps[i] - steps[i - 1])) / steps[-1]
        return None

    def statistic(self, arm: str, name: str, layer: str | None = None) -> float | None:
        """The mean over fresh seeds, points of the curve, and layers weighted alike."""
        values = [
            found[name]
            for row in self.chosen_rows(arm) for point in self.curves[row["curve"]]["points"]
            for which, found in point["layers"].items()
            if name in found and layer in (None, which)
        ]  # fmt: skip
        return statistics.fmean(values) if values else None
