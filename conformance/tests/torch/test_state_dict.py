"""Checkpoints of an optimizer's own: round trips, saving, copying, old and broken ones (R5)."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch

import mgup_core as core
from mgup_torch import MGUPSGD, MGUPAdamW, MGUPLion, MGUPMuon

from .inputs import some_inputs
from .support import Reference, advance, compare, frozen, parameters, same

MGUP_KEYS = {"tau", "alpha", "gamma", "mode", "ties", "tau_min", "stacked_dims", "state_dtype"}


def through_file(state_dict, **kwargs):
    buffer = io.BytesIO()
    torch.save(state_dict, buffer)
    buffer.seek(0)
    return torch.load(buffer, **kwargs)


CARRIERS = {
    "as it is": copy.deepcopy,
    "torch.save": lambda s: through_file(s, weights_only=True),
    "mapped": lambda s: through_file(s, weights_only=True, map_location="cpu"),
    "pickle": lambda s: pickle.loads(pickle.dumps(s)),
}


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("given", some_inputs(), ids=str)
def test_round_trip_equals_an_uninterrupted_run(given, carrier):
    params = parameters(given.shapes)
    optimizer = given.make(params)
    advance(optimizer, params, 3)
    saved = CARRIERS[carrier](optimizer.state_dict())
    values = [p.detach().clone() for p in params]
    advance(optimizer, params, 3, start=3)

    resumed = [v.requires_grad_() for v in values]
    # Other arguments than the saved ones, which must win.
    fresh = type(optimizer)(resumed, lr=9.0, tau=0.9)
    fresh.load_state_dict(saved)
    advance(fresh, resumed, 3, start=3)
    assert same(params, resumed)
    assert frozen(fresh)[0] == frozen(optimizer)[0]
    assert frozen(fresh)[2] == frozen(optimizer)[2]


@pytest.mark.parametrize("copier", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
@pytest.mark.parametrize("cls", [MGUPAdamW, MGUPLion, MGUPSGD, MGUPMuon])
def test_whole_optimizers_copy(cls, copier):
    """A copied or unpickled optimizer has its own parameters and goes on with the same bits."""
    params = parameters(((4, 6), (2, 3)))
    optimizer = cls(params, lr=0.05, tau=0.3, statistics=True)
    advance(optimizer, params, 2)
    other = copier(optimizer)
    assert type(other) is cls
    copied = other.param_groups[0]["params"]
    assert frozen(other) == frozen(optimizer)
    advance(optimizer, params, 2, start=2)
    assert not same(params, copied)
    advance(other, copied, 2, start=2)
    assert same(params, copied)
    assert other.statistics()[0] is not None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("state_dtype", [torch.float32, torch.bfloat16], ids=str)
def test_state_dtype_survives_loading(dtype, state_dtype):
    """R5: torch casts a loaded state to the parameter's dtype; ours stays what was asked for."""
    params = parameters(dtype=dtype)
    optimizer = MGUPAdamW(params, state_dtype=state_dtype)
    advance(optimizer, params, 2)
    saved = through_file(optimizer.state_dict(), weights_only=True)
    other = MGUPAdamW(params)
    other.load_state_dict(saved)
    assert {v.dtype for s in other.state.values() for k, v in s.items() if k != "step"} == {
        state_dtype
    }
    assert frozen(other)[2] == frozen(optimizer)[2]


def test_checkpoints_without_the_mgup_keys_load():
    """The optimizer's own settings fill in what an older checkpoint lacks."""
    params = parameters()
    optimizer = MGUPAdamW(params, lr=0.05)
    advance(optimizer, params, 2)
    saved = copy.deepcopy(optimizer.state_dict())
    for key in MGUP_KEYS | {"form", "capturable", "foreach", "fused", "differentiable"}:
        del saved["param_groups"][0][key]
    resumed = [p.detach().clone().requires_grad_() for p in params]
    other = MGUPAdamW(resumed, tau=0.25)
    other.load_state_dict(saved)
    assert other.param_groups[0]["tau"] == 0.25
    advance(other, resumed, 1, start=2)
    optimizer.param_groups[0]["tau"] = 0.25
    advance(optimizer, params, 1, start=2)
    assert same(params, resumed)


