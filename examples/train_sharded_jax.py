"""Train a small byte-level GPT in JAX, every matrix in parts on eight devices.

    python examples/train_sharded_jax.py
    python examples/train_sharded_jax.py --steps 200 --optimizers adamw,mgup-lion

Where there are fewer than eight devices, JAX pretends to have eight CPUs. The mesh is 4 x 2: the
batch and the inputs of matrices are divided by four, their outputs by two. MGUP ranks whole
tensors, however they are sharded; the last table says what that sends.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")

import jax
import numpy as np
import optax
from flax import nnx
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from rich import box
from rich.console import Console
from rich.table import Table

from lm.data import Batch, fixed_batches, load_corpus, random_batches
from lm.jax_trainer import GPT, JaxTrainer, make_transformation
from lm.recipes import Recipe
from lm.report import Curve
from lm.trainer import Settings, initial_weights
from train_lm import (
    HELD_OUT_BATCHES,
    INTERRUPTED,
    chosen,
    make_parser,
    make_settings,
    report,
    train,
)

SIZES = {"data": 4, "model": 2}
OPTIMIZERS = ("adamw", "mgup-adamw")
STEPS, LAYERS, WIDTH = 60, 1, 128  # each tensor takes XLA seconds to compile, whatever its size


def place(mesh: Mesh, x: jax.Array) -> NamedSharding:
    """Matrices are divided along both axes; vectors are everywhere."""
    divides = x.ndim == 2 and all(
        n % mesh.shape[name] == 0 for n, name in zip(x.shape, SIZES, strict=True)
    )
    return NamedSharding(mesh, PartitionSpec(*SIZES) if divides else PartitionSpec())


class ShardedTrainer(JaxTrainer):
    """One optimizer of the comparison, on its own copy of the model, divided over a mesh."""

    def __init__(self, recipe: Recipe, settings: Settings, mesh: Mesh) -> None:
        self.model = GPT(settings, nnx.Rngs(settings.seed))
        self.model.load(initial_weights(settings))
        self.rows = NamedSharding(mesh, PartitionSpec("data"))
        params = nnx.state(self.model, nnx.Param)
        params = jax.device_put(params, jax.tree.map(partial(place, mesh), params))
        nnx.update(self.model, params)
        optimizer = make_transformation(recipe, settings)

        def step(params: Any, state: Any, gradients: Any) -> tuple[Any, Any]:
            updates, state = optimizer.update(gradients, state, params)
            return optax.apply_updates(params, updates), state

        self.state = optimizer.init(params)
        step = jax.jit(step, donate_argnums=(0, 1))
        self.compiled = step.lower(params, self.state, params).compile()

    def differentiate(self, batch: Batch) -> tuple[float, Any]:
        loss, gradients = super().differentiate(self._divided(batch))
        params = nnx.state(self.model, nnx.Param)
        return loss, jax.tree.map(lambda g, w: jax.device_put(g, w.sharding), gradients, params)

    def update(self, gradients: Any) -> None:
        params = nnx.state(self.model, nnx.Param)
        params, self.state = jax.block_until_ready(self.compiled(params, self.state, gradients))
        nnx.update(self.model, params)

    def evaluate(self, batches: Sequence[Batch]) -> float:
        return super().evaluate([self._divided(batch) for batch in batches])

    def _divided(self, batch: Batch) -> Any:
        return tuple(jax.device_put(np.asarray(part, np.int32), self.rows) for part in batch)

    def sent(self) -> tuple[int, int]:
        """(collectives in the program of a step, elements of the largest array in one)."""
        pattern = r"= (.*?) (?:all-\w+|collective-\w+|reduce-scatter)(?:-start)?\("
        results = re.findall(pattern, self.compiled.as_text())
        arrays = [dims for result in results for dims in re.findall(r"\w+\[([\d,]*)\]", result)]
        sizes = [math.prod(int(n) for n in dims.split(",") if n) for dims in arrays]
        return len(results), max(sizes, default=0)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = make_parser()
    parser.description = (__doc__ or "").partition("\n\n")[0]
    parser.epilog = f"optimizers: as in train_lm.py\n\nexamples:\n{__doc__.partition('    ')[2]}"
    parser.set_defaults(
        optimizers=OPTIMIZERS, steps=STEPS, layers=LAYERS, width=WIDTH, backend="jax"
    )
    args = parser.parse_args(arguments)
    try:
        run(args, Console())
    except ValueError as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def run(args: argparse.Namespace, console: Console) -> None:
    if args.backend != "jax":
        raise ValueError(f"--backend {args.backend}: this example is of JAX")
    if args.batch % SIZES["data"]:
        raise ValueError(f"--batch {args.batch} does not divide among {SIZES['data']} devices")
    settings = make_settings(args)
    args.out.mkdir(parents=True, exist_ok=True)
    mesh = jax.make_mesh(
        tuple(SIZES.values()), tuple(SIZES), axis_types=(AxisType.Auto,) * len(SIZES)
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
        tensors = jax.tree.leaves(nnx.state(trainer.model, nnx.Param))
        divided = sum(not x.sharding.is_fully_replicated for x in tensors)
        numbers = (*trainer.sent(), max(x.size for x in tensors))
        result.add_row(curve.recipe.label, *map(str, numbers), f"{divided} of {len(tensors)}")
    return result


if __name__ == "__main__":
    started = time.perf_counter()
    status = main()
    print(f"{time.perf_counter() - started:.0f} s in all")
    sys.exit(status)
