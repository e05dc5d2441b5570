"""K = 0 is as published, and said once per parameter with the remedy (P3). Nothing else warns."""

from __future__ import annotations

import warnings

import pytest
import torch

from mgup_torch import MGUPSGD, MGUPAdamW, MGUPLion

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
    seen = warned(cls(model.named_parameters()), params)
    names = ["'0.bias'", "'1.weight'", "'1.bias'"]
    assert [sum(name in str(w.message) for w in seen) for name in names] == [1, 1, 1]
    assert len(seen) == 3
    for w in seen:
        assert issubclass(w.category, UserWarning)
        assert "mode='off'" in str(w.message)
        assert "tau=0.5" in str(w.message)


def test_it_points_at_the_callers_line():
    params = parameters(((1,),))
    assert [w.filename for w in warned(MGUPAdamW(params), params)] == [__file__]


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
    seen = warned(MGUPAdamW(params, stacked_dims=1), params)
    assert len(seen) == 1
    assert "stacked_dims" in str(seen[0].message) or "1 coordinate" in str(seen[0].message)
