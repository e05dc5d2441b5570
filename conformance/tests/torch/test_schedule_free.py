"""``train()`` and ``eval()`` of Schedule-Free optimizers, native and in the wrapper (R8)."""

from __future__ import annotations

import copy
import io

import numpy as np
import pytest
import torch

import mgup_torch
from mgup_core import MGUP, Optimizer, ScheduleFreeAdamW

MODES = ["rank", "off", "sign", "adaptive"]


def parameter(dtype=torch.float64, seed=0):
    rng = np.random.default_rng(seed)
    return torch.nn.Parameter(torch.tensor(rng.standard_normal((4, 6))).to(dtype))


def give(p, t):
    rng = np.random.default_rng(100 + t)
    p.grad = torch.tensor(rng.standard_normal(p.shape)).to(p.dtype)


class Peer(torch.optim.Optimizer):
    """Schedule-Free AdamW as users have it: the groups, state and modes of ``schedulefree``.

    Like that package it normalises the gradient in its own memory.
    """

    def __init__(self, params, lr, weight_decay=0.0, betas=(0.9, 0.999), warmup_steps=0):
        more = {"k": 0, "train_mode": False, "weight_sum": 0.0, "scheduled_lr": 0.0}
        super().__init__(
            params,
            dict(lr=lr, weight_decay=weight_decay, betas=betas, warmup_steps=warmup_steps, **more),
        )

    def _swap(self, train, weight):
        for group in self.param_groups:
            for p in group["params"]:
                if group["train_mode"] != train and "z" in self.state[p]:
                    p.data.lerp_(self.state[p]["z"], weight(group["betas"][0]))
            group["train_mode"] = train

    def train(self):
        self._swap(True, lambda b1: 1 - b1)

    def eval(self):
        self._swap(False, lambda b1: 1 - 1 / b1)

    @torch.no_grad()
    def step(self, closure=None):
        if not self.param_groups[0]["train_mode"]:
            raise RuntimeError("Optimizer was not in train mode when step is called.")
        for group in self.param_groups:
            group["k"] += 1
            t, (b1, b2), warmup = group["k"], group["betas"], group["warmup_steps"]
            lr = group["scheduled_lr"] = group["lr"] * (min(t / warmup, 1.0) if warmup else 1.0)
            group["weight_sum"] += lr**2
            c = lr**2 / group["weight_sum"]
            for p in group["params"]:
                state, g = self.state[p], p.grad
                if not state:
                    state["z"], state["v"] = p.clone(), torch.zeros_like(p)
                state["v"].mul_(b2).addcmul_(g, g, value=1 - b2)
                g.div_((state["v"] / (1 - b2**t)).sqrt_().add_(1e-8))
                g.add_(p, alpha=group["weight_decay"])
                p.lerp_(state["z"], c)
                p.add_(g, alpha=lr * (b1 * (1 - c) - 1))
                state["z"].sub_(g, alpha=lr)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_eval_is_at_the_average_and_train_brings_the_bits_back(dtype):
    p = parameter(dtype)
    optimizer = mgup_torch.MGUPScheduleFreeAdamW([p], lr=0.05, weight_decay=0.1)
    for t in range(4):
        give(p, t)
        optimizer.step()
        trained, way = p.detach().clone(), optimizer.state[p]["to_average"].float()
        optimizer.eval()
        optimizer.eval()  # the second has nothing to do
        assert torch.equal(p, (trained.float() + way).to(dtype))
        optimizer.train()
        optimizer.train()
        assert torch.equal(p, trained)


def test_the_bits_of_the_reference():
    """N1, R8."""
    p = parameter(torch.float32)
    w, core = p.detach().numpy().copy(), Optimizer(ScheduleFreeAdamW(), MGUP(), weight_decay=0.1)
    optimizer = mgup_torch.MGUPScheduleFreeAdamW([p], weight_decay=0.1)
    params, state = [w], core.init([w])
    for t in range(5):
        give(p, t)
        params, state = core.step(params, [p.grad.numpy()], state)
        optimizer.step()
    assert np.array_equal(p.detach().numpy(), params[0])
    optimizer.eval()
    assert np.array_equal(p.detach().numpy(), core.evaluation(params, state)[0])


def test_a_step_in_eval_mode_is_refused_before_the_closure_runs():
    """Also before the first step, where all points are one."""
    p = parameter()
    optimizer = mgup_torch.MGUPScheduleFreeSGD([p])
    before = p.detach().clone()
    optimizer.eval()
    give(p, 0)
    with pytest.raises(RuntimeError, match=r"optimizer.train\(\)"):
        optimizer.step(lambda: pytest.fail("the closure ran"))
    assert torch.equal(p, before)
    assert not optimizer.state
    optimizer.train()
    optimizer.step()


