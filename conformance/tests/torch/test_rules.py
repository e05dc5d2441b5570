"""Every rule of the core as an optimizer of PyTorch (issue of ports: names, off, checkpoints).

It checks P11 and R0.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

import mgup_core as core
import mgup_torch
from mgup_conformance.ports import (
    CLASSES,
    PORTED,
    REPRODUCIBLE,
    compared,
    trains_vectors,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*none is selected")


def of_rule(name: str):
    return getattr(mgup_torch, f"MGUP{CLASSES[name].__name__}")


def parameters(name: str, dtype=torch.float32):
    shapes = ((6, 10), (8, 4)) + (((7,),) if trains_vectors(name) else ())
    generator = torch.Generator().manual_seed(0)
    return [
        torch.nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in shapes
    ]


def give(params, step: int) -> None:
    generator = torch.Generator().manual_seed(100 + step)
    for p in params:
        p.grad = torch.randn(p.shape, generator=generator).to(p.dtype)


@pytest.mark.parametrize("name", PORTED)
def test_off_is_the_plain_rule(name):
    """P11, R0: mode="off" is the core's rule without a policy."""
    rule, options = compared(name), REPRODUCIBLE.get(name, {})
    params = parameters(name, torch.float64)
    optimizer = of_rule(name)(params, lr=1e-2, weight_decay=0.1, mode="off", **options)
    plain = core.Optimizer(rule, None, lr=1e-2, weight_decay=0.1)
    arrays = [p.detach().numpy().copy() for p in params]
    state = plain.init(arrays)
    for step in range(4):
        give(params, step)
        optimizer.step()
        arrays, state = plain.step(arrays, [p.grad.numpy() for p in params], state)
        for p, w in zip(params, arrays, strict=True):
            if rule.identical:
                assert np.array_equal(p.detach().numpy(), w)
            else:
                np.testing.assert_allclose(p.detach().numpy(), w, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", PORTED)
def test_compiled_steps(name):
    """By inductor, in one graph: NumPy's bits where the rule is identical (N1)."""
    torch._dynamo.reset()
    rule, params = compared(name), parameters(name)
    optimizer = of_rule(name)(params, lr=1e-2, weight_decay=0.1, **REPRODUCIBLE.get(name, {}))
    reference = core.Optimizer(rule, core.MGUP(), lr=1e-2, weight_decay=0.1)
    arrays = [p.detach().numpy().copy() for p in params]
    state, step = reference.init(arrays), torch.compile(optimizer.step)
    for t in range(4):
        give(params, t)
        arrays, state = reference.step(arrays, [p.grad.numpy() for p in params], state)
        step()
        for p, w in zip(params, arrays, strict=True):
            if rule.identical:
                assert np.array_equal(p.detach().numpy(), w), f"step {t + 1}"
            else:
                np.testing.assert_allclose(p.detach().numpy(), w, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", PORTED)
def test_a_checkpoint_goes_on_bit_for_bit(name, dtype, tmp_path):
    """State of any shape and dtype survives torch.save, also beside bfloat16 parameters."""
    params = parameters(name, dtype)
    optimizer = of_rule(name)(params)
    for step in range(3):
        give(params, step)
        optimizer.step()
    torch.save((params, optimizer.state_dict()), tmp_path / "at.pt")
    kept, state = torch.load(tmp_path / "at.pt", weights_only=False)
    other = of_rule(name)(kept)
    other.load_state_dict(state)
    for step in range(3, 6):
        for one, tensors in ((optimizer, params), (other, kept)):
            give(tensors, step)
            one.step()
    for p, q in zip(params, kept, strict=True):
        assert torch.equal(p, q)
        for key, value in optimizer.state[p].items():
            assert other.state[q][key].dtype == value.dtype
            assert torch.equal(other.state[q][key], value)


@pytest.mark.parametrize("name", [n for n in PORTED if not trains_vectors(n)])
def test_a_vector_is_refused(name):
    """A rule of matrices names itself and the remedy."""
    vector = torch.nn.Parameter(torch.zeros(4))
    with pytest.raises(ValueError, match=CLASSES[name].__name__):
        of_rule(name)([vector])


def test_the_hyperparameter_of_another_rule_is_refused():
    with pytest.raises(TypeError, match=r"MGUPAdan.*momentum"):
        mgup_torch.MGUPAdan(parameters("adan"), momentum=0.9)


def test_a_deep_copy_steps_alone():
    params = parameters("adan")
    optimizer = mgup_torch.MGUPAdan(params)
    give(params, 0)
    optimizer.step()
    twin = copy.deepcopy(optimizer)
    give(params, 1)
    optimizer.step()
    assert int(next(iter(twin.state.values()))["step"]) == 1
