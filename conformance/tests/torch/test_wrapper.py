"""MGUP(inner): any optimizer of torch.optim, with the contract of torch.optim on the outside.

It checks P1, P3, P4, P11, R0 and R6.
"""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from mgup_torch import MGUP, MGUPAdamW

from .inputs import POLICIES, policy
from .support import (
    advance,
    array,
    frozen,
    give,
    gradients,
    loss_of,
    parameters,
    regression,
    same,
)

INNER = {
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.02, weight_decay=0.1),
    "AdamW fused": lambda p: torch.optim.AdamW(p, lr=0.02, weight_decay=0.1, fused=True),
    "AdamW maximize": lambda p: torch.optim.AdamW(p, lr=0.02, weight_decay=0.1, maximize=True),
    "AdamW amsgrad": lambda p: torch.optim.AdamW(p, lr=0.02, amsgrad=True),
    "Adam": lambda p: torch.optim.Adam(p, lr=0.02),
    "NAdam": lambda p: torch.optim.NAdam(p, lr=0.02),
    "NAdam decoupled": lambda p: torch.optim.NAdam(
        p, lr=0.02, weight_decay=0.1, decoupled_weight_decay=True
    ),
    "RAdam": lambda p: torch.optim.RAdam(p, lr=0.02),
    "Adamax": lambda p: torch.optim.Adamax(p, lr=0.02),
    "Adagrad": lambda p: torch.optim.Adagrad(p, lr=0.02),
    "Adadelta": lambda p: torch.optim.Adadelta(p, lr=0.02),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.02),
    "RMSprop centered": lambda p: torch.optim.RMSprop(p, lr=0.02, centered=True, momentum=0.5),
    "ASGD": lambda p: torch.optim.ASGD(p, lr=0.02),
    "Rprop": lambda p: torch.optim.Rprop(p, lr=0.02),
    "SGD": lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9),
    "SGD plain": lambda p: torch.optim.SGD(p, lr=0.02),
    "Adafactor": lambda p: torch.optim.Adafactor(p, lr=0.02, weight_decay=0.1),
    "Muon": lambda p: torch.optim.Muon(p, lr=0.02, weight_decay=0.1),
}
SHAPES = ((7, 5), (4, 6))


@pytest.mark.parametrize("off", [{"mode": "off"}, {"alpha": 1.0, "gamma": 1.0}], ids=str)
@pytest.mark.parametrize("name", INNER)
def test_off_is_the_inner_optimizer(name, off):
    """P11, to rounding: the step is read off as a difference."""
    ours, theirs = parameters(SHAPES), parameters(SHAPES)
    wrapped, plain = MGUP(INNER[name](ours), **off), INNER[name](theirs)
    for i in range(5):
        for params, optimizer in ((ours, wrapped), (theirs, plain)):
            give(params, gradients(params, i))
            optimizer.step()
        for p, q in zip(ours, theirs, strict=True):
            torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-5)
    assert frozen(plain)[2][0].keys() == frozen(wrapped)[2][0].keys()


@pytest.mark.parametrize("mode", [m for m in POLICIES if m != "stacked"])
@pytest.mark.parametrize("name", INNER)
def test_one_step_is_phi_times_the_inner_step(name, mode):
    """P1, R0: ranked by the inner step, without decay; φ on the step, never on the decay.

    Every parameter starts at powers of two, so that the difference of two parameters is exact.
    """
    start = [torch.ones(s) for s in SHAPES]
    ours = [w.clone().requires_grad_() for w in start]
    theirs = [w.clone().requires_grad_() for w in start]
    wrapped, plain = MGUP(INNER[name](ours), **POLICIES[mode]), INNER[name](theirs)
    decay = 0.02 * plain.param_groups[0].get("weight_decay", 0)
    for group in plain.param_groups:
        if "weight_decay" in group:
            group["weight_decay"] = 0.0
    for _ in range(2):  # from the same point again, the second time with momentum
        with torch.no_grad():
            for p, q in zip(ours, theirs, strict=True):
                p.fill_(1.0)
                q.fill_(1.0)
        grads = gradients(ours, 1)
        give(ours, grads)
        give(theirs, [g.clone() for g in grads])
        wrapped.step()
        plain.step()
        sign = -1 if plain.param_groups[0].get("maximize") else 1
        for p, q, g in zip(ours, theirs, grads, strict=True):
            step = 1.0 - array(q)
            chosen = policy(POLICIES[mode])
            phi = 1.0 if chosen is None else chosen.multiplier(step, sign * array(g))
            np.testing.assert_allclose(array(p), 1.0 - phi * step - decay, rtol=0, atol=2e-7)


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.Adam(p, weight_decay=0.1),
        lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.1),
        lambda p: torch.optim.RMSprop(p, weight_decay=0.1),
        lambda p: torch.optim.Adagrad([{"params": p, "weight_decay": 0.1}]),
    ],
)
def test_decay_within_the_gradient_is_refused(make):
    """L2 decay runs through the momentum and cannot be kept out of the score."""
    with pytest.raises(ValueError, match=r"weight_decay=0\.1"):
        MGUP(make(parameters(SHAPES)))


