"""The grid behind the learning rates of lm/recipes.py: the same rates and budget for everyone.

    python examples/tune_lm.py
    python examples/tune_lm.py --optimizers mgup-muon --seeds 1,2,3 --steps 1000

Takes the flags of train_lm.py too. Each number is the training loss at the end of a run, the mean
of its last twentieth, averaged over the seeds; the default run's own seed 0 is not among them.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.progress import track

from lm.data import Corpus, load_corpus, random_batches
from lm.recipes import RECIPES, Recipe
from lm.report import Curve
from train_lm import INTERRUPTED, make_parser, make_settings, make_trainer

LOWEST = {"adamw": 2e-3, "muon": 2e-3, "lion": 2.5e-4}  # Lion steps by whole signs
FACTORS = (1, 2, 4, 8, 16)


def main(arguments: Sequence[str] | None = None) -> int:
    own = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    own.add_argument("--seeds", default="1,2", help="comma-separated (default 1,2)")
    own_args, rest = own.parse_known_args(arguments)
    parser = make_parser()
    parser.set_defaults(optimizers=tuple(RECIPES), steps=500)
    args = parser.parse_args(rest)
    seeds = [int(seed) for seed in own_args.seeds.split(",")]
    corpus = load_corpus(args.data, args.context)
    print("| optimizer | lowest lr |" + "".join(f" × {factor} |" for factor in FACTORS))
    print("| --- | ---: |" + " ---: |" * len(FACTORS))
    try:
        for name in args.optimizers:
            print(row(RECIPES[name], corpus, seeds, args), flush=True)
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def row(recipe: Recipe, corpus: Corpus, seeds: list[int], args: argparse.Namespace) -> str:
    """One line of the Markdown table, the best in bold."""
    lowest = LOWEST[recipe.rule]
    runs = [(lowest * factor, seed) for factor in FACTORS for seed in seeds]
    console = Console(stderr=True)
    watched = track(runs, recipe.label, console=console, transient=True)
    losses = [final_loss(recipe, lr, corpus, seed, args) for lr, seed in watched]
    means = [sum(losses[i : i + len(seeds)]) / len(seeds) for i in range(0, len(runs), len(seeds))]
    cells = [f"**{mean:.3f}**" if mean == min(means) else f"{mean:.3f}" for mean in means]
    return f"| {recipe.label} | {lowest:g} | {' | '.join(cells)} |"


def final_loss(
    recipe: Recipe, lr: float, corpus: Corpus, seed: int, args: argparse.Namespace
) -> float:
    settings = dataclasses.replace(make_settings(args), seed=seed)
    trainer = make_trainer(dataclasses.replace(recipe, lr=lr), settings)
    batches = random_batches(corpus.train, args.batch, args.context, seed)
    curve = Curve(recipe)
    for _ in range(args.steps):
        curve.steps.append(trainer.step(next(batches)))
    return float(curve.smoothed(max(1, args.steps // 20))[-1])


if __name__ == "__main__":
    sys.exit(main())
