"""The contract of torch.optim: groups, closures, hooks, absent and empty gradients (R6)."""

from __future__ import annotations

import inspect

import pytest
import torch

import mgup_core as core
from mgup_torch import MGUPSGD, MGUPAdamW, MGUPLion, MGUPMuon

from .inputs import CLASSES, TWINS, Input, inputs, some_inputs
from .support import (
    Reference,
    advance,
    array,
    compare,
    frozen,
    give,
    gradients,
    loss_of,
    parameters,
    regression,
    same,
)


@pytest.mark.parametrize(("cls", "twin"), [(CLASSES["AdamW"], TWINS["AdamW"]),
                                           (CLASSES["SGD"], TWINS["SGD"]),
                                           (MGUPMuon, TWINS["Muon"])])  # fmt: skip
def test_arguments_are_the_twins(cls, twin):
    """Every argument of the twin is there, by name and, where positional, in the same place."""
    ours, theirs = inspect.signature(cls).parameters, inspect.signature(twin).parameters
    assert set(theirs) <= set(ours) | {"adjust_lr_fn"} | set(cls([torch.ones(2, 2)]).defaults)
    positional = inspect.Parameter.POSITIONAL_OR_KEYWORD
    names = [n for n, p in theirs.items() if p.kind == positional]
    assert [n for n, p in ours.items() if p.kind == positional][: len(names)] == names


def test_positional_arguments_bind_as_in_the_twin():
    optimizer = MGUPSGD(parameters(), 0.5, 0.8, 0.0, 0.25, True)
    expected = {"lr": 0.5, "momentum": 0.8, "dampening": 0.0, "weight_decay": 0.25}
    assert {n: optimizer.defaults[n] for n in expected} == expected
    assert optimizer.defaults["nesterov"] is True
    assert MGUPAdamW(parameters(), 0.5, (0.8, 0.9)).defaults["betas"] == (0.8, 0.9)


def test_groups_have_their_own_settings():
    """P3, P6: each group steps as an optimizer of its own would."""
    own = [
        {"tau": 0.25},
        {"alpha": 1.5, "gamma": 0.7, "lr": 0.2},
        {"mode": "sign", "weight_decay": 0.3},
        {"mode": "off", "betas": (0.5, 0.6), "eps": 1e-4},
    ]
    policies = [core.MGUP(0.25), core.MGUP(0.5, 1.5, 0.7), core.SignMGUP(2.0, 0.5), None]
    rules = [core.AdamW()] * 3 + [core.AdamW(0.5, 0.6, 1e-4)]
    params = parameters()
    optimizer = MGUPAdamW(
        [{"params": p, **kw} for p, kw in zip(params, own, strict=True)], lr=0.1, weight_decay=0.05
    )
    references = [
        Reference([p], rule, policy, lr=kw.get("lr", 0.1),
                  weight_decay=kw.get("weight_decay", 0.05))
        for p, rule, policy, kw in zip(params, rules, policies, own, strict=True)
    ]  # fmt: skip
    for step in range(4):
        grads = gradients(params, step)
        give(params, grads)
        optimizer.step()
        for p, g, reference in zip(params, grads, references, strict=True):
            reference.step([g])
            reference.check([p], optimizer, step=step)


def test_add_param_group_between_steps():
    """A group added later starts at its own step 1."""
    params = parameters()
    optimizer = MGUPAdamW(params[:2], lr=0.1)
    advance(optimizer, params[:2], 3)
    optimizer.add_param_group({"params": (p for p in params[2:]), "tau": 0.3, "lr": 0.01})
    group = optimizer.param_groups[1]
    assert group["tau"] == 0.3
    assert group["weight_decay"] == 0.01
    late = Reference(params[2:], core.AdamW(), core.MGUP(0.3), lr=0.01)
    params[0].grad = params[1].grad = None
    compare(optimizer, params[2:], late, steps=3)
    assert [int(optimizer.state[p]["step"]) for p in params] == [3] * 2 + [3] * (len(params) - 2)


def test_hyperparameters_changed_between_steps_count():
    """α and γ may be scheduled by writing to the group (P6); a bad value is refused at the step."""
    params = parameters()
    optimizer = MGUPLion(params, lr=0.1)
    reference = Reference(params, core.Lion(), core.MGUP(0.5, 1.25, 0.75), lr=0.1)
    optimizer.param_groups[0].update(alpha=1.25, gamma=0.75)
    compare(optimizer, params, reference, steps=2)
    optimizer.param_groups[0]["gamma"] = 0.0
    before = frozen(optimizer)
    with pytest.raises(ValueError, match=r"gamma=0\.0"):
        optimizer.step()
    assert frozen(optimizer) == before


@pytest.mark.parametrize("set_to_none", [True, False])
def test_zero_grad(set_to_none):
    params = parameters()
    optimizer = MGUPAdamW(params)
    advance(optimizer, params, 1)
    optimizer.zero_grad(set_to_none=set_to_none)
    assert all(p.grad is None if set_to_none else not p.grad.count_nonzero() for p in params)


