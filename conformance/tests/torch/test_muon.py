"""Muon: which parameter goes where, the direction within N7, the mask bit for bit (R4)."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch

import mgup_core as core
from mgup_conformance.compare import check_close, check_identical
from mgup_torch import MGUPMuon

from .inputs import POLICIES, policy
from .support import Reference, advance, array, compare, frozen, give, gradients, parameters


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.wte = torch.nn.Embedding(10, 6)
        self.layers = torch.nn.ModuleList([torch.nn.Linear(6, 8), torch.nn.Linear(8, 6)])
        self.conv = torch.nn.Conv2d(6, 4, 3)
        self.scale = torch.nn.Parameter(torch.ones(4, 1, 1))
        self.norm = torch.nn.LayerNorm(6)
        self.lm_head = torch.nn.Linear(6, 10)


def routed(optimizer) -> dict[bool, list[str]]:
    kinds: dict[bool, list[str]] = {True: [], False: []}
    for group in optimizer.param_groups:
        kinds[group["use_muon"]] += group["param_names"]
    return kinds


def is_muon(optimizer, p) -> bool:
    return next(g["use_muon"] for g in optimizer.param_groups if any(p is q for q in g["params"]))


# -- routing -------------------------------------------------------------------------------------


def test_named_parameters_are_routed():
    kinds = routed(MGUPMuon(Model().named_parameters()))
    assert kinds[True] == ["layers.0.weight", "layers.1.weight"]
    assert len(kinds[False]) == len(list(Model().named_parameters())) - 2


@pytest.mark.parametrize(
    ("name", "muon"),
    [
        ("layers.0.mlp.fc1.weight", True),
        ("blocks.3.attn.qkv.weight", True),
        ("decoder.layers.0.multihead_attn.in_proj_weight", True),
        ("transformer.wte.weight", False),
        ("transformer.wpe.weight", False),
        ("model.embed_tokens.weight", False),
        ("token_embedding.weight", False),
        ("lm_head.weight", False),
        ("head.weight", False),
    ],
)
def test_names_of_real_models(name, muon):
    p = torch.zeros(4, 6, requires_grad=True)
    assert routed(MGUPMuon([(name, p)]))[muon] == [name]


def test_own_exceptions():
    model = Model()
    kinds = routed(MGUPMuon(model.named_parameters(), exceptions=("layers.0",)))
    assert kinds[True] == ["wte.weight", "layers.1.weight", "lm_head.weight"]


def test_one_exception_as_a_string_is_not_its_letters():
    kinds = routed(MGUPMuon(Model().named_parameters(), exceptions="lm_head"))
    assert kinds[True] == ["wte.weight", "layers.0.weight", "layers.1.weight"]


def test_plain_tensors_are_told_apart_by_shape():
    """And once, a warning says what that means (R4)."""
    model = Model()
    groups = [{"params": [p]} for p in model.parameters()]
    with pytest.warns(UserWarning, match=r"from_model") as told:
        optimizer = MGUPMuon(groups)
    assert len(told) == 1
    assert told[0].filename == __file__
    for p in model.parameters():
        assert is_muon(optimizer, p) == (p.ndim == 2)


def test_groups_are_taken_at_their_word():
    matrix, table, kernel = parameters(((4, 6), (5, 3), (2, 3, 4)))
    optimizer = MGUPMuon(
        [
            {"params": [table], "use_muon": False, "lr": 0.5},
            {"params": [kernel], "use_muon": True},
            {"params": [matrix]},
        ]
    )
    assert [is_muon(optimizer, p) for p in (matrix, table, kernel)] == [True, False, True]
    assert optimizer.param_groups[0]["lr"] == 0.5
    with pytest.raises(ValueError, match="matrices"):
        MGUPMuon([{"params": [torch.zeros(5, requires_grad=True)], "use_muon": True}])


def test_every_shape_steps():
    """(C, 1, 1) scales and convolutions, which crashed other Muons, go to AdamW."""
    model = Model()
    optimizer = MGUPMuon(model.named_parameters(), lr=0.01)
    params = list(model.parameters())
    before = [p.detach().clone() for p in params]
    advance(optimizer, params, 2)
    assert all(not torch.equal(p, b) for p, b in zip(params, before, strict=True))
    keys = {tuple(sorted(optimizer.state[p])) for p in params if is_muon(optimizer, p)}
    assert keys == {("momentum_buffer",)}
    keys = {tuple(sorted(optimizer.state[p])) for p in params if not is_muon(optimizer, p)}
    assert keys == {("exp_avg", "exp_avg_sq", "step")}


def test_each_kind_has_its_own_settings():
    model = Model()
    optimizer = MGUPMuon(
        model.named_parameters(), lr=0.02, weight_decay=0.3, adamw_lr=0.003, tau=0.4,
        adamw_betas=(0.8, 0.9), adamw_eps=1e-6,
    )  # fmt: skip
    assert {g["use_muon"]: g["lr"] for g in optimizer.param_groups} == {True: 0.02, False: 0.003}
    others = [p for p in model.parameters() if not is_muon(optimizer, p)]
    matrices = [p for p in model.parameters() if is_muon(optimizer, p)]
    reference = Reference(
        others, core.AdamW(0.8, 0.9, 1e-6), core.MGUP(0.4), lr=0.003, weight_decay=0.3
    )
    give(matrices, gradients(matrices, 0))
    compare(optimizer, others, reference, steps=4)


def test_routing_survives_a_checkpoint():
    model = Model()
    names = dict(model.named_parameters())
    optimizer = MGUPMuon(names.items(), exceptions=("layers.1",))
    advance(optimizer, list(names.values()), 2)
    saved = optimizer.state_dict()
    other = MGUPMuon(names.items(), exceptions=("layers.1",))
    other.load_state_dict(saved)
    assert routed(other) == routed(optimizer)
    assert frozen(other)[2] == frozen(optimizer)[2]


def test_add_param_group_is_all_or_nothing():
    matrix, vector = parameters(((4, 4), (4,)))
    optimizer = MGUPMuon([matrix, vector])
    for bad in (
        {"params": [torch.zeros(3, 3, requires_grad=True), vector]},
        {"params": [torch.zeros(3, 3, requires_grad=True), torch.zeros(3, dtype=torch.int64)]},
        {"params": [torch.zeros(3, 3, requires_grad=True)], "ns_steps": 0},
    ):
        before = len(optimizer.param_groups)
        with pytest.raises((ValueError, TypeError)):
            optimizer.add_param_group(bad)
        assert len(optimizer.param_groups) == before


# -- numbers -------------------------------------------------------------------------------------

MATRICES = ((6, 9), (9, 6), (8, 8), (1, 5), (5, 1))


@pytest.mark.parametrize("mode", [m for m in POLICIES if m != "stacked"])
def test_direction_and_mask_are_the_references(mode):
    """N7 and N8: from zero, one step of rate 1 shows phi * u; where it is large tells the mask."""
    kwargs = POLICIES[mode]
    params = [torch.zeros(s, requires_grad=True) for s in MATRICES]
    optimizer = MGUPMuon(params, lr=1.0, weight_decay=0.0, ns_dtype="float32", **kwargs)
    reference = Reference(params, core.Muon(), policy(kwargs), lr=1.0, weight_decay=0.0)
    for step in range(3):
        with torch.no_grad():
            for p in params:
                p.zero_()
        reference.params = [np.zeros_like(p) for p in reference.params]
        grads = gradients(params, step)
        give(params, grads)
        optimizer.step()
        reference.step(grads)
        for i, p in enumerate(params):
            check_close("update", reference.params[i], array(p), parameter=i, step=step)
            buffer = array(optimizer.state[p]["momentum_buffer"])
            check_identical("buffer", reference.state.arrays[i]["momentum_buffer"], buffer)


@pytest.mark.parametrize("nesterov", [True, False])
def test_statistics_tell_the_same_mask(nesterov):
    """N7: masks are identical, so shares, ties and thresholds are."""
    params = parameters(MATRICES)
    optimizer = MGUPMuon(params, nesterov=nesterov, tau=0.3, statistics=True)
    rule, arrays = core.Muon(nesterov=nesterov), [array(p) for p in params]
    reference = core.Optimizer(rule, core.MGUP(0.3))
    state = reference.init(arrays)
    for step in range(3):
        grads = gradients(params, step)
        give(params, grads)
        optimizer.step()
        grads = [array(g) for g in grads]
        arrays, state, expected = reference.step_with_statistics(arrays, grads, state)
        for i, measured in enumerate(optimizer.statistics()):
            for name in ("selected", "threshold", "ties", "positive"):
                assert float(getattr(measured, name)) == float(getattr(expected[i], name)), name


def newton_schulz(x: np.ndarray) -> np.ndarray:
    """R4 written out in float64."""
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (np.sqrt((x * x).sum()) + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.T if tall else x


@pytest.mark.parametrize("adjust", ["original", "match_rms_adamw"])
@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("shape", [(12, 20), (20, 12), (16, 16), (40, 3)])
def test_direction_is_the_papers(shape, nesterov, adjust):
    """N7 against an independent float64 computation: u from zero, at rate 1, without MGUP."""
    p = torch.zeros(shape, requires_grad=True)
    optimizer = MGUPMuon(
        [p], lr=1.0, mode="off", weight_decay=0.0, momentum=0.9, nesterov=nesterov,
        adjust_lr_fn=adjust, ns_dtype="float32",
    )  # fmt: skip
    m = np.zeros(shape)
    ratio, largest = shape[0] / shape[1], max(shape)
    scale = math.sqrt(max(1, ratio)) if adjust == "original" else 0.2 * math.sqrt(largest)
    for step in range(3):
        with torch.no_grad():
            p.zero_()
        p.grad = gaussian(p, step)
        optimizer.step()
        g = array(p.grad).astype(np.float64)
        m = 0.9 * m + 0.1 * g
        b = 0.1 * g + 0.9 * m if nesterov else m
        check_close("u", -scale * newton_schulz(b), array(p), step=step)


def gaussian(p, step):
    """Well conditioned: bfloat16 products lose the directions of small singular values."""
    return torch.randn(p.shape, generator=torch.Generator().manual_seed(step))


def apart(p, q, old) -> float:
    """The relative difference of two updates, by norm."""
    with torch.no_grad():
        return float((p - q).norm() / (q - old).norm())


@pytest.mark.parametrize("adjust", [None, "original", "match_rms_adamw"])
@pytest.mark.parametrize("nesterov", [True, False])
def test_agrees_with_torch(adjust, nesterov):
    """Without MGUP, torch.optim.Muon up to its bfloat16 products (two to five per cent of u)."""
    ours, theirs = parameters(((32, 48), (48, 32))), parameters(((32, 48), (48, 32)))
    kwargs = {"lr": 0.02, "weight_decay": 0.1, "nesterov": nesterov, "adjust_lr_fn": adjust}
    first = MGUPMuon(ours, mode="off", **kwargs)
    second = torch.optim.Muon(theirs, **kwargs)
    for step in range(4):
        old = [p.detach().clone() for p in ours]
        for p, q in zip(ours, theirs, strict=True):
            p.grad = q.grad = gaussian(p, step)
        with torch.no_grad():  # each step on its own: differences do not add up
            for p, q in zip(ours, theirs, strict=True):
                q.copy_(p)
        first.step()
        second.step()
        for p, q, o in zip(ours, theirs, old, strict=True):
            assert apart(p, q, o) < 0.05
            buffers = [opt.state[x]["momentum_buffer"] for opt, x in ((first, p), (second, q))]
            torch.testing.assert_close(*buffers)


@pytest.mark.parametrize("direction", ["to torch", "from torch"])
def test_checkpoints_go_both_ways(direction):
    ours, theirs = parameters(((12, 20),)), parameters(((12, 20),))
    first = MGUPMuon(ours, lr=0.02, adjust_lr_fn=None, mode="off", nesterov=False)
    second = torch.optim.Muon(theirs, lr=0.01)
    source, params, target, others = (
        (first, ours, second, theirs) if direction == "to torch" else (second, theirs, first, ours)
    )
    for step in range(3):
        params[0].grad = gaussian(params[0], step)
        source.step()
    target.load_state_dict(copy.deepcopy(source.state_dict()))  # torch would share the buffers
    with torch.no_grad():
        others[0].copy_(params[0])
    for name in ("lr", "momentum", "nesterov", "weight_decay", "adjust_lr_fn"):
        assert first.param_groups[0][name] == second.param_groups[0][name]
    old = params[0].detach().clone()
    ours[0].grad = theirs[0].grad = gaussian(old, 3)
    first.step()
    second.step()
    assert apart(ours[0], theirs[0], old) < 0.05


def test_what_a_check_reads_may_be_read_again():
    """Issue 15, 6: words from a generator are kept; numbers that the step reads must be a tuple."""
    net = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
    group = {"params": net.named_parameters(), "exceptions": (word for word in ["1"])}
    optimizer = MGUPMuon([group])
    assert [g["exceptions"] for g in optimizer.param_groups] == [("1",)] * 2
    assert optimizer.param_groups[0]["param_names"] == ["0.weight"]
    with pytest.raises(TypeError, match=r"ns_coefficients=.* is no tuple"):
        MGUPMuon(net.parameters(), ns_coefficients=(x for x in (3.4, -4.7, 2.0)))
