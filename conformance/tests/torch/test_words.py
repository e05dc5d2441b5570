"""What users write, taken as they mean it or refused with the remedy (issue 15, item 22).

It checks P3, P6, P7, N2.
"""

from __future__ import annotations

import copy
import io
from collections.abc import Sequence

import numpy as np
import pytest
import torch

import mgup_torch
from mgup_torch import MGUP, MGUPSGD, MGUPAdamW, MGUPLion, MGUPMuon

from .support import advance, frozen, give, gradients, parameters, same

SHAPES = ((3, 4), (5,))
EVERY = [MGUPAdamW, MGUPLion, MGUPSGD, MGUPMuon]


class ListConfig(Sequence):
    """As OmegaConf's: a sequence, and neither a list nor a tuple."""

    def __init__(self, *values):
        self.values = values

    def __len__(self):
        return len(self.values)

    def __getitem__(self, i):
        return self.values[i]


def reloaded(optimizer):
    """Its checkpoint, through torch.save and the loader that knows plain types only."""
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("betas", [ListConfig(0.9, 0.95), [0.9, 0.95], np.array([0.9, 0.95])[:]])
def test_betas_of_a_configuration(betas):
    """Any sequence, kept as a tuple: in groups, defaults and checkpoints."""
    betas = tuple(betas) if isinstance(betas, np.ndarray) else betas
    first, second = parameters(SHAPES)
    optimizer = MGUPAdamW([{"params": [first], "betas": betas}, {"params": [second]}], betas=betas)
    optimizer.add_param_group({"params": parameters(((2, 2),)), "betas": betas})
    kept = [*optimizer.param_groups, optimizer.defaults]
    assert [group["betas"] for group in kept] == [(0.9, 0.95)] * 4
    assert {type(group["betas"]) for group in kept} == {tuple}
    assert {type(beta) for group in kept for beta in group["betas"]} == {float}
    advance(optimizer, [first, second], 1)
    optimizer.load_state_dict(reloaded(optimizer))


def test_a_configuration_s_list_for_every_other_argument():
    optimizer = MGUPMuon(
        parameters(SHAPES),
        ns_coefficients=ListConfig(3.4, -4.7, 2.0),
        adamw_betas=ListConfig(0.9, 0.95),
        exceptions=ListConfig("head"),
    )
    for group in optimizer.param_groups:
        assert group["ns_coefficients"] == (3.4, -4.7, 2.0)
        assert group["adamw_betas"] == (0.9, 0.95)
    reloaded(optimizer)


def test_numpy_s_numbers():
    """A learning rate out of numpy.logspace, which the safe loader does not know."""
    optimizer = MGUPAdamW(parameters(SHAPES), lr=np.float64(0.01), tau=np.float32(0.5))
    assert [type(optimizer.param_groups[0][name]) for name in ("lr", "tau")] == [float, float]
    assert reloaded(optimizer)["param_groups"][0]["lr"] == 0.01


@pytest.mark.parametrize("betas", ["ab", ListConfig(0.9), {0.9, 0.95}, 0.9])
def test_betas_that_are_none(betas):
    with pytest.raises(ValueError, match=r"betas=.*AdamW has 2, b1, b2"):
        MGUPAdamW(parameters(SHAPES), betas=betas)


@pytest.mark.parametrize("cls", EVERY)
@pytest.mark.parametrize("model", [torch.nn.Linear(2, 2), torch.nn.Sequential(torch.nn.ReLU())])
def test_a_model_in_the_place_of_its_parameters(cls, model):
    for params in (model, [{"params": model}]):
        with pytest.raises(TypeError, match=r"is a module: give model\.parameters\(\)"):
            cls(params)


@pytest.mark.parametrize("cls", [*EVERY, lambda params: MGUP(torch.optim.SGD(params))])
@pytest.mark.parametrize("kind", [set, frozenset])
def test_a_group_that_is_a_set(cls, kind):
    """As in torch.optim: its order changes between runs."""
    if kind is set or cls in EVERY:
        with pytest.raises(TypeError, match="set"):
            cls([{"params": kind(parameters(SHAPES))}])
    optimizer = cls(parameters(SHAPES))
    with pytest.raises(TypeError, match="set"):
        optimizer.add_param_group({"params": kind(parameters(SHAPES))})
    assert len(optimizer.param_groups) < 3


