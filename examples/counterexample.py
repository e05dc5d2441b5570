"""Cautious optimizers can stop short of the optimum: Appendix A of the MGUP paper, computed.

One variable, n functions, one of them drawn at random in each step:

    x >= -1:  f_0(x) = n x,  f_i(x) = -x  for i > 0          (their sum has slope 1)
    x <  -1:  f_i(x) = (n/2) (x + 2)^2 - 3n/2  for every i   (as on the authors' poster; the
              appendix prints -(x + 2)^2 / 2 + 3/2 for i > 0)

From -0.5 the way to the optimum -2 leads against most of the gradients seen. What the cautious
mask sets to zero is the momentum of the rare f_0, the only one that points the right way.

    python examples/counterexample.py
    python examples/counterexample.py --n 6 --beta1 0.7 --gamma 0.9
"""

from __future__ import annotations

import argparse
import csv
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table

from mgup_core import AdamW, Backend, Cautious, Optimizer, Policy, SignMGUP, Split

START, OPTIMUM = -0.5, -2.0
ARRIVED = 0.1  # how near to the optimum counts as there
RECORDS = 200
MAP_N = (2, 3, 4, 5, 6, 8, 12)
MAP_BETA1 = (0.0, 0.3, 0.5, 0.7, 0.9)
MAP_GAMMA = (0.1, 0.5, 0.9)
# Okabe and Ito's colours, which the colour-blind can tell apart.
COLOURS = ("#000000", "#E69F00", "#0072B2")


@dataclass(frozen=True)
class Problem:
    """Many independent scalar runs, to be simulated as one vector (policies, ns, seeds)."""

    policies: dict[str, Policy]
    ns: tuple[int, ...]
    beta1: float
    steps: int
    seeds: int
    seed: int


@dataclass(frozen=True)
class SideBySide(Policy):
    """Equal consecutive parts of the slices, each under a policy of its own."""

    policies: tuple[Policy, ...]

    def decide(self, be: Backend, scores: np.ndarray) -> Split:
        parts = scores.reshape(len(self.policies), -1, scores.shape[-1])
        splits = [p.decide(be, part) for p, part in zip(self.policies, parts, strict=True)]
        mask = np.concatenate([split.mask for split in splits])
        # Spread at once: selected or not, a coordinate's multiplier is then the same number.
        phi = np.concatenate([np.where(*split) for split in splits])
        return Split(mask, phi, phi)


def gradient(x: np.ndarray, n: np.ndarray, draw: np.ndarray) -> np.ndarray:
    """Of the function drawn: f_0 where the uniform `draw` is below 1/n."""
    return np.where(x >= -1, np.where(draw < 1 / n, n, -1.0), n * (x + 2))


