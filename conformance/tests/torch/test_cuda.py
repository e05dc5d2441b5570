"""The essentials on an NVIDIA GPU; skipped, with the reason, where there is none.

It checks N1, N7, P2 and P4.
"""

from __future__ import annotations

import gc
import math
import warnings
import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

import mgup_core as core
from mgup_torch import MGUP, MGUPAdamW, MGUPMuon
from mgup_torch.executors import stacked as stacks

from .inputs import POLICIES, Input, inputs
from .support import (
    ON_GPU,
    Reference,
    advance,
    array,
    compare,
    frozen,
    give,
    gradients,
    parameters,
    same,
)

pytestmark = ON_GPU


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("mode", POLICIES)
@pytest.mark.parametrize("family", ["AdamW", "Lion", "SGD"])
def test_bits_after_twenty_steps(family, mode, dtype):
    """N1: an accelerator gives the bits of the NumPy reference."""
    given = Input(family, mode, {"lr": 0.02, "weight_decay": 0.1, **POLICIES[mode]})
    params = parameters(given.shapes, dtype, device="cuda")
    reference = Reference(params, given.rule(), given.policy(), **given.reference_options())
    compare(given.make(params), params, reference, steps=20)
    assert all(p.is_cuda for p in params)


@pytest.mark.parametrize("given", inputs(), ids=str)
def test_every_input(given):
    params = parameters(given.shapes, device="cuda")
    reference = Reference(params, given.rule(), given.policy(), **given.reference_options())
    compare(given.make(params), params, reference, steps=3)


def adversarial(d: int) -> dict[str, np.ndarray]:
    """Canonical scores that break careless selections (P2, P4)."""
    rng = np.random.default_rng(d)
    normal = rng.standard_normal(d).astype(np.float32)
    nan = np.where(rng.random(d) < 0.6, np.float32(np.nan), normal)
    signed_nan = nan.copy()
    signed_nan[np.isnan(nan)] = np.float32(-np.nan)
    return {
        "normal": normal,
        "equal": np.ones(d, np.float32),
        "zeros": np.where(rng.random(d) < 0.9, np.float32(0), normal),
        "signs": np.sign(normal),
        "integers": rng.integers(-3, 4, d).astype(np.float32),
        "nan": nan,
        "negative nan": signed_nan,
        "all nan": np.full(d, np.nan, np.float32),
        "infinite": np.where(rng.random(d) < 0.4, np.copysign(np.float32(np.inf), normal), nan),
        "-inf and nan": np.where(rng.random(d) < 0.5, np.float32(-np.inf), np.float32(np.nan)),
        "sorted": np.sort(normal),
        "reversed": np.sort(normal)[::-1].copy(),
        "neighbours": (1 + np.arange(d) % 5 * np.float32(2**-23)).astype(np.float32),
    }


