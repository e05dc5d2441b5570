"""Groups of a model: what decays, what Muon leaves to AdamW by the types of modules (R4)."""

from __future__ import annotations

import copy
import pickle
import warnings

import pytest
import torch
from torch import nn

from mgup_core.frontend.muon_routing import EXCEPTIONS, names_one_of
from mgup_torch import MGUP, MGUPAdamW, MGUPMuon, list_optimizers, parameter_groups
from mgup_torch.integrations.statistics import layer_of, summary


class Model(nn.Module):
    """Names that tell nothing, tied tables, and a head at the end."""

    def __init__(self):
        super().__init__()
        self.a = nn.Embedding(10, 6)
        self.b = nn.Linear(6, 8)
        self.c = nn.LayerNorm(8)
        self.d = nn.Conv1d(8, 8, 3)
        self.e = nn.Linear(8, 10)


def routed(optimizer):
    kinds = {True: set(), False: set()}
    for group in optimizer.param_groups:
        kinds[group["use_muon"]] |= set(group["param_names"])
    return kinds[True], kinds[False]


def decays(optimizer):
    return {
        name: group["weight_decay"]
        for group in optimizer.param_groups
        for name in group["param_names"]
    }


def step(model, optimizer):
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()


def test_decay_on_matrices_only():
    optimizer = MGUPAdamW.from_model(Model(), lr=1e-2, weight_decay=0.1, tau=0.3)
    found = decays(optimizer)
    assert {name for name, value in found.items() if value} == {
        "a.weight", "b.weight", "d.weight", "e.weight",
    }  # fmt: skip
    assert set(found.values()) == {0.0, 0.1}
    assert optimizer.param_groups[1]["tau"] == 0.3


@pytest.mark.parametrize("no_decay", ["a", ("a", "nothing"), lambda name, p: p.shape == (10, 6)])
def test_no_decay(no_decay):
    found = decays(MGUPAdamW.from_model(Model(), no_decay=no_decay))
    assert found["a.weight"] == found["b.bias"] == 0.0
    assert found["b.weight"] == 0.01  # the class's default


def test_a_model_says_itself_what_does_not_decay():
    model = Model()
    model.no_weight_decay = lambda: {"d.weight"}
    assert decays(MGUPAdamW.from_model(model))["d.weight"] == 0.0


def test_frozen_parameters_are_left_out():
    model = Model()
    model.a.requires_grad_(False)
    assert "a.weight" not in decays(MGUPAdamW.from_model(model))


def test_modules_before_words():
    model = Model()
    muon, adamw = routed(MGUPMuon.from_model(model))
    assert muon == {"b.weight"}
    assert {"a.weight", "e.weight", "d.weight"} < adamw
    # The names alone know nothing of this model.
    assert routed(MGUPMuon(model.named_parameters()))[0] == {"a.weight", "b.weight", "e.weight"}


def test_a_tied_head():
    """The table is an embedding; the last linear layer has nothing of its own but a bias."""
    model = Model()
    model.b, model.d = nn.Linear(6, 6), None
    model.e = nn.Linear(6, 10)
    model.e.weight = model.a.weight
    assert routed(MGUPMuon.from_model(model))[0] == {"b.weight"}


def test_what_the_model_calls_its_head():
    model = Model()
    model.get_output_embeddings = lambda: model.b
    assert routed(MGUPMuon.from_model(model))[0] == {"e.weight"}
    model.get_output_embeddings = lambda: None  # as models without one say
    assert routed(MGUPMuon.from_model(model))[0] == {"b.weight"}

    def unknown():
        raise NotImplementedError

    model.get_output_embeddings = unknown
    assert routed(MGUPMuon.from_model(model))[0] == {"b.weight"}


def test_words_after_modules():
    """A bare parameter has no module that says what it is."""
    model = Model()
    model.pos_embed = nn.Parameter(torch.ones(4, 6))
    model.w = nn.Parameter(torch.ones(4, 6))
    assert routed(MGUPMuon.from_model(model))[0] == {"b.weight", "w"}
    assert routed(MGUPMuon.from_model(model, exceptions="w"))[0] == {"b.weight", "pos_embed"}


def test_rates_of_adamw():
    model = Model()
    optimizer = MGUPMuon.from_model(
        model, lr=0.02, weight_decay=0.2, adamw_lr=0.003, adamw_weight_decay=0.01
    )
    for group in optimizer.param_groups:
        assert group["lr"] == (0.02 if group["use_muon"] else 0.003)
    assert decays(optimizer) == {
        "a.weight": 0.01, "b.weight": 0.2, "b.bias": 0.0, "c.weight": 0.0, "c.bias": 0.0,
        "d.weight": 0.01, "d.bias": 0.0, "e.weight": 0.01, "e.bias": 0.0,
    }  # fmt: skip
    step(model, optimizer)
    # Without a model: what a group says of its own decay stands before the argument.
    named = [("x", nn.Parameter(torch.ones(3)))], [("y", nn.Parameter(torch.ones(3)))]
    groups = [{"params": named[0]}, {"params": named[1], "weight_decay": 0.5}]
    assert decays(MGUPMuon(groups, adamw_weight_decay=0.01)) == {"x": 0.01, "y": 0.5}


