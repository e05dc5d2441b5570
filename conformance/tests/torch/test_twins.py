"""Beside torch.optim: the base rules agree to rounding, and checkpoints go both ways.

It checks P11, R1, R2 and R3.
"""

from __future__ import annotations

import copy

import pytest
import torch

from mgup_torch import MGUPSGD, MGUPAdamW, MGUPLion, MGUPMuon

from .support import advance, give, gradients, loss_of, parameters, regression, same

OFF = [{"mode": "off"}, {"alpha": 1.0, "gamma": 1.0}]
SGD_DECAY = {"coupled_decay": True}  # torch.optim.SGD has only this form

ADAMW = [
    {},
    {"lr": 0.05},
    {"lr": torch.tensor(0.05)},
    {"lr": 0.05, "weight_decay": 0.3},
    {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-3},
    {"lr": 0.05, "maximize": True, "weight_decay": 0.0},
    {"lr": 0.05, "foreach": True, "maximize": True},
]
SGD = [
    {"lr": 0.05, "momentum": 0.9},
    {"lr": 0.05, "momentum": 0.0, "weight_decay": 0.1},
    {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.1, "maximize": True},
    {"lr": 0.05, "momentum": 0.8, "nesterov": True, "weight_decay": 0.1},
    {"lr": torch.tensor(0.05), "momentum": 0.8, "dampening": 0.4},
]
CASES = [(MGUPAdamW, torch.optim.AdamW, kw, {}) for kw in ADAMW] + [
    (MGUPSGD, torch.optim.SGD, kw, SGD_DECAY) for kw in SGD
]


def close(first, second, **tolerance) -> None:
    for p, q in zip(first, second, strict=True):
        torch.testing.assert_close(p, q, **tolerance)


def clones(params):
    return [p.detach().clone().requires_grad_() for p in params]


@pytest.mark.parametrize("off", OFF, ids=str)
@pytest.mark.parametrize(("cls", "twin", "kwargs", "own"), CASES)
def test_the_base_rule_is_the_twins(cls, twin, kwargs, own, off):
    """P11, R1, R3: without MGUP the trajectory is torch's to rounding."""
    ours, theirs = parameters(), parameters()
    advance(cls(ours, **kwargs, **own, **off), ours, 6)
    advance(twin(theirs, **kwargs), theirs, 6)
    close(ours, theirs)
    assert not same(ours, parameters())


@pytest.mark.parametrize("off", OFF, ids=str)
@pytest.mark.parametrize(("cls", "twin", "kwargs", "own"), CASES)
def test_going_on_from_the_twins_checkpoint(cls, twin, kwargs, own, off):
    """A run of torch's is continued: same rates, same moments, same step."""
    theirs = parameters()
    original = twin(theirs, **kwargs)
    advance(original, theirs, 3)
    ours = clones(theirs)
    optimizer = cls(ours, lr=7.0, **own, **off)
    optimizer.load_state_dict(copy.deepcopy(original.state_dict()))
    advance(optimizer, ours, 3, start=3)
    advance(original, theirs, 3, start=3)
    close(ours, theirs)


@pytest.mark.parametrize("off", OFF, ids=str)
@pytest.mark.parametrize(("cls", "twin", "kwargs", "own"), CASES)
def test_the_twin_goes_on_from_ours(cls, twin, kwargs, own, off):
    ours = parameters()
    original = cls(ours, **kwargs, **own, **off)
    advance(original, ours, 3)
    theirs = clones(ours)
    optimizer = twin(theirs, lr=7.0)
    optimizer.load_state_dict(copy.deepcopy(original.state_dict()))
    advance(optimizer, theirs, 3, start=3)
    advance(original, ours, 3, start=3)
    close(ours, theirs)


