"""What users of mgup_mindspore write, and slips that a checker must tell them (``# slip``)."""

import mindspore
from mindspore import nn

import mgup_mindspore
from mgup_core import AdamW
from mgup_mindspore import MGUPSGD, MGUPAdamW, MGUPMuon, RuleOptimizer, create_optimizer


def network_of(size: int) -> nn.Cell:
    """Pyright takes MindSpore 2.10's nn.Dense for None."""
    raise NotImplementedError(size)


# README.md
network = network_of(8)
optimizer = MGUPAdamW(network.trainable_params(), learning_rate=1e-3, weight_decay=0.01, tau=0.5)

# Positions of the twins, schedules, groups, names.
MGUPAdamW(network.trainable_params(), 1e-3, 0.9, 0.95, 1e-8, 0.1)
MGUPSGD([{"params": [network.weight], "tau": 0.2}, {"params": [network.bias]}], 0.1, 0.9)
MGUPSGD(network.trainable_params(), [0.1, 0.05, 0.01], mode="adaptive", loss_scale=1024.0)
MGUPSGD(network.trainable_params(), nn.ExponentialDecayLR(0.1, 0.9, 4))
MGUPMuon(
    network.trainable_params(), scale="original", adamw_beta1=0.9, state_dtype=mindspore.float32
)

made: type[RuleOptimizer] = mgup_mindspore.optimizer(AdamW, name="Mine")
names: list[str] = mgup_mindspore.list_optimizers()
by_name: RuleOptimizer = create_optimizer(names[0], network.trainable_params(), tau=0.25)
by_name.set_hyperparameters(alpha=3.0)

MGUPAdamW(network.trainable_params(), lr=1e-3)  # slip
MGUPAdamW(network.trainable_params(), b1=0.9)  # slip
MGUPAdamW(network.trainable_params(), beta1="high")  # slip
MGUPAdamW(network.trainable_params(), mode="ranked")  # slip
MGUPAdamW(learning_rate=1e-3)  # slip
MGUPAdamW(network.trainable_params(), settings={})  # slip
MGUPSGD(network.trainable_params(), 0.1, 0.9, True)  # slip
MGUPMuon(network.trainable_params(), scale="rms")  # slip
MGUPMuon(network.trainable_params(), tua=0.5)  # slip
mgup_mindspore.MGUPAdamv(network.trainable_params())  # slip
mgup_mindspore.optimizer("AdamW")  # slip
