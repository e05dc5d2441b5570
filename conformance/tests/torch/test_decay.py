"""R0c on every path of PyTorch: blocks, LLVM, whole tensors, graphs, groups, Muon, the wrapper."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import mgup_core as core
from mgup_torch import MGUP, MGUPSGD, MGUPAdamW, MGUPLion, MGUPMuon

from .support import advance, parameters, same

SIZES = ((130, 520), (33,))  # long enough for LLVM, and a short one


def reference(rule, lr, dtype, steps=4, policy=None):
    rng = np.random.default_rng(0)
    params = [rng.standard_normal(s).astype(dtype) for s in SIZES]
    optimizer = core.Optimizer(rule, policy or core.MGUP(), lr=lr, weight_decay=0.3)
    state, stream = optimizer.init(params), []
    start = [w.copy() for w in params]
    for _ in range(steps):
        stream.append([rng.standard_normal(s).astype(dtype) for s in SIZES])
        params, state = optimizer.step(params, stream[-1], state)
    return start, stream, params


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("implementation", ["auto", "reference", "fused"])
@pytest.mark.parametrize(
    ("cls", "rule"),
    [(MGUPAdamW, core.AdamW(decay="aligned")), (MGUPLion, core.Lion(decay="aligned"))],
)
def test_the_bits_of_the_reference(cls, rule, implementation, dtype):
    start, stream, expected = reference(rule, 0.01, dtype)
    params = [torch.nn.Parameter(torch.from_numpy(w.copy())) for w in start]
    options = {"lr": 0.01, "weight_decay": 0.3, "decay": "aligned"}
    try:
        optimizer = cls(params, implementation=implementation, **options)
        for grads in stream:
            for p, g in zip(params, grads, strict=True):
                p.grad = torch.from_numpy(g)
            optimizer.step()
    except (RuntimeError, ValueError) as error:
        if implementation == "fused" and "fused" in str(error):
            pytest.skip("no fused kernels on this machine")
        raise
    for p, w in zip(params, expected, strict=True):
        np.testing.assert_array_equal(p.detach().numpy(), w)


def test_a_group_may_decay_otherwise_and_a_checkpoint_says_so():
    params = parameters()
    halves = [{"params": params[:1], "decay": "aligned"}, {"params": params[1:]}]
    optimizer = MGUPAdamW(halves, lr=0.05, weight_decay=0.5)
    advance(optimizer, params, 3)
    every, none = parameters(), parameters()
    advance(MGUPAdamW(every, lr=0.05, weight_decay=0.5), every, 3)
    advance(MGUPAdamW(none, lr=0.05, weight_decay=0.5, decay="aligned"), none, 3)
    assert same(params[:1], none[:1])
    assert same(params[1:], every[1:])
    assert not same(every[:1], none[:1])
    saved = optimizer.state_dict()
    assert [group["decay"] for group in saved["param_groups"]] == ["aligned", "all"]


def test_a_checkpoint_from_before_decays_everywhere():
    params = parameters()
    optimizer = MGUPAdamW(params, lr=0.05, weight_decay=0.5)
    advance(optimizer, params, 2)
    saved = optimizer.state_dict()
    del saved["param_groups"][0]["decay"]
    again = MGUPAdamW(params, lr=0.05, weight_decay=0.5)
    again.load_state_dict(saved)
    assert again.param_groups[0]["decay"] == "all"


def test_muon_and_its_adamw_take_it():
    moved = {}
    for how in ("all", "aligned"):
        params = [torch.nn.Parameter(torch.ones(4, 6)), torch.nn.Parameter(torch.ones(7))]
        optimizer = MGUPMuon(params, lr=0.1, weight_decay=0.5, mode="off", decay=how)
        for p in params:
            p.grad = torch.linspace(-1, 1, p.numel()).reshape(p.shape)
        optimizer.step()
        moved[how] = [p.detach() for p in params]
    for everywhere, aligned, grad in zip(
        moved["all"], moved["aligned"], [p.grad for p in params], strict=True
    ):
        kept = aligned != everywhere
        torch.testing.assert_close((aligned - everywhere)[kept], torch.full_like(grad[kept], 0.05))
        assert kept.any()
    assert (moved["all"][1] != moved["aligned"][1]).equal(params[1].grad < 0)


def test_the_wrapper_takes_it_for_each_group():
    """As the class of the same rule, to what reading the step off the parameters costs."""
    ours, theirs = parameters(), parameters()
    given = {"lr": 0.05, "weight_decay": 0.5}
    advance(MGUP(torch.optim.AdamW(ours, **given), decay="aligned"), ours, 3)
    advance(MGUPAdamW(theirs, decay="aligned", **given), theirs, 3)
    every = parameters()
    advance(MGUP(torch.optim.AdamW(every, **given)), every, 3)
    for p, q in zip(ours, theirs, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-5)
    assert not same(ours, every)
    with pytest.raises(ValueError, match="decay='cautious' is none of 'all', 'aligned'"):
        MGUP(torch.optim.AdamW(parameters()), decay="cautious")


def test_refused_before_anything_is_made():
    with pytest.raises(ValueError, match="needs decoupled decay"):
        MGUPSGD(parameters(), coupled_decay=True, decay="aligned")
    with pytest.raises(ValueError, match="decay='cautious'"):
        MGUPAdamW(parameters(), decay="cautious")
    with pytest.raises(ValueError, match="MGUPAMSGrad"):
        MGUPAdamW(parameters(), amsgrad=True)
