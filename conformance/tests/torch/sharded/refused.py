"""Run by the processes of :mod:`workers`: what must be refused, and that nothing changes then."""

from __future__ import annotations

import time
import warnings
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from placed import grads, mesh_of, place, weights
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard

import mgup_core
import mgup_torch

SHAPES = [(9, 5), (7,)]


def made(placements="S0", mesh=(2,), **options):
    """An optimizer of two named parameters after one step, and how to give it gradients."""
    mesh = mesh_of(mesh)
    params = [place(w, mesh, placements).requires_grad_() for w in weights(SHAPES, torch.float32)]
    named = list(zip(("first", "second"), params, strict=True))
    optimizer = mgup_torch.MGUPAdamW(named, **options)

    def give(step):
        for p, g in zip(params, grads(SHAPES, torch.float32, "normal", step), strict=True):
            p.grad = place(g, mesh, placements)

    give(0)
    optimizer.step()
    return optimizer, params, give


def held(optimizer, params):
    local = [p.detach().to_local().clone() for p in params]
    state = [
        {
            k: v.to_local().clone() if isinstance(v, DTensor) else v.clone()
            for k, v in optimizer.state[p].items()
        }
        for p in params
    ]
    return str((local, state))


def refused(optimizer, params, match, error=ValueError):
    before = held(optimizer, params)
    with pytest.raises(error, match=match):
        optimizer.step()
    assert held(optimizer, params) == before


DIFFERENT = {
    "tau": (0.25, "parameter 'first', tau: 0.5 on rank 0; 0.25 on rank 1"),
    "alpha": (3.0, "parameter 'first', alpha: None on rank 0; 3.0 on rank 1"),
    "gamma": (0.1, "parameter 'first', gamma: None on rank 0; 0.1 on rank 1"),
    "lr": (0.1, "parameter 'first', lr: 0.001 on rank 0; 0.1 on rank 1"),
    "mode": ("sign", "parameter 'first', mode: 'rank' on rank 0; 'sign' on rank 1"),
    "scope": ("local", "parameter 'first', scope: 'global' on rank 0; 'local' on rank 1"),
    "stacked_dims": (1, "parameter 'first', stacked_dims: 0 on rank 0; 1 on rank 1"),
}


def different_settings():
    """Each in turn; the step is taken when it is mended."""
    optimizer, params, give = made()
    for name, (value, match) in DIFFERENT.items():
        give(1)
        right = optimizer.param_groups[0][name]
        if dist.get_rank() == 1:
            optimizer.param_groups[0][name] = value
        refused(optimizer, params, f"the ranks disagree.*{match}")
        optimizer.param_groups[0][name] = right
        before = held(optimizer, params)
        optimizer.step()
        assert held(optimizer, params) != before


def different_steps():
    optimizer, params, give = made()
    if dist.get_rank() == 1:
        optimizer.state[params[1]]["step"] += 1
    give(1)
    refused(optimizer, params, "parameter 'second', step: 1 on rank 0; 2 on rank 1")


def different_gradients():
    """A rank without a gradient that the other has; and without one on both, which is allowed."""
    optimizer, params, give = made()
    give(1)
    if dist.get_rank() == 0:
        params[1].grad = None
    refused(
        optimizer, params, "'second', has a gradient: False on rank 0; True on rank 1.*zeros_like"
    )
    params[1].grad = None
    before = params[1].detach().to_local().clone()
    optimizer.step()
    assert torch.equal(before, params[1].detach().to_local())
    assert optimizer.state[params[0]]["step"] == 2
    assert optimizer.state[params[1]]["step"] == 1


def different_parameters():
    mesh = mesh_of((2,))
    names = ("first", "second")[: 1 + dist.get_rank()]
    params = [place(torch.ones(4), mesh, "S0").requires_grad_() for _ in names]
    optimizer = mgup_torch.MGUPAdamW(list(zip(names, params, strict=True)))
    for p in params:
        p.grad = torch.ones_like(p)
    with pytest.raises(ValueError, match="parameter 'second' is not among those of rank 0"):
        optimizer.step()


def two_dimensions():
    """A rank of a mesh of two dimensions is named by its number."""
    optimizer, params, give = made("S0 S0", (2, 2))
    give(1)
    if dist.get_rank() == 3:
        optimizer.param_groups[0]["tau"] = 0.25
    refused(optimizer, params, "tau: 0.5 on rank 0, rank 1, rank 2; 0.25 on rank 3")


