"""Train the small language model under several optimizers, each with and without MGUP.

    python examples/compare_rules.py --rules AdamW,Lion --steps 100 --seeds 1
    python examples/compare_rules.py --device cuda --jobs 8

Every optimizer gets the same batches and the same budget, with and without MGUP, at learning rates
that differ by factors of two: three about a first guess, and then more at an end of the grid for as
long as the best lies there. A learning rate's number is the held-out loss at the end, averaged over
the seeds; a line of the table is the best learning rate's. Rules of matrices train the blocks'
matrices, and AdamW the rest. Several GPUs share the jobs. Writes compare.csv, after each run, and
in the end compare.md and compare.png; what compare.csv has already is not run again.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import itertools
import multiprocessing
import statistics
import sys
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from functools import lru_cache
from multiprocessing.queues import Queue
from pathlib import Path
from typing import NamedTuple

import torch
from rich.progress import Progress
from torch.nn import functional as F

import mgup_torch
from lm.data import Corpus, fixed_batches, load_corpus, random_batches, standard_library
from lm.recipes import schedule
from lm.torch_trainer import GPT
from lm.trainer import initial_weights
from train_lm import make_parser, make_settings, positive

GUESS = {
    "AdamW": 8e-3, "Adan": 3.2e-2, "AdaBelief": 3.2e-2, "AdEMAMix": 8e-3, "AdamP": 8e-3,
    "Lion": 2e-3, "SCALE": 8e-3, "NAMO": 6.4e-2, "NAdamW": 8e-3, "RAdam": 8e-3, "AMSGrad": 8e-3,
    "StableAdamW": 8e-3, "Grams": 8e-3, "ADOPT": 8e-3, "LaProp": 8e-3, "MARSAdamW": 8e-3,
    "MARSLion": 2e-3, "ScheduleFreeAdamW": 1.6e-2, "ScheduleFreeRAdam": 1.6e-2,
    "ScheduleFreeSGD": 1.0, "Muon": 1.6e-2, "NorMuon": 1.6e-2, "AdaMuon": 1.6e-2,
    "Adafactor": 6.4e-2, "Prodigy": 1.0, "SOAP": 8e-3,
}  # fmt: skip
"""The rules, and the middle of the three learning rates with which each begins."""
OPTIONS = {
    # A step decays by lr · weight_decay: the product is to be much the same for all.
    "Lion": {"weight_decay": 1.0},
    "MARSLion": {"weight_decay": 1.0},
    "ScheduleFreeSGD": {"weight_decay": 1e-3},
    "NorMuon": {"scale": "match_rms_adamw"},  # AdamW's learning rates carry over
    "Adafactor": {"momentum": 0.9},  # something to rank by
}
MATRIX_RULES = ("SCALE", "NAMO", "Muon", "NorMuon", "AdaMuon")
MODES = ("off", "rank")
MOST = 12
"""Learning rates of a rule; one that is still best at an end then is marked in the table."""
WEIGHT_DECAY = 0.1
HELD_OUT_BATCHES = 16


class Run(NamedTuple):
    """One training run: what varies."""

    rule: str
    mode: str
    """MGUP's, or "off"."""
    lr: float
    seed: int


Losses = dict[Run, float]


def main(arguments: Sequence[str] | None = None) -> int:
    args = parse(arguments)
    args.out.mkdir(parents=True, exist_ok=True)
    kept = args.out / "compare.csv"
    losses = read(kept) if kept.exists() else {}
    train(losses, args, kept)
    text = table(losses, args.rules)
    (args.out / "compare.md").write_text(text, encoding="utf-8")
    print(text)
    draw(losses, args.rules, args.out / "compare.png")
    return 0


def train(losses: Losses, args: argparse.Namespace, kept: Path) -> None:
    """Run what is wanted until nothing is; a rule's next learning rate waits for no other rule."""
    context = multiprocessing.get_context("spawn")
    numbers = context.Queue()
    for number in range(args.jobs):
        numbers.put(number)
    running: dict[Future[float], Run] = {}
    with (
        ProcessPoolExecutor(args.jobs, context, _begin, (numbers, args.device)) as pool,
        Progress() as progress,
    ):
        bar = progress.add_task("training", total=None)
        while True:
            missing = [run for run in wanted(losses, args.rules, args.seeds)
                       if run not in running.values()]  # fmt: skip
            done, planned = len(losses), len(losses) + len(running) + len(missing)
            progress.update(bar, total=planned, completed=done)
            for run in missing[: args.jobs - len(running)]:  # no queue: a failure ends all soon
                running[pool.submit(_train, run, args)] = run
            if not running:
                return
            for one in wait(running, return_when=FIRST_COMPLETED).done:
                losses[running.pop(one)] = one.result()
            write(kept, losses)