def test_groups_state_and_defaults_are_shared():
    params = parameters(SHAPES)
    inner = torch.optim.AdamW(params, lr=0.02)
    wrapper = MGUP(inner, tau=0.3)
    assert wrapper.param_groups is inner.param_groups
    assert wrapper.state is inner.state
    assert wrapper.defaults.items() >= inner.defaults.items()
    for first, second in ((wrapper, inner), (inner, wrapper)):
        first.param_groups[0]["lr"] *= 0.5
        assert first.param_groups[0]["lr"] == second.param_groups[0]["lr"]
    assert inner.param_groups[0]["lr"] == 0.005
    advance(wrapper, params, 1)
    assert inner.state[params[0]]["step"] == 1
    assert inner.param_groups[0]["weight_decay"] == 0.01, "the decay was not put back"


@pytest.mark.parametrize("to", ["wrapper", "inner"])
def test_add_param_group(to):
    """Groups are shared, so one may be added on either side."""
    first, second = parameters(((4, 6),)), parameters(((3, 8),))
    inner = torch.optim.AdamW(first, lr=0.02)
    wrapper = MGUP(inner, tau=0.25)
    {"wrapper": wrapper, "inner": inner}[to].add_param_group({"params": second, "lr": 0.5})
    before = array(second[0])
    advance(wrapper, first + second, 1)
    assert not np.array_equal(before, array(second[0]))
    assert wrapper.param_groups[1]["mgup_tau"] == 0.25
    with pytest.raises(ValueError, match="tau=7"):
        wrapper.add_param_group({"params": parameters(((2, 2),)), "mgup_tau": 7})
    assert len(inner.param_groups) == 2


@pytest.mark.parametrize("on", ["wrapper", "inner"])
@pytest.mark.parametrize("rate", [0.02, torch.tensor(0.02)], ids=["float", "tensor"])
def test_schedulers(on, rate):
    """On the wrapper as on the inner optimizer: OneCycleLR moves lr and betas of both."""
    params = parameters(SHAPES)
    inner = torch.optim.AdamW(params, lr=copy.copy(rate))
    wrapper = MGUP(inner)
    target = wrapper if on == "wrapper" else inner
    scheduler = lr_scheduler.OneCycleLR(target, 0.1, total_steps=6)
    plain = torch.optim.AdamW(parameters(SHAPES), lr=copy.copy(rate))
    expected = lr_scheduler.OneCycleLR(plain, 0.1, total_steps=6)
    for i in range(4):
        advance(wrapper, params, 1, start=i)
        plain.step()
        scheduler.step()
        expected.step()
        for key in ("lr", "betas"):
            assert wrapper.param_groups[0][key] == plain.param_groups[0][key]
            assert inner.param_groups[0][key] == plain.param_groups[0][key]


