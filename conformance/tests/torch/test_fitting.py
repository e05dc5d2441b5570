"""A parameter and what is kept for it: what no longer fits is refused, what is another's is left.

Issue 15, 3 and 4: code that trusted a length it had not checked was a segmentation fault, and
moments were matched by flat index; a key of another optimizer's killed the step.

No clause: CONTRIBUTING.md, "Fail before changing anything".
"""

from __future__ import annotations

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import mgup_core as core
import mgup_torch
from mgup_kernels import layout
from mgup_torch import MGUP, MGUPSGD, MGUPAdamW, MGUPLion, MGUPMuon
from mgup_torch.executors import fused

from .support import advance, array, frozen, give, gradients, parameters, same

ELEMENTWISE = [
    kind
    for kind in (getattr(mgup_torch, name) for name in dir(mgup_torch))
    if isinstance(kind, type)
    and issubclass(kind, mgup_torch.RuleOptimizer)
    and getattr(kind, "rule_class", core.Muon).elementwise
]
EVERY = [*ELEMENTWISE, MGUPMuon]
SHAPES = ((4, 6), (5,), (6, 4))


def started(cls, **options):
    params = parameters(SHAPES)
    optimizer = cls(params, **options)
    advance(optimizer, params, 2)
    give(params, gradients(params, 2))
    return params, optimizer


def check_refused(optimizer, message) -> None:
    before = frozen(optimizer)
    with pytest.raises(ValueError, match=message):
        optimizer.step()
    assert frozen(optimizer) == before


CHANGES = {
    "longer": lambda p: torch.randn(9, 6),
    "shorter": lambda p: torch.randn(2, 4),
    "reshaped": lambda p: p.detach().reshape(4, 6).clone(),
    "flat": lambda p: p.detach().reshape(-1).clone(),
    "empty": lambda p: torch.randn(0, 4),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("cls", EVERY, ids=lambda kind: kind.__name__)
def test_a_parameter_of_another_shape_than_its_state(cls, change):
    """The last parameter changes: the first ones must not have moved."""
    params, optimizer = started(cls)
    if not optimizer.state[params[-1]].keys() - {"step"}:
        pytest.skip("the rule keeps nothing")
    new = CHANGES[change](params[-1])
    params[-1].data = new
    params[-1].grad = torch.ones_like(new)
    name = next(iter(optimizer.state[params[-1]].keys() - {"step"}))
    check_refused(optimizer, r"state '\w+' of parameter number \d of its group is .*\(6, 4\)")
    optimizer.state.pop(params[-1])  # the remedy
    if cls is not MGUPMuon or new.ndim == 2:
        optimizer.step()
        assert optimizer.state[params[-1]][name] is not None


@pytest.mark.parametrize("size", [2_000_000, 4_000_000])
def test_the_public_report(size):
    """The report's own lines: exit 139, where llvmlite is installed."""
    p = torch.nn.Parameter(torch.randn(3_000_000))
    optimizer = MGUPAdamW([("weight", p)])
    for _ in range(3):
        p.grad = torch.randn(3_000_000)
        optimizer.step()
    p.data = torch.randn(size)
    p.grad = torch.randn(size)
    check_refused(optimizer, rf"state 'exp_avg' of parameter 'weight' .*\(3000000,\).*\({size},\)")


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("exp_avg", lambda x: x[:-1], r"\(3, 6\)"),
        ("exp_avg_sq", lambda x: None, "is missing"),
        ("exp_avg_sq", lambda x: x.to("meta"), "on meta"),
        ("exp_avg", lambda x: x.to(torch.int64), "int64"),
        ("exp_avg", lambda x: x.to(torch.complex64), "complex64"),
        ("exp_avg", lambda x: x.to_sparse(), "sparse|is torch"),
        ("exp_avg", lambda x: x.tolist(), "is a list"),
        ("step", lambda x: None, "'step' .* is missing"),
        ("step", lambda x: torch.ones(2), r"\(2,\)"),
    ],
)
@pytest.mark.parametrize("how", ["eager", "compiled", "whole"])
def test_a_state_that_cannot_be_used(how, name, spoil, message):
    params, optimizer = started(MGUPMuon, exceptions=()) if how == "whole" else started(MGUPAdamW)
    p = params[1] if how == "whole" else params[0]
    if how == "whole" and "3, 6" in message:
        message = r"\(4,\)"
    value = spoil(optimizer.state[p][name])
    if value is None:
        del optimizer.state[p][name]
    else:
        optimizer.state[p][name] = value
    step = torch.compile(optimizer.step) if how == "compiled" else optimizer.step
    before = [array(q) for q in params]
    with pytest.raises(ValueError, match=message):
        step()
    assert all((array(q) == b).all() for q, b in zip(params, before, strict=True))


