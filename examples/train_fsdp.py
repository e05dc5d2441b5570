"""Train a small byte-level GPT under FSDP2: each process holds a part of every tensor.

    torchrun --nproc-per-node 2 examples/train_fsdp.py
    torchrun --nproc-per-node 4 examples/train_fsdp.py --steps 200 --optimizers adamw,mgup-lion
    torchrun --nproc-per-node 8 examples/train_fsdp.py --device cuda --width 512 --layers 8

On the CPU the processes talk by gloo, on NVIDIA GPUs by NCCL. MGUP ranks whole tensors, however
they are sharded; the last table says what that sends.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence

import torch
import torch.distributed as dist
from rich import box
from rich.console import Console
from rich.table import Table
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard

from lm.data import Batch, fixed_batches, load_corpus, random_batches
from lm.recipes import Recipe
from lm.report import Curve
from lm.torch_trainer import TorchTrainer
from lm.trainer import Settings, Step
from train_lm import (
    HELD_OUT_BATCHES,
    INTERRUPTED,
    chosen,
    make_parser,
    make_settings,
    report,
    train,
)

OPTIMIZERS = ("adamw", "mgup-adamw", "mgup-muon")
STEPS = 100


class ShardedTrainer(TorchTrainer):
    """One optimizer of the comparison, on its own copy of the model, sharded by FSDP2."""

    def __init__(self, recipe: Recipe, settings: Settings, mesh: DeviceMesh) -> None:
        self.mesh = mesh
        super().__init__(recipe, settings)

    def _place(self) -> None:
        for block in self.model.blocks:
            fully_shard(block, mesh=self.mesh)
        fully_shard(self.model, mesh=self.mesh)

    def step(self, batch: Batch) -> Step:
        """Every process takes its rows of the batch; FSDP averages their gradients."""
        rank, ranks = self.mesh.get_rank(), self.mesh.size()
        taken = super().step(tuple(part[rank::ranks] for part in batch))
        return taken._replace(loss=self._mean(taken.loss))

    def evaluate(self, batches: Sequence[Batch]) -> float:
        rank, ranks = self.mesh.get_rank(), self.mesh.size()
        return self._mean(super().evaluate(batches[rank::ranks]))

    def _mean(self, value: float) -> float:
        total = torch.tensor(value, device=self.device)
        dist.all_reduce(total)
        return total.item() / self.mesh.size()

    def sent(self) -> tuple[int, float] | None:
        """(collectives, bytes a parameter) of the last step; ``None`` for PyTorch's own."""
        if isinstance(self.optimizer, torch.optim.AdamW):
            return None
        traffic = self.optimizer.communication()
        return traffic.collectives, traffic.bytes / len(list(self.model.parameters()))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = make_parser()
    parser.description = (__doc__ or "").partition("\n\n")[0]
    parser.epilog = f"optimizers: as in train_lm.py\n\nexamples:\n{__doc__.partition('    ')[2]}"
    parser.set_defaults(optimizers=OPTIMIZERS, steps=STEPS)
    args = parser.parse_args(arguments)
    if args.backend != "torch":
        parser.error(f"--backend {args.backend}: FSDP2 is PyTorch's")
    if "RANK" not in os.environ:
        parser.error("start it with torchrun --nproc-per-node 2 examples/train_fsdp.py")
    if args.device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if args.device == "cuda" else "gloo")
    try:
        run(args, Console(quiet=dist.get_rank() > 0))
    except ValueError as error:
        parser.error(str(error))
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        dist.destroy_process_group()
    return 0


def run(args: argparse.Namespace, console: Console) -> None:
    settings = make_settings(args)
    args.out.mkdir(parents=True, exist_ok=True)
    ranks = dist.get_world_size()
    for what, count in (("--batch", args.batch), ("held-out batches", HELD_OUT_BATCHES)):
        if count % ranks:
            raise ValueError(f"{what} {count} does not divide among {ranks} processes")
    mesh = init_device_mesh(args.device, (ranks,))
    corpus = load_corpus(args.data, args.context)
    batches: Iterator[Batch] = random_batches(corpus.train, args.batch, args.context, args.seed)
    held_out = fixed_batches(corpus.held_out, HELD_OUT_BATCHES, args.batch, args.context)
    runs = [(Curve(recipe), ShardedTrainer(recipe, settings, mesh)) for recipe in chosen(args)]
    console.print(f"{ranks} processes, each with a part of every tensor ({dist.get_backend()})")
    train(runs, batches, held_out, args, console)
    if dist.get_rank() == 0:
        report([curve for curve, _ in runs], args, console)
    console.print(traffic_table(runs))


def traffic_table(runs: Sequence[tuple[Curve, ShardedTrainer]]) -> Table:
    """What the optimizers send besides what FSDP does."""
    result = Table(
        title="Sent in a step by each process, for the optimizer's sake",
        caption=(
            "AdamW needs nothing of the others. MGUP exchanges counts, as many for a tensor of a\n"
            "billion coordinates as for one of a thousand; Muon its matrices, whole."
        ),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=0,
    )
    result.add_column("optimizer", no_wrap=True)
    for heading in ("collectives", "KB a tensor", "model, KB a tensor"):
        result.add_column(heading, justify="right", no_wrap=True)
    for curve, trainer in runs:
        sizes = [p.numel() * p.element_size() for p in trainer.model.parameters()]
        model = f"{sum(sizes) / len(sizes) / 1e3:.1f}"
        sent = trainer.sent()
        told = ("0", "0") if sent is None else (str(sent[0]), f"{sent[1] / 1e3:.1f}")
        result.add_row(curve.recipe.label, *told, model)
    return result


if __name__ == "__main__":
    started = time.perf_counter()
    status = main()
    if os.environ.get("RANK", "0") == "0":
        print(f"{time.perf_counter() - started:.0f} s in all")
    sys.exit(status)
