"""Train a small byte-level GPT in JAX, every matrix in parts on eight devices.

    python examples/train_sharded_jax.py
    python examples/train_sharded_jax.py --steps 200 --optimizers adamw,mgup-lion

Where there are fewer than eight devices, JAX pretends to have eight CPUs. The mesh is 4 x 2: the
batch and the inputs of matrices are divided by four, their outputs by two. MGUP ranks whole
tensors, however they are sharded; the last table says what that sends.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# The user's flags come last, where they win.
os.environ["XLA_FLAGS"] = " ".join(
    ["--xla_force_host_platform_device_count=8", os.environ.get("XLA_FLAGS", "")]
)

from rich import box
from rich.console import Console
from rich.table import Table

from lm.data import fixed_batches, load_corpus, random_batches
from lm.report import Curve
from train_lm import (
    HELD_OUT_BATCHES,
    INTERRUPTED,
    chosen,
    make_parser,
    make_settings,
    report,
    train,
)

if TYPE_CHECKING:
    from lm.jax_sharded import ShardedTrainer

SIZES = {"data": 4, "model": 2}
OPTIMIZERS = ("adamw", "mgup-adamw")
OF_OTHERS = ("backend", "device", "threads", "watch")
"""What train_lm.py has for the other frameworks."""
STEPS, LAYERS, WIDTH = 60, 1, 128  # each tensor takes XLA seconds to compile, whatever its size


def main(arguments: Sequence[str] | None = None) -> int:
    parser = make_parser()
    parser.description = (__doc__ or "").partition("\n\n")[0]
    parser.epilog = f"optimizers: as in train_lm.py\n\nexamples:\n{__doc__.partition('    ')[2]}"
    parser.set_defaults(
        optimizers=OPTIMIZERS, steps=STEPS, layers=LAYERS, width=WIDTH, backend="jax"
    )
    for action in parser._actions:
        if action.dest in OF_OTHERS:
            action.help = argparse.SUPPRESS
    args = parser.parse_args(arguments)
    try:
        run(args, Console())
    except ValueError as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def run(args: argparse.Namespace, console: Console) -> None:
    if args.watch:
        raise ValueError("--watch: JAX keeps no statistics; train_lm.py has it for torch")
    if args.backend != "jax":
        raise ValueError(f"--backend {args.backend}: this example is of JAX")
    if args.batch % SIZES["data"]:
        raise ValueError(f"--batch {args.batch} does not divide among {SIZES['data']} devices")
    import jax  # not for --help, which needs none of it

    from lm.jax_sharded import ShardedTrainer

    settings = make_settings(args)
    args.out.mkdir(parents=True, exist_ok=True)
    mesh = jax.make_mesh(
        tuple(SIZES.values()), tuple(SIZES), axis_types=(jax.sharding.AxisType.Auto,) * len(SIZES)
    )
    corpus = load_corpus(args.data, args.context)
    batches = random_batches(corpus.train, args.batch, args.context, args.seed)
    held_out = fixed_batches(corpus.held_out, HELD_OUT_BATCHES, args.batch, args.context)
    console.print(f"{mesh.size} devices ({mesh.devices.flat[0].device_kind}); compiling the steps")
    runs = [(Curve(recipe), ShardedTrainer(recipe, settings, mesh)) for recipe in chosen(args)]
    train(runs, batches, held_out, args, console)
    report([curve for curve, _ in runs], args, console)
    console.print(traffic_table(runs))


def traffic_table(runs: Sequence[tuple[Curve, ShardedTrainer]]) -> Table:
    """What the compiled updates send, and that everything stayed where it was."""
    result = Table(
        title="The compiled update of each optimizer",
        caption=(
            "AdamW needs nothing of the other devices. MGUP sends counts, and a sample\n"
            "of at most 8192 scores of a tensor, however large that is. What is sent in\n"
            "a loop is counted once."
        ),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=0,
    )
    result.add_column("optimizer", no_wrap=True)
    headings = ("collectives", "their largest array", "largest tensor", "tensors in parts")
    for heading in headings:
        result.add_column(heading, justify="right")
    for curve, trainer in runs:
        largest, divided, tensors = trainer.held()
        numbers = (*trainer.sent(), largest)
        result.add_row(curve.recipe.label, *map(str, numbers), f"{divided} of {tensors}")
    return result


if __name__ == "__main__":
    started = time.perf_counter()
    status = main()
    print(f"{time.perf_counter() - started:.0f} s in all")
    sys.exit(status)
