"""``dcp`` between torch.optim.AdamW and MGUPAdamW, and what a resumed run says (R7)."""

from __future__ import annotations

import warnings

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict

from mgup_torch import MGUP, MGUPAdamW, MGUPLion
from mgup_torch.integrations.checkpoint import OptimizerLoadPlanner

# There is one process, which dcp says.
pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")

KINDS = {"torch": torch.optim.AdamW, "mgup": MGUPAdamW}


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 2))


def train(model, optimizer, steps=2):
    for i in range(steps):
        optimizer.zero_grad()
        model(torch.full((3, 4), float(i + 1))).square().sum().backward()
        optimizer.step()
    optimizer.zero_grad()


def saved(tmp_path, make, **settings):
    model = network()
    optimizer = make(model.parameters(), lr=0.01, **settings)
    train(model, optimizer)
    weights, state = get_state_dict(model, optimizer)
    dcp.save({"model": weights, "optimizer": state}, checkpoint_id=str(tmp_path))
    return model, optimizer


def loaded(tmp_path, make, planner=None, **settings):
    model = network()
    optimizer = make(model.parameters(), lr=0.5, **settings)
    weights, state = get_state_dict(model, optimizer)
    both = {"model": weights, "optimizer": state}
    dcp.load(both, checkpoint_id=str(tmp_path), planner=planner or OptimizerLoadPlanner())
    set_state_dict(model, optimizer, model_state_dict=weights, optim_state_dict=state)
    return model, optimizer


@pytest.mark.parametrize(("old", "new"), [("torch", "mgup"), ("mgup", "torch"), ("mgup", "mgup")])
def test_both_ways(tmp_path, old, new):
    """As ``load_state_dict`` does it in one process, to the bit."""
    first, optimizer = saved(tmp_path, KINDS[old])
    model, resumed = loaded(tmp_path, KINDS[new])
    assert resumed.param_groups[0]["lr"] == 0.01
    twin = KINDS[new](first.parameters(), lr=0.5)
    twin.load_state_dict(optimizer.state_dict())
    train(model, resumed)
    train(first, twin)
    for p, q in zip(model.parameters(), first.parameters(), strict=True):
        assert torch.equal(p, q)


def test_fewer_keys_keep_what_was_asked_for(tmp_path):
    saved(tmp_path, torch.optim.AdamW)
    _, resumed = loaded(tmp_path, MGUPAdamW, tau=0.6, gamma=0.1)
    assert (resumed.param_groups[0]["tau"], resumed.param_groups[0]["gamma"]) == (0.6, 0.1)


def test_state_must_be_there(tmp_path):
    saved(tmp_path, MGUPLion)
    with pytest.raises(BaseException, match="lacks"):
        loaded(tmp_path, MGUPAdamW)


# -- another policy than the script asks for -----------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"gamma": 0.1}, r"gamma=None \(not 0.1\)"),
        ({"alpha": 3.0}, "alpha"),
        ({"alpha": torch.tensor(3.0)}, "alpha"),
        ({"mode": "sign"}, "mode='rank'"),
        ({"tau": 0.3}, "tau=0.5"),
        ({"alpha": 2.0, "gamma": 0.5}, None),  # the same factors in other words
        ({"lr": 0.5, "weight_decay": 0.7}, None),  # as in torch.optim
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_resumed_run_says_which_policy_it_keeps(settings, told, wrapped):
    rates = {name: settings.pop(name) for name in ("lr", "weight_decay") if name in settings}

    def make(**settings):
        params = [torch.nn.Parameter(torch.ones(3))]
        if wrapped:
            return MGUP(torch.optim.AdamW(params, **rates), **settings)
        return MGUPAdamW(params, **rates, **settings)

    old, new = make(), make(**settings)
    if told is None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            new.load_state_dict(old.state_dict())
    else:
        with pytest.warns(UserWarning, match=told) as found:
            new.load_state_dict(old.state_dict())
        assert found[0].filename == __file__
    assert new.param_groups[0]["mgup_mode" if wrapped else "mode"] == "rank"
