"""Fine-tuning: networks that know one task of signals learn a related one from few samples.

Each seed's perceptron first learns the templates of :mod:`audit.signals`, by AdamW and the same for
every arm; the second task's templates are half the first's and half new ones. What an arm then
trains is all of it, or adapters of low rank beside its matrices (LoRA, Hu et al. 2021, arXiv
2106.09685).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from audit.signals import FIRST, StackedMLP, dataset

SECOND, FEW = FIRST + 1, 500
"""The seed of the templates that are learned second, and their samples."""
RANK = 4
STEPS, BATCH, RATE = 600, 64, 0.02
"""Of the pretraining."""


def second_dataset() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As :func:`audit.signals.dataset`, of related templates and with few training samples."""
    return dataset(SECOND, FEW)


@lru_cache(maxsize=4)
def pretrained(seeds: tuple[int, ...]) -> dict[str, Tensor]:
    """The weights of a stack of perceptrons that have learned the first templates."""
    net, (x, y, _, _) = StackedMLP(seeds), dataset()
    # Elementwise, and no bound on norms: each net of the stack is trained as it would be alone.
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    drawn = [np.random.default_rng([seed, 2]).integers(0, len(x), (STEPS, BATCH)) for seed in seeds]
    for batch in torch.from_numpy(np.stack(drawn, 1)):
        net.zero_grad()
        net(x[batch], y[batch]).sum().backward()
        optimizer.step()
        schedule.step()
    return {name: value.detach() for name, value in net.state_dict().items()}


class FullyTuned(StackedMLP):
    """A perceptron all of which is trained on."""

    def __init__(self, seeds: Sequence[int]) -> None:
        super().__init__(seeds)
        self.load_state_dict(pretrained(tuple(seeds)))


class LoRATuned(FullyTuned):
    """A perceptron whose weights stay, with trained adapters: W + A B, and B begins at zero."""

    def __init__(self, seeds: Sequence[int]) -> None:
        super().__init__(seeds)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        for name, value in list(self.named_parameters()):
            delattr(self, name)
            self.register_buffer(name, value.detach())
            if name.startswith("matrix"):
                _, rows, columns = value.shape
                first = [torch.randn(rows, RANK, generator=g) / rows**0.5 for g in generators]
                self.register_parameter(f"{name}_a", nn.Parameter(torch.stack(first)))
                second = torch.zeros(len(seeds), RANK, columns)
                self.register_parameter(f"{name}_b", nn.Parameter(second))

    def matrix(self, name: str) -> Tensor:
        a, b = getattr(self, f"{name}_a"), getattr(self, f"{name}_b")
        return torch.baddbmm(getattr(self, name), a, b)


NETS = {"full": FullyTuned, "lora": LoRATuned}
