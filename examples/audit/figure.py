"""The valley of every arm as an SVG: loss against learning rate, each seed a dot."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from audit.analysis import BASE, Analysis
from audit.arms import ARMS

OTHERS = "MGUPLion", "MGUPMuon"
PANEL = 210, 150
GAP = 34, 46
LEFT, TOP, COLUMNS = 52, 44, 4


class Look(NamedTuple):
    """The colours of one scheme."""

    ground: str
    ink: str
    grid: str
    base: str
    arm: str


LOOKS = {
    "light": Look("#ffffff", "#24292f", "#e3e6ea", "#8b949e", "#c2410c"),
    "dark": Look("#1e2129", "#d7dae0", "#3a3f4b", "#8b949e", "#fb923c"),
}


def draw(found: Analysis, look: Look) -> str:
    """One panel an arm, with AdamW's line in each, on common axes.

    Hollow dots are the seeds that chose, at the first b1 and decay, and the dashed line their
    means; filled ones are fresh seeds, at the chosen b1 and decay, around the chosen learning rate,
    which the bar below marks. Lion, whose rates are others, and Muon, whose losses are, are left
    out, and arms whose choice has not been made.
    """
    arms = [a for a in found.one.arms if a in found.chosen and ARMS[a].kind not in OTHERS]
    x, y = _Axis.of_rates(found, arms), _Axis.of_losses(found, arms)
    rows = math.ceil(len(arms) / COLUMNS)
    columns = math.ceil(len(arms) / rows)
    width = LEFT + max(columns, 3) * (PANEL[0] + GAP[0])
    height = TOP + rows * (PANEL[1] + GAP[1]) + 8
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'font-family="system-ui, sans-serif" font-size="11" fill="{look.ink}">',
        f'<rect width="{width}" height="{height}" fill="{look.ground}"/>',
        f'<text x="{LEFT}" y="16">held-out loss, nats, against peak learning rate; '
        "grey: AdamW; filled, thick: fresh seeds; hollow, dashed: seeds that chose</text>",
    ]
    for i, arm in enumerate(arms):
        left = LEFT + (i % columns) * (PANEL[0] + GAP[0])
        top = TOP + (i // columns) * (PANEL[1] + GAP[1])
        parts += [f'<g transform="translate({left},{top})">', *_frame(arm, x, y, look)]
        if arm != BASE and BASE in arms:
            parts += _lines(found, BASE, x, y, look.base)
        parts += [*_lines(found, arm, x, y, look.arm), *_dots(found, arm, x, y, look), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


class _Axis(NamedTuple):
    """From values to places."""

    low: float
    high: float
    length: int
    logarithmic: bool
    down: bool
    ticks: tuple[float, ...]

    @classmethod
    def of_rates(cls, found: Analysis, arms: Sequence[str]) -> _Axis:
        rates = [lr for a in arms for lr in (*found.valley(a), *found.fresh_valley(a))]
        ticks = [
            m * 10.0**e for e in range(-6, 1) for m in (1, 2, 5)
            if min(rates) <= m * 10.0**e <= max(rates)
        ]  # fmt: skip
        return cls(min(rates) / 1.15, max(rates) * 1.15, PANEL[0], True, False, tuple(ticks))

    @classmethod
    def of_losses(cls, found: Analysis, arms: Sequence[str]) -> _Axis:
        """From the least to a little above what matters, and to all that reports."""
        means = [x for a in arms for x in found.selection_means(a).values() if math.isfinite(x)]
        valleys = [v for arm in arms for v in (found.valley(arm), found.fresh_valley(arm))]
        every = [x for valley in valleys for losses in valley.values() for x in losses.values()]
        low = min(x for x in every if math.isfinite(x))
        high = statistics.quantiles(means, n=20)[-2] if len(means) > 2 else max(means)
        high = max([high, *(x for arm in arms for x in found.fresh(arm).values())])
        margin = 0.06 * (high - low)
        step = 10.0 ** math.floor(math.log10(high - low))
        step = next(s for s in (step / 5, step / 2, step, 2 * step) if (high - low) / s <= 6)
        first = math.ceil(low / step)
        ticks = tuple(step * k for k in range(first, int(high / step) + 1))
        return cls(low - margin, high + margin, PANEL[1], False, True, ticks)

    def place(self, value: float) -> float:
        a, b, v = (
            (math.log(z) for z in (self.low, self.high, value))
            if self.logarithmic else (self.low, self.high, value)
        )  # fmt: skip
        share = (v - a) / (b - a)
        return round(self.length * (1 - share if self.down else share), 1)

    def holds(self, value: float) -> bool:
        return math.isfinite(value) and self.low <= value <= self.high


def _frame(arm: str, x: _Axis, y: _Axis, look: Look) -> list[str]:
    parts = [f'<text x="0" y="-6" font-weight="600">{escape(ARMS[arm].label)}</text>']
    for tick in y.ticks:
        at = y.place(tick)
        parts.append(f'<path d="M0 {at}H{PANEL[0]}" stroke="{look.grid}"/>')
        parts.append(f'<text x="-5" y="{at + 4}" text-anchor="end">{tick:.4g}</text>')
    for tick in x.ticks:
        at = x.place(tick)
        parts.append(f'<path d="M{at} 0V{PANEL[1]}" stroke="{look.grid}"/>')
        parts.append(f'<text x="{at}" y="{PANEL[1] + 13}" text-anchor="middle">{tick:.3g}</text>')
    return parts


def _line(means: dict[float, float], x: _Axis, y: _Axis, colour: str, *, fresh: bool) -> list[str]:
    points = [f"{x.place(lr)} {y.place(mean)}" for lr, mean in means.items() if y.holds(mean)]
    if not points:
        return []
    if len(points) == 1:  # a bar, as wide as is seen
        points = [f"{points[0]}m-8 0h16"]
    look = 'stroke-width="2.2"' if fresh else 'stroke-width="1" stroke-dasharray="4 3"'
    return [f'<path d="M{"L".join(points)}" fill="none" stroke="{colour}" {look}/>']


def _lines(found: Analysis, arm: str, x: _Axis, y: _Axis, colour: str) -> list[str]:
    seeds = len(found.fresh(arm))  # a mean over fewer would be of others
    valley = found.fresh_valley(arm).items()
    fresh = {lr: statistics.fmean(x.values()) for lr, x in valley if len(x) == seeds}
    return [
        *_line(found.selection_means(arm), x, y, colour, fresh=False),
        *_line(fresh, x, y, colour, fresh=True),
    ]


def _dots(found: Analysis, arm: str, x: _Axis, y: _Axis, look: Look) -> list[str]:
    fresh = found.fresh_valley(arm)
    chose = {
        lr: {s: loss for s, loss in losses.items() if s in found.one.selection_seeds}
        for lr, losses in found.valley(arm).items()
    }
    parts = []
    for valley, fill in ((chose, "none"), (fresh, look.arm)):
        for lr, losses in valley.items():
            parts += [
                f'<circle cx="{x.place(lr)}" cy="{y.place(loss)}" r="2.2" fill="{fill}" '
                f'fill-opacity="0.45" stroke="{look.arm}" stroke-width="0.7"/>'
                for loss in losses.values()
                if y.holds(loss)
            ]
    if arm in found.chosen:
        at = x.place(found.lr(arm))
        parts.append(f'<path d="M{at} {PANEL[1]}v-7" stroke="{look.ink}" stroke-width="2.5"/>')
    return parts
