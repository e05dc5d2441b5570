"""Accelerate: what ``prepare`` hides, skipped steps, a resumed run, FSDP2 in two processes.

No clause: how a framework calls the optimizer.
"""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from mgup_torch import MGUPAdamW
from mgup_torch.integrations.statistics import summary, unwrapped

from .support import assert_same_bits, weights

pytest.importorskip("accelerate")


def network():
    torch.manual_seed(0)
    return torch.nn.Linear(4, 3)


def train(accelerator, model, optimizer, steps):
    for i in range(steps):
        optimizer.zero_grad()
        accelerator.backward(model(torch.full((2, 4), float(i + 1))).square().sum())
        accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def test_prepared(tmp_path):
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=1)
    model, optimizer = accelerator.prepare(*made(network()))
    train(accelerator, model, optimizer, 2)
    accelerator.save_state(str(tmp_path / "half"))
    assert unwrapped(optimizer).named_statistics().keys() == {"weight", "bias"}
    assert summary(optimizer)["selected"] == pytest.approx(7 / 15)  # 6 of 12, and 1 of 3
    train(accelerator, model, optimizer, 2)
    whole = weights(model)
    accelerator.load_state(str(tmp_path / "half"))
    train(accelerator, model, optimizer, 2)
    assert_same_bits(model, whole)


def made(net):
    return net, MGUPAdamW.from_model(net, lr=0.1, statistics=True)


def test_skipped_steps():
    from accelerate import Accelerator
    from accelerate.optimizer import AcceleratedOptimizer

    Accelerator(cpu=True)
    net, optimizer = made(network())
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    wrapped = AcceleratedOptimizer(optimizer, scaler=scaler)
    before = weights(net)
    for bad in (True, False):
        wrapped.zero_grad()
        loss = net(torch.ones(2, 4)).square().sum()
        scaler.scale(loss * (float("inf") if bad else 1.0)).backward()
        wrapped.step()
        assert wrapped.step_was_skipped == bad
        assert all(torch.equal(p, before[n]) for n, p in net.named_parameters()) == bad


WORKER = """
import sys
import torch
from accelerate import Accelerator, DistributedType
from accelerate.utils import FullyShardedDataParallelPlugin
from mgup_torch import MGUPAdamW

to, how = sys.argv[1:]
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Linear(6, 3))
accelerator = Accelerator(cpu=True)
if how == "fsdp2":  # Accelerate takes it for accelerators only, unless told
    plugin = FullyShardedDataParallelPlugin(fsdp_version=2, auto_wrap_policy="no_wrap")
    accelerator.state.distributed_type = DistributedType.FSDP
    accelerator.state.fsdp_plugin = plugin
optimizer = MGUPAdamW.from_model(model, lr=0.1)
model, optimizer = accelerator.prepare(model, optimizer)
for i in range(3):
    optimizer.zero_grad()
    accelerator.backward(model(torch.full((2, 4), float(i + 1))).square().sum())
    optimizer.step()
state = {n.removeprefix("module."): p.detach() for n, p in model.named_parameters()}
if how == "fsdp2":
    state = {n: p.full_tensor() for n, p in state.items()}
if accelerator.is_main_process:
    torch.save(state, to)
accelerator.end_training()
"""


def test_two_processes(tmp_path):
    """With DDP and with FSDP2, on the same batch, they end with the bits of one."""
    (tmp_path / "worker.py").write_text(WORKER)
    alone = ["accelerate.commands.launch", "--cpu", "--num_machines=1", "--num_processes=1"]
    both = ["torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    found = {}
    for how, launch in {"alone": alone, "ddp": both, "fsdp2": both}.items():
        to = str(tmp_path / f"{how}.pt")
        done = subprocess.run(
            [sys.executable, "-m", *launch, str(tmp_path / "worker.py"), to, how],
            capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        found[how] = torch.load(to)
    for how in ("ddp", "fsdp2"):
        for name, value in found["alone"].items():
            assert torch.equal(found[how][name], value), (how, name)
