"""Ranked slices that take their step in one pass on an NVIDIA GPU; skipped where there is none.

It checks N1, N4, N5, P2 to P4, P7.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

import mgup_core as core
from mgup_torch import MGUPSGD, MGUPAdamW, MGUPLion

from .support import ON_GPU, Reference, advance, compare, give, gradients, parameters, same
from .test_cuda import adversarial
from .test_fused import check_scored

pytestmark = [*ON_GPU, pytest.mark.filterwarnings("ignore:.*none is selected")]

LONG = ((96, 512), (40_007,), (64,), (128, 256), (31,))


@pytest.fixture
def short(monkeypatch):
    """Slices of a thousand coordinates take one pass, in batches of a few and in all workspaces."""
    from mgup_kernels import tuning

    for name in ("ONE_PASS", "ONE_PASS_NARROW"):
        monkeypatch.setattr(tuning, name, 1024)
    for name in ("ONE_PASS_TOTAL", "ONE_PASS_LEAST"):
        monkeypatch.setattr(tuning, name, 1)
    return lambda **sizes: [monkeypatch.setattr(tuning, name, x) for name, x in sizes.items()]


def plans(optimizer) -> list:
    return [one.plan for one in optimizer._fusion.step._launched]


def verified(optimizer) -> int:
    """How many slices took the last step in one pass; none was ever ranked by a wrong bracket."""
    from mgup_kernels import layout

    assert all(int(plan.misses) == 0 for plan in plans(optimizer))
    return sum(int(plan.search_records[:, layout.VERIFIED].sum()) for plan in plans(optimizer))


@pytest.mark.parametrize("d", [100_000, 100_003])
@pytest.mark.parametrize("kind", adversarial(1))
def test_adversarial_scores(short, kind, d):
    """P2 to P4, P7: crowds of ties, NaN everywhere, infinities, sorted scores."""
    check_scored(d, kind)


@pytest.mark.parametrize("kind", adversarial(1))
@pytest.mark.parametrize("wrong", ["guess", "list", "both"])
def test_what_goes_wrong_costs_time_only(short, wrong, kind):
    """A first guess that misses is not accepted; blocks that find the list full wait."""
    if wrong != "list":
        short(DEVIATIONS=-3.0, ROOM=-1.0)
    if wrong != "guess":
        short(LIST_ROOM=0.2, FILL=1e9)
    check_scored(200_003, kind)


def test_a_list_that_is_too_short(short):
    """Some blocks write at once and some wait; with ties of which only some are selected."""
    short(LIST_ROOM=0.3, FILL=1e9)
    from mgup_kernels import layout

    for make in (lambda g: g, lambda g: (g * 20).round()):
        params = parameters(((300_000,),), device="cuda")
        reference = Reference(params, core.SGD(), core.MGUP(), lr=0.02)
        optimizer = MGUPSGD(params, lr=0.02, momentum=0.9)
        for step in range(3):
            generator = torch.Generator().manual_seed(step)
            grads = [make(torch.randn(300_000, generator=generator)).cuda()]
            give(params, grads)
            optimizer.step()
            reference.step(grads)
            reference.check(params, optimizer, step=step)
        record = plans(optimizer)[0].search_records[0]
        assert verified(optimizer) == 1
        assert 0 < int(record[layout.LIST_LENGTH]) < int(record[layout.BRACKET_COUNTS]) & 0xFFFFFFFF


@pytest.mark.parametrize("dtypes", ["float32", "bfloat16", "float16", "bfloat16 and float32"])
@pytest.mark.parametrize("make", [MGUPAdamW, MGUPLion, MGUPSGD])
def test_twenty_steps(short, make, dtypes):
    """N1, N4, N5: the reference's bits, with gradients that depend on the parameters."""
    names = dtypes.split(" and ")
    dtype, options = getattr(torch, names[0]), {}
    if len(names) > 1:
        options["state_dtype"] = getattr(torch, names[1])
    rules = {MGUPAdamW: core.AdamW(), MGUPLion: core.Lion(), MGUPSGD: core.SGD()}
    params = parameters(LONG, dtype, device="cuda")
    twins = [p.detach().clone().requires_grad_() for p in params]
    optimizer = make(params, lr=0.02, weight_decay=0.1, **options)
    other = make(twins, lr=0.02, weight_decay=0.1, implementation="reference", **options)
    reference = Reference(params, rules[make], core.MGUP(), lr=0.02, weight_decay=0.1)
    passes = 0
    for step in range(20):
        generator = torch.Generator().manual_seed(step)
        noise = [torch.randn(p.shape, generator=generator).to(p) for p in params]
        grads = [g + 0.1 * p.detach() for g, p in zip(noise, params, strict=True)]
        give(params, grads)
        give(twins, [g.clone() for g in grads])
        optimizer.step()
        other.step()
        passes += verified(optimizer)
        assert same(params, twins), f"step {step}"
        if not options:
            reference.step(grads)
    if not options:
        reference.check(params, optimizer, step=19)
    assert passes > 20  # of at most 60