def wanted(losses: Losses, rules: Sequence[str], seeds: Sequence[int]) -> list[Run]:
    """What has to be run: the first learning rates, or one more beyond an end that is best."""
    runs = []
    for rule, mode in itertools.product(rules, MODES):
        guess = GUESS[rule]
        grid = sorted({run.lr for run in losses if (run.rule, run.mode) == (rule, mode)})
        grid = sorted({*grid, guess / 2, guess, guess * 2})
        missing = [r for r in itertools.starmap(Run, itertools.product([rule], [mode], grid, seeds))
                   if r not in losses]  # fmt: skip
        if not missing and len(grid) < MOST and (found := best(losses, rule, mode)).at_the_edge:
            beyond = found.lr * 2 if found.lr == grid[-1] else found.lr / 2
            missing = [Run(rule, mode, beyond, seed) for seed in seeds]
        runs += missing
    return runs


def read(path: Path) -> Losses:
    """The runs of an earlier call."""
    with path.open(newline="", encoding="utf-8") as file:
        return {
            Run(row["rule"], row["mode"], float(row["lr"]), int(row["seed"])): float(
                row["held_out_loss"]
            )
            for row in csv.DictReader(file)
        }


def write(path: Path, losses: Losses) -> None:
    """Whole, whenever the program is stopped; in the order of the table."""
    order = list(GUESS)
    rows = sorted(losses.items(), key=lambda kept: (order.index(kept[0].rule), kept[0]))
    whole = path.with_suffix(".new")
    with whole.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*Run._fields, "held_out_loss"])
        writer.writerows([*run, f"{loss:.4f}"] for run, loss in rows)
    whole.replace(path)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rules", default=",".join(GUESS), help=f"of {', '.join(GUESS)}")
    parser.add_argument("--seeds", default="1,2,3", help="comma-separated (default 1,2,3)")
    parser.add_argument("--steps", type=positive, default=400, help="of each run (default 400)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, … (default cpu)")
    parser.add_argument("--jobs", type=positive, default=1, help="runs at a time (default 1)")
    parser.add_argument("--out", type=Path, default=Path("runs/compare"), metavar="FOLDER")
    args = parser.parse_args(arguments)
    args.rules = args.rules.split(",")
    if unknown := set(args.rules) - GUESS.keys():
        parser.error(f"unknown rules {sorted(unknown)}; there are {', '.join(GUESS)}")
    args.seeds = [int(seed) for seed in args.seeds.split(",")]
    return args


# -- one run -----------------------------------------------------------------------------------


def _begin(numbers: Queue[int], device: str) -> None:
    """Let the workers of a machine with several GPUs take turns at them."""
    warnings.filterwarnings("ignore", message=".*none is selected")
    number = numbers.get()
    if device == "cuda":
        torch.cuda.set_device(number % torch.cuda.device_count())


@lru_cache(maxsize=1)
def _corpus(context: int) -> Corpus:
    return load_corpus(standard_library(), context)


def _train(run: Run, args: argparse.Namespace) -> float:
    """The held-out loss at the end of a run."""
    torch.set_num_threads(1)
    defaults = make_settings(make_parser().parse_args([]))
    settings = dataclasses.replace(
        defaults, seed=run.seed, steps=args.steps, warmup=args.steps // 10
    )
    corpus = _corpus(settings.context)
    model = GPT(settings)
    weights = initial_weights(settings)
    model.load_state_dict({name: torch.from_numpy(w) for name, w in weights.items()})
    model.to(args.device)
    optimizers = make_optimizers(run, model, settings.warmup)
    schedulers = [
        torch.optim.lr_scheduler.LambdaLR(
            one, lambda step: schedule(step, settings.steps, settings.warmup)
        )
        for one in optimizers
        if not run.rule.startswith("ScheduleFree")
    ]

    def loss_of(batch: Iterable[object]) -> torch.Tensor:
        tokens, targets = (torch.from_numpy(part).to(args.device) for part in batch)
        return F.cross_entropy(model(tokens).flatten(0, 1), targets.flatten())

    batches = random_batches(corpus.train, 16, settings.context, run.seed)
    for batch in itertools.islice(batches, args.steps):
        model.zero_grad()
        loss_of(batch).backward()
        for one in optimizers:
            one.step()
        for one in schedulers:
            one.step()
    held_out = fixed_batches(corpus.held_out, HELD_OUT_BATCHES, 16, settings.context)
    for one in optimizers:
        one.eval()  # Schedule-Free has its average; others stay where they are
    with torch.no_grad():
        return statistics.fmean(loss_of(batch).item() for batch in held_out)


