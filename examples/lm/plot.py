"""The picture of the curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lm.report import Curve

# Okabe and Ito's colours, which the colour-blind can tell apart; baselines are also dashed.
COLOURS = {
    "adamw": "#000000",
    "cautious-adamw": "#E69F00",
    "mgup-adamw": "#0072B2",
    "cautious-mgup-adamw": "#009E73",
    "mgup-lion": "#CC79A7",
    "mgup-muon": "#D55E00",
    "lion": "#56B4E9",
    "muon": "#7F7F7F",
}
LABEL_GAP = 0.065  # of the panel's height: a line of text


def draw(curves: Sequence[Curve], window: int, path: Path) -> None:
    """Left, the training loss from the first step; right, the held-out loss of the last half."""
    figure = Figure(figsize=(13, 5.6))
    left, right = figure.subplots(1, 2, width_ratios=[1, 1])
    for curve in curves:
        _draw_training(left, curve, window)
        points = list(curve.held_out), list(curve.held_out.values())
        right.plot(*points, marker="o", markersize=5, **_style(curve))
    _frame_training(left, curves, window)
    _frame_held_out(right, curves)
    _label_ends(right, curves)
    figure.subplots_adjust(wspace=0.25)
    figure.savefig(path, dpi=150, bbox_inches="tight")


def _style(curve: Curve) -> dict:
    return {
        "color": COLOURS[curve.recipe.name],
        "linestyle": "-" if curve.recipe.is_mgup else "--",
        "linewidth": 2,
    }


def _draw_training(axes: Axes, curve: Curve, window: int) -> None:
    steps = np.arange(1, len(curve.steps) + 1)
    raw = [step.loss for step in curve.steps]
    axes.plot(steps, raw, color=COLOURS[curve.recipe.name], alpha=0.12, linewidth=0.8)
    axes.plot(steps, curve.smoothed(window), **_style(curve))


def _frame_training(axes: Axes, curves: Sequence[Curve], window: int) -> None:
    """From the lowest mean to the first loss: what rises above that has diverged."""
    lowest = min(float(np.fmin.reduce(curve.smoothed(window))) for curve in curves)
    first = max(curve.steps[0].loss for curve in curves)
    axes.set_ylim(lowest - 0.1 * (first - lowest) - 0.01, first)
    _frame(axes, "Training", f"loss, nats per byte ({window}-step mean)")


def _frame_held_out(axes: Axes, curves: Sequence[Curve]) -> None:
    """Leave out the common fall of the first half, which would flatten all differences."""
    steps = list(curves[0].held_out)
    start, last = steps[(len(steps) - 1) // 2], steps[-1]
    shown = [loss for c in curves for step, loss in c.held_out.items() if step >= start]
    finite = [loss for loss in shown if np.isfinite(loss)] or [0.0]
    margin = 0.05 * (max(finite) - min(finite)) + 0.01
    axes.set_ylim(min(finite) - margin, max(finite) + margin)
    margin = 0.03 * (last - start) + 0.5
    axes.set_xlim(start - margin, last + margin)
    _frame(axes, "Held out, last half", "loss, nats per byte")


def _frame(axes: Axes, title: str, ylabel: str) -> None:
    axes.set_title(title, fontsize=15)
    axes.set_xlabel("optimizer steps", fontsize=13)
    axes.set_ylabel(ylabel, fontsize=13)
    axes.tick_params(labelsize=12)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _label_ends(axes: Axes, curves: Sequence[Curve]) -> None:
    """Name each curve beside its end, the names pushed apart where the ends are close."""
    low, high = axes.get_ylim()
    # A NaN ends at the top: there a diverged curve left the panel.
    ends = [(min(high, list(curve.held_out.values())[-1]), curve) for curve in curves]
    ends.sort(key=lambda end: end[0])
    heights = _spread([(end - low) / (high - low) for end, _ in ends])
    for (end, curve), height in zip(ends, heights, strict=True):
        step, loss = list(curve.held_out.items())[-1]
        axes.annotate(
            f"{curve.recipe.label}  {loss:.3f}",
            xy=(step, end),
            xytext=(1.06, height),
            textcoords="axes fraction",
            fontsize=13,
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": COLOURS[curve.recipe.name],
                "linewidth": 1.5,
                "relpos": (0, 0.5),
            },
        )


def _spread(heights: list[float]) -> list[float]:
    """Push sorted neighbours apart, both by the same amount, until each has its line."""
    spread = list(heights)
    for _ in range(100):
        for i in range(len(spread) - 1):
            lacking = max(0.0, LABEL_GAP - (spread[i + 1] - spread[i]))
            spread[i] -= lacking / 2
            spread[i + 1] += lacking / 2
    return spread