# -- frozen parameters ---------------------------------------------------------------------------


def quantised():
    """Two packed weights of QLoRA among parameters that are trained."""
    model = torch.nn.Linear(4, 3)
    model.packed = torch.nn.Parameter(torch.arange(8, dtype=torch.uint8)[:, None], False)
    model.phase = torch.nn.Parameter(torch.ones(3, dtype=torch.complex64), requires_grad=False)
    return model


@pytest.mark.parametrize("cls", EVERY)
@pytest.mark.parametrize("named", [False, True])
def test_frozen_parameters_of_any_dtype(cls, named):
    model = quantised()
    kept = model.packed.clone(), model.phase.clone()
    optimizer = cls(model.named_parameters() if named else model.parameters())
    trained = [model.weight, model.bias]
    advance(optimizer, trained, 2)
    assert torch.equal(model.packed, kept[0])
    assert torch.equal(model.phase, kept[1])
    assert optimizer.state.keys() == set(trained)
    optimizer.load_state_dict(reloaded(optimizer))
    advance(optimizer, trained, 1)


@pytest.mark.parametrize("cls", EVERY)
def test_one_that_gets_a_gradient_is_named(cls):
    model = quantised()
    optimizer = cls(model.named_parameters())
    give([model.weight, model.bias], gradients([model.weight, model.bias], 0))
    model.phase.requires_grad_()
    model.phase.grad = torch.ones_like(model.phase)
    before = frozen(optimizer)
    with pytest.raises(RuntimeError, match=r"'phase'.*complex"):
        optimizer.step()
    assert frozen(optimizer) == before


@pytest.mark.parametrize("cls", EVERY)
def test_errors_at_construction_name_the_parameter(cls):
    whole = torch.zeros(3, 3, dtype=torch.int64)
    with pytest.raises(TypeError, match=r"parameter 'w' has dtype torch\.int64"):
        cls([("w", whole)])
    with pytest.raises(TypeError, match=r"parameter number 1 of its group has dtype torch\.int64"):
        cls([torch.ones(3, 3), whole])
    with pytest.raises(ValueError, match=r"stacked_dims=2 exceeds the dimensions of parameter 'b'"):
        cls([("w", torch.ones(3, 3)), ("b", torch.ones(3))], stacked_dims=2)


def test_a_shape_that_the_rule_cannot_train_names_the_parameter():
    with pytest.raises(ValueError, match=r"parameter 'bias': "):
        mgup_torch.MGUPFISMO(torch.nn.Linear(3, 3).named_parameters())


# -- policies ------------------------------------------------------------------------------------


def test_gamma_zero_advises_the_argument_there_is():
    with pytest.raises(ValueError, match=r"gamma=0 is outside \(0, 1\].*mode='cautious'"):
        MGUPAdamW(parameters(SHAPES), gamma=0)
    MGUPAdamW(parameters(SHAPES), mode="cautious")


@pytest.mark.parametrize("tau", [0, 0.0, 1e-60])
def test_tau_zero_is_told_of_tau(tau):
    """P3, P6: gamma's default would be zero."""
    with pytest.raises(ValueError, match=r"^tau=.*give gamma a value"):
        MGUPAdamW(parameters(SHAPES), tau=tau)
    if tau != 1e-60:  # alpha's default would be 1e60
        MGUPAdamW(parameters(SHAPES), tau=tau, gamma=0.5)


# -- numbers that are infinite in float32 (17a, N2) ----------------------------------------------

HUGE = [
    ("lr", 1e39),
    ("weight_decay", 1e39),
    ("alpha", 1e39),
    ("eps", 1e39),
    ("lr", np.float64(4e38)),
]


