"""Lightning and Fabric: their wrappers' classes, clipping in 16-mixed, the command line.

No clause: how a framework calls the optimizer.
"""

from __future__ import annotations

import sys

import pytest
import torch

from mgup_torch import MGUP, MGUPAdamW, MGUPMuon

from .support import assert_same_bits, weights

pytest.importorskip("lightning")

OPTIMIZERS = {
    "adamw": lambda model, **kw: MGUPAdamW.from_model(model, lr=1e-2, statistics=True, **kw),
    "muon": lambda model, **kw: MGUPMuon.from_model(
        model, lr=1e-2, ns_dtype="float32", statistics=True, **kw
    ),
    "wrapper": lambda model, **kw: MGUP.from_model(
        model, lambda groups: torch.optim.Adam(groups, lr=1e-2), statistics=True, **kw
    ),
}


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.GELU(), torch.nn.Linear(8, 2))


def batches():
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(1))
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x), batch_size=2)


def module(kind):
    from lightning.pytorch import LightningModule

    class Module(LightningModule):
        def __init__(self):
            super().__init__()
            self.net = network()

        def training_step(self, batch, _):
            return self.net(batch[0]).square().mean()

        def configure_optimizers(self):
            optimizer = OPTIMIZERS[kind](self)
            schedule = torch.optim.lr_scheduler.LinearLR(optimizer, total_iters=8)
            return {
                "optimizer": optimizer,
                "lr_scheduler": {"scheduler": schedule, "interval": "step"},
            }

    return Module()


def lightning_trainer(tmp_path, **more):
    from lightning.pytorch import Trainer

    more = {"max_epochs": 1, "logger": False, "enable_checkpointing": False, **more}
    return Trainer(
        default_root_dir=tmp_path, accelerator="cpu", enable_progress_bar=False,
        enable_model_summary=False, log_every_n_steps=1, **more,
    )  # fmt: skip


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_statistics_through_the_wrapper(tmp_path, kind):
    """``LightningOptimizer`` is of a class made from ours, and has none of our attributes."""
    from lightning.pytorch.core.optimizer import LightningOptimizer

    one = module(kind)
    lightning_trainer(tmp_path).fit(one, batches())
    (inner,) = one.trainer.optimizers
    wrapper = LightningOptimizer(inner)
    assert wrapper.statistics() == inner.statistics()
    assert wrapper.named_statistics().keys() == {
        "net.0.weight", "net.0.bias", "net.2.weight", "net.2.bias",
    }  # fmt: skip
    assert len(wrapper.explain()) == 4
    assert type(wrapper.communication()) is type(inner.communication())


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_fabric(kind):
    from lightning.fabric import Fabric

    fabric = Fabric(accelerator="cpu", devices=1)
    net = network()
    model, optimizer = fabric.setup(net, OPTIMIZERS[kind](net))
    twin = network()
    plain = OPTIMIZERS[kind](twin)
    for (x,) in batches():
        for a_model, an_optimizer in ((model, optimizer), (twin, plain)):
            an_optimizer.zero_grad()
            loss = a_model(x).square().mean()
            fabric.backward(loss) if a_model is model else loss.backward()
            an_optimizer.step()
    assert_same_bits(net, weights(twin))
    assert optimizer.named_statistics() == plain.named_statistics()


def test_statistics_callback(tmp_path):
    from lightning.pytorch.loggers import CSVLogger

    from mgup_torch.integrations.lightning import StatisticsCallback

    trainer = lightning_trainer(
        tmp_path, logger=CSVLogger(tmp_path), callbacks=[StatisticsCallback()]
    )
    trainer.fit(module("adamw"), batches())
    assert trainer.logged_metrics["mgup/selected"] == 0.5
    text = next(tmp_path.rglob("metrics.csv")).read_text()
    assert text.splitlines()[0].count("mgup/") == 5


def test_usual_callbacks(tmp_path):
    from lightning.pytorch.callbacks import (
        LearningRateMonitor,
        StochasticWeightAveraging,
        WeightAveraging,
    )
    from lightning.pytorch.loggers import CSVLogger

    for extra in (StochasticWeightAveraging(swa_lrs=1e-3, swa_epoch_start=1), WeightAveraging()):
        monitor = LearningRateMonitor("step")
        trainer = lightning_trainer(
            tmp_path, logger=CSVLogger(tmp_path), max_epochs=3, callbacks=[monitor, extra]
        )
        trainer.fit(module("adamw"), batches())
        assert {name[:12] for name in monitor.lrs} == {"lr-MGUPAdamW"}


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_resumed_run(tmp_path, kind):
    from lightning.pytorch.callbacks import ModelCheckpoint

    whole = module(kind)
    lightning_trainer(tmp_path, max_epochs=2).fit(whole, batches())
    keep = ModelCheckpoint(tmp_path, filename="half")
    more = {"enable_checkpointing": True, "callbacks": [keep]}
    lightning_trainer(tmp_path, max_epochs=1, **more).fit(module(kind), batches())
    resumed = module(kind)
    lightning_trainer(tmp_path, max_epochs=2).fit(
        resumed, batches(), ckpt_path=str(tmp_path / "half.ckpt")
    )
    assert_same_bits(resumed, weights(whole))


@pytest.mark.parametrize("fused", [None, True])
def test_clipping_in_16_mixed(fused):
    """Lightning refuses to clip for an optimizer that unscales by itself, as fused ones do."""
    from lightning.pytorch.plugins.precision import MixedPrecision

    net = network()
    optimizer = OPTIMIZERS["adamw"](net, fused=fused)
    optimizer._fusion.wanted = lambda groups: True  # as if the parameters were on CUDA
    for p in net.parameters():
        p.grad = torch.ones_like(p)
    precision = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))
    if fused:
        with pytest.raises(RuntimeError, match="gradient clipping"):
            precision.clip_gradients(optimizer, 1.0)
    else:
        precision.clip_gradients(optimizer, 1.0)
        norm = torch.nn.utils.get_total_norm([p.grad for p in net.parameters()])
        assert norm <= 1.0001


def test_command_line_with_yaml(tmp_path, monkeypatch):
    pytest.importorskip("jsonargparse")
    from lightning.pytorch import LightningModule
    from lightning.pytorch.cli import LightningCLI

    class Module(LightningModule):
        def __init__(self):
            super().__init__()
            self.net = network()

        def training_step(self, batch, _):
            return self.net(batch[0]).square().mean()

        def train_dataloader(self):
            return batches()

    config = tmp_path / "config.yaml"
    config.write_text(
        "optimizer:\n  class_path: mgup_torch.MGUPAdamW\n  init_args:\n    lr: 0.02\n"
        "    betas: [0.9, 0.95]\n    tau: 0.3\n    mode: rank\n    weight_decay: 0.1\n"
        "trainer:\n  max_steps: 2\n  accelerator: cpu\n  logger: false\n"
        "  enable_checkpointing: false\n  enable_progress_bar: false\n"
        "  enable_model_summary: false\n"
    )
    monkeypatch.setattr(sys, "argv", ["train"])
    cli = LightningCLI(Module, args=["fit", "--config", str(config)], save_config_callback=None)
    (optimizer,) = cli.trainer.optimizers
    group = optimizer.param_groups[0]
    assert type(optimizer) is MGUPAdamW
    assert (group["lr"], group["betas"], group["tau"]) == (0.02, (0.9, 0.95), 0.3)
    args = ["fit", "--config", str(config), "--optimizer.init_args.tua=0.3"]
    with pytest.raises(SystemExit):
        LightningCLI(Module, args=args, save_config_callback=None)