@pytest.mark.parametrize("inner", [torch.optim.AdamW, torch.optim.NAdam, torch.optim.Adagrad])
@pytest.mark.parametrize("change", ["longer", "reshaped", "broadcastable"])
def test_the_wrapper(inner, change):
    """``inner``'s own operations broadcast, or fail in the middle."""
    params = parameters(SHAPES)
    optimizer = MGUP(inner(params))
    advance(optimizer, params, 2)
    give(params, gradients(params, 2))
    new = torch.ones(1, 4) if change == "broadcastable" else CHANGES[change](params[-1])
    params[-1].data = new
    params[-1].grad = torch.ones_like(new)
    check_refused(optimizer, r"parameter number 2 of its group .*\(6, 4\)")
    optimizer.state.pop(params[-1])
    if inner is not torch.optim.Adagrad:  # whose state is made with the optimizer
        optimizer.step()


def test_the_wrapper_after_a_checkpoint():
    """Loading sets what fits anew; where nothing is ranked, since else the piece is refused."""
    params = parameters(SHAPES)
    optimizer = MGUP(torch.optim.AdamW(params), mode="off")
    advance(optimizer, params, 1)
    params[0].data = torch.ones(2, 3)
    others = parameters(((2, 3), *SHAPES[1:]))
    other = MGUP(torch.optim.AdamW(others), mode="off")
    advance(other, others, 1)
    optimizer.load_state_dict(other.state_dict())
    advance(optimizer, params, 1)


# -- the fused step's second look, which asks no more than it must ---------------------------------


def table_of(params, optimizer):
    """What the fused step knows of its last step, without the device that it was for."""
    group, *_ = optimizer.param_groups
    rule = optimizer._rule(group)
    names = tuple(rule.init(core.backend_for(array(params[0])), array(params[0])))
    tasks = [
        mgup_torch.parameter_step.Task(
            "p", p, p.grad, optimizer.state[p], names, 1, rule, None, group
        )
        for p in params
    ]
    known = fused.TaskPlan.__new__(fused.TaskPlan)
    known.device, known.dtype, known.aligned = torch.device("cpu"), torch.float32, False
    known.task_of, known.offsets = np.arange(len(tasks)), np.zeros((len(tasks), 1), np.int64)
    known.state_dtypes = tuple(x.dtype for x in tasks[0].arrays.values())
    columns = layout.ADDRESSES + 2 + len(tasks[0].names)
    known.plan = SimpleNamespace(
        rows=np.zeros((len(tasks), columns), np.int64),
        functions=SimpleNamespace(numbers=SimpleNamespace(of=lambda rule: [], length=0)),
        set_numbers=lambda values, owners: None,
    )
    known.launcher = SimpleNamespace(upload=lambda: None)
    known.set_tasks(tasks, None)
    return known


