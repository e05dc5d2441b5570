"""What the policy does in each layer while it trains: a table in the terminal, and TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

FIELDS = ("selected", "threshold", "multiplier")

Layers = Mapping[str, float]
"""Numbers by ``layer/field``, as ``mgup_torch.integrations.statistics.summary`` has them."""


def layer_table(labels: Sequence[str], found: Sequence[Layers], step: int) -> Table:
    """A row for each layer, three columns for each optimizer that ranks."""
    table = Table(
        title=f"step {step}: share selected, lowest selected score, mean multiplier",
        box=box.SIMPLE_HEAD,
        padding=(0, 1),
    )
    table.add_column("layer", no_wrap=True)
    ranking = [(label, one) for label, one in zip(labels, found, strict=True) if one]
    for label, _ in ranking:
        table.add_column(f"{label}\nselected", justify="right")
        table.add_column("\nthreshold", justify="right")
        table.add_column("\nmult.", justify="right")
    layers = dict.fromkeys(key.rpartition("/")[0] for _, one in ranking for key in one)
    for layer in layers:
        values = [one.get(f"{layer}/{field}") for _, one in ranking for field in FIELDS]
        table.add_row(layer, *("–" if x is None else f"{x:.3g}" for x in values))
    return table


class Boards:
    """One TensorBoard run for each optimizer, where TensorBoard is installed."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self.writers: list[Any] = []
        if not names:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        self.writers = [SummaryWriter(str(folder / name)) for name in names]

    def add(self, found: Sequence[Layers], losses: Sequence[float], step: int) -> None:
        for writer, one, loss in zip(self.writers, found, losses, strict=False):
            writer.add_scalar("loss", loss, step)
            for key, value in one.items():
                layer, _, field = key.rpartition("/")
                writer.add_scalar(f"{field}/{layer}", value, step)

    def close(self) -> None:
        for writer in self.writers:
            writer.close()