@pytest.mark.parametrize("given", some_inputs(), ids=str)
def test_closure(given):
    """It runs once, with gradients enabled, before the step; its loss is returned."""
    model, x, y = regression()
    optimizer = given.make([p for p in model.parameters() if p.ndim > 1])
    calls = []

    def closure():
        assert torch.is_grad_enabled()
        optimizer.zero_grad()
        loss = loss_of(model, x, y)
        loss.backward()
        calls.append(float(loss.detach()))
        return loss

    with torch.no_grad():
        first = optimizer.step(closure)
    second = optimizer.step(closure)
    assert [float(first.detach()), float(second.detach())] == calls
    assert calls[0] != calls[1]


@pytest.mark.parametrize("cls", [*CLASSES.values(), MGUPMuon])
def test_repr_shows_the_settings(cls):
    text = repr(cls(parameters(((4, 6),)), tau=0.25))
    assert text.startswith(cls.__name__)
    assert "tau: 0.25" in text


def test_step_returns_none_without_closure():
    params = parameters()
    give(params, gradients(params, 0))
    assert MGUPAdamW(params).step() is None


@pytest.mark.parametrize("cls", [*CLASSES.values(), MGUPMuon])
def test_hooks_run(cls):
    """Pre and post hooks of step, state_dict and load_state_dict, in their order."""
    params = parameters(((4, 6),))
    optimizer, seen = cls(params), []
    for name in (
        "register_step_pre_hook",
        "register_step_post_hook",
        "register_state_dict_pre_hook",
        "register_state_dict_post_hook",
        "register_load_state_dict_pre_hook",
        "register_load_state_dict_post_hook",
    ):
        getattr(optimizer, name)(lambda *_, name=name: seen.append(name))
    advance(optimizer, params, 1)
    optimizer.load_state_dict(optimizer.state_dict())
    short = [name.removeprefix("register_").removesuffix("_hook") for name in seen]
    assert short == ["step_pre", "step_post", "state_dict_pre", "state_dict_post",
                     "load_state_dict_pre", "load_state_dict_post"]  # fmt: skip


def test_load_pre_hook_may_adapt_the_checkpoint():
    """torch documents this hook for checkpoints that do not fit as they are."""
    params = parameters()
    optimizer = MGUPAdamW(params)
    advance(optimizer, params, 2)
    saved = optimizer.state_dict()
    saved["param_groups"][0]["params"] = saved["param_groups"][0]["params"][:-1]

    def adapt(_, state_dict):
        groups = [{**state_dict["param_groups"][0], "params": list(range(len(params)))}]
        return {**state_dict, "param_groups": groups}

    other = MGUPAdamW(params)
    other.register_load_state_dict_pre_hook(adapt)
    other.load_state_dict(saved)
    assert other.state[params[0]]["step"] == 2


def test_profiler_sees_the_step():
    """torch names the region of every optimizer's step for its profiler."""
    params = parameters()
    optimizer = MGUPAdamW(params)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        advance(optimizer, params, 1)
    assert any("Optimizer.step#MGUPAdamW.step" in event.name for event in profile.events())


@pytest.mark.parametrize("given", inputs(), ids=str)
def test_parameters_without_gradient_are_left_alone(given):
    """R6: their value, their state and their step count; the others move as if alone."""
    params = parameters(given.shapes)
    optimizer = given.make(params)
    advance(optimizer, params, 2)
    before = frozen(optimizer)
    give(params, [None, *gradients(params, 2)[1:]])
    optimizer.step()
    after = frozen(optimizer)
    assert after[1][0][0] == before[1][0][0]
    assert after[2][0] == before[2][0]
    assert after[2][1] != before[2][1]


def test_no_gradient_at_all_is_a_no_op():
    params = parameters()
    optimizer = MGUPAdamW(params)
    before = frozen(optimizer)
    optimizer.step()
    assert frozen(optimizer) == before


@pytest.mark.parametrize("given", inputs(), ids=str)
def test_empty_tensors(given):
    """R6: d = 0 is a no-op, without a warning, even with stacked_dims."""
    empty = [torch.zeros(shape, requires_grad=True) for shape in ((0, 3), (3, 0))]
    rest = parameters(given.shapes)
    optimizer, alone = given.make(empty + rest), given.make(twins := parameters(given.shapes))
    for step in range(2):
        grads = gradients(rest, step)
        give(empty + rest, [torch.zeros_like(e) for e in empty] + grads)
        give(twins, grads)
        optimizer.step()
        alone.step()
    assert same(rest, twins)


@pytest.mark.parametrize("family", list(CLASSES))
@pytest.mark.parametrize("kwargs", [{"mode": "off"}, {"mode": "sign"}, {"tau": 1.0}], ids=str)
def test_zero_dimensional_parameters(family, kwargs):
    given = Input(family, "", {"lr": 0.1, "weight_decay": 0.1, **kwargs})
    params = parameters(((), (1,)))
    reference = Reference(params, given.rule(), given.policy(), **given.reference_options())
    compare(given.make(params), params, reference)
    assert array(params[0]).shape == ()


@pytest.mark.parametrize("cls", list(CLASSES.values()))
def test_maximize_ascends(cls):
    """Maximizing with g is minimizing with -g."""
    up, down = parameters(), parameters()
    ascend, descend = cls(up, maximize=True), cls(down)
    for step in range(3):
        grads = gradients(up, step)
        give(up, grads)
        give(down, [-g for g in grads])
        ascend.step()
        descend.step()
        assert same(up, down)
        assert same([p.grad for p in up], grads), "the caller's gradient was changed"