def test_old_pickles_load():
    """A whole optimizer pickled before an argument existed gets the argument's default."""
    params = parameters()
    optimizer = MGUPAdamW(params)
    state = optimizer.__getstate__()
    for holder in (state["defaults"], *state["param_groups"]):
        for key in MGUP_KEYS - {"tau"}:
            del holder[key]
    other = MGUPAdamW.__new__(MGUPAdamW)
    other.__setstate__(state)
    assert other.param_groups[0]["mode"] == "rank"
    compare(other, params, Reference(params, core.AdamW(), core.MGUP()))


def test_integer_steps_of_old_checkpoints():
    """Before PyTorch 1.12 ``step`` was a Python int."""
    params = parameters()
    optimizer = MGUPAdamW(params, lr=0.05)
    advance(optimizer, params, 2)
    saved = copy.deepcopy(optimizer.state_dict())
    for state in saved["state"].values():
        state["step"] = int(state["step"])
    resumed = [p.detach().clone().requires_grad_() for p in params]
    other = MGUPAdamW(resumed)
    other.load_state_dict(saved)
    advance(optimizer, params, 1, start=2)
    advance(other, resumed, 1, start=2)
    assert same(params, resumed)


def test_names_survive():
    """named_parameters() give param_names, which torch keeps in the checkpoint."""
    model = torch.nn.Linear(4, 3)
    optimizer = MGUPAdamW(model.named_parameters())
    names = optimizer.state_dict()["param_groups"][0]["param_names"]
    assert names == ["weight", "bias"]
    other = MGUPAdamW(torch.nn.Linear(4, 3).named_parameters())
    other.load_state_dict(optimizer.state_dict())
    assert other.param_groups[0]["param_names"] == names


def test_state_dict_before_the_first_step_loads():
    params = parameters()
    optimizer = MGUPSGD(params, dampening=0.5)
    optimizer.load_state_dict(MGUPSGD(parameters(), dampening=0.3, lr=0.05).state_dict())
    compare(optimizer, params, Reference(params, core.SGD(dampening=0.3), core.MGUP(), lr=0.05))


def test_loading_copies():
    """Within one process: stepping the second must not move the first's moments."""
    params, others = parameters(), parameters()
    optimizer, other = MGUPAdamW(params), MGUPAdamW(others)
    advance(optimizer, params, 2)
    other.load_state_dict(optimizer.state_dict())
    before = frozen(optimizer)
    advance(other, others, 2)
    assert frozen(optimizer) == before


def test_loading_then_saving_gives_the_checkpoint_back():
    params = parameters(dtype=torch.bfloat16)
    optimizer = MGUPAdamW(params, state_dtype=torch.float32)
    advance(optimizer, params, 2)
    saved = copy.deepcopy(optimizer.state_dict())
    other = MGUPAdamW(parameters(dtype=torch.bfloat16))
    other.load_state_dict(saved)
    again = other.state_dict()
    assert again["param_groups"] == saved["param_groups"]
    for key, state in saved["state"].items():
        for name, value in state.items():
            assert torch.equal(again["state"][key][name], value)


def _resized(name, shape):
    def spoil(saved):
        saved["state"][0][name] = torch.zeros(shape)

    return spoil


def _group(**values):
    def spoil(saved):
        saved["param_groups"][0].update(values)

    return spoil


def _less(saved):
    del saved["state"][1]["exp_avg_sq"]


