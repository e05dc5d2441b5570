"""``optimizer.explain()``: which executor takes which parameter, and why no faster one.

It checks N1: every executor gives the bits of the slowest; P4, P5 and R7.
"""

from __future__ import annotations

import pytest
import torch
from torch._subclasses import FakeTensorMode

import mgup_core as core
import mgup_torch
from mgup_torch import MGUP, MGUPAdamW, MGUPLion, MGUPMuon
from mgup_torch.executors import host
from mgup_torch.llvm import codegen

from .support import advance, array, frozen, give, gradients, parameters, same


def executors(optimizer) -> list[str | None]:
    return [row.executor for row in optimizer.explain()]


def test_the_table():
    """A record for each parameter in group order, by names that no other has, and as text."""
    params = parameters(((3, 4), (5,), (2,), (6,)))
    optimizer = MGUPMuon([{"params": [("w", params[0]), ("b", params[1])]}])
    optimizer.add_param_group({"params": [("c", params[2])], "use_muon": False})
    give(params[:2], gradients(params[:2], 0))
    table = optimizer.explain()
    assert [row.parameter for row in table] == ["w", "b", "c"]
    assert [row.executor for row in table] == ["whole", "numpy", None]
    assert table[0].reason == "Muon is not elementwise"
    assert table[1].reason == "it is small, and stepped in a stack"
    assert table[2].reason == "it has no gradient"
    assert str(table).splitlines() == [
        "parameter  executor  reason",
        "w          whole     Muon is not elementwise",
        "b          numpy     it is small, and stepped in a stack",
        "c          -         it has no gradient",
    ]
    plain = MGUPLion([{"params": params[:1]}, {"params": params[3:]}])
    assert [row.parameter for row in plain.explain()] == ["0.0", "1.0"]


def test_it_changes_nothing():
    """Before the first step and later; the next step is the one that would have been."""
    params, twins = parameters(), parameters()
    optimizer, twin = MGUPAdamW(params, lr=0.02), MGUPAdamW(twins, lr=0.02)
    for step in range(3):
        for mine in (params, twins):
            give(mine, gradients(mine, step))
        before, state = [array(p).tobytes() for p in params], frozen(optimizer)
        optimizer.explain()
        assert [array(p).tobytes() for p in params] == before
        assert frozen(optimizer) == state
        optimizer.step()
        twin.step()
        assert same(params, twins)


def test_what_would_be_refused_is():
    """As by the step, before anything changes."""
    params = parameters(((3,),))
    optimizer = MGUPAdamW(params)
    give(params, gradients(params, 0))
    optimizer.param_groups[0]["betas"] = (1.0, 0.9)
    with pytest.raises(ValueError, match=r"betas\[0\]=1.0"):
        optimizer.explain()
    fused = MGUPAdamW(params, implementation="fused")
    with pytest.raises(ValueError, match=r"implementation='fused'.*it is on cpu"):
        fused.explain()


def test_compiled_loops(monkeypatch):
    """Where there is no llvmlite, before they pay, and what asks for the reference."""
    params = parameters(((100, 100),))
    give(params, gradients(params, 0))
    monkeypatch.setattr(codegen, "_stepped", codegen.Counter())
    monkeypatch.setattr(codegen, "available", False)
    (row,) = MGUPAdamW(params).explain()
    assert (row.executor, row.reason) == ("numpy", "llvmlite is not installed (the extra compiled)")
    monkeypatch.undo()
    pytest.importorskip("llvmlite", reason="the extra compiled is not installed")
    monkeypatch.setattr(codegen, "_stepped", codegen.Counter())
    monkeypatch.setattr(codegen, "WORTH", 30_000)
    optimizer, seen = MGUPAdamW(params), []
    for step in range(4):
        seen.extend(executors(optimizer))
        advance(optimizer, params, 1, start=step)
    assert seen == ["numpy", "numpy", "llvm", "llvm"]
    assert optimizer.explain()[0].reason is None
    (row,) = MGUPAdamW(params, implementation="reference").explain()
    assert (row.executor, row.reason) == ("numpy", "implementation='reference'")
    (row,) = MGUPAdamW(params, stacked_dims=1, mode="adaptive").explain()
    assert (row.executor, row.reason) == ("numpy", "its slices are short, and counted together")


def test_accelerators():
    """On fakes: matrices are stacked, unless they are measured; the rest are whole tensors."""
    with FakeTensorMode():
        params = [torch.ones(4, 3, device="cuda").requires_grad_() for _ in range(2)]
        for p in params:
            p.grad = torch.ones_like(p)
        reference = "implementation='reference'"
        for cls, options, expected in (
            (MGUPMuon, {}, ("stacked", reference)),
            (MGUPMuon, {"statistics": True}, ("whole", f"{reference}; statistics are measured")),
            (MGUPLion, {}, ("whole", f"{reference}; Lion is no rule of matrices")),
        ):
            table = cls(params, implementation="reference", **options).explain()
            assert [row[1:] for row in table] == [expected] * 2


def test_the_wrapper():
    params = parameters(((3,), (4,)))
    optimizer = MGUP(torch.optim.SGD(params, lr=0.1))
    give(params[:1], gradients(params[:1], 0))
    assert list(optimizer.explain()) == [
        ("0.0", "whole", "it is read off the step of SGD"),
        ("0.1", None, "it has no gradient"),
    ]


# -- stacks of small tensors in host memory --------------------------------------------------------

