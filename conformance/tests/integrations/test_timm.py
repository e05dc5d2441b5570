"""timm: creation by name, its groups, layer decay, Lookahead.

No clause: how a framework calls the optimizer.
"""

from __future__ import annotations

import pytest
import torch

import mgup_torch
from mgup_torch import MGUPAdamW, MGUPMuon

from .support import matrices

timm = pytest.importorskip("timm")


@pytest.fixture(scope="module", autouse=True)
def names():
    return mgup_torch.timm.register()


def vit():
    torch.manual_seed(0)
    return timm.create_model(
        "vit_tiny_patch16_224", img_size=32, embed_dim=16, depth=2, num_heads=2, num_classes=5
    )


def step(model, optimizer):
    model(torch.ones(1, 3, 32, 32)).square().sum().backward()
    optimizer.step()


def test_all_are_known(names):
    assert {"mgupadamw", "mguplion", "mgupmuon", "mgupsgd"} <= set(names)
    assert set(names) <= set(timm.optim.list_optimizers())
    assert timm.optim.get_optimizer_class("mgupadamw", bind_defaults=False) is MGUPAdamW


def test_by_name():
    model = vit()
    optimizer = timm.optim.create_optimizer_v2(
        model, "mgupadamw", lr=1e-3, weight_decay=0.05, betas=(0.9, 0.95), tau=0.3
    )
    assert type(optimizer) is MGUPAdamW
    assert {g["weight_decay"] for g in optimizer.param_groups} == {0.0, 0.05}
    assert {g["tau"] for g in optimizer.param_groups} == {0.3}
    assert {g["betas"] for g in optimizer.param_groups} == {(0.9, 0.95)}
    step(model, optimizer)


def test_every_name_makes_its_optimizer(names):
    """Those that take matrices only say so."""
    for name in names:
        model = torch.nn.Sequential(torch.nn.Linear(4, 3, bias=False))
        made = timm.optim.create_optimizer_v2(list(model.named_parameters()), name, lr=1e-3)
        assert type(made).__name__.lower() == name


@pytest.mark.parametrize("opt", ["mgupadamw", "lookahead_mgupadamw"])
def test_layer_decay_and_lookahead(opt):
    model = vit()
    optimizer = timm.optim.create_optimizer_v2(
        model, opt, lr=1e-3, weight_decay=0.05, layer_decay=0.7
    )
    assert len({group["lr_scale"] for group in optimizer.param_groups}) > 2
    for _ in range(7):
        step(model, optimizer)
    again = timm.optim.create_optimizer_v2(model, opt, lr=1e-3, weight_decay=0.05, layer_decay=0.7)
    again.load_state_dict(optimizer.state_dict())
    step(model, again)


def test_schedules():
    model = vit()
    optimizer = timm.optim.create_optimizer_v2(model, "mgupadamw", lr=1e-3)
    pytest.importorskip("timm.scheduler")
    scheduler, _ = timm.scheduler.create_scheduler_v2(optimizer, "cosine", num_epochs=3)
    step(model, optimizer)
    scheduler.step(1)
    assert 0 < optimizer.param_groups[0]["lr"] < 1e-3


def test_fallback_groups_of_muon():
    """timm marks by patterns of names what Muon leaves to AdamW."""
    model = vit()
    with pytest.warns(UserWarning, match="without names"):
        optimizer = timm.optim.create_optimizer_v2(
            model, "mgupmuon", lr=1e-2, weight_decay=0.1, adamw_lr=1e-3,
            fallback_list=["head.*", "*mlp*"],
        )  # fmt: skip
    kinds = {True: 0, False: 0}
    for group in optimizer.param_groups:
        kinds[group["use_muon"]] += sum(p.ndim == 2 for p in group["params"])
        assert group["lr"] == (1e-2 if group["use_muon"] else 1e-3)
    assert kinds == {True: 4, False: 5}  # of each block qkv and proj; its mlp's two, and the head


def test_from_model():
    model = vit()
    optimizer = MGUPMuon.from_model(model, weight_decay=0.1)
    muon, adamw = matrices(optimizer)
    assert adamw == {"head.weight"}
    assert len(muon) == 8
    decayed = {
        name
        for group in optimizer.param_groups
        if group["weight_decay"]
        for name in group["param_names"]
    }
    assert "pos_embed" not in decayed  # model.no_weight_decay() says so
    assert "patch_embed.proj.weight" in decayed