@pytest.mark.parametrize("batches", [1, 4])
def test_the_limits_of_sizes(monkeypatch, batches):
    """On both sides of the shortest slice, and of the least that a plan must have of such.

    Lengths of one kind: multiples of eight are in another plan than others.
    """
    from mgup_kernels import layout, tuning

    monkeypatch.setattr(tuning, "ONE_PASS", 4096)
    monkeypatch.setattr(tuning, "ONE_PASS_LEAST", 1 if batches > 1 else 1 << 30)
    for total, shapes, drawn in (
        (1, ((4088,), (4096,), (4104,), (4112,)), 3),
        (1, ((4095,), (4097,), (4099,), (4101,)), 3),
        (8192, ((4096,), (4096,)), 2),
        (8193, ((4096,), (4096,)), 0),
        (1, ((4096,), (1360,)), 1),
        (1, ((4096,), (1368,)), 0),
    ):
        monkeypatch.setattr(tuning, "ONE_PASS_TOTAL", total)
        params = parameters(shapes, device="cuda")
        reference = Reference(params, core.AdamW(), core.MGUP(), lr=0.02)
        optimizer = MGUPAdamW(params, lr=0.02)
        compare(optimizer, params, reference, steps=4)
        rows = np.concatenate([p.rows[:, layout.SAMPLE_CHUNKS] for p in plans(optimizer)])
        assert (rows > 0).sum() == drawn


def test_nothing_waits_for_the_gpu(short):
    params = parameters(LONG, device="cuda")
    optimizer = MGUPAdamW(params, lr=0.02)
    advance(optimizer, params, 3)
    give(params, gradients(params, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls itself a prototype
        torch.cuda.set_sync_debug_mode("error")
    try:
        optimizer.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_verified_bracket_that_is_wrong_is_told(short):
    """If what cannot happen does, the next steps refuse, and nothing changes."""
    params = parameters(((50_000,),), device="cuda")
    optimizer = MGUPAdamW(params, lr=0.02)
    for _ in range(3):
        give(params, [torch.randn(50_000, device="cuda")])
        optimizer.step()
    assert verified(optimizer) == 1
    plan = plans(optimizer)[0]
    plan.misses += 1  # as :func:`check_bracket` does, where the counts do not hold
    optimizer.step()
    torch.cuda.synchronize()
    before = [p.detach().clone() for p in params]
    with pytest.raises(RuntimeError, match="outside of a verified bracket"):
        optimizer.step()
    assert same(params, before)


def test_a_miss_is_counted(short, monkeypatch):
    """The counts of a whole slice tell whether its bracket held."""
    from mgup_kernels import layout

    params = parameters(((50_000,),), device="cuda")
    optimizer = MGUPAdamW(params, lr=0.02)
    give(params, [torch.randn(50_000, device="cuda")])
    optimizer.step()
    plan = plans(optimizer)[0]
    monkeypatch.setattr(type(plan), "_verify", _accept_the_highest)
    give(params, [torch.randn(50_000, device="cuda")])
    optimizer.step()
    assert int(plan.misses) == 1
    record = plan.search_records[0]
    assert int(record[layout.THRESHOLD]) <= int(record[layout.RANGE_HIGH])


def _accept_the_highest(plan, batch, flags) -> None:
    """A bracket far above all scores, called verified."""
    from mgup_kernels import layout

    mine = slice(batch.first_slice, batch.first_slice + batch.slices)
    plan.search_records[mine, layout.VERIFIED] = 1
    plan.search_records[mine, layout.LIST_LENGTH] = plan.slice_table[mine, layout.CAPACITY]
    for column, key in ((layout.RANGE_LOW, 0x7F000000), (layout.LIKELY_THRESHOLD, 0x7F000001)):
        plan.search_records[mine, column] = key
    plan.search_records[mine, layout.RANGE_HIGH] = 0x7F000002