MODES = [
    {}, {"tau": 0.3}, {"mode": "sign"}, {"mode": "sign", "ties": "aligned"}, {"mode": "adaptive"},
    {"mode": "cautious"}, {"mode": "off"},
]  # fmt: skip
SHAPES = ((8,), (2, 4), (8,), (8,), (), (2, 4), (3, 3, 2), (), (2, 4), (1,), (0,), (3, 3, 2))


@pytest.mark.parametrize("rule", [core.AdamW, core.SGD, core.Lion, core.Adan], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("options", MODES, ids=str)
@pytest.mark.filterwarnings("ignore:.*none is selected")
def test_in_stacks_as_if_alone(rule, dtype, options, monkeypatch):
    """P5, N1: ties, NaN and infinities; gradients that come and go; counts that differ."""
    cls = mgup_torch.optimizer(rule)
    params, twins = parameters(SHAPES, dtype), parameters(SHAPES, dtype)
    optimizer, twin = (cls(x, lr=0.1, weight_decay=0.1, **options) for x in (params, twins))
    sizes = []
    batches = host.NumPyBlocks.batches

    def noted(executor, tasks):
        found = batches(executor, tasks)
        sizes.append(max(map(len, found)))
        return found

    monkeypatch.setattr(host.NumPyBlocks, "batches", noted)
    for step in range(4):
        grads = [(4 * g).round() / 4 for g in gradients(params, step)]
        grads[step] = None
        for g, value in zip(grads[4:6], (torch.nan, -torch.inf), strict=True):
            if step == 3:
                g.view(-1)[0] = value
        for one, mine, small in ((optimizer, params, host.SMALL), (twin, twins, 0)):
            give(mine, [None if g is None else g.clone() for g in grads])
            with monkeypatch.context() as patch:
                patch.setattr(host, "SMALL", small)
                one.step()
        assert [array(p).tobytes() for p in params] == [array(p).tobytes() for p in twins], step
        for p, q in zip(params, twins, strict=True):
            for name, value in twin.state[q].items():
                assert array(optimizer.state[p][name]).tobytes() == array(value).tobytes(), name
    assert sizes[0] > 1
    assert sizes[1] == 1


def test_other_layouts_in_stacks():
    """C order decides ties (P4), whatever the strides."""
    made = [torch.ones(4, 6).t() if i % 2 else torch.ones(6, 4) for i in range(4)]
    params, twins = ([x.clone().requires_grad_() for x in made] for _ in range(2))
    optimizer = MGUPAdamW(params, lr=0.1)
    twin = MGUPAdamW([{"params": [q]} for q in twins], lr=0.1)
    for _ in range(2):
        for p in (*params, *twins):
            p.grad = torch.ones(6, 4)
        optimizer.step()
        twin.step()
    assert same(params, twins)


# -- what a group makes, once for its values -------------------------------------------------------


def test_rules_are_made_once_and_never_stale(monkeypatch):
    """R7: whatever edits a group, the step is of the values it has then."""
    params = parameters(((5,), (3, 4)))
    optimizer = MGUPAdamW([{"params": params[:1]}, {"params": params[1:]}])
    made = []
    rule_of = type(optimizer)._rule
    monkeypatch.setattr(
        type(optimizer), "_rule", lambda self, g: made.append(g) or rule_of(self, g)
    )
    advance(optimizer, params, 2)
    assert len(made) == 2
    advance(optimizer, params, 2, start=2)
    assert len(made) == 2
    first, second = optimizer.param_groups
    first["lr"] = 0.5
    advance(optimizer, params, 1, start=4)
    assert made[2:] == [first]
    second["weight_decay"] = torch.tensor(0.1)  # may be written into
    advance(optimizer, params, 2, start=5)
    assert made[3:] == [second, second]


@pytest.mark.parametrize("kind", ["value", "tensor", "list", "another group", "loaded"])
def test_an_edit_of_any_kind_is_seen(kind):
    params, twins = parameters(((5,), (3, 4))), parameters(((5,), (3, 4)))
    options = {
        "tensor": {"weight_decay": torch.tensor(0.1), "alpha": torch.tensor(2.0)},
    }.get(kind, {"weight_decay": 0.1, "alpha": 2.0})
    optimizer, twin = MGUPAdamW(params, **options), MGUPAdamW(twins, weight_decay=0.1, alpha=2.0)
    if kind == "list":
        optimizer.param_groups[0]["betas"] = [0.9, 0.999]
    for one, mine in ((optimizer, params), (twin, twins)):
        advance(one, mine, 2)
    (group,) = optimizer.param_groups
    new = {"weight_decay": 0.3, "alpha": 3.0, "betas": (0.5, 0.999)}
    if kind == "tensor":
        group["weight_decay"].fill_(0.3)
        group["alpha"].fill_(3.0)
        del new["betas"]
    elif kind == "list":
        group["betas"][0] = 0.5
        new = {"betas": new["betas"]}
    elif kind == "another group":
        optimizer.param_groups[0] = {**group, **new}
    elif kind == "loaded":
        saved = optimizer.state_dict()
        saved["param_groups"][0].update(new)
        optimizer.load_state_dict(saved)
    else:
        group.update(new)
    # A new optimizer has made nothing that could be stale.
    fresh = MGUPAdamW(twins, **{"weight_decay": 0.1, "alpha": 2.0, **new})
    fresh.load_state_dict({**twin.state_dict(), "param_groups": fresh.state_dict()["param_groups"]})
    advance(optimizer, params, 2, start=2)
    advance(fresh, twins, 2, start=2)
    assert [array(p).tobytes() for p in params] == [array(p).tobytes() for p in twins]