def placements():
    mesh = mesh_of((2,))
    partial = DTensor.from_local(torch.ones(3), mesh, [Partial()]).requires_grad_()
    with pytest.raises(
        ValueError, match=r"only Shard and Replicate can be\s+trained.*redistribute"
    ):
        mgup_torch.MGUPAdamW([partial])
    optimizer, params, give = made()
    give(1)
    params[0].grad = DTensor.from_local(torch.ones(9, 5), mesh, [Replicate()], run_check=False)
    refused(optimizer, params, "gradient of parameter 'first' has placements .*redistribute")
    shards_that_do_not_cover()


def shards_that_do_not_cover():
    mesh = mesh_of((2,))
    p = DTensor.from_local(
        torch.ones(3), mesh, [Shard(0)], run_check=False, shape=(9,), stride=(1,)
    )
    p.requires_grad_()
    p.grad = torch.ones_like(p)
    with pytest.raises(ValueError, match="the shards do not cover it"):
        mgup_torch.MGUPAdamW([p]).step()


def mesh_elsewhere():
    """Ranks 0 and 1 hold the parameter; 2 and 3 are told that they do not."""
    mesh = DeviceMesh("cpu", [0, 1])
    p = place(torch.ones(9), mesh, "S0").requires_grad_()
    if dist.get_rank() >= 2:
        with pytest.raises(ValueError, match=f"of which rank {dist.get_rank()} is no part"):
            mgup_torch.MGUPAdamW([p])
        return
    p.grad = torch.ones_like(p)
    mgup_torch.MGUPAdamW([p]).step()