def simulate(problem: Problem) -> np.ndarray:
    """The positions at about RECORDS evenly spaced steps: (records, policies, ns, seeds)."""
    # All three axes are stacked: each scalar is a slice of its own, with statistics of its own.
    policy = SideBySide(tuple(problem.policies.values()))
    rule = AdamW(b1=problem.beta1, b2=0.999)
    optimizer = Optimizer(rule, policy, weight_decay=0.0, stacked_dims=3)
    n = np.array(problem.ns, dtype=float)[:, None]
    # Every policy and every n sees the same luck.
    draws = np.random.default_rng(problem.seed).random((problem.steps, problem.seeds))

    x = np.full((len(problem.policies), len(problem.ns), problem.seeds), START)
    state = optimizer.init([x])
    records = [x]
    for t, draw in enumerate(draws, start=1):
        (x,), state = optimizer.step([x], [gradient(x, n, draw)], state, lr=0.05 / t**0.5)
        if t % max(1, problem.steps // RECORDS) == 0:
            records.append(x)
    return np.stack(records)


def arrived(x: np.ndarray) -> np.ndarray:
    return np.abs(x - OPTIMUM) < ARRIVED


def main(arguments: Sequence[str] | None = None) -> int:
    parser = make_parser()
    args = parser.parse_args(arguments)
    try:
        check(args)
    except ValueError as error:
        parser.error(str(error))
    console = Console()
    # With both factors 1 the multiplier is off, and what is left is Adam.
    adam, cautious = SignMGUP(alpha=1.0, gamma=1.0), Cautious()
    trio = {
        "Adam": adam,
        "Cautious Adam": cautious,
        "Cautious-MGUP": SignMGUP(args.alpha, args.gamma),
    }
    many = {"Adam": adam, "Cautious Adam": cautious} | {
        f"Cautious-MGUP, γ = {gamma}": SignMGUP(args.alpha, gamma) for gamma in MAP_GAMMA
    }
    common = {"steps": args.steps, "seeds": args.seeds, "seed": args.seed}
    problems = [Problem(trio, (args.n,), args.beta1, **common)]
    problems += [Problem(many, MAP_N, beta1, **common) for beta1 in MAP_BETA1]
    try:
        paths, *maps = simulate_all(problems, args.workers, console)
    except KeyboardInterrupt:
        console.print("Interrupted: nothing was written.")
        return 130

    ends = np.stack([positions[-1] for positions in maps], axis=2)  # policies, ns, betas, seeds
    out = args.out or Path("runs") / f"counterexample-{datetime.now():%Y%m%d-%H%M%S}"
    out.mkdir(parents=True, exist_ok=True)
    console.print(end_points(problems[0], paths[-1, :, 0]))
    console.print(verdict(many, ends, args.steps))
    draw_trajectories(problems[0], paths[:, :, 0], out / "trajectories.png")
    draw_map(list(many), ends, args, out / "map.png")
    write_csv(list(many), ends, out / "map.csv")
    write_trajectories(problems[0], paths[:, :, 0], out / "trajectories.csv")
    for name in ("trajectories.png", "trajectories.csv", "map.png", "map.csv"):
        console.print(f"wrote {out / name}", soft_wrap=True)
    return 0


def check(args: argparse.Namespace) -> None:
    """Refuse what would end in a traceback, or in a picture of nothing."""
    for flag in ("steps", "seeds", "n", "workers"):
        if (value := getattr(args, flag)) < 1:
            raise ValueError(f"--{flag} {value}: at least 1")
    if args.seed < 0:
        raise ValueError(f"--seed {args.seed}: at least 0")
    if not 0 <= args.beta1 < 1:
        raise ValueError(f"--beta1 {args.beta1:g}: at least 0 and below 1, as Adam's")
    SignMGUP(args.alpha, args.gamma)


def simulate_all(problems: list[Problem], workers: int, console: Console) -> list[np.ndarray]:
    # The workers inherit a deaf ear: Ctrl-C is the parent's, and leaving the block ends them.
    heard = signal.signal(signal.SIGINT, signal.SIG_IGN)
    with get_context("spawn").Pool(workers) as pool:
        signal.signal(signal.SIGINT, heard)
        results = pool.imap(simulate, problems)
        return list(track(results, "simulating", total=len(problems), console=console))


def end_points(problem: Problem, ends: np.ndarray) -> Table:
    table = Table(
        title=f"Where they end, {describe(problem)}",
        caption=f"Optimum {OPTIMUM:g}, start {START:g}; arrived: within {ARRIVED:g} of it.",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("optimizer", no_wrap=True)
    for heading in ("seeds arrived", "nearest end", "median end", "farthest end"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, x in zip(problem.policies, ends, strict=True):
        points = (x.min(), np.median(x), x.max())
        count = f"{arrived(x).sum()} of {x.size}"
        table.add_row(name, count, *(f"{point:.2f}" for point in points))
    return table


def describe(problem: Problem) -> str:
    betas = f"β = ({problem.beta1:g}, 0.999)"
    return f"n = {problem.ns[0]}, {betas}, step 0.05/√t, {problem.steps:,} steps"


def verdict(names: list[str], ends: np.ndarray, steps: int) -> Table:
    """For how many of the settings (n, beta1) does the greater part of the seeds arrive?"""
    arrives = arrived(ends).mean(axis=-1) > 0.5
    settings = arrives[0].size
    nobody = int((~arrives.any(axis=0)).sum())
    table = Table(
        title=f"Who arrives over the map of {settings} settings (n, β1), {steps:,} steps",
        caption=(
            "Outside a region Adam and MGUP fail too:"
            f" in {nobody} of the {settings} settings no optimizer arrives."
        ),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("optimizer", no_wrap=True)
    table.add_column("settings where most seeds arrive", justify="right")
    for name, where in zip(names, arrives, strict=True):
        table.add_row(name, f"{where.sum()} of {settings}")
    return table


def draw_trajectories(problem: Problem, paths: np.ndarray, file: Path) -> None:
    """One panel for each optimizer: a thin line for each seed, a thick one for the median."""
    figure = Figure(figsize=(13, 5), layout="constrained")
    steps = np.linspace(0, problem.steps, len(paths)) / 1000
    panels = figure.subplots(1, len(problem.policies), sharey=True)
    for axes, name, colour, x in zip(
        panels, problem.policies, COLOURS, paths.swapaxes(0, 1), strict=True
    ):
        axes.plot(steps, x, color=colour, alpha=0.35, linewidth=1)
        axes.plot(steps, np.median(x, axis=1), color=colour, linewidth=3)
        axes.axhline(OPTIMUM, color="#D55E00", linestyle=":", linewidth=2)
        count = f"{arrived(x[-1]).sum()} of {x.shape[1]} seeds arrive"
        axes.set_title(f"{name}\n{count}", fontsize=15)
        axes.set_xlabel("steps, thousands", fontsize=13)
        axes.tick_params(labelsize=12)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("position x (thick: median of the seeds)", fontsize=13)
    # In the middle panel, where fewest lines come down.
    label = panels[1].annotate("optimum −2", (0, OPTIMUM), (0, 7), textcoords="offset points")
    label.set(fontsize=13, color="#D55E00")
    figure.suptitle(describe(problem), fontsize=13)
    figure.savefig(file, dpi=150)


def draw_map(names: list[str], ends: np.ndarray, args: argparse.Namespace, file: Path) -> None:
    """One panel for each optimizer, and beside them what the picture does not claim."""
    figure = Figure(figsize=(15, 8.6), layout="constrained")
    panels = figure.subplots(2, 3).flat
    for name, x in zip(names, ends, strict=True):
        axes = next(panels)
        share, median = arrived(x).mean(axis=-1).T, np.median(x, axis=-1).T
        image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1, origin="lower", aspect="auto")
        for (row, column), end in np.ndenumerate(median):
            colour = "white" if share[row, column] > 0.5 else "black"
            text = f"{end:.1f}".replace("-", "−")
            axes.text(column, row, text, color=colour, ha="center", va="center", size=12)
        axes.set_title(name, fontsize=15)
        axes.set_xticks(range(len(MAP_N)), MAP_N, fontsize=12)
        axes.set_yticks(range(len(MAP_BETA1)), MAP_BETA1, fontsize=12)
        axes.set_xlabel("n, the number of functions", fontsize=13)
        axes.set_ylabel("β1", fontsize=13)
    note = next(panels)
    note.axis("off")
    note.text(
        0, 0.95,
        "Outside a region Adam and MGUP fail too:\nwhere a panel is white, no seed arrived.\n\n"
        f"Number: median end point of {args.seeds} seeds\n(start −0.5, optimum −2)\n"
        f"after {args.steps:,} steps of 0.05/√t, β2 = 0.999.\n"
        f"MGUP amplifies by α = {args.alpha:g}, damps by γ.",
        fontsize=14, va="top", linespacing=1.4,
    )  # fmt: skip
    bar = figure.colorbar(image, cax=note.inset_axes((0, 0.1, 0.95, 0.08)), location="bottom")
    bar.set_label("share of seeds that arrive", fontsize=13)
    bar.ax.tick_params(labelsize=12)
    figure.savefig(file, dpi=130)


def write_csv(names: list[str], ends: np.ndarray, file: Path) -> None:
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["optimizer", "n", "beta1", "seeds", "arrived", "median_end"])
        for i, j, k in np.ndindex(ends.shape[:-1]):
            x = ends[i, j, k]
            count, median = int(arrived(x).sum()), f"{np.median(x):.4f}"
            writer.writerow([names[i], MAP_N[j], MAP_BETA1[k], x.size, count, median])


def write_trajectories(problem: Problem, paths: np.ndarray, file: Path) -> None:
    """A line for each recorded step, a column for each optimizer and seed."""
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        seeds = range(1, problem.seeds + 1)
        writer.writerow(
            ["step", *(f"{name} {seed}" for name in problem.policies for seed in seeds)]
        )
        steps = np.linspace(0, problem.steps, len(paths)).round().astype(int)
        for step, x in zip(steps, paths, strict=True):
            writer.writerow([step, *(f"{position:.4f}" for position in x.flat)])


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )

    def add(flag: str, kind: type, default: float, help: str) -> None:
        parser.add_argument(flag, type=kind, default=default, help=f"{help} (default {default})")

    add("--steps", int, 20_000, "steps of every run")
    add("--seeds", int, 10, "random sequences, the same for all")
    add("--seed", int, 0, "from which they are drawn")
    add("--n", int, 5, "functions, in the picture of the trajectories")
    add("--beta1", float, 0.5, "Adam's, there")
    add("--gamma", float, 0.5, "MGUP's damping, there")
    add("--alpha", float, 2.0, "MGUP's amplification, everywhere")
    add("--workers", int, os.cpu_count() or 1, "processes")
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="default runs/counterexample-<date>-<time>"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