@pytest.mark.parametrize("d", [1, 7, 16, 1024, 100_003])
@pytest.mark.parametrize("kind", adversarial(1))
def test_masks_by_the_kernels(kind, d):
    """The reference mask, for all that P7 lets through; at last from a graph."""
    from mgup_torch.kernels.rank_mask import rank_mask

    scores = np.stack([adversarial(d)[kind], adversarial(d)[kind][::-1]])
    safe = scores > -np.inf
    for k in sorted({1, d // 3, d // 2, d} - {0}):
        expected = core.rank_mask(scores, k, stacked_dims=1, method="argsort")
        for _ in range(3):
            mask = rank_mask(torch.from_numpy(scores.copy()).cuda(), k)
            assert np.array_equal(mask.cpu().numpy() & safe, expected & safe), f"k={k}"


def test_channels_last_ties_are_told_in_c_order():
    p = torch.zeros(2, 3, 4, 4, device="cuda").to(memory_format=torch.channels_last)
    p.requires_grad_().grad = torch.ones_like(p)
    Input("SGD", "", {"lr": 1.0, "momentum": 0.0}).make([p]).step()
    moved = array(p).reshape(-1)
    assert (moved[:48] == -2.0).all()
    assert (moved[48:] == -0.5).all()


def test_scaler_skips_found_infs():
    params, plain = parameters(device="cuda"), parameters(device="cuda")
    optimizer, expected = MGUPAdamW(params, lr=0.02), MGUPAdamW(plain, lr=0.02)
    scaler = torch.amp.GradScaler("cuda", init_scale=1024.0)
    for step in range(4):
        grads = gradients(params, step)
        scale = scaler.scale(torch.tensor(1.0, device="cuda"))
        give(params, [g * scale for g in grads])
        give(plain, grads)
        before = frozen(optimizer)
        if step == 2:
            params[1].grad.view(-1)[3] = torch.inf
        scaler.step(optimizer)
        scaler.update()
        if step == 2:
            assert frozen(optimizer) == before
        else:
            expected.step()
        assert same(params, plain)


@pytest.mark.parametrize("implementation", ["fused", "reference"])
@pytest.mark.parametrize("capturable", [False, True])
def test_where_the_step_is_counted(capturable, implementation):
    """On the GPU with capturable=True, as in torch, or when fused; the bits are the same."""
    params = parameters(device="cuda")
    optimizer = MGUPAdamW(params, lr=0.02, capturable=capturable, implementation=implementation)
    compare(optimizer, params, Reference(params, core.AdamW(), core.MGUP(), lr=0.02), steps=20)
    on_device = capturable or implementation == "fused"
    assert {optimizer.state[p]["step"].is_cuda for p in params} == {on_device}
    assert {int(optimizer.state[p]["step"]) for p in params} == {20}


@pytest.mark.parametrize("capturable", [False, True])
@pytest.mark.parametrize("statistics", [False, True])
def test_steps_do_not_wait_for_the_gpu(capturable, statistics):
    """No synchronisation within a step, fused or with statistics."""
    params = parameters(device="cuda")
    optimizer = MGUPAdamW(params, lr=0.02, capturable=capturable, statistics=statistics)
    advance(optimizer, params, 2)
    give(params, gradients(params, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls itself a prototype
        torch.cuda.set_sync_debug_mode("error")
    try:
        optimizer.step()
        measured = optimizer.statistics() if statistics else []
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(value.is_cuda for s in measured for value in s)


def test_a_tensor_learning_rate_on_the_gpu():
    params = parameters(device="cuda")
    rate = torch.tensor(0.02, device="cuda")
    optimizer = MGUPAdamW(params, lr=rate, capturable=True)
    scheduler = lr_scheduler.ExponentialLR(optimizer, 0.5)
    reference = Reference(params, core.AdamW(), core.MGUP())
    for step in range(4):
        value = float(optimizer.param_groups[0]["lr"])
        assert math.isclose(value, 0.02 * 0.5**step, rel_tol=1e-6)
        grads = gradients(params, step)
        give(params, grads)
        optimizer.step()
        reference.step(grads, lr=value)
        reference.check(params, optimizer, step=step)
        scheduler.step()


def test_checkpoints_move_between_devices(tmp_path):
    params = parameters(device="cuda")
    optimizer = MGUPAdamW(params, lr=0.02)
    advance(optimizer, params, 2)
    torch.save(optimizer.state_dict(), tmp_path / "state.pt")
    host = [p.detach().cpu().requires_grad_() for p in params]
    other = MGUPAdamW(host)
    other.load_state_dict(torch.load(tmp_path / "state.pt", map_location="cpu"))
    advance(optimizer, params, 2, start=2)
    advance(other, host, 2, start=2)
    assert same(params, host)
    back = MGUPAdamW(params)
    back.load_state_dict(other.state_dict())
    assert all(v.is_cuda for s in back.state.values() for k, v in s.items() if k != "step")


def test_parameters_on_both_devices():
    params = parameters(((7, 5),)) + parameters(((4, 6),), device="cuda")
    reference = Reference(params, core.AdamW(), core.MGUP(), lr=0.02)
    compare(MGUPAdamW(params, lr=0.02), params, reference)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two NVIDIA GPUs")
@pytest.mark.parametrize("implementation", ["fused", "reference"])
def test_parameters_on_two_gpus(implementation):
    """Each takes its step where it is, whichever device is the current one."""
    params = parameters(((7, 5), (40, 9)), device="cuda:0")
    params += parameters(((4, 6), (33, 65)), device="cuda:1")
    reference = Reference(params, core.AdamW(), core.MGUP(), lr=0.02)
    optimizer = MGUPAdamW(params, lr=0.02, implementation=implementation)
    for step in range(6):
        grads = gradients(params, step)
        give(params, grads)
        with torch.cuda.device(step % 2):
            optimizer.step()
        reference.step(grads)
        reference.check(params, optimizer, step=step)


def test_no_graph_holds_collectives():
    from mgup_torch.kernels.cuda_graph import Launcher

    done = []
    plan = SimpleNamespace(
        check=lambda: None, launch=lambda: done.append("launch"), mesh_group="of two devices"
    )
    launcher = Launcher(plan, torch.device("cuda"))
    for _ in range(3):
        launcher.launch()
    assert launcher.graph is None
    assert done == ["launch"] * 3


@pytest.mark.parametrize("wrapped", [False, True])
def test_plans_go_with_their_optimizer(wrapped):
    """Nothing else holds it, so that the memory of its plans need not wait for a collection."""
    params = parameters(((64, 90), (33,)), device="cuda")
    optimizer = MGUP(torch.optim.AdamW(params)) if wrapped else MGUPAdamW(params)
    advance(optimizer, params, 3)
    left = weakref.ref(optimizer)
    gc.disable()
    try:
        del optimizer
        assert left() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("mode", ["rank", "off"])
@pytest.mark.parametrize("ns_dtype", ["float32", "bfloat16"])
def test_muon_in_stacks(mode, ns_dtype, monkeypatch):
    """N7: as one by one; bfloat16 products of a stack may round to a neighbour."""
    shapes = ((64, 90), (90, 64), (64, 90), (64, 90))
    ends = []
    for limit in (0, stacks.BYTES):
        monkeypatch.setattr(stacks, "BYTES", limit)
        params = parameters(shapes, device="cuda")
        optimizer = MGUPMuon(params, lr=0.02, mode=mode, ns_dtype=ns_dtype)
        give(params, gradients(params, 0))
        optimizer.step()
        moved = zip(params, parameters(shapes, device="cuda"), strict=True)
        steps = [(p - start).detach() for p, start in moved]
        ends.append((steps, [optimizer.state[p]["momentum_buffer"] for p in params]))
    (alone, buffers), (together, others) = ends
    assert same(buffers, others)
    for x, y in zip(alone, together, strict=True):
        assert (x - y).norm() <= (1e-4 if ns_dtype == "float32" else 2e-2) * x.norm()


def test_muon_and_the_wrapper_step():
    params = parameters(((6, 9), (8,)), device="cuda")
    advance(MGUPMuon(params, lr=0.02, ns_dtype="float32"), params, 3)
    host = parameters(((6, 9), (8,)))
    advance(MGUPMuon(host, lr=0.02, ns_dtype="float32"), host, 3)
    for p, q in zip(params, host, strict=True):
        torch.testing.assert_close(p.cpu(), q, rtol=1e-3, atol=1e-4)
    params = parameters(((6, 9),), device="cuda")
    advance(MGUP(torch.optim.AdamW(params, lr=0.02, fused=True)), params, 3)