def make_optimizers(
    run: Run, model: torch.nn.Module, warmup: int
) -> list[mgup_torch.RuleOptimizer]:
    """The rule on what it trains, and AdamW with the same MGUP on the rest."""
    kind = getattr(mgup_torch, f"MGUP{run.rule}")
    own = dict(OPTIONS.get(run.rule, {}))
    if hasattr(kind.rule_class, "warmup_steps"):
        own["warmup_steps"] = warmup  # in the place of the schedule
    common = {"lr": run.lr, "weight_decay": WEIGHT_DECAY, "mode": run.mode}
    if run.rule not in MATRIX_RULES:
        return [kind(model.parameters(), **{**common, **own})]
    matrices = [(name, p) for name, p in model.blocks.named_parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if all(p is not q for _, q in matrices)]
    return [kind(matrices, **common, **own), mgup_torch.MGUPAdamW(others, **common)]


# -- what came out -------------------------------------------------------------------------------


class Best(NamedTuple):
    """The learning rate that did best, and the held-out losses of its seeds."""

    lr: float
    losses: list[float]
    at_the_edge: bool

    @property
    def mean(self) -> float:
        return statistics.fmean(self.losses)

    @property
    def spread(self) -> float:
        return statistics.stdev(self.losses) if len(self.losses) > 1 else 0.0


def best(losses: Losses, rule: str, mode: str) -> Best:
    rates: dict[float, list[float]] = {}
    for run, loss in losses.items():
        if (run.rule, run.mode) == (rule, mode):
            rates.setdefault(run.lr, []).append(loss if loss == loss else float("inf"))
    lr = min(rates, key=lambda rate: statistics.fmean(rates[rate]))
    return Best(lr, rates[lr], lr in (min(rates), max(rates)))


def table(losses: Losses, rules: Sequence[str]) -> str:
    """Markdown: held-out loss at the best learning rate, mean ± standard deviation of the seeds."""
    lines = [
        "| rule | alone | best lr | with MGUP | best lr | difference |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for rule in rules:
        alone, mgup = (best(losses, rule, mode) for mode in MODES)
        cells = [
            f"{one.mean:.3f} ± {one.spread:.3f} | {one.lr:.2g}{'*' * one.at_the_edge}"
            for one in (alone, mgup)
        ]
        lines.append(f"| {rule} | {' | '.join(cells)} | {mgup.mean - alone.mean:+.3f} |")
    return "\n".join([*lines, "", "\\* at the edge of the grid", ""])


def draw(losses: Losses, rules: Sequence[str], path: Path) -> None:
    """Each rule's best, every seed a dot."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 0.55 * len(rules) + 1.4), layout="constrained")
    for mode, label, colour, shift in (
        ("off", "alone", "#7a7a7a", 0.13),
        ("rank", "with MGUP", "#c2410c", -0.13),
    ):
        found = [best(losses, rule, mode) for rule in rules]
        places = [len(rules) - 1 - i + shift for i in range(len(rules))]
        for one, place in zip(found, places, strict=True):
            axes.plot(one.losses, [place] * len(one.losses), "o", color=colour, ms=4, alpha=0.6)
        means = [one.mean for one in found]
        axes.plot(means, places, "|", color=colour, ms=16, mew=2.5, label=label)
    axes.set_yticks(range(len(rules)), list(reversed(rules)))
    axes.set_ylim(-0.5, len(rules) - 0.5)  # whole bars at both ends
    axes.set_xlabel("held-out loss at the best learning rate (dots: seeds, bars: means)")
    axes.grid(axis="x", alpha=0.3)
    # Outside: its bars would pass for data.
    figure.legend(loc="outside upper right", ncols=2, frameon=False)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    sys.exit(main())
