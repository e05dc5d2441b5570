"""What users of mgup_torch write, and slips that a checker must tell them (``# slip``)."""

from typing import Any

import torch

import mgup_torch
from mgup_core import AdamW
from mgup_torch import MGUP, MGUPSGD, MKOR, MGUPAdamW, MGUPMuon, RuleOptimizer, create_optimizer

# README.md
model = torch.nn.Linear(8, 4)
optimizer = MGUPAdamW(model.parameters(), lr=1e-3, weight_decay=0.01, tau=0.5)
x, y = torch.randn(64, 8), torch.randn(64, 4)
for _ in range(10):
    optimizer.zero_grad()
    torch.nn.functional.mse_loss(model(x), y).backward()
    optimizer.step()

# Positions of the twins, tensors as numbers, groups, names.
MGUPAdamW(model.parameters(), 1e-3, (0.9, 0.95), 1e-8, 0.1, False)
MGUPSGD(model.named_parameters(), torch.tensor(0.1), 0.9, nesterov=True, mode="adaptive")
groups: list[dict[str, Any]] = [{"params": [model.weight], "tau": 0.2}, {"params": [model.bias]}]
MGUPSGD(groups, lr=0.1)
muon = MGUPMuon(
    model.named_parameters(), adjust_lr_fn="original", mode="sign", alpha=2.0, implementation="auto"
)
MGUPAdamW(model.parameters(), alpha=torch.tensor(2.0), state_dtype=torch.float32, scope="local")

scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 10)
wrapped = MGUP(torch.optim.RMSprop(model.parameters()), tau=0.3, ties="aligned")
wrapped.step()
MKOR(model).precede(wrapped)

made: type[RuleOptimizer] = mgup_torch.optimizer(AdamW, name="Mine")
names: list[str] = mgup_torch.list_optimizers()
by_name: RuleOptimizer = create_optimizer(names[0], model.parameters(), lr=0.1)
statistics: list[Any] = by_name.statistics()


class Twice(MGUPAdamW):
    """A subclass adds a method and keeps the arguments."""

    def step_twice(self) -> None:
        self.step()
        self.step()


Twice(model.parameters(), tau=0.25).step_twice()

MGUPAdamW(model.parameters(), learning_rate=1e-3)  # slip
MGUPAdamW(model.parameters(), b1=0.9)  # slip
MGUPAdamW(model.parameters(), lr="fast")  # slip
MGUPAdamW(model.parameters(), mode="ranked")  # slip
MGUPAdamW(model.parameters(), betas=(0.9, 0.95, 0.99))  # slip
MGUPAdamW(model.parameters(), defaults={})  # slip
MGUPAdamW(model.parameters(), 1e-3, (0.9, 0.95), 1e-8, 0.1, False, 0.5)  # slip
MGUPAdamW(lr=1e-3)  # slip
MGUPSGD(model.parameters(), betas=(0.9, 0.95))  # slip
MGUPMuon(model.named_parameters(), adjust_lr_fn="rms")  # slip
MGUPMuon(model.named_parameters(), tua=0.5)  # slip
MGUP(torch.optim.RMSprop(model.parameters()), mode="ranked")  # slip
MGUP(model.parameters())  # slip
MKOR(model, form="paper")  # slip
mgup_torch.MGUPAdamv(model.parameters())  # slip
mgup_torch.optimizer("AdamW")  # slip
Twice(model.parameters(), tao=0.25)  # slip