SPOILED = {
    "a wrong shape": (_resized("exp_avg", (5, 7)), "exp_avg.*shape"),
    "a flattened moment": (_resized("exp_avg_sq", (35,)), "exp_avg_sq.*shape"),
    "a moment of one entry": (_resized("exp_avg", ()), "exp_avg.*shape"),
    "a vector as step": (_resized("step", (2,)), "step.*shape"),
    "a missing moment": (_less, "lacks.*exp_avg_sq"),
    "a parameter less": (lambda s: s["param_groups"][0]["params"].pop(), "number or length"),
    "a group more": (
        lambda s: s["param_groups"].append({**s["param_groups"][0], "params": []}),
        "number or length",
    ),
    "tau": (_group(tau=1.5), r"tau=1\.5"),
    "alpha": (_group(alpha=0.5), r"alpha=0\.5"),
    "gamma": (_group(gamma=0.0), r"gamma=0\.0"),
    "NaN lr": (_group(lr=float("nan")), "lr=nan"),
    "lr": (_group(lr=-1.0), r"lr=-1\.0"),
    "weight_decay": (_group(weight_decay=-0.5), r"weight_decay=-0\.5"),
    "betas": (_group(betas=(1.5, 0.9)), r"1\.5"),
    "eps": (_group(eps=-1.0), r"eps=-1\.0"),
    "mode": (_group(mode="best"), "mode='best'"),
    "stacked_dims": (_group(stacked_dims=2), "stacked_dims=2"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_refused_checkpoints_change_nothing(name):
    params = parameters()
    optimizer = MGUPAdamW(params)
    advance(optimizer, params, 2)
    saved = copy.deepcopy(optimizer.state_dict())
    advance(optimizer, params, 1, start=2)
    spoil, message = SPOILED[name]
    spoil(saved)
    before = frozen(optimizer)
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(saved)
    assert frozen(optimizer) == before
    advance(optimizer, params, 1, start=3)


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (2.5, "2.5"),
        (torch.tensor(2.5), "2.5"),
        (1e12, "1000000000000.0"),
        (2**31, "2147483648.0"),
        (-1, "-1.0"),
        (float("nan"), "nan"),
        (torch.tensor(float("inf")), "inf"),
        (torch.tensor(1 + 0j), r"\(1\+0j\)"),
    ],
)
def test_steps_that_are_no_counts(step, said):
    """17a: t is a whole number below 2^31 (N3). Nothing changes."""
    params = parameters()
    optimizer = MGUPAdamW(params)
    advance(optimizer, params, 2)
    checkpoint = copy.deepcopy(optimizer.state_dict())
    checkpoint["state"][1]["step"] = step
    before = frozen(optimizer)
    with pytest.raises(
        ValueError, match=f"step of parameter 1 is {said}: it must be a whole number"
    ):
        optimizer.load_state_dict(checkpoint)
    assert frozen(optimizer) == before


@pytest.mark.parametrize(
    "step",
    [3, 3.0, torch.tensor(3), torch.tensor(3, dtype=torch.int32), torch.tensor(3.0).double()],
)
def test_counts_of_any_type_become_ours(step):
    """A float32 tensor, as torch.optim's: kernels read it as such."""
    params = parameters()
    optimizer = MGUPAdamW(params)
    advance(optimizer, params, 2)
    checkpoint = copy.deepcopy(optimizer.state_dict())
    checkpoint["state"][1]["step"] = step
    optimizer.load_state_dict(checkpoint)
    assert optimizer.state[params[1]]["step"].dtype == torch.float32
    advance(optimizer, params, 1)
    assert optimizer.state[params[1]]["step"] == 4


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: x.to(torch.int64), "torch.int64"),
        (lambda x: x.to(torch.bool), "torch.bool"),
        (lambda x: x.to(torch.complex64), "torch.complex64"),
        (lambda x: x.to_sparse(), "torch.sparse_coo"),
        (lambda x: x.to(torch.float8_e5m2), "torch.float8_e5m2"),
    ],
)
def test_moments_that_cannot_be_stepped(change, said):
    """17a: int64 and sparse moments. Nothing changes."""
    params = parameters()
    optimizer = MGUPAdamW(params)
    advance(optimizer, params, 2)
    checkpoint = copy.deepcopy(optimizer.state_dict())
    moments = checkpoint["state"][0]
    moments["exp_avg"] = change(moments["exp_avg"])
    before = frozen(optimizer)
    with pytest.raises(ValueError, match=rf"state 'exp_avg' of parameter 0 is .*{said}"):
        optimizer.load_state_dict(checkpoint)
    assert frozen(optimizer) == before
