"""What came out: the curves, the closing table and the files; nothing here knows a framework."""

from __future__ import annotations

import csv
import json
import math
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.table import Table

from lm.recipes import Recipe
from lm.trainer import Step

Row = dict[str, Any]


@dataclass
class Curve:
    """One optimizer's way down. Steps count from 1; `held_out` maps a step to its loss."""

    recipe: Recipe
    steps: list[Step] = field(default_factory=list)
    held_out: dict[int, float] = field(default_factory=dict)

    def smoothed(self, window: int) -> np.ndarray:
        """Trailing mean of the training loss; the first steps average what there is so far."""
        total = np.concatenate([[0.0], np.cumsum([step.loss for step in self.steps])])
        end = np.arange(1, len(total))
        start = np.maximum(0, end - window)
        return (total[end] - total[start]) / (end - start)

    def summary(self, window: int, target: float) -> Row:
        """One row of the table; `target` is the loss whose first reaching is looked for."""
        timed = self.steps[1:] or self.steps  # The first step warms up.
        held_out_step = max(self.held_out)
        return {
            "optimizer": self.recipe.name,
            "label": self.recipe.label,
            "learning_rate": self.recipe.lr,
            "steps": len(self.steps),
            "training_loss": float(self.smoothed(window)[-1]),
            "held_out_loss": self.held_out[held_out_step],
            "held_out_step": held_out_step,
            "milliseconds_per_step": 1e3 * float(np.median([s.seconds for s in timed])),
            "milliseconds_optimizer": 1e3 * float(np.median([s.optimizer_seconds for s in timed])),
            "mean_multiplier": self._mean_multiplier(),
            "steps_to_adamw": self._steps_to(target, window),
        }

    def _mean_multiplier(self) -> float | None:
        known = [step.multiplier for step in self.steps if step.multiplier is not None]
        return float(np.mean(known)) if known else None

    def _steps_to(self, target: float, window: int) -> int | None:
        reached = np.flatnonzero(self.smoothed(window) <= target)
        return int(reached[0]) + 1 if reached.size else None


def align(curves: Sequence[Curve]) -> None:
    """Forget evaluations that not all have: an interruption can fall between two of them."""
    common = set.intersection(*(set(curve.held_out) for curve in curves))
    for curve in curves:
        curve.held_out = {step: curve.held_out[step] for step in sorted(common)}


def summaries(curves: Sequence[Curve], window: int) -> list[Row]:
    """The table's rows. Without AdamW among the curves no one can reach its loss."""
    finals = [c.smoothed(window)[-1] for c in curves if c.recipe.name == "adamw"]
    return [curve.summary(window, finals[0] if finals else -math.inf) for curve in curves]


def table(rows: Sequence[Row], window: int) -> Table:
    """The rows as a table that fits 80 columns."""
    result = Table(
        title="Same initial weights, same batches, each at its own learning rate",
        caption=(
            f"loss: nats per byte. training: mean of the last {window} batches; held-out: files"
            f" never trained on, at step {rows[0]['held_out_step']}.\n"
            "ms/step: median; in brackets, the optimizer's share of it.\n"
            "mean multiplier: over all coordinates and steps; – where it depends on the gradients"
            " and is not measured (--watch).\n"
            f"steps to AdamW: until the mean of the last {window} training losses is no higher than"
            " AdamW's at its end; some batches are easier, so AdamW may have been there before."
        ),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=0,
    )
    result.add_column("optimizer", no_wrap=True)
    for heading in (
        "peak\nlr",
        "training\nloss",
        "held-out\nloss",
        "ms/step\n(optim.)",
        "mean\nmult.",
        "steps to\nAdamW",
    ):
        result.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        result.add_row(
            row["label"],
            f"{row['learning_rate']:g}",
            f"{row['training_loss']:.3f}",
            f"{row['held_out_loss']:.3f}",
            f"{row['milliseconds_per_step']:.0f} ({row['milliseconds_optimizer']:.1f})",
            "–" if row["mean_multiplier"] is None else f"{row['mean_multiplier']:.3f}",
            str(row["steps_to_adamw"] or "never"),
        )
    return result


def write_csv(curves: Sequence[Curve], window: int, path: Path) -> None:
    """One line for each optimizer and step: the form that every plotting tool reads."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["optimizer", "step", *Step._fields, "smoothed_loss", "held_out_loss"])
        for curve in curves:
            rows = zip(curve.steps, curve.smoothed(window), strict=True)
            for number, (step, smoothed) in enumerate(rows, start=1):
                held_out = curve.held_out.get(number, "")
                writer.writerow([curve.recipe.name, number, *step, smoothed, held_out])


def write_summary(rows: Sequence[Row], settings: dict, path: Path) -> None:
    """What it takes to run it again; the corpus is a part of Python, so its version too."""
    content = {"python": platform.python_version(), "settings": settings, "results": rows}
    path.write_text(json.dumps(content, indent=2, default=str) + "\n")