def test_fallback_groups_of_timm():
    p, q = (nn.Parameter(torch.ones(3, 3)) for _ in range(2))
    optimizer = MGUPMuon(
        [{"params": [("p", p)], "use_fallback": True}, {"params": [("q", q)]}], adamw_lr=0.5
    )
    assert [(g["use_muon"], g["lr"]) for g in optimizer.param_groups] == [
        (False, 0.5), (True, 0.001),
    ]  # fmt: skip


def test_names_beside_plain_tensors():
    """As the groups of another optimizer hold them."""
    groups = torch.optim.SGD(Model().named_parameters()).param_groups
    given = [{name: group[name] for name in ("params", "param_names")} for group in groups]
    optimizer = MGUPMuon(given, exceptions=("a", "e"))
    assert routed(optimizer)[0] == {"b.weight"}


def test_unnamed_matrices_are_told_of_once():
    optimizer = MGUPMuon([{"params": [torch.ones(3, requires_grad=True)]}])
    p, q, r = (nn.Parameter(torch.ones(3, 3)) for _ in range(3))
    optimizer.add_param_group({"params": [p], "use_muon": True})  # marked
    with pytest.warns(UserWarning, match=r"\(1\)"):
        optimizer.add_param_group({"params": [q, nn.Parameter(torch.ones(3))]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.add_param_group({"params": [r]})


@pytest.mark.parametrize(
    ("name", "exception"),
    [
        ("shared.weight", True), ("model.shared.weight", True), ("output.weight", True),
        ("fc.weight", True), ("score.weight", True), ("classifier.1.weight", True),
        ("decoder.output_projection.weight", True), ("qa_outputs.weight", True),
        ("decoder.logits_dense.kernel", True), ("unembed.W_U", True), ("proj_out.weight", True),
        ("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", True),
        ("layers.0.blocks.1.attn.relative_position_bias_table", True),
        ("layers.3.mixer.A_log", True),
        ("transformer.h.0.mlp.c_fc.weight", False), ("fc1.weight", False),
        ("encoder.layer.0.output.dense.weight", False), ("fc_in.0.weight", True),
        ("model.layers.1.mlp.shared_experts.up_proj.weight", False),
        ("blocks.0.attn.heads.0.q.weight", False),
    ],
)  # fmt: skip
def test_words_of_real_models(name, exception):
    assert names_one_of(name, EXCEPTIONS) == exception


@pytest.mark.parametrize("title", list_optimizers())
def test_every_class(title):
    """Rules of matrices refuse what is none, as they do without the model."""
    import mgup_torch

    model = nn.Sequential(nn.Linear(4, 3, bias=False), nn.Linear(3, 2, bias=False))
    optimizer = getattr(mgup_torch, title).from_model(model, lr=1e-2, weight_decay=0.0)
    assert [n for g in optimizer.param_groups for n in g["param_names"]] == [
        "0.weight", "1.weight",
    ]  # fmt: skip
    step(model, optimizer)
    assert pickle.loads(pickle.dumps(optimizer)).param_groups[0]["lr"] == 1e-2
    copy.deepcopy(optimizer)


def test_the_wrapper():
    model = Model()
    optimizer = MGUP.from_model(
        model, lambda groups: torch.optim.AdamW(groups, lr=1e-2), weight_decay=0.1, tau=0.3
    )
    assert decays(optimizer)["b.weight"] == 0.1
    assert decays(optimizer)["b.bias"] == 0.0
    step(model, optimizer)


def test_what_is_no_model():
    with pytest.raises(TypeError, match=r"not a torch.nn.Module"):
        MGUPAdamW.from_model(Model().parameters())
    with pytest.raises(TypeError, match="must be words"):
        parameter_groups(Model(), no_decay=(3,))
    with pytest.raises(TypeError, match="tua"):
        MGUPAdamW.from_model(Model(), tua=0.5)


# -- statistics by name --------------------------------------------------------------------------


@pytest.mark.parametrize("wrapped", [False, True])
def test_named_statistics_with_two_groups(wrapped):
    """The recipe of before zipped names of the model with entries in the order of groups."""
    model = Model()
    optimizer = (
        MGUP.from_model(model, lambda groups: torch.optim.SGD(groups, lr=1.0), statistics=True)
        if wrapped
        else MGUPAdamW.from_model(model, statistics=True)
    )
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    model.c.bias.grad = None
    model.b.bias.grad[:6] = 0.0  # 2 of 8 scores above zero
    optimizer.step()
    found = optimizer.named_statistics()
    assert found.keys() == dict(model.named_parameters()).keys() - {"c.bias"}
    assert float(found["b.bias"].positive) == 0.25
    by_layer = summary(optimizer, lambda name: name.split(".")[0])
    assert by_layer["b/positive"] == pytest.approx((48 + 2) / 56)
    assert summary(optimizer)["selected"] == 0.5


def test_names_of_layers():
    assert layer_of("model.layers.3.mlp.up.weight") == "model.layers.3"
    assert layer_of("lm_head.weight") == "lm_head"
    assert layer_of("weight") == "weight"
