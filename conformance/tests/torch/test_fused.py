"""The fused step on an NVIDIA GPU gives the reference's bits; skipped where there is none.

It checks P4, P5, R7, N1, N4, N5.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

import mgup_core as core
import mgup_torch
from mgup_torch import MGUPSGD, MGUPAdamW, MGUPLion
from mgup_torch.groups import policy_of

from .inputs import POLICIES
from .support import ON_GPU, Reference, advance, array, compare, give, gradients, parameters, same
from .test_cuda import adversarial

pytestmark = [*ON_GPU, pytest.mark.filterwarnings("ignore:.*none is selected")]

SHAPES = ((64,), (257, 129), (1,), (8, 3, 5, 5), (0,))
MODES = ("default", "tau", "sign", "sign aligned", "adaptive", "cautious", "off")


def fused(optimizer) -> int:
    """How many parameters take the fused step."""
    return sum(row.executor == "cuda" for row in optimizer.explain())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("make", [MGUPAdamW, MGUPLion, MGUPSGD])
def test_two_hundred_steps(make, mode, dtype):
    """N1, N4, N5, on the shapes of the conformance suite."""
    rules = {MGUPAdamW: core.AdamW(eps=1e-3), MGUPLion: core.Lion(), MGUPSGD: core.SGD()}
    options = {"eps": 1e-3} if make is MGUPAdamW else {}
    params = parameters(SHAPES, dtype, device="cuda")
    optimizer = make(params, lr=0.02, weight_decay=0.1, **options, **POLICIES[mode])
    policy = policy_of(optimizer.param_groups[0])
    reference = Reference(params, rules[make], policy, lr=0.02, weight_decay=0.1)
    for step in range(200):
        # The gradient depends on the parameters, so that any difference grows.
        grads = [g + 0.1 * p.detach() for g, p in zip(gradients(params, step), params, strict=True)]
        give(params, grads)
        optimizer.step()
        reference.step(grads)
        if step % 50 in (0, 49):
            reference.check(params, optimizer, step=step)
    assert fused(optimizer) == len(SHAPES)


def scored(scores: np.ndarray, tau: float, **options) -> tuple[np.ndarray, np.ndarray]:
    """(what a fused Lion step makes of zeros when these are the scores, what it should make)."""
    p = torch.zeros(scores.shape, device="cuda", requires_grad=True)
    p.grad = torch.from_numpy(np.abs(scores)).cuda()
    optimizer = MGUPLion([p], lr=1.0, tau=tau, alpha=1.5, gamma=0.5, **options)
    sign = np.where(np.signbit(scores), np.float32(-1e30), np.float32(1e30))
    optimizer.state[p] = {"exp_avg": torch.from_numpy(sign).cuda()}
    reference = core.Optimizer(
        core.Lion(), core.MGUP(tau, 1.5, 0.5), lr=1.0, stacked_dims=options.get("stacked_dims", 0)
    )
    start = [np.zeros_like(scores)]
    state = reference.init(start)
    state.arrays[0]["exp_avg"][...] = sign
    with np.errstate(all="ignore"):
        expected, _ = reference.step(start, [np.abs(scores)], state)
    optimizer.step()
    assert fused(optimizer) == 1
    return array(p), expected[0]


def check_scored(d: int, kind: str, **options) -> None:
    scores = adversarial(d)[kind]
    for k in sorted({0, 1, d // 3, d // 2, d - 1, d} & set(range(d + 1))):
        with np.errstate(all="ignore"):
            got, expected = scored(scores, k / d, **options)
        np.testing.assert_array_equal(got, expected, err_msg=f"k={k} of {d}")


@pytest.mark.parametrize("d", [1, 7, 1000, 100_003, 1_000_000])
@pytest.mark.parametrize("kind", adversarial(1))
def test_selection_of_adversarial_scores(kind, d):
    """P2 to P4, where the sample is the whole and where it is not."""
    check_scored(d, kind)


@pytest.mark.parametrize("kind", adversarial(1))
@pytest.mark.parametrize("wrong", ["bracket", "room"])
def test_a_wrong_guess_costs_time_only(monkeypatch, wrong, kind):
    """A bracket that misses, and copies that do not fit, lead to the same mask."""
    from mgup_kernels import tuning

    if wrong == "bracket":
        monkeypatch.setattr(tuning, "DEVIATIONS", -3.0)
        monkeypatch.setattr(tuning, "ROOM", -1.0)
    else:
        monkeypatch.setattr(tuning, "ROOM", 1e-6)
    check_scored(200_003, kind)


def test_stacked_slices():
    """P5."""
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((3, 4, 501)).astype(np.float32)
    for n in range(4):
        with np.errstate(all="ignore"):
            got, expected = scored(scores, 0.29, stacked_dims=n)
        np.testing.assert_array_equal(got, expected)


def test_what_changes_between_steps():
    """Learning rates, ratios, gradients that come and go, new tensors, another contiguity."""
    params = parameters(device="cuda")
    optimizer = MGUPAdamW(
        [{"params": params[:2]}, {"params": params[2:], "tau": 0.25, "lr": 0.05}], lr=0.02
    )
    twin_params = parameters(device="cuda")
    twin = MGUPAdamW(
        [{"params": twin_params[:2]}, {"params": twin_params[2:], "tau": 0.25, "lr": 0.05}],
        lr=0.02,
        implementation="reference",
    )
    for step in range(12):
        grads = gradients(params, step)
        if step == 3:
            grads[1] = None
        if step == 5:
            grads[0] = grads[0].t().contiguous().t()
        for one in (optimizer, twin):
            one.param_groups[0]["lr"] = 0.02 / (step + 1)
            if step == 7:
                one.param_groups[1]["tau"] = 0.75
            if step == 9:
                one.load_state_dict(one.state_dict())
        give(params, grads)
        give(twin_params, [None if g is None else g.clone() for g in grads])
        optimizer.step()
        twin.step()
        assert same(params, twin_params), f"step {step}"


def test_unaligned_views():
    base = torch.randn(3, 1001, device="cuda")
    params = [base[i, 1:].detach().requires_grad_() for i in range(3)]
    reference = Reference(params, core.AdamW(), core.MGUP(), lr=0.02)
    optimizer = MGUPAdamW(params, lr=0.02)
    compare(optimizer, params, reference, steps=5)
    assert fused(optimizer) == 3


def test_in_a_cuda_graph():
    """capturable: the step, captured once, goes on counting and reads the learning rate anew."""
    params, twins = parameters(device="cuda"), parameters(device="cuda")
    rate = torch.tensor(0.02, device="cuda")
    optimizer = MGUPAdamW(params, lr=rate, capturable=True)
    twin = MGUPAdamW(twins, lr=0.02)
    for p in params:
        p.grad = torch.zeros_like(p)
    held = [p.grad for p in params]

    def feed(step):
        grads = gradients(params, step)
        for h, g in zip(held, grads, strict=True):
            h.copy_(g)
        give(twins, grads)

    feed(0)
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        optimizer.step()
    torch.cuda.current_stream().wait_stream(aside)
    twin.step()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        optimizer.step()
    for step in range(1, 6):
        feed(step)
        rate.fill_(0.02 * step)
        twin.param_groups[0]["lr"] = float(rate)
        graph.replay()
        twin.step()
        assert same(params, twins), f"step {step}"


def test_many_tiny_tensors():
    params = parameters(tuple((i % 7 + 1,) for i in range(300)), device="cuda")
    reference = Reference(params, core.SGD(), core.MGUP(), lr=0.02)
    compare(MGUPSGD(params, lr=0.02, momentum=0.9), params, reference, steps=3)


def test_fused_or_the_reason_why_not():
    wide = parameters(dtype=torch.float64, device="cuda")
    optimizer = MGUPAdamW(wide, implementation="fused")
    give(wide, gradients(wide, 0))
    before = [p.detach().clone() for p in wide]
    with pytest.raises(ValueError, match=r"implementation='fused'.*float32"):
        optimizer.step()
    assert same(wide, before)
    host = parameters()
    give(host, gradients(host, 0))
    with pytest.raises(ValueError, match="it is on cpu"):
        MGUPAdamW(host, implementation="fused").step()
    crossed = parameters(((6, 4),), device="cuda")[0].detach().t().requires_grad_()
    optimizer = MGUPAdamW([crossed], lr=0.02)
    compare(optimizer, [crossed], Reference([crossed], core.AdamW(), core.MGUP(), lr=0.02))
    assert fused(optimizer) == 0


@dataclass(frozen=True)
class Clipped(core.Rule):
    """Calls what tl.maximum would lose: a NaN stays one."""

    limit: float = 0.5

    def direction(self, be, g, w, state, t):
        limit = be.scalar(self.limit)
        return core.Direction(be.xp.maximum(be.xp.minimum(g, limit), -limit), a=g)

    def init(self, be, w):
        return {"m": be.zeros_like(w)}


def test_a_rule_that_clips_keeps_the_fused_step():
    """The operations of every rule are those of the kernels."""
    params, twins = parameters(device="cuda"), parameters(device="cuda")
    cls = mgup_torch.optimizer(Clipped)
    optimizer, twin = cls(params, lr=0.02), cls(twins, lr=0.02, implementation="reference")
    for step in range(3):
        grads = gradients(params, step)
        grads[0].view(-1)[0] = torch.nan
        give(params, grads)
        give(twins, grads)
        optimizer.step()
        twin.step()
        assert fused(optimizer) == len(params)
        for p, q in zip(params, twins, strict=True):
            np.testing.assert_array_equal(array(p), array(q))


def test_every_value_changes_at_every_step():
    """R7: no kernel is generated, no plan made and no step gathered anew; N1 throughout."""
    from mgup_kernels import codegen
    from mgup_torch.executors.programs import program

    params, twins = parameters(device="cuda"), parameters(device="cuda")
    optimizer, twin = MGUPAdamW(params), MGUPAdamW(twins, implementation="reference")
    made = []
    for step in range(50):
        for one in (optimizer, twin):
            one.param_groups[0].update(
                lr=0.02 / (step + 1), betas=(0.9 - 0.001 * step, 0.99 - 0.0001 * step),
                eps=1e-8 * (step + 1), weight_decay=0.1 / (step + 1), alpha=2.0 + 0.01 * step,
                gamma=0.5 - 0.001 * step,
            )  # fmt: skip
        grads = gradients(params, step)
        give(params, grads)
        give(twins, grads)
        optimizer.step()
        twin.step()
        assert same(params, twins), f"step {step}"
        held = optimizer._fusion.step
        plans = len(held._plans), id(held._last_step)
        made.append((program.made, codegen.functions.cache_info().misses, *plans))
    assert made[1] == made[-1]


def test_one_cycle_by_its_default():
    """It cycles betas at every step: what was captured serves all of them."""
    params, twins = parameters(device="cuda"), parameters(device="cuda")
    optimizer, twin = MGUPAdamW(params), MGUPAdamW(twins, implementation="reference")
    pair = [torch.optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=40) for o in (optimizer, twin)]
    for step in range(30):
        grads = gradients(params, step)
        give(params, grads)
        give(twins, grads)
        optimizer.step()
        twin.step()
        for scheduler in pair:
            scheduler.step()
        assert same(params, twins), f"step {step}"
        if step == 1:
            last = optimizer._fusion.step._last_step
    assert optimizer._fusion.step._last_step is last


def test_another_stream():
    params, twins = parameters(device="cuda"), parameters(device="cuda")
    optimizer, twin = MGUPAdamW(params, lr=0.02), MGUPAdamW(twins, lr=0.02)
    aside = torch.cuda.Stream()
    for step in range(6):
        grads = gradients(params, step)
        give(params, grads)
        give(twins, grads)
        torch.cuda.synchronize()
        if step % 2:
            with torch.cuda.stream(aside):
                optimizer.step()
        else:
            optimizer.step()
        torch.cuda.synchronize()
        twin.step()
    assert same(params, twins)


def test_checkpoint_and_twin():
    params = parameters(device="cuda")
    optimizer = MGUPAdamW(params, lr=0.02)
    advance(optimizer, params, 3)
    copies = [p.detach().clone().requires_grad_() for p in params]
    other = MGUPAdamW(copies, lr=0.5)
    other.load_state_dict(optimizer.state_dict())
    advance(optimizer, params, 3, start=3)
    advance(other, copies, 3, start=3)
    assert same(params, copies)
    plain = torch.optim.AdamW(copies, fused=True)
    plain.load_state_dict(optimizer.state_dict())
    advance(plain, copies, 1, start=6)


def test_compiled_step_is_the_fused_one():
    params = parameters(device="cuda")
    optimizer = MGUPAdamW(params, lr=0.02)
    step = torch.compile(optimizer.step)
    reference = Reference(params, core.AdamW(), core.MGUP(), lr=0.02)
    for i in range(3):
        grads = gradients(params, i)
        give(params, grads)
        step()
        reference.step(grads)
        reference.check(params, optimizer, step=i)
    assert fused(optimizer) == len(params)
