"""Bits: every class, argument, mode and dtype against the NumPy reference (N1, R0 to R5)."""

from __future__ import annotations

import pytest
import torch

import mgup_torch

from .inputs import POLICIES, Input, inputs
from .support import DTYPES, Reference, compare, parameters


def reference(given: Input, params) -> Reference:
    return Reference(params, given.rule(), given.policy(), **given.reference_options())


@pytest.mark.parametrize("given", inputs(), ids=str)
def test_float32_bits(given):
    """N1, and R1 to R3: five steps of four parameters."""
    params = parameters(given.shapes)
    compare(given.make(params), params, reference(given, params))


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d != torch.float32], ids=str)
@pytest.mark.parametrize("family", ["AdamW", "Lion", "SGD"])
@pytest.mark.parametrize("mode", POLICIES)
def test_bits_of_other_dtypes(dtype, family, mode):
    """N1, R5: computed in float32 or float64, rounded once; the state has the parameter's dtype."""
    given = Input(family, mode, {"lr": 0.02, "weight_decay": 0.1, **POLICIES[mode]})
    params = parameters(given.shapes, dtype)
    optimizer = given.make(params)
    compare(optimizer, params, reference(given, params), steps=4)
    assert all(
        value.dtype == dtype
        for state in optimizer.state.values()
        for name, value in state.items()
        if name != "step"
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("state_dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("family", ["AdamW", "Lion", "SGD"])
def test_state_dtype(dtype, state_dtype, family):
    """R5: the state keeps the dtype asked for."""
    given = Input(family, "", {"lr": 0.02, "weight_decay": 0.1, "state_dtype": state_dtype})
    params = parameters(dtype=dtype)
    compare(given.make(params), params, reference(given, params), steps=4)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("mode", ["default", "adaptive", "stacked"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_bits_of_many_blocks(threads, mode, dtype):
    """N1 where one parameter is worked on in several blocks, by several threads."""
    given = Input("AdamW", mode, {"lr": 0.02, "weight_decay": 0.1, **POLICIES[mode]})
    params = parameters(((3, 401, 101),), dtype)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        compare(given.make(params), params, reference(given, params), steps=3)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("family", ["AdamW", "Lion", "SGD"])
def test_off_equals_alpha_and_gamma_one(family):
    """P11: the base rule, bit for bit."""
    ends = []
    for kwargs in ({"mode": "off"}, {"alpha": 1.0, "gamma": 1.0}):
        given = Input(family, "", {"lr": 0.02, "weight_decay": 0.1, **kwargs})
        params = parameters()
        compare(given.make(params), params, reference(given, params))
        ends.append([p.detach().numpy().tobytes() for p in params])
    assert ends[0] == ends[1]


def test_subnormal_and_special_gradients():
    """N6, P2, P7: tiny, infinite and NaN gradients are treated as the reference treats them."""
    special = [0.0, -0.0, -1e-44, 1e-30, torch.inf, -torch.inf, torch.nan, 1.0, -2.0]
    given = Input("AdamW", "", {"lr": 0.02})
    params = parameters(((9,), (3, 3)))
    optimizer, expected = given.make(params), reference(given, params)
    for step in range(3):
        grads = [torch.tensor(special).roll(step).view(p.shape) for p in params]
        for p, g in zip(params, grads, strict=True):
            p.grad = g
        optimizer.step()
        expected.step(grads)
        expected.check(params, optimizer, step=step + 1)


def test_any_rule_makes_a_class():
    """A rule that the adapter never saw becomes a drop-in class with its own arguments."""
    import mgup_core

    class Heavy(mgup_core.SGD):
        pass

    cls = mgup_torch.optimizer(Heavy, name="MGUPHeavy", positional=("lr", "momentum"))
    assert cls.__name__ == "MGUPHeavy"
    assert issubclass(cls, torch.optim.Optimizer)
    params = parameters()
    optimizer = cls(params, 0.05, 0.7)
    assert optimizer.defaults["momentum"] == 0.7
    compare(optimizer, params, Reference(params, Heavy(momentum=0.7), mgup_core.MGUP(), lr=0.05))
