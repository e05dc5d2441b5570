"""Run by the processes of :mod:`workers`: models under FSDP2 and tensor parallelism."""

from __future__ import annotations

import copy
import os
import signal
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from placed import identical, mesh_of
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    get_state_dict,
    set_optimizer_state_dict,
    set_state_dict,
)
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

import mgup_torch


class Net(torch.nn.Module):
    """Sizes that do not divide, save where tensor parallelism wants them to; a tied weight."""

    def __init__(self, hidden=12):
        super().__init__()
        self.embed = torch.nn.Embedding(13, 9)
        self.up = torch.nn.Linear(9, hidden)
        self.down = torch.nn.Linear(hidden, 9)
        self.norm = torch.nn.LayerNorm(9)
        self.head = torch.nn.Linear(9, 13, bias=False)
        self.head.weight = self.embed.weight
        self.scale = torch.nn.Parameter(torch.ones(1))

    def forward(self, tokens):
        x = self.embed(tokens)
        return self.head(self.norm(x + self.down(torch.tanh(self.up(x))))) * self.scale


def net(seed=0, **options):
    torch.manual_seed(seed)
    return Net(**options)


def batch(step, rank=None):
    generator = torch.Generator().manual_seed(
        100 * step + (dist.get_rank() if rank is None else rank)
    )
    return torch.randint(0, 13, (4, 6), generator=generator)


def backward(model, step, parts=1):
    for part in range(parts):
        tokens = batch(10 * step + part)
        if parts > 1:
            model.set_requires_gradient_sync(part == parts - 1)
        loss = torch.nn.functional.cross_entropy(
            model(tokens).flatten(0, 1).float(), tokens.flatten()
        )
        (loss / parts).backward()


def whole(x):
    return x.detach().full_tensor() if isinstance(x, DTensor) else x.detach()


def sharded(kind, **options):
    model = net(**options)
    if kind == "fsdp":
        fully_shard(model.up, mesh=mesh_of((dist.get_world_size(),)))
        fully_shard(model, mesh=mesh_of((dist.get_world_size(),)))
    elif kind == "hsdp":
        fully_shard(model, mesh=mesh_of((2, 2)))
    elif kind == "mixed precision":
        policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
        fully_shard(model, mesh=mesh_of((dist.get_world_size(),)), mp_policy=policy)
    elif kind == "tensor parallel":
        mesh = mesh_of((2, 2))
        parallelize_module(model, mesh["b"], {"up": ColwiseParallel(), "down": RowwiseParallel()})
        for part in (model.up, model.down):
            fully_shard(part, mesh=mesh["a"])
        fully_shard(model, mesh=mesh["a"])
    return model


def optimizer_of(model, name="MGUPAdamW", **options):
    return getattr(mgup_torch, name)(model.named_parameters(), lr=0.05, **options)


def train(kind, *, steps=3, parts=1, clip=None, name="MGUPAdamW", scheduled=False, **options):
    """The gradients are FSDP's; the unsharded optimizer is given the same, whole.

    Args:
        scheduled: whether a schedule moves the learning rate at every step.
    """
    model, other = sharded(kind), net()
    mine, theirs = optimizer_of(model, name, **options), optimizer_of(other, name, **options)
    schedules = [
        torch.optim.lr_scheduler.OneCycleLR(one, 0.1, total_steps=steps + 1, cycle_momentum=False)
        for one in (mine, theirs)
        if scheduled
    ]
    placements = set()
    for step in range(steps):
        mine.zero_grad()
        backward(model, step, parts)
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        for p, q in zip(other.parameters(), model.parameters(), strict=True):
            p.grad = whole(q.grad)
        mine.step()
        theirs.step()
        for one in schedules:
            one.step()
        for (label, p), q in zip(other.named_parameters(), model.parameters(), strict=True):
            identical(f"step {step + 1}, {label}", p, whole(q))
            placements.add(str(getattr(q, "placements", None)))
            for key, value in mine.state[q].items():
                identical(f"step {step + 1}, {label}, {key}", theirs.state[p][key], whole(value))
    return sorted(placements)


