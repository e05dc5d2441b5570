"""Train a small byte-level GPT with several optimizers, side by side, on Python's own source text.

    python examples/train_lm.py
    python examples/train_lm.py --optimizers adamw,mgup-adamw --steps 1000 --lr mgup-adamw=2e-3
    python examples/train_lm.py --backend jax --optimizers adamw,mgup-adamw
    python examples/train_lm.py --watch --optimizers adamw,mgup-adamw

The optimizers take turns, step by step, on the same batches from the same initial weights: what
else the machine does slows all of them alike, and Ctrl-C leaves curves of equal length.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lm.data import Batch, fixed_batches, load_corpus, random_batches, standard_library
from lm.recipes import DEFAULT_NAMES, RECIPES, Recipe
from lm.report import Curve, align, summaries, table, write_csv, write_summary
from lm.trainer import Settings, Trainer
from lm.watch import Boards, layer_table

BACKENDS = {
    "numpy": ("lm.numpy_trainer", "NumPyTrainer"),
    "torch": ("lm.torch_trainer", "TorchTrainer"),
    "jax": ("lm.jax_trainer", "JaxTrainer"),
    "mindspore": ("lm.mindspore_trainer", "MindSporeTrainer"),
}
HELD_OUT_BATCHES = 16
INTERRUPTED = 130  # 128 + SIGINT, what shells expect


def main(arguments: Sequence[str] | None = None) -> int:
    parser = make_parser()
    args = parser.parse_args(arguments)
    console = Console()
    try:
        curves, interrupted = run(args, console)
    # What the model, an optimizer or the disk refuses, and a framework that is not installed.
    except (ValueError, OSError, ImportError) as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        curves, interrupted = [], True
    begun = [curve for curve in curves if curve.steps]
    if begun:
        heard = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C loses nothing
        try:
            report(begun, args, console)
        finally:
            signal.signal(signal.SIGINT, heard)
    if interrupted:
        console.print(
            "Interrupted: the learning rates had not finished their schedule."
            if begun
            else "Interrupted before the first step: there is nothing to report."
        )
    return INTERRUPTED if interrupted else 0


def make_parser() -> argparse.ArgumentParser:
    summary, _, rest = (__doc__ or "").partition("\n\n")
    names = "\n".join(f"  {r.name:22}{r.label:22}lr {r.lr:g}" for r in RECIPES.values())
    parser = argparse.ArgumentParser(
        description=summary,
        epilog=f"optimizers and their default learning rates:\n{names}\n\nexamples:\n{rest}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_argument_group("what to compare")
    what.add_argument(
        "--optimizers",
        type=parse_names,
        default=DEFAULT_NAMES,
        metavar="A,B,...",
        help="comma-separated names from the list below; default: all but lion and muon",
    )
    what.add_argument(
        "--lr",
        type=parse_rate,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="another peak learning rate for one optimizer; may be repeated",
    )
    what.add_argument("--tau", type=float, default=0.5, help="MGUP's ratio (default 0.5)")
    what.add_argument("--alpha", type=float, help="MGUP's amplification (default 1/tau)")
    what.add_argument("--gamma", type=float, help="MGUP's damping (default tau)")

    how = parser.add_argument_group("training")
    how.add_argument("--steps", type=positive, default=400, help="optimizer steps (default 400)")
    how.add_argument("--warmup", type=int, help="steps of linear warmup (default a tenth)")
    how.add_argument("--batch", type=positive, default=16, help="windows a batch (default 16)")
    how.add_argument("--seed", type=int, default=0, help="of weights and batches (default 0)")
    how.add_argument(
        "--backend", choices=BACKENDS, default="torch", help="the framework (default torch)"
    )
    how.add_argument("--device", default="cpu", help="torch's: cpu, cuda, mps, ... (default cpu)")
    # A model this small gains little from a second thread, and much from not waiting for one.
    how.add_argument("--threads", type=positive, default=1, help="torch's, on the CPU (default 1)")
    how.add_argument(
        "--data",
        type=Path,
        default=standard_library(),
        metavar="FOLDER",
        help="train on the *.py files below it (default: Python's standard library)",
    )

    model = parser.add_argument_group("model")
    model.add_argument("--context", type=positive, default=64, help="bytes seen (default 64)")
    model.add_argument("--layers", type=positive, default=2, help="blocks (default 2)")
    model.add_argument("--width", type=positive, default=64, help="of the stream (default 64)")
    model.add_argument("--heads", type=positive, default=2, help="of attention (default 2)")

    output = parser.add_argument_group("output")
    output.add_argument("--eval-every", type=positive, help="steps (default a tenth of all)")
    output.add_argument(
        "--watch",
        action="store_true",
        help="show what MGUP does in each layer, and write it for TensorBoard where that is"
        " installed (torch)",
    )
    output.add_argument("--out", type=Path, metavar="FOLDER", help="default runs/lm-<date>-<time>")
    return parser


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not a positive number")
    return value


def parse_names(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        known_name(name)
    return names


def parse_rate(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return known_name(name.strip()), float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE, as adamw=1e-3") from None


def known_name(name: str) -> str:
    if name not in RECIPES:
        known = ", ".join(RECIPES)
        raise argparse.ArgumentTypeError(f"{name!r} is not an optimizer here; choose from {known}")
    return name


def run(args: argparse.Namespace, console: Console) -> tuple[list[Curve], bool]:
    """Train; an interruption keeps the curves so far."""
    settings = make_settings(args)
    corpus = load_corpus(args.data, args.context)
    batches = random_batches(corpus.train, args.batch, args.context, args.seed)
    held_out = fixed_batches(corpus.held_out, HELD_OUT_BATCHES, args.batch, args.context)
    curves = [Curve(recipe) for recipe in chosen(args)]
    trainers = [make_trainer(curve.recipe, settings) for curve in curves]
    args.out.mkdir(parents=True, exist_ok=True)  # Now, lest the curves have nowhere to go later.
    console.print(
        f"{args.data}: {len(corpus.train) / 1e6:.1f} MB to train on,"
        f" {len(corpus.held_out) / 1e6:.1f} MB held out",
        soft_wrap=True,
    )
    try:
        train(list(zip(curves, trainers, strict=True)), batches, held_out, args, console)
    except KeyboardInterrupt:
        return curves, True
    return curves, False


def chosen(args: argparse.Namespace) -> list[Recipe]:
    rates = dict(args.lr)
    for name in rates.keys() - set(args.optimizers):
        raise ValueError(f"--lr {name}={rates[name]:g}: {name} is not among --optimizers")
    recipes = [RECIPES[name] for name in args.optimizers]
    return [dataclasses.replace(r, lr=rates.get(r.name, r.lr)) for r in recipes]


def make_settings(args: argparse.Namespace) -> Settings:
    if args.width % args.heads:
        raise ValueError(f"--width {args.width} does not divide into --heads {args.heads}")
    if args.watch and args.backend != "torch":
        raise ValueError(f"--watch: {args.backend} keeps no statistics; use --backend torch")
    args.warmup = args.steps // 10 if args.warmup is None else args.warmup
    if not 0 <= args.warmup < args.steps:
        raise ValueError(f"--warmup {args.warmup} is not below --steps {args.steps}")
    args.out = args.out or Path("runs") / f"lm-{datetime.now():%Y%m%d-%H%M%S}"
    args.eval_every = args.eval_every or max(1, args.steps // 10)
    names = [field.name for field in dataclasses.fields(Settings)]
    return Settings(**{name: getattr(args, name) for name in names})


def make_trainer(recipe: Recipe, settings: Settings) -> Trainer:
    # Imported here so that --help and wrong arguments need not wait for the framework.
    module, name = BACKENDS[settings.backend]
    return getattr(importlib.import_module(module), name)(recipe, settings)


def train(
    runs: Sequence[tuple[Curve, Trainer]],
    batches: Iterator[Batch],
    held_out: Sequence[Batch],
    args: argparse.Namespace,
    console: Console,
) -> None:
    progress = Progress(
        TextColumn("{task.description:20}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.3f}  held out {task.fields[held_out]:.3f}"),
        TimeRemainingColumn(),
        console=console,
    )
    boards = Boards(args.out / "tensorboard", [c.recipe.name for c, _ in runs] * args.watch)
    with contextlib.closing(boards), Live(progress, console=console) as live:
        bars = [
            progress.add_task(curve.recipe.label, total=args.steps, loss=0.0, held_out=0.0)
            for curve, _ in runs
        ]
        for step in range(args.steps + 1):
            batch = next(batches)
            for bar, (curve, trainer) in zip(bars, runs, strict=True):
                if step > 0:
                    curve.steps.append(trainer.step(batch))
                    progress.update(bar, advance=1, loss=curve.steps[-1].loss)
                if step % args.eval_every == 0 or step == args.steps:
                    curve.held_out[step] = trainer.evaluate(held_out)
                    progress.update(bar, held_out=curve.held_out[step])
            if args.watch and step > 0:
                found = [trainer.layers() for _, trainer in runs]
                labels = [curve.recipe.label for curve, _ in runs]
                live.update(Group(progress, layer_table(labels, found, step)))
                boards.add(found, [curve.steps[-1].loss for curve, _ in runs], step)


def report(curves: Sequence[Curve], args: argparse.Namespace, console: Console) -> None:
    from lm.plot import draw  # here, so that training needs no Matplotlib

    window = max(1, max(len(curve.steps) for curve in curves) // 20)
    align(curves)
    rows = summaries(curves, window)
    console.print(table(rows, window))
    draw(curves, window, args.out / "curves.png")
    write_csv(curves, window, args.out / "curves.csv")
    write_summary(rows, vars(args), args.out / "summary.json")
    for name in ("curves.png", "curves.csv", "summary.json"):
        console.print(f"wrote {args.out / name}", soft_wrap=True)


if __name__ == "__main__":
    started = time.perf_counter()
    status = main()
    print(f"{time.perf_counter() - started:.0f} s in all")
    sys.exit(status)