def flattened():
    """FSDP1, whose flat parameters mix tensors; with original parameters too."""
    from torch.distributed.fsdp import FullyShardedDataParallel

    for original in (False, True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = FullyShardedDataParallel(
                torch.nn.Linear(4, 3), use_orig_params=original, device_id=torch.device("cpu")
            )
        with pytest.raises(TypeError, match=r"FSDP1.*fully_shard"):
            mgup_torch.MGUPAdamW(model.parameters())


def flattened_later():
    """An optimizer made before FSDP1 flattened its parameters (issue 15, item 9)."""
    from torch.distributed.fsdp import FullyShardedDataParallel

    torch.manual_seed(0)
    model = torch.nn.Linear(4, 3)
    optimizers = [
        mgup_torch.MGUPAdamW(model.named_parameters()),
        mgup_torch.MGUP(torch.optim.AdamW(model.named_parameters())),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapped = FullyShardedDataParallel(
            model, use_orig_params=True, device_id=torch.device("cpu")
        )
    wrapped(torch.ones(2, 4)).sum().backward()
    mine = [p for p in model.parameters() if p.grad is not None]
    before = [p.detach().clone() for p in mine]
    for optimizer in optimizers:
        with pytest.raises(ValueError, match=r"'(weight|bias)' has shape .*FSDP1.*fully_shard"):
            optimizer.step()
    assert mine, "each of two ranks holds a piece of the weight"
    assert all(torch.equal(p, b) for p, b in zip(mine, before, strict=True))


def unknown_rules():
    """A rule that needs whole tensors where parts are to be tensors, and what no kernel can do."""

    class Normed(mgup_core.Lion):
        elementwise = False

    p = place(torch.ones(9), mesh_of((2,)), "S0").requires_grad_()
    with pytest.raises(ValueError, match=r"Normed needs the whole tensor: scope='local' must be"):
        mgup_torch.optimizer(Normed)([p], scope="local")
    p.grad = torch.ones_like(p)
    with pytest.raises(ValueError, match=r"implementation='fused' cannot step.*on cpu"):
        mgup_torch.MGUPAdamW([p], implementation="fused").step()
    with pytest.raises(ValueError, match="scope='shard' is none of 'global', 'local'"):
        mgup_torch.MGUPAdamW([p], scope="shard")


def checkpoints():
    """A state that lies elsewhere than its parameter."""
    optimizer, params, _ = made()
    whole = {
        k: v.full_tensor() if isinstance(v, DTensor) else v
        for k, v in optimizer.state[params[0]].items()
    }
    saved = optimizer.state_dict()
    saved["state"][0] = whole
    before = held(optimizer, params)
    with pytest.raises(
        ValueError, match=r"state 'exp_avg' of parameter 0 is no DTensor.*set_optimizer_state_dict"
    ):
        optimizer.load_state_dict(saved)
    assert held(optimizer, params) == before
    plain = mgup_torch.MGUPAdamW(
        [torch.ones(9, 5, requires_grad=True), torch.ones(7, requires_grad=True)]
    )
    with pytest.raises(ValueError, match=r"state 'exp_avg' of parameter 0 has placements"):
        plain.load_state_dict(optimizer.state_dict())


def alone_at_the_door():
    """A collective that times out: rank 0 steps, rank 1 is late."""
    optimizer, params, give = made()
    give(1)
    if dist.get_rank() == 1:
        time.sleep(6)
        return
    refused(
        optimizer,
        params,
        "rank 0 .*'first', 'second'.*No parameter has taken this step",
        RuntimeError,
    )


def late_in_the_search():
    """The same after the settings were compared."""
    optimizer, params, give = made()
    give(1)
    if dist.get_rank() == 1:
        from mgup_torch.distributed import Sharding

        def settle(self, *args, **kwargs):
            time.sleep(6)
            raise KeyboardInterrupt

        Sharding.settle = settle
        with pytest.raises(KeyboardInterrupt):
            optimizer.step()
        return
    refused(
        optimizer,
        params,
        "rank 0 .*'first', 'second'.*No parameter has taken this step",
        RuntimeError,
    )


@contextmanager
def as_on_an_accelerator():
    """Fingerprints that arrive later: reading one at once would wait for the device."""
    from mgup_torch.distributed import consistency

    class Late(consistency._Fingerprint):
        def __init__(self, *args):
            super().__init__(*args)
            self.waits, self.arrived = True, SimpleNamespace(synchronize=lambda: None)

    original, consistency._Fingerprint = consistency._Fingerprint, Late
    try:
        yield
    finally:
        consistency._Fingerprint = original


def late_first_step():
    """The first step is compared before it is taken, whatever that costs."""
    with as_on_an_accelerator():
        mesh, tau = mesh_of((2,)), (0.5, 0.25)[dist.get_rank()]
        p = place(torch.ones(9), mesh, "S0").requires_grad_()
        p.grad = torch.ones_like(p)
        optimizer = mgup_torch.MGUPAdamW([("first", p)], tau=tau)
        with pytest.raises(ValueError, match=r"disagree.*'first', tau: 0.5 on rank 0; 0.25 on"):
            optimizer.step()
        assert (p.to_local() == 1).all()


def late_learning_rate():
    """What changes at every step is compared a step later, by both ranks."""
    with as_on_an_accelerator():
        optimizer, params, give = made()
        give(1)
        if dist.get_rank() == 1:
            optimizer.param_groups[0]["betas"] = (0.95, 0.999)
            optimizer.param_groups[0]["lr"] = 0.1
        optimizer.step()
        give(2)
        refused(optimizer, params, "different steps last time.*lr: 0.001 on rank 0; 0.1 on rank 1")


def late_change():
    """A rank that changes alone is told at once; the others wait for it in vain."""
    with as_on_an_accelerator():
        optimizer, params, give = made()
        give(1)
        if dist.get_rank() == 1:
            optimizer.param_groups[0]["tau"] = 0.25
            match = "rank 1 steps otherwise than before.*tau: 0.5 on the last step; 0.25 on this"
            refused(optimizer, params, match)
            time.sleep(5)
        else:
            refused(optimizer, params, "rank 0 .*No parameter has taken this step", RuntimeError)


def late_change_without_collectives():
    """Issue 23: the others are told in their next step, and by a rank that has left."""
    with as_on_an_accelerator():
        optimizer, params, give = made()
        alone = dist.get_rank() == 1
        for step in (1, 2, 3):
            give(step)
            optimizer.param_groups[0]["mode"] = "off"
            if step == 2 and alone:
                optimizer.param_groups[0]["tau"] = 0.25
                refused(optimizer, params, "rank 1 steps otherwise than before.*tau: 0.5 on the")
                return
            if step == 3:
                told = "different steps last time.*tau: 0.5 on rank 0; 0.25 on rank 1"
                refused(optimizer, params, told)
                return
            optimizer.step()


def repeated_steps():
    """Ranks of which one repeats its last step, as on a GPU, and one does not, agree (R7)."""
    from mgup_torch.distributed import Sharding

    optimizer, params, give = made()
    give(1)
    sharding, alone = Sharding(), dist.get_rank() == 1
    groups, state = optimizer.param_groups, {}
    sharding.agree(groups, state)
    # On a device that alone knows the number of steps.
    state = {p: {"step": torch.empty((), device="meta")} for p in params}
    for turn in range(3):
        groups[0]["lr"] = 0.1 / (turn + 1)
        if alone and turn == 1:
            sharding.agree(groups, state)
        else:
            sharding.agree_again(groups, state)
    if alone:
        groups[0]["alpha"] = 1.5
    with pytest.raises(ValueError, match=r"alpha: None on rank 0; 1.5 on rank 1"):
        sharding.agree_again(groups, state)


def late_change_of_all():
    """A change that all ranks make is no disagreement."""
    with as_on_an_accelerator():
        optimizer, params, give = made()
        for step, mode in enumerate(("sign", "rank", "off"), start=1):
            give(step)
            optimizer.param_groups[0]["mode"] = mode
            before = held(optimizer, params)
            optimizer.step()
            assert held(optimizer, params) != before