SPOILED = {
    "parameter's length": lambda p, s: setattr(p, "data", torch.randn(3)),
    "parameter's shape": lambda p, s: setattr(p, "data", p.detach().reshape(6, 4).clone()),
    "parameter's dtype": lambda p, s: setattr(p, "data", p.detach().double()),
    "parameter's layout": lambda p, s: setattr(p, "data", torch.randn(6, 4).T),
    "parameter's device": lambda p, s: setattr(p, "__class__", _Away),
    "gradient's shape": lambda p, s: setattr(p.grad, "data", torch.randn(3)),
    "gradient's sign": lambda p, s: setattr(p, "grad", torch._neg_view(p.grad)),
    "gradient's storage": lambda p, s: setattr(p, "grad", torch._efficientzerotensor((4, 6))),
    "no gradient": lambda p, s: setattr(p, "grad", None),
    "state's length": lambda p, s: setattr(s["exp_avg"], "data", torch.randn(3)),
    "state's dtype": lambda p, s: setattr(s["exp_avg"], "data", torch.randn(4, 6).double()),
    "state's layout": lambda p, s: setattr(s["exp_avg_sq"], "data", torch.rand(6, 4).T),
    "another state": lambda p, s: s.update(exp_avg=s["exp_avg"].clone()),
    "count": lambda p, s: s.update(step=s["step"].clone()),
    "count's storage": lambda p, s: setattr(s["step"], "data", torch.tensor(7.0)),
}


class _Away(torch.nn.Parameter):
    device = property(lambda self: torch.device("meta"))


@pytest.mark.parametrize("what", SPOILED)
def test_the_fused_step_looks_again(what):
    """Kernels are told addresses alone, so nothing else may have changed since the last step."""
    params, optimizer = started(MGUPAdamW)
    known = table_of(params[:1], optimizer)
    found = known.addresses(optimizer.state)
    p, state = params[0], optimizer.state[params[0]]
    wanted = [p, p.grad, state["exp_avg"], state["exp_avg_sq"]]
    assert found.tolist() == [[x.data_ptr() for x in wanted]]
    SPOILED[what](p, state)
    assert known.addresses(optimizer.state) is None


def test_the_fused_step_keeps_no_gradients():
    """They are as large as the parameters, and new ones come at every step."""
    params, optimizer = started(MGUPAdamW)
    known = table_of(params[:1], optimizer)
    grads = [params[0].grad.data_ptr()]
    held = [x for x in vars(known).values() if isinstance(x, (list, tuple))]
    tensors = [x.data_ptr() for one in held for x in one if isinstance(x, torch.Tensor)]
    assert not set(grads) & set(tensors)


def test_the_state_may_come_in_any_order():
    """Code and kernels take arrays by their place: it is the rule's, whatever the dictionary's."""
    params, optimizer = started(MGUPAdamW)
    twins, twin = started(MGUPAdamW)
    for p in params:
        optimizer.state[p] = dict(reversed(list(optimizer.state[p].items())))
    known = table_of(params[:1], optimizer)
    assert list(known.arrays) == ["exp_avg", "exp_avg_sq"]
    for one, mine in ((optimizer, params), (twin, twins)):
        advance(one, mine, 2, start=2)
    assert same(params, twins)


def test_compiled_code_takes_the_state_by_name():
    pytest.importorskip("llvmlite", reason="the extra compiled is not installed")
    p, q = (torch.nn.Parameter(torch.ones(1 << 22)) for _ in range(2))
    optimizers = [MGUPAdamW([p]), MGUPAdamW([q])]
    for x, optimizer in zip((p, q), optimizers, strict=True):
        for i in range(3):
            x.grad = torch.randn(1 << 22, generator=torch.Generator().manual_seed(i))
            if x is q and i == 2:
                optimizer.state[q] = dict(reversed(list(optimizer.state[q].items())))
            optimizer.step()
    assert same([p], [q])