@pytest.mark.parametrize(
    ("cls", "twin"),
    [(MGUPAdamW, torch.optim.AdamW), (MGUPSGD, torch.optim.SGD), (MGUPMuon, torch.optim.Muon)],
)
def test_state_has_the_twins_keys(cls, twin):
    momentum = {} if twin is torch.optim.AdamW else {"momentum": 0.9}
    states = []
    for kind in (cls, twin):
        params = parameters(((4, 6),))
        optimizer = kind(params, lr=0.05, **momentum)
        advance(optimizer, params, 2)
        saved = optimizer.state_dict()
        states.append({k: (v.shape, v.dtype) for k, v in saved["state"][0].items()})
    assert states[0] == states[1]
    optimizer = cls(parameters(((4, 6),)))
    # decoupled_weight_decay is what tells Adam from AdamW within torch.
    missing = twin(parameters(((4, 6),)), lr=0.05).param_groups[0].keys()
    assert missing - optimizer.param_groups[0].keys() <= {"decoupled_weight_decay"}


def test_mgup_goes_on_from_a_plain_run():
    """The common case: fine-tuning a checkpoint of torch.optim.AdamW with MGUP on."""
    model, x, y = regression()
    plain = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(5):
        plain.zero_grad()
        loss_of(model, x, y).backward()
        plain.step()
    start = float(loss_of(model, x, y).detach())
    optimizer = MGUPAdamW(model.parameters(), tau=0.4, alpha=1.5, gamma=0.5)
    optimizer.load_state_dict(plain.state_dict())
    assert optimizer.param_groups[0]["tau"] == 0.4
    assert optimizer.param_groups[0]["lr"] == 0.01
    for _ in range(20):
        optimizer.zero_grad()
        loss_of(model, x, y).backward()
        optimizer.step()
    assert optimizer.state[model[0].weight]["step"] == 25
    assert float(loss_of(model, x, y).detach()) < start


def test_a_groups_own_settings_survive_the_twins_checkpoint():
    """What the checkpoint lacks stays as given, group by group."""
    theirs = parameters()
    plain = torch.optim.AdamW([{"params": theirs[:2]}, {"params": theirs[2:]}], lr=0.05)
    advance(plain, theirs, 1)
    ours = clones(theirs)
    own = {"mode": "off", "tau": 0.75, "alpha": 1.5, "gamma": 0.25}
    optimizer = MGUPAdamW([{"params": ours[:2]}, {"params": ours[2:], **own}], tau=0.3)
    optimizer.load_state_dict(plain.state_dict())
    assert optimizer.param_groups[0]["tau"] == 0.3
    assert {k: optimizer.param_groups[1][k] for k in own} == own
    assert optimizer.param_groups[1]["lr"] == 0.05


def test_sgd_without_momentum_has_an_empty_state_in_torch():
    """torch saves ``momentum_buffer: None`` then; going on starts a fresh momentum (R3)."""
    theirs = parameters()
    original = torch.optim.SGD(theirs, lr=0.05)
    advance(original, theirs, 2)
    ours = clones(theirs)
    optimizer = MGUPSGD(ours, momentum=0.9)
    optimizer.load_state_dict(original.state_dict())
    assert optimizer.param_groups[0]["momentum"] == 0
    give(ours, grads := gradients(ours, 2))
    optimizer.step()
    for p, g in zip(ours, grads, strict=True):
        torch.testing.assert_close(optimizer.state[p]["momentum_buffer"], g, rtol=0, atol=1e-30)


def test_a_checkpoint_of_another_rule_is_refused():
    theirs = parameters()
    original = torch.optim.SGD(theirs, lr=0.05, momentum=0.9)
    advance(original, theirs, 1)
    with pytest.raises(ValueError, match=r"lacks.*exp_avg"):
        MGUPAdamW(parameters()).load_state_dict(
            {
                **original.state_dict(),
                "param_groups": MGUPAdamW(theirs).state_dict()["param_groups"],
            }
        )


def test_lion_is_the_papers():
    """R2 against Lion written out (torch.optim has none)."""
    params = parameters()
    expected = [p.detach().clone() for p in params]
    momenta = [torch.zeros_like(p) for p in expected]
    optimizer = MGUPLion(params, lr=0.05, betas=(0.8, 0.95), weight_decay=0.2, mode="off")
    for step in range(4):
        grads = gradients(params, step)
        give(params, grads)
        optimizer.step()
        for w, m, g in zip(expected, momenta, grads, strict=True):
            update = torch.sign(0.8 * m + 0.2 * g)
            w.sub_(0.05 * (update + 0.2 * w))
            m.mul_(0.95).add_(g, alpha=1 - 0.95)
    close(params, expected)
