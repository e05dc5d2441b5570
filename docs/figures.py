"""Draw the figures of the documentation, light and dark, from the committed measurements.

    python docs/figures.py                  # all, into docs/img
    python docs/figures.py cuda --out runs  # one

Each figure is two SVG files, `<name>.svg` and `<name>-dark.svg`; what it shows stands in words in
their description, which a test compares with the data. Where there are measurements of several
days, the newest are drawn. Needs matplotlib (the extra `examples`).
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import statistics
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DOCS = Path(__file__).parent
DATA = DOCS / "benchmarks"


class Theme(NamedTuple):
    """Colours on one background; the hues are Okabe and Ito's, for the colour-blind, too."""

    suffix: str
    paper: str
    text: str
    faint: str
    base: str
    """What MGUP is compared with."""
    mgup: str
    other: str


LIGHT = Theme("", "#ffffff", "#1f2328", "#d0d4da", "#6b7280", "#0072b2", "#d55e00")
DARK = Theme("-dark", "#1e2129", "#e2e4e9", "#454b57", "#a0a6b1", "#56b4e9", "#e69f00")
STYLE = {
    "font.size": 10, "axes.titlesize": 10, "axes.labelsize": 10, "svg.hashsalt": "mgup",
    "xtick.labelsize": 9, "ytick.labelsize": 10, "axes.spines.top": False,
    "axes.spines.right": False, "font.family": "DejaVu Sans",
}  # fmt: skip


def newest(what: str) -> Path:
    """The measurement with the latest date in its name: `2026-11-28-cuda.json` of `cuda.json`."""
    dated = re.compile(rf"\d{{4}}-\d\d-\d\d-{re.escape(what)}")
    found = sorted(path for path in DATA.iterdir() if dated.fullmatch(path.name))
    if not found:
        raise FileNotFoundError(f"{DATA} has no <date>-{what}.")
    return found[-1]


# -- held-out losses of the rules ----------------------------------------------------------------


class Loss(NamedTuple):
    """The held-out losses of one rule's seeds at the learning rate whose mean is least."""

    rule: str
    alone: list[float]
    mgup: list[float]