def test_scaler():
    """A found inf skips everything; gradients are unscaled once."""
    params, others = parameters(SHAPES), parameters(SHAPES)
    wrapper = MGUP(torch.optim.AdamW(params, lr=0.02))
    plain = MGUP(torch.optim.AdamW(others, lr=0.02))
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for step in range(4):
        grads = gradients(params, step)
        scale = scaler.scale(torch.tensor(1.0))
        give(params, [g * scale for g in grads])
        give(others, grads)
        before = frozen(wrapper)
        if step == 1:
            params[0].grad[0, 0] = torch.inf
        scaler.step(wrapper)
        scaler.update()
        if step == 1:
            assert frozen(wrapper) == before
        else:
            plain.step()
        assert same(params, others)


@pytest.mark.parametrize("carrier", [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_state_dict_round_trip(carrier):
    params = parameters(SHAPES)
    wrapper = MGUP(torch.optim.AdamW(params, lr=0.02), tau=0.25, alpha=1.5)
    advance(wrapper, params, 2)
    saved = carrier(wrapper.state_dict())
    resumed = [p.detach().clone().requires_grad_() for p in params]
    other = MGUP(torch.optim.AdamW(resumed))
    other.load_state_dict(saved)
    assert other.param_groups[0]["mgup_tau"] == 0.25
    assert other.param_groups[0]["lr"] == 0.02
    advance(wrapper, params, 2, start=2)
    advance(other, resumed, 2, start=2)
    assert same(params, resumed)


def test_checkpoints_of_inner_alone_go_both_ways():
    theirs = parameters(SHAPES)
    plain = torch.optim.AdamW(theirs, lr=0.03)
    advance(plain, theirs, 2)
    params = [p.detach().clone().requires_grad_() for p in theirs]
    wrapper = MGUP(torch.optim.AdamW(params), tau=0.4)
    wrapper.load_state_dict(copy.deepcopy(plain.state_dict()))
    assert wrapper.param_groups[0]["mgup_tau"] == 0.4
    assert wrapper.param_groups[0]["lr"] == 0.03
    advance(wrapper, params, 1, start=2)
    plain.load_state_dict(copy.deepcopy(wrapper.state_dict()))
    advance(plain, theirs, 1, start=3)
    assert plain.state[theirs[0]]["step"] == 4
    bad = copy.deepcopy(wrapper.state_dict())
    bad["param_groups"][0]["mgup_gamma"] = 0.0
    before = frozen(wrapper)
    with pytest.raises(ValueError, match="gamma"):
        wrapper.load_state_dict(bad)
    assert frozen(wrapper) == before


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_whole_wrappers_copy(copier):
    params = parameters(SHAPES)
    wrapper = MGUP(torch.optim.NAdam(params, lr=0.02), tau=0.3, statistics=True)
    advance(wrapper, params, 2)
    other = copier(wrapper)
    copied = other.param_groups[0]["params"]
    advance(wrapper, params, 2, start=2)
    assert not same(params, copied)
    advance(other, copied, 2, start=2)
    assert same(params, copied)


def test_hooks_closure_and_zero_grad():
    model, x, y = regression()
    weights = [p for p in model.parameters() if p.ndim > 1]
    wrapper, seen = MGUP(torch.optim.AdamW(weights, lr=0.02)), []
    for name in ("step_pre", "step_post", "state_dict_pre", "state_dict_post",
                 "load_state_dict_pre", "load_state_dict_post"):  # fmt: skip
        getattr(wrapper, f"register_{name}_hook")(lambda *_, name=name: seen.append(name))

    def closure():
        assert torch.is_grad_enabled()
        wrapper.zero_grad()
        loss = loss_of(model, x, y)
        loss.backward()
        return loss

    losses = [float(wrapper.step(closure).detach()) for _ in range(10)]
    assert losses[-1] < losses[0]
    assert seen == ["step_pre", "step_post"] * 10
    seen.clear()
    wrapper.load_state_dict(wrapper.state_dict())
    assert seen == ["state_dict_pre", "state_dict_post", "load_state_dict_pre",
                    "load_state_dict_post"]  # fmt: skip
    wrapper.zero_grad()
    assert all(p.grad is None for p in weights)


def test_all_damped_is_said():
    """P3, as for every adapter."""
    p = torch.zeros(1, requires_grad=True)
    p.grad = torch.ones(1)
    wrapper = MGUP(torch.optim.SGD([p], lr=1.0))
    with pytest.warns(UserWarning, match="tau"):
        wrapper.step()
    assert p.item() == -0.5


class _Breaks(torch.optim.SGD):
    """Moves its parameters, then fails."""

    def step(self, closure=None):
        super().step()
        raise KeyboardInterrupt


def test_an_interrupted_step_moves_nothing():
    """No parameter keeps a step of the inner optimizer that was not rescaled."""
    params = parameters(SHAPES)
    wrapper = MGUP(_Breaks(params, lr=0.1))
    give(params, gradients(params, 0))
    before = frozen(wrapper)
    with pytest.raises(KeyboardInterrupt):
        wrapper.step()
    assert frozen(wrapper)[:2] == before[:2]


def test_statistics():
    params = parameters(SHAPES)
    wrapper = MGUP(torch.optim.SGD(params, lr=1.0), tau=0.4, statistics=True)
    advance(wrapper, params, 1)
    assert [float(s.selected) for s in wrapper.statistics()] == [
        pytest.approx(14 / 35),
        pytest.approx(9 / 24),
    ]
    with pytest.raises(RuntimeError, match="statistics=True"):
        MGUP(torch.optim.SGD(params, lr=1.0)).statistics()


def test_parameters_without_gradient_stay():
    params = parameters(SHAPES)
    wrapper = MGUP(torch.optim.AdamW(params, lr=0.02, weight_decay=0.5))
    give(params, [None, gradients(params, 0)[1]])
    before = array(params[0])
    wrapper.step()
    assert np.array_equal(before, array(params[0]))
    assert params[0] not in wrapper.state


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p, "inner"),
        (lambda p: torch.optim.LBFGS(p), "LBFGS"),
        (lambda p: MGUPAdamW(p), "MGUP"),
        (lambda p: MGUP(torch.optim.AdamW(p)), "MGUP"),
    ],
)
def test_what_cannot_be_wrapped(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        MGUP(make(parameters(SHAPES)))


@pytest.mark.parametrize(
    ("name", "value"),
    [("tau", 1.5), ("alpha", 0.5), ("gamma", 0.0), ("mode", "best"), ("stacked_dims", -1),
     ("gamma", float("nan")), ("ties", "up")],
)  # fmt: skip
def test_bad_arguments(name, value):
    inner = torch.optim.AdamW(parameters(SHAPES))
    before = frozen(inner)
    with pytest.raises(ValueError, match=name):
        MGUP(inner, **{name: value})
    assert frozen(inner) == before, "inner was changed although it was not wrapped"


def test_masks_are_the_cores_for_channels_last():
    """P4 through the wrapper."""
    p = torch.zeros(2, 3, 4, 4).to(memory_format=torch.channels_last).requires_grad_()
    p.grad = torch.ones_like(p)
    MGUP(torch.optim.SGD([p], lr=1.0)).step()
    moved = array(p).reshape(-1)
    assert (moved[:48] == -2.0).all()
    assert (moved[48:] == -0.5).all()


@pytest.mark.parametrize(
    "of",
    [
        lambda layer: layer.parameters(),
        lambda layer: filter(lambda p: p.requires_grad, layer.parameters()),
        lambda layer: layer.named_parameters(),
        lambda layer: iter(list(layer.parameters())),
        lambda layer: dict(layer.named_parameters()).values(),
        lambda layer: layer.weight,
    ],
)
def test_a_group_from_a_generator(of):
    """Issue 15, 6: a check had consumed it, and the new layers never trained."""
    first, layer = torch.nn.Linear(3, 3), torch.nn.Linear(3, 2)
    named = isinstance(next(iter(of(layer))), tuple)
    params = first.named_parameters() if named else first.parameters()
    optimizer = MGUP(torch.optim.AdamW(params))
    expected = 1 if of(layer) is layer.weight else 2
    optimizer.add_param_group({"params": of(layer), "lr": 0.1})
    assert len(optimizer.param_groups[1]["params"]) == expected
    before = layer.weight.detach().clone()
    layer(first(torch.ones(2, 3))).sum().backward()
    optimizer.step()
    assert not torch.equal(layer.weight, before)