@pytest.mark.parametrize(("name", "value"), HUGE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_numbers_beyond_float32(name, value, dtype):
    params = parameters(SHAPES, dtype)
    with pytest.raises(ValueError, match=rf"{name}=.*beyond float32.*3\.4e\+38"):
        MGUPAdamW(params, **{name: value})
    optimizer = MGUPAdamW(params)
    with pytest.raises(ValueError, match="beyond float32"):
        optimizer.add_param_group({"params": parameters(SHAPES, dtype), name: value})
    advance(optimizer, params, 1)
    optimizer.param_groups[0][name] = value
    before = frozen(optimizer)
    with pytest.raises(ValueError, match=rf"{name}=.*beyond float32"):
        optimizer.step()
    assert frozen(optimizer) == before
    optimizer = MGUPAdamW(params)
    checkpoint = optimizer.state_dict()
    checkpoint["param_groups"][0][name] = value
    with pytest.raises(ValueError, match="beyond float32"):
        optimizer.load_state_dict(checkpoint)


@pytest.mark.parametrize(("name", "value"), HUGE)
def test_float64_holds_them(name, value):
    params = parameters(SHAPES, torch.float64)
    optimizer = MGUPAdamW(params, **{name: value})
    give(params, gradients(params, 0))
    optimizer.step()


@pytest.mark.parametrize("name", ["lr", "mgup_alpha"])
def test_numbers_beyond_float32_in_the_wrapper(name):
    params = parameters(SHAPES)
    inner = torch.optim.SGD(params)
    wrapper = MGUP(inner)
    advance(wrapper, params, 1)
    inner.param_groups[0][name] = 1e39
    before = frozen(wrapper)
    with pytest.raises(ValueError, match="beyond float32"):
        wrapper.step()
    assert frozen(wrapper) == before


# -- the wrapper ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "advice"),
    [("tau", "mgup_tau"), ("mode", "mgup_mode"), ("mgup_tua", "mgup_tau"), ("mgup_x", "MGUP's are"),
     ("weight_decays", "weight_decay")],
)  # fmt: skip
def test_keys_that_the_wrapper_does_not_know(key, advice):
    first, second = parameters(SHAPES)
    wrapper = MGUP(torch.optim.AdamW([first]))
    with pytest.raises(
        ValueError, match=f"holds '{key}', which AdamW with MGUP does not.*{advice}"
    ):
        wrapper.add_param_group({"params": [second], key: 0.3})
    assert len(wrapper.param_groups) == 1
    if advice != "weight_decay":  # what inner was made with is its own
        with pytest.raises(ValueError, match=advice):
            MGUP(torch.optim.AdamW([{"params": [first], key: 0.3}]))


def test_keys_that_are_others_own():
    """The caller's, a scheduler's, the inner optimizer's: alpha is RMSprop's."""
    params = parameters(SHAPES)
    inner = torch.optim.RMSprop([{"params": params, "alpha": 0.9, "lr_scale": 0.5, "name": "all"}])
    torch.optim.lr_scheduler.LambdaLR(inner, lambda epoch: 1.0)
    wrapper = MGUP(inner)
    wrapper.add_param_group({"params": parameters(((2, 2),)), "alpha": 0.8, "lr_scale": 1.0})
    assert [group["alpha"] for group in wrapper.param_groups] == [0.9, 0.8]


def test_attributes_that_frameworks_assign():
    """Accelerate, Opacus and others write them: what is assigned is the inner optimizer's."""
    params = parameters(SHAPES)
    inner = torch.optim.AdamW(params)
    wrapper = MGUP(inner)
    advance(wrapper, params, 1)
    expected = parameters(SHAPES)
    other = MGUP(torch.optim.AdamW(expected))
    advance(other, expected, 1)
    for name in ("state", "param_groups", "defaults"):
        value = getattr(wrapper, name)
        setattr(wrapper, name, copy.copy(value))
        assert getattr(wrapper, name) is getattr(inner, name)
    advance(wrapper, params, 2, start=1)
    advance(other, expected, 2, start=1)
    assert same(params, expected)