@pytest.mark.parametrize("way", ["checkpoint", "pickle", "deepcopy"])
def test_a_copy_made_in_eval_mode_goes_on_bit_for_bit(way):
    p = parameter(torch.float32)
    optimizer = mgup_torch.MGUPScheduleFreeAdamW([p], lr=0.05)
    for t in range(3):
        give(p, t)
        optimizer.step()
    optimizer.eval()
    if way == "checkpoint":
        saved = io.BytesIO()
        torch.save((p.detach(), optimizer.state_dict()), saved)
        saved.seek(0)
        x, checkpoint = torch.load(saved)
        q = torch.nn.Parameter(x)
        other = mgup_torch.MGUPScheduleFreeAdamW([q], lr=0.05)
        other.load_state_dict(checkpoint)
    elif way == "pickle":
        saved = io.BytesIO()
        torch.save((p, optimizer), saved)
        saved.seek(0)
        q, other = torch.load(saved, weights_only=False)
    else:
        q, other = copy.deepcopy((p, optimizer))
    give(q, 3)
    with pytest.raises(RuntimeError, match="eval mode"):
        other.step()
    for mine, one in ((p, optimizer), (q, other)):
        one.train()
        give(mine, 3)
        one.step()
    assert torch.equal(p, q)


def test_other_rules_have_nothing_to_move():
    """So that a training loop may call both of any optimizer."""
    p = parameter()
    for optimizer in (mgup_torch.MGUPAdamW([p]), mgup_torch.MGUP(torch.optim.AdamW([p]))):
        give(p, 0)
        optimizer.step()
        before = p.detach().clone()
        optimizer.eval()
        assert torch.equal(p, before)
        optimizer.train()
        optimizer.step()


def compare(inner, mode, warmup, decay, **options):
    """The wrapper on a peer beside the rule, in training and in evaluation."""
    p, q = parameter(), parameter()
    options = {"lr": 0.05, "weight_decay": decay, "warmup_steps": warmup, **options}
    native = mgup_torch.MGUPScheduleFreeAdamW([p], mode=mode, **options)
    wrapped = mgup_torch.MGUP(inner([q], **options), mode=mode)
    give(q, 0)
    with pytest.raises(Exception, match="not in train mode"):
        wrapped.step()
    wrapped.train()
    for t in range(10):
        give(p, t)
        give(q, t)
        native.step()
        wrapped.step()
    np.testing.assert_allclose(q.detach().numpy(), p.detach().numpy(), rtol=1e-12, atol=1e-13)
    for one in (native, wrapped):
        one.eval()
    np.testing.assert_allclose(q.detach().numpy(), p.detach().numpy(), rtol=1e-12, atol=1e-13)
    for one in (native, wrapped):
        one.train()
    np.testing.assert_allclose(q.detach().numpy(), p.detach().numpy(), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("warmup", [0, 4])
@pytest.mark.parametrize("mode", MODES)
def test_the_wrapper_rescales_the_step_of_z(mode, warmup):
    """With the gradient as it came, though the inner optimizer overwrites it."""
    compare(Peer, mode, warmup, 0.3)


@pytest.mark.parametrize("foreach", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_the_package_itself(mode, foreach):
    package = pytest.importorskip("schedulefree")

    def inner(params, **options):
        return package.AdamWScheduleFree(params, foreach=foreach, **options)

    compare(inner, mode, 4, 0.3)


def test_other_optimizers_may_overwrite_the_gradient_too():
    """P1: the score is of the gradient as it came, whatever inner makes of its memory."""

    class Overwriting(torch.optim.Optimizer):
        def __init__(self, params):
            super().__init__(params, {"lr": 0.1})

        @torch.no_grad()
        def step(self, closure=None):
            for p in self.param_groups[0]["params"]:
                p.sub_(p.grad.sign(), alpha=0.1)
                p.grad.zero_()

    p = torch.nn.Parameter(torch.zeros(4))
    optimizer = mgup_torch.MGUP(Overwriting([p]))
    p.grad = torch.tensor([1.0, 4.0, -3.0, 2.0])
    optimizer.step()
    torch.testing.assert_close(p.detach(), torch.tensor([-0.05, -0.2, 0.2, -0.05]))