def losses() -> list[Loss]:
    """Of each rule, in the order of the file."""
    runs: dict[str, dict[tuple[str, str], list[float]]] = defaultdict(lambda: defaultdict(list))
    with newest("rules.csv").open(encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            runs[row["rule"]][row["mode"], row["lr"]].append(float(row["held_out_loss"]))

    def best(rule: str, off: bool) -> list[float]:
        found = (x for (mode, _), x in runs[rule].items() if (mode == "off") == off)
        return min(found, key=statistics.mean)

    return [Loss(rule, best(rule, True), best(rule, False)) for rule in runs]


def rules_words() -> str:
    """What the figure shows."""
    said = [
        f"{x.rule} {statistics.mean(x.alone):.3f} alone, {statistics.mean(x.mgup):.3f} with MGUP"
        for x in losses()
    ]
    return f"Held-out loss in nats per byte, mean of three seeds, {newest('rules.csv').stem}: " + (
        "; ".join(said) + "."
    )


def draw_rules(theme: Theme) -> Figure:
    """A line from the mean alone to the mean with MGUP, every seed a dot."""
    found = losses()
    figure, axes = _figure(theme, 0.5 * len(found) + 1.1)
    for place, loss in enumerate(found):
        means = statistics.mean(loss.alone), statistics.mean(loss.mgup)
        axes.plot(means, [place, place], color=theme.faint, linewidth=2, zorder=1)
        for seeds, mean, colour, marker in (
            (loss.alone, means[0], theme.base, "o"),
            (loss.mgup, means[1], theme.mgup, "D"),
        ):
            axes.plot(seeds, [place] * len(seeds), ".", color=colour, markersize=4, alpha=0.7)
            axes.plot(mean, place, marker, color=colour, markersize=7, markeredgecolor=theme.paper)
        difference = f"{means[1] - means[0]:+.3f}".replace("-", "−")
        axes.annotate(difference, (max(*loss.alone, *loss.mgup), place), (9, 0),
                      textcoords="offset points", va="center", color=theme.text)  # fmt: skip
    first = found[0]
    for seeds, word, colour, side in ((first.alone, "alone", theme.base, "left"),
                                      (first.mgup, "with MGUP", theme.mgup, "right")):  # fmt: skip
        axes.annotate(word, (statistics.mean(seeds), 0), (0, 9), textcoords="offset points",
                      ha=side, color=colour, weight="bold")  # fmt: skip
    axes.set_yticks(range(len(found)), [loss.rule for loss in found])
    axes.set_ylim(len(found) - 0.5, -0.8)
    axes.margins(x=0.2)
    axes.set_xlabel("held-out loss, nats per byte,\nat the best learning rate\n"
                    "(large: mean, small: each seed)")  # fmt: skip
    axes.grid(axis="x", color=theme.faint, alpha=0.5)
    return figure


# -- time of a step on CUDA ----------------------------------------------------------------------


READABLE = {
    "MGUP-AdamW naive": "the published algorithm, written plainly",
    "MGUP-AdamW rank, reference": 'MGUP-AdamW, implementation="reference"',
    "AdamW by MGUPAdamW, float32 state": 'MGUPAdamW(mode="off"), float32 state',
    "timm NAdamW caution": "timm NAdamW, caution=True",
}
"""Names of the benchmark's rows that want more words in a figure."""


def cuda_rows() -> tuple[dict[str, Any], dict[tuple[str, str], dict[str, float]]]:
    """The facts, and the ratio at each size of each (dtype, optimizer) with usual gradients."""
    facts = json.loads(newest("cuda.json").read_text(encoding="utf-8"))
    ratios: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for row in facts["rows"]:
        if row["name"] != "AdamW fused" and "gradients" not in row["name"]:
            ratios[row["dtype"], row["name"]][row["size"]] = row["ratio"]
    return facts, dict(sorted(ratios.items(), key=lambda item: item[0][0] != "float32"))


def cuda_words() -> str:
    """What the figure shows."""
    facts, ratios = cuda_rows()
    said = (
        f"{name} ({dtype}) " + ", ".join(f"{ratio:.2f} at {size}" for size, ratio in sizes.items())
        for (dtype, name), sizes in ratios.items()
    )
    return (
        f"Time of a step in steps of AdamW(fused=True) on the same tensors, {facts['device']}, "
        f"{facts['date']}: {'; '.join(said)}."
    )


def draw_cuda(theme: Theme) -> Figure:
    """A line of the figure for each optimizer, its name above, a point for each size."""
    _, ratios = cuda_rows()
    sizes = list(dict.fromkeys(size for found in ratios.values() for size in found))
    dtypes = list(dict.fromkeys(dtype for dtype, _ in ratios))
    figure, axes = _figure(theme, 0.41 * (len(ratios) + 1.4 * len(dtypes)) + 1.2)
    axes.set_xscale("log")
    place = 0.0
    at_left = {"textcoords": "offset points", "xycoords": ("axes fraction", "data")}
    last = ""
    for (dtype, name), found in ratios.items():
        if dtype != last:
            place += 1.4
            axes.annotate(f"{dtype} parameters", (0, place - 0.75), (0, 4), weight="bold",
                          color=theme.text, **at_left)  # fmt: skip
            last = dtype
        axes.axhline(place, color=theme.faint, linewidth=0.8, zorder=0)
        axes.annotate(READABLE.get(name, name), (0, place), (0, 7), color=theme.text,
                      bbox={"facecolor": theme.paper, "edgecolor": "none", "pad": 0.5},
                      zorder=1, **at_left)  # fmt: skip
        for i, (size, marker, colour) in enumerate(
            zip(sizes, "oD", (theme.mgup, theme.other), strict=False)
        ):
            if size not in found:
                continue
            # Where both are at one place, the first is seen around the second.
            axes.plot(found[size], place, marker, color=colour, markersize=10 - 4 * i,
                      markeredgecolor=theme.paper)  # fmt: skip
            axes.annotate(f"{found[size]:.2f}", (1, place), (-42 * (len(sizes) - 1 - i), 7),
                          color=colour, ha="right", **at_left)  # fmt: skip
        place += 1
    for i, (size, marker, colour) in enumerate(
        zip(sizes, "●◆", (theme.mgup, theme.other), strict=False)
    ):
        axes.annotate(f"{marker} {size}", (1, 0.65), (-60 * (len(sizes) - 1 - i), 4), color=colour,
                      ha="right", weight="bold", **at_left)  # fmt: skip
    axes.axvline(1, color=theme.base, linewidth=1.2, zorder=0.5)
    axes.set_ylim(place - 0.4, 0)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xticks([1, 2, 5, 10, 20, 50, 100], ["1", "2", "5", "10", "20", "50", "100"])
    axes.set_xticks([], minor=True)
    axes.set_xlim(0.45, 400)  # to the left of the numbers
    axes.set_xlabel("time of a step; 1 is AdamW(fused=True), logarithmic")
    return figure


# -- the counterexample --------------------------------------------------------------------------

START, OPTIMUM, ARRIVED = -0.5, -2.0, 0.1


def paths() -> tuple[list[int], dict[str, list[list[float]]]]:
    """The steps, and of each optimizer the positions of each seed at them."""
    with newest("counterexample.csv").open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    found: dict[str, list[list[float]]] = defaultdict(list)
    for column in rows[0]:
        if column != "step":
            found[column.rsplit(" ", 1)[0]].append([float(row[column]) for row in rows])
    return [int(row["step"]) for row in rows], dict(found)


def arrivals() -> dict[str, tuple[int, int]]:
    """How many seeds of each optimizer end at the optimum, and of how many."""
    return {
        name: (sum(abs(x[-1] - OPTIMUM) < ARRIVED for x in seeds), len(seeds))
        for name, seeds in paths()[1].items()
    }


def counterexample_words() -> str:
    """What the figure shows."""
    said = ", ".join(f"{name} {n} of {of}" for name, (n, of) in arrivals().items())
    return (
        "Position over the steps on the problem of Appendix A, from −0.5 to the optimum −2; seeds "
        f"that arrive, {newest('counterexample.csv').stem}: {said}."
    )


def draw_counterexample(theme: Theme) -> Figure:
    """One panel for each optimizer, a line for each seed."""
    steps, found = paths()
    figure, *_ = _figure(theme, 2.1 * len(found) + 0.5, panels=len(found))
    thousands = [step / 1000 for step in steps]
    colours = {"Adam": theme.base, "Cautious Adam": theme.other}
    for axes, (name, seeds) in zip(figure.axes, found.items(), strict=True):
        for x in seeds:
            axes.plot(thousands, x, color=colours.get(name, theme.mgup), linewidth=0.9, alpha=0.75)
        axes.axhline(OPTIMUM, color=theme.text, linestyle=":", linewidth=1)
        n, of = arrivals()[name]
        axes.set_title(f"{name}: {n} of {of} seeds arrive", loc="left", weight="bold",
                       color=colours.get(name, theme.mgup))  # fmt: skip
        axes.set_ylabel("position x")
    figure.axes[0].annotate("optimum", (thousands[-1], OPTIMUM), (0, 4), ha="right",
                            textcoords="offset points", color=theme.text)  # fmt: skip
    figure.axes[-1].set_xlabel("steps, thousands")
    return figure


# -- what MGUP and others end below AdamW ----------------------------------------------------------


class Gain(NamedTuple):
    """What an arm of the audit ends from AdamW, in nats; negative is better."""

    arm: str
    mean: float
    low: float
    high: float


ARMS = {"MGUP (2, ½)": "MGUP-AdamW", "random mask (2, ½)": "random mask"}
"""Arms of the page that want other words in a figure."""


def gains() -> dict[str, list[Gain]]:
    """Of each network the arms whose decay was searched without an edge, and the language model's.

    They are read from the page, on which ``examples/report_audit.py`` writes them. The order is
    that of the first network, best first.
    """
    page = (DOCS / "evidence.md").read_text(encoding="utf-8").replace("−", "-")
    sections = ("### Five arms", "### How long it lasts")
    section = "".join(page.split(name)[1].split("###")[0] for name in sections)
    tables = re.findall(
        r"^(?:Fresh seeds, )?(\w[\w ,]*):\n\n\| arm \| best rate.*?\n((?:\|.*\n)+)",
        section,
        re.MULTILINE,
    )
    number = r"([-+][\d.]+)"
    cells = re.compile(rf"^\| ([^|]+) \|.*\| {number} \({number} to {number}\) \|", re.MULTILINE)
    found = {
        network.lower(): {
            arm: Gain(ARMS.get(arm, arm), *map(float, numbers))
            for arm, *numbers in cells.findall(rows)
        }
        for network, rows in tables
    }
    order = next(iter(found.values()))
    return {network: [arms[arm] for arm in order] for network, arms in found.items()}


def gains_words() -> str:
    """What the figure shows."""
    said = (
        f"{network}: "
        + ", ".join(f"{x.arm} {x.mean:+.3f} ({x.low:+.3f} to {x.high:+.3f})" for x in arms)
        for network, arms in gains().items()
    )
    return (
        "Held-out loss minus AdamW's, nats, 95 % intervals, paired seeds, tuned for each arm; "
        f"{'; '.join(said)}."
    ).replace("-0", "−0")


def draw_gains(theme: Theme) -> Figure:
    """A panel for each experiment, a point and its interval for each arm, a line for AdamW."""
    found = gains()
    rows = max(len(arms) for arms in found.values())
    figure, *_ = _figure(theme, 0.36 * rows * len(found) + 1.2, panels=len(found))
    for axes, (network, arms) in zip(figure.axes, found.items(), strict=True):
        axes.axvline(0, color=theme.base, linewidth=1.2)
        for place, arm in enumerate(arms):
            colour = theme.mgup if arm.arm.startswith("MGUP") else theme.other
            axes.plot([arm.low, arm.high], [place, place], color=colour, linewidth=2)
            axes.plot(arm.mean, place, "o", color=colour, markersize=7, markeredgecolor=theme.paper)
        axes.set_yticks(range(len(arms)), [arm.arm for arm in arms])
        axes.set_ylim(rows - 0.4, -0.6)
        # Above the arms' names, too: one line is longer than the panel is wide.
        axes.set_title(network, loc="left", x=-0.38, color=theme.text, weight="bold")
        axes.locator_params(axis="x", nbins=5)
        axes.grid(axis="x", color=theme.faint, alpha=0.5)
    figure.axes[0].annotate("AdamW", (0, 1), (4, -12), xycoords=("data", "axes fraction"),
                            textcoords="offset points", color=theme.text)  # fmt: skip
    figure.axes[-1].set_xlabel("held-out loss minus AdamW's, nats; left is better")
    return figure


# ------------------------------------------------------------------------------------------------

FIGURES: dict[str, tuple[Callable[[Theme], Figure], Callable[[], str]]] = {
    "rules": (draw_rules, rules_words),
    "cuda": (draw_cuda, cuda_words),
    "counterexample": (draw_counterexample, counterexample_words),
    "gains": (draw_gains, gains_words),
}


def _figure(theme: Theme, height: float, panels: int = 1) -> tuple[Figure, Axes]:
    """As wide as a phone's screen, on which its letters are as large as the page's."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.8, height), layout="constrained", facecolor=theme.paper)
    for axes in figure.subplots(panels, 1, sharex=True, sharey=True, squeeze=False).flat:
        axes.set_facecolor(theme.paper)
        axes.tick_params(colors=theme.text, labelcolor=theme.text)
        for label in (axes.xaxis.label, axes.yaxis.label):
            label.set_color(theme.text)
        for spine in axes.spines.values():
            spine.set_color(theme.base)
    return figure, figure.axes[0]


def main() -> None:
    """Run the command."""
    import matplotlib

    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(FIGURES)}")
    parser.add_argument("--out", type=Path, default=DOCS / "img", help="default docs/img")
    args = parser.parse_args()
    if unknown := set(args.names) - set(FIGURES):
        parser.error(f"{', '.join(sorted(unknown))}: not a figure; of {', '.join(FIGURES)}")
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.names or FIGURES:
        draw, words = FIGURES[name]
        for theme in (LIGHT, DARK):
            file = args.out / f"{name}{theme.suffix}.svg"
            with matplotlib.rc_context(STYLE):
                draw(theme).savefig(file, metadata={"Date": None, "Description": words()})
            print(f"wrote {file}")


if __name__ == "__main__":
    main()
