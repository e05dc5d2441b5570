"""What the machines found once: each with the right answer (CONTRIBUTING: fail before changing).

It checks N2, P3, P5, P7, R0, R0c, R3 and R7.
"""

from __future__ import annotations

import math

import pytest

pytest.importorskip("torch", reason="mgup_torch needs PyTorch")
import torch

import mgup_torch

from ..torch.support import frozen, give, gradients, parameters

SHAPES = ((7, 5), (33,))
WHOLES = ("MGUPAdamW", "MGUPAuON", "MGUPAdamP", "MGUPAMSGD")

EDITS = [
    ("stacked_dims", 3, r"stacked_dims=3 exceeds"),
    ("stacked_dims", -1, r"stacked_dims=-1 must be an int >= 0"),
    ("stacked_dims", 0.5, r"stacked_dims=0.5 must be an int"),
    ("state_dtype", torch.int32, r"state_dtype=torch.int32 is none of"),
    ("implementation", "magic", r"implementation='magic' is none of"),
    ("scope", "nowhere", r"scope='nowhere' is none of"),
    ("decay", "some", r"decay='some' is none of"),
    ("differentiable", True, "differentiable=True is not available"),
    ("lr", -1.0, r"lr=-1.0 is outside \[0, inf\)"),
    ("lr", math.nan, r"lr=nan is outside"),
    ("lr", torch.tensor(-1.0), r"lr=-1.0 is outside"),
    ("weight_decay", math.inf, r"weight_decay=inf is outside"),
    ("tau", 1.5, r"tau=1.5 is outside \[0, 1\]"),
]


@pytest.mark.parametrize("stepped", [False, True])
@pytest.mark.parametrize(("name", "value", "message"), EDITS, ids=str)
def test_what_a_group_is_given_later_is_checked_as_at_first(name, value, message, stepped):
    """P3, P5, P7, R0c: refused at the next step, before anything changes; the old value goes on."""
    params = parameters(SHAPES)
    optimizer = mgup_torch.MGUPAdamW(params, lr=0.1)
    give(params, gradients(params, 0))
    if stepped:
        optimizer.step()
    (group,) = optimizer.param_groups
    right, group[name] = group[name], value
    before = frozen(optimizer)
    with pytest.raises(ValueError, match=message):
        optimizer.step()
    assert frozen(optimizer) == before
    group[name] = right
    optimizer.step()


def test_the_wrapper_checks_later_values_too():
    """R3: weight decay of an optimizer that would add it to the gradient; P5."""
    for name, value in (("weight_decay", 0.1), ("mgup_stacked_dims", 3), ("mgup_decay", "some")):
        params = parameters(SHAPES)
        wrapped = mgup_torch.MGUP(torch.optim.SGD(params, lr=0.1))
        give(params, gradients(params, 0))
        wrapped.param_groups[0][name] = value
        before = frozen(wrapped)
        with pytest.raises(ValueError, match=name.removeprefix("mgup_")):
            wrapped.step()
        assert frozen(wrapped) == before


@pytest.mark.parametrize("kwargs", [{"lr": 1e30, "weight_decay": 1e30}, {"lr": 1e30, "eps": 0.0}])
@pytest.mark.parametrize("name", ["MGUPAdamW", "MGUPRAdam", "MGUPAdaBelief", "MGUPAdamP"])
def test_an_overflow_is_no_warning_of_numpys(name, kwargs):
    """N2: rates whose product is infinite. Where warnings are errors, as here, the step broke off.

    Found: RuntimeWarning('overflow encountered in multiply') with coupled_decay and dampening.
    """
    params = parameters(SHAPES)
    optimizer = getattr(mgup_torch, name)(params, **kwargs)
    for step in range(3):
        give(params, gradients(params, step))
        optimizer.step()
    assert all(optimizer.state[p] for p in params)


@pytest.mark.parametrize(
    ("name", "compiled"),
    [
        *((name, False) for name in WHOLES),
        ("MGUPAuON", True),
        *(
            pytest.param(name, True, marks=pytest.mark.slow)  # the same graph around each
            for name in WHOLES
            if name != "MGUPAuON"
        ),
    ],
)
def test_no_decay_is_no_decay_as_a_tensor_too(name, compiled):
    """R0, R7: a weight that is infinite stays so; 0 * inf made it NaN where steps are of wholes."""
    ends = []
    for decay in (0.0, torch.tensor(0.0)):
        p = torch.full((4, 4), math.inf, requires_grad=True)
        optimizer = getattr(mgup_torch, name)([p], lr=0.1, weight_decay=0.0, mode="off")
        optimizer.param_groups[0]["weight_decay"] = decay
        step = torch.compile(optimizer.step, backend="eager") if compiled else optimizer.step
        p.grad = torch.ones(4, 4)
        step()
        ends.append(p.detach().clone())
    assert torch.equal(*ends)
    assert torch.isinf(ends[0]).all() or name == "MGUPAdamP"  # which projects by the weights
