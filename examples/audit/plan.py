"""The protocol: from the runs that there are to those that are wanted, the most important first."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from audit.config import RATIO, Experiment
from audit.records import Row


class Point(NamedTuple):
    """What is chosen for an arm."""

    i: int
    """Of the grid: the learning rate is the middle times sqrt(2)^i."""
    beta1: float
    decay: float


class Cell(NamedTuple):
    """Runs that differ in their seed only, and are trained together."""

    experiment: str
    arm: str
    lr: float
    beta1: float
    decay: float
    seeds: tuple[int, ...]


Losses = Mapping[Point, Mapping[int, float]]


def rate(middle: float, i: int) -> float:
    """The learning rate at a place of the grid, in four digits, as the CSV has it."""
    return float(f"{middle * RATIO**i:.4g}")


class Chosen(NamedTuple):
    """What the selection seeds say of an arm."""

    best: Point | None
    """``None`` while nothing has run."""
    wanted: tuple[Point, ...]
    """What must run before the best is known."""


class Plan:
    """One experiment beside the runs that there are.

    Args:
        rows: of all experiments.
        others: the other experiments, for :attr:`Experiment.rates_of`.
    """

    def __init__(
        self, experiment: Experiment, rows: Sequence[Row], others: Mapping[str, Experiment]
    ) -> None:
        self.one, self.others, self._all = experiment, others, rows
        self._middles: dict[str, float | None] = {}
        self._mine: dict[tuple[str, float, float, float], dict[int, float]] = defaultdict(dict)
        for row in rows:
            if row["experiment"] == experiment.name:
                key = row["arm"], *(float(row[n]) for n in ("lr", "beta1", "weight_decay"))
                self._mine[key][int(row["seed"])] = float(row["loss"])  # type: ignore[index]

    def middle(self, arm: str) -> float | None:
        """The middle of the grid; ``None`` while the experiment it comes from has not chosen."""
        if arm not in self._middles:
            self._middles[arm] = self._middle(arm)
        return self._middles[arm]

    def _middle(self, arm: str) -> float | None:
        if self.one.rates_of is None:
            return self.one.start(arm)
        before = Plan(self.others[self.one.rates_of], self._all, self.others)
        middle = before.middle(arm)
        if middle is None:
            return None
        best, wanted = before.chosen(arm)
        return None if best is None or wanted else rate(middle, best.i)

    def losses(self, arm: str, point: Point) -> dict[int, float]:
        """The losses of a point that have been seen, by seed."""
        middle = self.middle(arm)
        if middle is None:
            return {}
        return self._mine.get((arm, rate(middle, point.i), point.beta1, point.decay), {})

    def mean(self, arm: str, point: Point, seeds: Sequence[int]) -> float | None:
        """The mean over seeds, infinite if any diverged; ``None`` while one has not run."""
        known = self.losses(arm, point)
        if not all(seed in known for seed in seeds):
            return None
        values = [known[seed] for seed in seeds]
        return statistics.fmean(values) if all(map(math.isfinite, values)) else math.inf

    def chosen(self, arm: str) -> Chosen:
        """The best of what the selection seeds have seen, and what they have yet to see.

        A search by coordinates: the first grid, then, around the best so far, the next learning
        rate on both sides and the other values of b1 and decay. It ends where the best has all of
        these beside it.
        """
        one, seeds = self.one, self.one.selection_seeds
        if one.grid == 1:
            return Chosen(Point(0, one.betas1[0], one.decays[0]), ())
        half = one.grid // 2
        first = [Point(i, one.betas1[0], one.decays[0]) for i in range(-half, half + 1)]
        if missing := [p for p in first if self.mean(arm, p, seeds) is None]:
            return Chosen(None, tuple(missing))
        seen = dict.fromkeys(first)
        while True:
            best = min(seen, key=lambda p: self.mean(arm, p, seeds) or math.inf)
            near = [p for p in self._beside(best, seen) if p not in seen]
            if missing := [p for p in near if self.mean(arm, p, seeds) is None]:
                return Chosen(best, tuple(missing))
            if not near:
                return Chosen(best, ())
            seen |= dict.fromkeys(near)

    def _beside(self, p: Point, seen: Mapping[Point, None]) -> Iterator[Point]:
        for i in (p.i - 1, p.i + 1):
            if len({q.i for q in seen} | {i}) <= self.one.most:
                yield p._replace(i=i)
        for beta1 in self.one.betas1:
            yield p._replace(beta1=beta1)
        for decay in self.one.decays:
            yield p._replace(decay=decay)

    def cells(self) -> list[Cell]:
        """What is to run, the most important first."""
        return [cell for stage in self.stages() for cell in stage]

    def stages(self) -> tuple[list[Cell], list[Cell], list[Cell]]:
        """What is to run: selection, the chosen with fresh seeds, its neighbours.

        Of a stage all arms' first seeds come before any arm's next, so that what is cut off is
        still paired.
        """
        stages: tuple[list[Cell], list[Cell], list[Cell]] = ([], [], [])
        for arm in self.one.arms:
            if self.middle(arm) is None:
                continue
            found = self.chosen(arm)
            stages[0].extend(self._cell(arm, p, self.one.selection_seeds) for p in found.wanted)
            if found.wanted or found.best is None:
                continue
            stages[1].append(self._cell(arm, found.best, self.one.report_seeds))
            if self.one.neighbours:
                beside = (found.best._replace(i=found.best.i + d) for d in (-1, 1))
                stages[2].extend(self._cell(arm, p, self.one.report_seeds) for p in beside)
        first, second, third = (self._stacked(stage) for stage in stages)
        return first, second, third

    def _stacked(self, cells: Sequence[Cell]) -> list[Cell]:
        """Cells of no more seeds than are trained together."""
        size, most = self.one.stack, max((len(cell.seeds) for cell in cells), default=0)
        return [
            cell._replace(seeds=seeds)
            for k in range(0, most, size) for cell in cells if (seeds := cell.seeds[k : k + size])
        ]  # fmt: skip

    def _cell(self, arm: str, p: Point, seeds: Sequence[int]) -> Cell:
        """The cell of the seeds that have not run."""
        known, middle = self.losses(arm, p), self.middle(arm)
        assert middle is not None
        left = tuple(seed for seed in seeds if seed not in known)
        return Cell(self.one.name, arm, rate(middle, p.i), p.beta1, p.decay, left)
