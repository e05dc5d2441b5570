"""K = 0 is as published, and said once of each parameter with the remedy (P3)."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch

import mgup_torch
from mgup_torch import MGUP, MGUPSGD, MGUPAdamW, MGUPLion

from .support import advance, give, gradients, parameters


def warned(optimizer, params, steps=3) -> list[warnings.WarningMessage]:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for i in range(steps):
            give(params, gradients(params, i))
            optimizer.step()
    return seen


@pytest.mark.parametrize("cls", [MGUPAdamW, MGUPLion, MGUPSGD])
def test_once_per_parameter_with_the_remedy(cls):
    model = torch.nn.Sequential(torch.nn.Linear(4, 1), torch.nn.Linear(1, 1))
    params = list(model.parameters())
    (seen,) = warned(cls(model.named_parameters()), params)
    assert issubclass(seen.category, UserWarning)
    for part in ("3 parameter(s)", "'0.bias'", "'1.weight'", "'1.bias'", "mode='off'", "tau=0.5"):
        assert part in str(seen.message)


def wrapped(params, **kwargs):
    return MGUP(torch.optim.AdamW(params), **kwargs)


@pytest.mark.parametrize("make", [MGUPAdamW, wrapped])
def test_forty_scalars_are_one_warning(make):
    """With how many they are, and which (issue 15, item 22)."""
    params = [(f"scale{i}", p) for i, p in enumerate(parameters(((1,),) * 40))]
    (seen,) = warned(make(params), [p for _, p in params])
    assert str(seen.message).startswith("40 parameter(s)")
    assert all(f"'scale{i}'" in str(seen.message) for i in range(40))


def test_one_that_gets_a_gradient_later_is_told_of_then():
    a, b = params = parameters(((1,), (1,)))
    optimizer = MGUPAdamW([("a", a), ("b", b)])
    b.grad = None
    (first,) = warned(optimizer, [a])
    (second,) = warned(optimizer, params)
    told = [[name in str(w.message) for name in ("'a'", "'b'")] for w in (first, second)]
    assert told == [[True, False], [False, True]]


def test_the_wrapper_advises_its_own_key():
    """And the advice works."""
    first, second = params = parameters(((4, 4), (1,)))
    (seen,) = warned(wrapped(params), params)
    assert "mgup_mode='off'" in str(seen.message)
    groups = [{"params": [first]}, {"params": [second], "mgup_mode": "off"}]
    advance(wrapped(groups), params, 2)  # warnings are errors


def test_it_points_at_the_callers_line():
    """Whatever wraps ``step``: PyTorch twice, a scheduler, a compiler, a framework."""
    params = parameters(((1,),))

    def scheduled(params):
        optimizer = MGUPAdamW(params)
        torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1.0)
        return optimizer

    def compiled(params):
        optimizer = MGUPAdamW(params)
        optimizer.step = torch.compile(optimizer.step, backend="eager")
        return optimizer

    def with_closure(params):
        optimizer = MGUPAdamW(params)
        step = optimizer.step
        optimizer.step = lambda: step(lambda: 1.0)
        return optimizer

    for make in (MGUPAdamW, wrapped, scheduled, compiled, with_closure):
        assert [w.filename for w in warned(make(params), params)] == [__file__]


def test_it_points_past_a_framework(tmp_path):
    """A file beside PyTorch is a library that steps for its user."""
    beside = Path(torch.__file__).parents[1] / "a_framework" / "trainer.py"
    space: dict = {"__name__": "a_framework.trainer"}
    exec(compile("def train(optimizer): optimizer.step()", str(beside), "exec"), space)
    params = parameters(((1,),))
    give(params, gradients(params, 0))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        space["train"](MGUPAdamW(params))
    assert [w.filename for w in seen] == [__file__]


def test_every_warning_goes_through_one_place():
    """A number of frames, as ``stacklevel`` wants, is wrong for all callers but one."""
    adapters = Path(mgup_torch.__file__).parents[1]
    files = [
        p for name in ("torch", "jax", "mindspore") for p in adapters.glob(f"mgup_{name}/**/*.py")
    ]
    assert len(files) > 60
    assert [p for p in files if "warnings.warn" in p.read_text()] == []


def test_the_step_is_the_published_one():
    """All damped: gamma = 0.5 of SGD's step."""
    p = torch.zeros(1, requires_grad=True)
    p.grad = torch.ones(1)
    with pytest.warns(UserWarning, match="tau"):
        MGUPSGD([p], lr=1.0, momentum=0.0).step()
    assert p.item() == -0.5


def test_a_warning_turned_error_changes_nothing():
    """Python's -W error must not leave a half-made state; the next step is the first (R3)."""
    a, b = params = parameters(((3, 3), (1,)))
    optimizer = MGUPSGD(params, dampening=0.5)
    values = [p.detach().clone() for p in params]
    give(params, [torch.ones(3, 3), torch.ones(1)])
    with pytest.raises(UserWarning, match="tau"):
        optimizer.step()
    assert all(torch.equal(p, v) for p, v in zip(params, values, strict=True))
    warned(optimizer, [], steps=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        optimizer.step()
    assert torch.equal(optimizer.state[a]["momentum_buffer"], torch.ones(3, 3))
    assert torch.equal(optimizer.state[b]["momentum_buffer"], torch.ones(1))


@pytest.mark.parametrize(
    "kwargs",
    [{"mode": "off"}, {"mode": "sign"}, {"mode": "adaptive"}, {"mode": "cautious"}, {"tau": 1.0}],
    ids=str,
)
def test_no_warning_where_nothing_is_ranked_away(kwargs):
    params = parameters(((), (1,), (0,), (4, 4)))
    advance(MGUPAdamW(params, **kwargs), params, 2)  # warnings are errors


def test_the_remedy_works():
    params = parameters(((4, 4), (1,)))
    groups = [{"params": params[:1]}, {"params": params[1:], "mode": "off"}]
    advance(MGUPAdamW(groups), params, 2)


def test_slices_of_one_entry_count():
    """stacked_dims over a vector ranks single entries (P5)."""
    params = parameters(((6,),))
    (seen,) = warned(MGUPAdamW(params, stacked_dims=1), params)
    assert "number 0 of its group (1 at tau=0.5)" in str(seen.message)
