"""Mixed precision, accumulation and clipping: what stands between a gradient and the step (P1)."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

import mgup_core as core
from mgup_torch import MGUPAdamW, RuleOptimizer

from .inputs import some_inputs
from .support import Reference, frozen, give, gradients, loss_of, parameters, regression, same


def scaled(scaler, params, grads) -> None:
    """The gradients that ``scaler.scale(loss).backward()`` leaves."""
    scale = scaler.scale(torch.tensor(1.0))
    give(params, [g * scale for g in grads])


@pytest.fixture(params=["the scaler", "the step"])
def who_looks(request, monkeypatch):
    """Who reads found_inf: the step itself where it may be fused, else the scaler before it."""
    by_itself = request.param == "the step"
    monkeypatch.setattr(RuleOptimizer, "_step_supports_amp_scaling", by_itself)


@pytest.mark.usefixtures("who_looks")
@pytest.mark.parametrize("given", some_inputs(), ids=str)
def test_scaler_steps_and_skips(given):
    """A found inf skips the step, state and all; the others see the unscaled gradient."""
    params, plain = parameters(given.shapes), parameters(given.shapes)
    optimizer, expected = given.make(params), given.make(plain)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for step in range(4):
        grads = gradients(params, step)
        scaled(scaler, params, grads)
        give(plain, grads)
        if step == 2:
            params[1].grad.view(-1)[3] = torch.inf
            before = frozen(optimizer)
        scaler.step(optimizer)
        scaler.update()
        if step == 2:
            assert frozen(optimizer) == before
            assert scaler.get_scale() == 512.0
        else:
            expected.step()
        assert same(params, plain)


@pytest.mark.usefixtures("who_looks")
def test_scaler_with_clipping_between():
    """unscale_, clip, step: the documented order works."""
    params, plain = parameters(), parameters()
    optimizer, expected = MGUPAdamW(params), MGUPAdamW(plain)
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    for step in range(3):
        grads = gradients(params, step)
        scaled(scaler, params, grads)
        give(plain, [g.clone() for g in grads])
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(params, 0.5)
        torch.nn.utils.clip_grad_norm_(plain, 0.5)
        scaler.step(optimizer)
        scaler.update()
        expected.step()
        assert same(params, plain)


@pytest.mark.usefixtures("who_looks")
def test_scaler_refuses_float16_gradients():
    """They would be unscaled in float16, which holds no small values."""
    params = parameters(dtype=torch.float16)
    optimizer = MGUPAdamW(params)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaled(scaler, params, gradients(params, 0))
    before, grads = frozen(optimizer), [p.grad.clone() for p in params]
    with pytest.raises(ValueError, match=r"FP16|float16"):
        scaler.step(optimizer)
    assert frozen(optimizer) == before
    assert same([p.grad for p in params], grads)


@pytest.mark.usefixtures("who_looks")
def test_a_refused_step_keeps_nothing_of_the_scaler():
    """Neither the next step without a scaler nor a second try divides by the scale again."""
    params, plain = parameters(), parameters()
    optimizer, expected = MGUPAdamW(params), MGUPAdamW(plain)
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
    grads = gradients(params, 0)
    scaled(scaler, params, grads)
    whole = params[0].grad
    params[0].grad = whole.to_sparse()
    with pytest.raises(RuntimeError, match="sparse"):
        scaler.step(optimizer)
    unscaled = params[1].grad.equal(grads[1])  # the scaler did so before it called the step
    params[0].grad = grads[0].clone() if unscaled else whole
    scaler.step(optimizer)
    scaler.update()
    give(plain, grads)
    expected.step()
    assert same(params, plain)
    for one, its in ((optimizer, params), (expected, plain)):
        give(its, gradients(its, 1))
        one.step()
    assert same(params, plain)


def test_what_a_scaler_sets_is_not_saved():
    params = parameters()
    optimizer = MGUPAdamW(params)
    optimizer.found_inf, optimizer.grad_scale = torch.tensor(1.0), torch.tensor(2.0)
    for twin in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        assert not hasattr(twin, "found_inf")
        assert not hasattr(twin, "grad_scale")
    assert optimizer.state_dict().keys() == MGUPAdamW(params).state_dict().keys()


def test_scaler_on_a_real_backward():
    model, x, y = regression()
    weights = [p for p in model.parameters() if p.ndim > 1]
    optimizer = MGUPAdamW(weights, lr=0.05)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    first = float(loss_of(model, x, y).detach())
    for _ in range(30):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = loss_of(model, x, y)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
    assert float(loss_of(model, x, y).detach()) < first


def test_autocast_around_the_step_changes_nothing():
    ends = []
    for enabled in (False, True):
        params = parameters()
        optimizer = MGUPAdamW(params, lr=0.05)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            for step in range(3):
                give(params, gradients(params, step))
                optimizer.step()
        ends.append(params)
    assert same(*ends)


@pytest.mark.parametrize("given", some_inputs(), ids=str)
def test_accumulated_gradients_are_one_big_batch(given):
    """The score sees the accumulated gradient; whole numbers make the sums exact."""
    batch = torch.randint(-4, 5, (8, 6, 5)).float()
    ends = []
    for micro in (1, 4):
        p = torch.randn(6, 5, generator=torch.Generator().manual_seed(4)).requires_grad_()
        optimizer = given.make([p])
        for _ in range(3):
            optimizer.zero_grad()
            for part in batch.chunk(micro):
                (p * part).sum().backward()
            optimizer.step()
        ends.append(p)
    assert same(ends[:1], ends[1:])


@pytest.mark.parametrize("foreach", [None, False, True])
def test_clipped_gradients_are_what_is_scored(foreach):
    params = parameters()
    optimizer = MGUPAdamW(params, lr=0.02)
    reference = Reference(params, core.AdamW(), core.MGUP(), lr=0.02)
    for step in range(3):
        give(params, gradients(params, step))
        norm = torch.nn.utils.clip_grad_norm_(params, 0.1, foreach=foreach)
        assert norm > 0.1
        optimizer.step()
        reference.step([p.grad for p in params])
        reference.check(params, optimizer, step=step)


@pytest.mark.parametrize("fused", [None, False, True])
def test_only_a_fused_optimizer_says_that_it_unscales(monkeypatch, fused):
    """As in torch.optim; Lightning clips for no optimizer that says so (16-mixed)."""
    p = torch.nn.Parameter(torch.ones(3))
    optimizer = MGUPAdamW([p], fused=fused)
    assert not optimizer._step_supports_amp_scaling  # on the CPU
    monkeypatch.setattr(optimizer._fusion, "wanted", lambda groups: True)  # as if on CUDA
    assert optimizer._step_supports_amp_scaling == bool(fused)