# -- checkpoints ----------------------------------------------------------------------------------


def bits(model, optimizer):
    """Everything that a run holds, whole, by name."""
    found = {}
    for name, p in model.named_parameters():
        found[name] = whole(p)
        found |= {f"{name}.{key}": whole(value) for key, value in optimizer.state[p].items()}
    return found


def step_together(model, optimizer, step):
    """A step whose gradients do not depend on how many ranks there are."""
    generator = torch.Generator().manual_seed(step)
    for p in model.parameters():
        g = torch.randn(p.shape, generator=generator)
        if isinstance(p, DTensor):
            from torch.distributed.tensor import distribute_tensor

            g = distribute_tensor(g, p.device_mesh, p.placements, src_data_rank=None)
        p.grad = g
    optimizer.step()


def save(folder, *, steps, **options):
    """Train, save, train on; what the run holds at the end."""
    model = sharded("fsdp")
    optimizer = optimizer_of(model, **options)
    for step in range(steps):
        step_together(model, optimizer, step)
    weights, state = get_state_dict(model, optimizer)
    dcp.save({"model": weights, "optimizer": state}, checkpoint_id=folder)
    for step in range(steps, 2 * steps):
        step_together(model, optimizer, step)
    return {name: value.numpy() for name, value in bits(model, optimizer).items()}


def load(folder, *, steps, kind="fsdp", **options):
    """Load into a fresh run, on however many ranks; train on."""
    model = sharded(kind)
    for p in model.parameters():
        torch.nn.init.zeros_(p)
    optimizer = optimizer_of(model, **options)
    weights, state = get_state_dict(model, optimizer)
    dcp.load({"model": weights, "optimizer": state}, checkpoint_id=folder)
    set_state_dict(model, optimizer, model_state_dict=weights, optim_state_dict=state)
    for step in range(steps, 2 * steps):
        step_together(model, optimizer, step)
    return {name: value.numpy() for name, value in bits(model, optimizer).items()}


def from_one_process():
    """A whole state_dict of an unsharded run, distributed by set_optimizer_state_dict; and back."""
    plain, model = net(), sharded("fsdp")
    one, other = optimizer_of(plain), optimizer_of(model)
    for step in range(2):
        step_together(plain, one, step)
        step_together(model, other, step)
    options = StateDictOptions(full_state_dict=True)
    saved = copy.deepcopy(get_optimizer_state_dict(plain, one, options=options))
    model.zero_grad()  # with gradients, torch would not make the state that it is to fill
    fresh = optimizer_of(model)
    set_optimizer_state_dict(model, fresh, saved, options=options)
    back = get_optimizer_state_dict(model, fresh, options=options)
    for label, state in saved["state"].items():
        for key, value in state.items():
            identical(f"{label}, {key}", value, back["state"][label][key])
    step_together(plain, one, 2)
    step_together(model, fresh, 2)
    for (label, p), q in zip(plain.named_parameters(), model.parameters(), strict=True):
        identical(label, p, whole(q))


def killed(folder, *, steps):
    """Save after some steps, and let rank 1 die in the middle of a later one."""
    from mgup_torch.executors import ranks

    model = sharded("fsdp")
    optimizer = optimizer_of(model)
    for step in range(steps):
        step_together(model, optimizer, step)
    weights, state = get_state_dict(model, optimizer)
    dcp.save({"model": weights, "optimizer": state}, checkpoint_id=folder)
    dist.barrier()
    if dist.get_rank() == 1:
        moved, count = ranks.move_whole, iter(range(3))

        def die(*args, **kwargs):
            if next(count) == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            return moved(*args, **kwargs)

        ranks.move_whole = die
    Path(folder, f"began-{dist.get_rank()}").touch()
    step_together(model, optimizer, steps)
    step_together(model, optimizer, steps + 1)
