"""What mutants of the PyTorch adapter showed to be untested: each kills one that survived.

It checks N1, P3 and R3 to R6.
"""

from __future__ import annotations

import copy
import math
import warnings

import pytest

pytest.importorskip("torch", reason="mgup_torch needs PyTorch")
import torch

import mgup_torch
from mgup_torch import MGUPSGD, MGUPAdamW, MGUPMuon
from mgup_torch.executors import host
from mgup_torch.llvm import codegen

from ..torch.support import Reference, advance, compare, frozen, parameters


@pytest.mark.parametrize("stray", ["b1", "b2"])
def test_a_beta_of_the_core_is_no_key_here(stray):
    """R, names: `betas` holds it, and a group's own b1 would be read by nobody."""
    p = torch.ones(3, requires_grad=True)
    with pytest.raises(ValueError, match=rf"{stray!r}.*did you mean 'betas'"):
        MGUPAdamW([{"params": [p], stray: 0.5}])
    optimizer = MGUPAdamW([torch.ones(3, requires_grad=True)])
    before = frozen(optimizer)
    with pytest.raises(ValueError, match="did you mean 'betas'"):
        optimizer.add_param_group({"params": [p], stray: 0.5})
    assert frozen(optimizer) == before


def test_a_saved_buffer_of_none_is_no_buffer():
    """R3: torch.optim.SGD saves `momentum_buffer: None` before its first step with momentum."""
    params = parameters(((3,),))
    saved = MGUPSGD(params).state_dict()
    saved["state"] = {0: {"momentum_buffer": None}}
    optimizer = MGUPSGD(params)
    optimizer.load_state_dict(saved)
    import mgup_core as core

    compare(optimizer, params, Reference(params, core.SGD(), core.MGUP()))


def test_a_checkpoint_at_step_0():
    """R6: state that was made and never stepped, as twins save it, goes on with t = 1."""
    import mgup_core as core

    params = parameters()
    optimizer = MGUPAdamW(params, lr=0.02)
    saved = optimizer.state_dict()
    zeros = [
        {n: torch.zeros_like(p) for n in ("exp_avg", "exp_avg_sq")} | {"step": torch.tensor(0.0)}
        for p in params
    ]
    saved["state"] = dict(enumerate(zeros))
    optimizer.load_state_dict(saved)
    assert all(optimizer.state[p]["step"] == 0 for p in params)
    compare(optimizer, params, Reference(params, core.AdamW(), core.MGUP(), lr=0.02))


@pytest.mark.parametrize("step", [-1.0, 0.5, math.nan, math.inf, 2.0**62])
def test_steps_that_are_none(step):
    params = parameters(((3,),))
    optimizer = MGUPAdamW(params)
    advance(optimizer, params, 1)
    saved = copy.deepcopy(optimizer.state_dict())
    saved["state"][0]["step"] = torch.tensor(step)
    before = frozen(optimizer)
    with pytest.raises(ValueError, match="must be a whole number from 0"):
        optimizer.load_state_dict(saved)
    assert frozen(optimizer) == before


@pytest.mark.parametrize("wrapped", [False, True])
def test_none_selected_is_said_once_though_a_checkpoint_is_loaded(wrapped):
    """P3: a parameter is warned of once."""
    p = torch.ones((), requires_grad=True)
    made = MGUPAdamW([p])
    if wrapped:
        made = mgup_torch.MGUP(torch.optim.SGD([p], lr=0.1))
    p.grad = torch.ones(())
    with pytest.warns(UserWarning, match="none is selected"):
        made.step()
    made.load_state_dict(made.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made.step()


def test_muons_words():
    with pytest.raises(TypeError, match="must be words"):
        MGUPMuon([torch.ones(2, 2, requires_grad=True)], exceptions=("head", 3))


def test_the_defaults_of_muons_adamw():
    """R4: eps 1e-8 and betas (0.95, 0.95), by what a step does where eps decides it."""
    import mgup_core as core

    params = [torch.full((5,), 1.0, requires_grad=True)]
    optimizer = MGUPMuon(params)
    rule = core.AdamW(b1=0.95, b2=0.95, eps=1e-8)
    reference = Reference(params, rule, core.MGUP(), lr=1e-3, weight_decay=0.1)
    for step in range(3):
        params[0].grad = torch.tensor([1e-8, -2e-8, 3e-9, 1e-9, 5e-8]) * (step + 1)
        optimizer.step()
        reference.step([params[0].grad])
        reference.check(params, optimizer)


@pytest.mark.parametrize("rule", ["MGUPAdan", "MGUPADOPT", "MGUPSGD", "MGUPAdEMAMix"])
@pytest.mark.parametrize("kwargs", [{}, {"nesterov": True}], ids=str)
def test_narrow_state_over_many_blocks(rule, kwargs, monkeypatch):
    """R5, N1: what `exact_state` decides; the second pass must not read rounded moments."""
    from mgup_core.host import blocks
    from mgup_torch.executors import host
    from mgup_torch.llvm import codegen

    if kwargs and rule != "MGUPSGD":
        return
    from mgup_torch.base import optimizer as base

    monkeypatch.setattr(base, "_LEAST_SPARE", 0)  # no room to keep a block for the second pass
    monkeypatch.setattr(codegen, "WORTH", 1 << 62)
    monkeypatch.setattr(host, "SMALL", 0)
    monkeypatch.setattr(blocks, "LEAST_BLOCK", 64)
    monkeypatch.setattr(blocks, "_LARGEST", 64)
    monkeypatch.setattr(blocks, "spans_of", lambda size, *_: [
        slice(i, min(i + 64, size)) for i in range(0, size, 64)
    ])  # fmt: skip
    import mgup_core as core

    kind = getattr(mgup_torch, rule)
    params = parameters(((1001,),), torch.bfloat16)
    optimizer = kind(params, lr=0.02, weight_decay=0.1, **kwargs)
    made = kind.rule_class(**kwargs)
    reference = Reference(params, made, core.MGUP(), lr=0.02, weight_decay=0.1)
    compare(optimizer, params, reference)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    ("tau", "shape", "stacked_dims"),
    [(0.01, (40, 25), 1), (0.5, (9, 1), 1), (0.0, (4, 6), 1), (0.01, (50,), 0), (0.5, (), 0)],
)
def test_none_selected_is_no_infinite_score_either(tau, shape, stacked_dims, compiled, monkeypatch):
    """P3, P7: K = 0 damps the whole slice, scores that overflow too.

    Found: a compiled step of slices gave alpha to those whose score was infinite.
    """
    if compiled:
        monkeypatch.setattr(codegen, "WORTH", 0)
        monkeypatch.setattr(host, "SMALL", 0)
    g = torch.ones(shape)
    g.reshape(-1)[:3] = torch.tensor([1e30, -1e25, 2.0])[: g.numel()]
    p = torch.zeros(shape, requires_grad=True)
    p.grad = g
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*none is selected")
        optimizer = MGUPSGD([p], lr=1.0, momentum=0.0, tau=tau, alpha=2.0, gamma=0.5,
                            stacked_dims=stacked_dims)  # fmt: skip
        optimizer.step()
    assert torch.equal(p.detach(), -0.5 * g)
