"""MGUP in Lightning: statistics beside the other numbers of a run."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback

from .statistics import layer_of, summary


class StatisticsCallback(Callback):  # type: ignore[misc]
    """Log what the policy did every ``trainer.log_every_n_steps`` steps, to the loggers there are.

    The optimizers must be made with ``statistics=True``.

    Args:
        by_layer: whether for each layer, or for all parameters together.
    """

    def __init__(self, *, by_layer: bool = False) -> None:
        self.by = layer_of if by_layer else None

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if step == 0 or step % trainer.log_every_n_steps:
            return
        for i, optimizer in enumerate(trainer.optimizers):
            name = "mgup" if len(trainer.optimizers) == 1 else f"mgup{i}"
            values = {f"{name}/{key}": x for key, x in summary(optimizer, self.by).items()}
            pl_module.log_dict(values)