# -- what others keep there ------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before the first step", "later"])
@pytest.mark.parametrize("cls", EVERY, ids=lambda kind: kind.__name__)
def test_what_others_keep_in_the_state(cls, when):
    """timm's Lookahead keeps its slow weights there, before the first step or at the k-th."""
    params, optimizer = parameters(SHAPES), None
    twins = copy.deepcopy(params)
    optimizer, twin = cls(params), cls(twins)
    if when == "later":
        advance(optimizer, params, 1)
    slow = [p.detach().clone() for p in params]
    for p, s in zip(params, slow, strict=True):
        optimizer.state[p].update(lookahead_slow_buff=s, calls=3, other=[1, 2])
    advance(optimizer, params, 3, start=when == "later")
    advance(twin, twins, 3 + (when == "later"))
    assert same(params, twins)
    for p, q, s in zip(params, twins, slow, strict=True):
        state = optimizer.state[p]
        assert state["lookahead_slow_buff"] is s
        assert (state["calls"], state["other"]) == (3, [1, 2])
        assert state.keys() - twin.state[q].keys() == {"lookahead_slow_buff", "calls", "other"}
    again = cls(params)
    again.load_state_dict(optimizer.state_dict())
    assert again.state[params[0]]["calls"] == 3
    advance(again, params, 1)


def test_what_others_keep_for_a_parameter_that_has_not_stepped():
    params = parameters(SHAPES)
    optimizer = MGUPAdamW(params)
    for p in params:
        optimizer.state[p]["slow_buffer"] = p.detach().clone()
    give(params[:1], gradients(params[:1], 0))
    optimizer.step()
    again = MGUPAdamW(params)
    again.load_state_dict(optimizer.state_dict())
    assert list(again.state[params[1]]) == ["slow_buffer"]
    advance(again, params, 1)


def test_a_checkpoint_of_two_rules():
    """A parameter whose state is another rule's, beside one whose state is this one's."""
    params = parameters(((4, 6), (5,)))
    first = MGUPMuon(params)
    advance(first, params, 2)
    second = MGUPSGD(params)
    before = frozen(second)
    saved = {**second.state_dict(), "state": first.state_dict()["state"]}
    with pytest.raises(ValueError, match=r"parameter 1 lacks .*momentum_buffer"):
        second.load_state_dict(saved)
    assert frozen(second) == before


@pytest.mark.parametrize("cls", [MGUPLion, MGUPSGD])
@pytest.mark.parametrize("other", [torch.optim.AdamW, MGUPAdamW, torch.optim.SGD])
def test_another_rule_s_checkpoint(cls, other):
    """What the rule reads must be there; the rest stays, and the step is the rule's."""
    params = parameters(SHAPES)
    first = other(params, lr=0.1, **({"momentum": 0.9} if other is torch.optim.SGD else {}))
    advance(first, params, 2)
    wanted = "exp_avg" if cls is MGUPLion else "momentum_buffer"
    fits = all(wanted in first.state[p] for p in params)
    second, before = cls(params), frozen(cls(params))
    saved = first.state_dict()
    group = second.state_dict()["param_groups"][0]
    saved["param_groups"] = [{**group, "params": list(range(len(params)))}]
    if not fits:
        with pytest.raises(ValueError, match=f"lacks .*{wanted}"):
            second.load_state_dict(saved)
        assert frozen(second) == before
        return
    second.load_state_dict(saved)
    twins = copy.deepcopy(params)
    twin = cls(twins)
    twin.load_state_dict(
        {**saved, "state": {k: {wanted: s[wanted]} for k, s in saved["state"].items()}}
        if cls is MGUPSGD
        else saved
    )
    for one, mine in ((second, params), (twin, twins)):
        advance(one, mine, 2)
    assert same(params, twins)
    if "exp_avg_sq" in first.state[params[0]]:
        kept = second.state[params[0]]["exp_avg_sq"]
        assert same([kept], [first.state[params[0]]["exp_avg_sq"]])


def test_the_core_leaves_them_too():
    """The reference optimizer, with NumPy arrays."""
    w = {"w": np.ones(4, np.float32)}
    optimizer = core.Optimizer(core.AdamW(), core.MGUP())
    state = optimizer.init(w)
    state.arrays["w"]["slow"] = "anything"
    _, state = optimizer.step(w, w, state)
    assert state.arrays["w"]["slow"] == "anything"
    assert state.arrays["w"]["exp_avg"].shape == (4,)
