"""R7: nothing compiles, and every bit is right, when all values change at every step."""

from __future__ import annotations

import copy

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend
from torch.optim import lr_scheduler as schedulers

import mgup_core as core
from mgup_core.host import blocks
from mgup_torch import MGUPSGD, MGUPAdamW, MGUPLion, MGUPMuon
from mgup_torch.executors import host

from .support import Reference, array, frozen, give, gradients, parameters, same

SHAPES = ((6, 5), (4, 3, 2))


def compiled_code():
    """The modules that compile steps in host memory."""
    pytest.importorskip("llvmlite", reason="the extra compiled is not installed")
    from mgup_torch.llvm import codegen as loops
    from mgup_torch.llvm import jit as machine

    return loops, machine


def cycled(optimizer, t: int) -> None:
    """Another value of everything that may have one at each step."""
    for group in optimizer.param_groups:
        group.update(
            lr=0.02 / (t + 1),
            weight_decay=0.1 / (t + 1),
            alpha=2.0 + 0.01 * t,
            gamma=0.5 - 0.001 * t,
        )
        if "betas" in group:
            group["betas"] = (0.9 - 0.001 * t, 0.99 - 0.0001 * t)
        if "momentum" in group:
            group["momentum"] = 0.9 - 0.001 * t
        if "eps" in group:
            group["eps"] = 1e-8 * (t + 1)


def rule_at(optimizer) -> core.Rule:
    return optimizer._rule(optimizer.param_groups[0])


class Followed:
    """The core's whole step, with the optimizer's rule and policy of each step."""

    def __init__(self, optimizer, params) -> None:
        self.optimizer, self.params = optimizer, [array(p) for p in params]
        self.state = core.Optimizer(rule_at(optimizer), core.MGUP()).init(self.params)

    def step(self, grads) -> None:
        (group,) = self.optimizer.param_groups
        policy = core.MGUP(group["tau"], group["alpha"], group["gamma"])
        rates = {"lr": group["lr"], "weight_decay": group["weight_decay"]}
        whole = core.Optimizer(rule_at(self.optimizer), policy, **rates)
        self.params, self.state = whole.step(self.params, [array(g) for g in grads], self.state)

    def check(self, params, t: int) -> None:
        for p, expected in zip(params, self.params, strict=True):
            assert array(p).tobytes() == expected.tobytes(), f"step {t}"


@pytest.mark.parametrize("cls", [MGUPAdamW, MGUPLion, MGUPSGD])
@pytest.mark.parametrize("implementation", ["auto", "reference"])
def test_fifty_steps_in_host_memory(cls, implementation, monkeypatch):
    """Blocks are recorded once, and loops compiled once."""
    loops, machine = compiled_code()
    monkeypatch.setattr(loops, "WORTH", 0)
    monkeypatch.setattr(host, "SMALL", 0)
    params = parameters(SHAPES)
    optimizer = cls(params, implementation=implementation)
    cycled(optimizer, 0)
    followed, made = Followed(optimizer, params), []
    for t in range(50):
        cycled(optimizer, t)
        grads = gradients(params, t)
        give(params, grads)
        optimizer.step()
        followed.step(grads)
        followed.check(params, t)
        made.append((blocks._replay.made, loops._code.made, machine._compiled.cache_info().misses))
    assert made[1] == made[-1]


@pytest.mark.parametrize("name", ["OneCycleLR", "CyclicLR"])
@pytest.mark.parametrize("cls", [MGUPAdamW, MGUPSGD, MGUPLion])
def test_one_cycle_by_its_default(name, cls, monkeypatch):
    """It cycles betas, or the momentum: nothing compiles after the second step."""
    loops, machine = compiled_code()
    monkeypatch.setattr(loops, "WORTH", 0)
    monkeypatch.setattr(host, "SMALL", 0)
    params = parameters(SHAPES)
    optimizer = cls(params, weight_decay=0.1, alpha=2.0, gamma=0.5)
    scheduler = {
        "OneCycleLR": lambda o: schedulers.OneCycleLR(o, 0.1, total_steps=60),
        "CyclicLR": lambda o: schedulers.CyclicLR(o, 1e-3, 0.1, 7),
    }[name](optimizer)
    followed, made, seen = Followed(optimizer, params), [], set()
    for t in range(50):
        grads = gradients(params, t)
        give(params, grads)
        seen.add(rule_at(optimizer))
        optimizer.step()
        followed.step(grads)
        followed.check(params, t)
        made.append((blocks._replay.made, loops._code.made, machine._compiled.cache_info().misses))
        scheduler.step()
    assert len(seen) > 5
    assert made[1] == made[-1]


@pytest.mark.parametrize("betas", [(1.0, 0.99), (0.9, 1.5), (-0.1, 0.99), (float("nan"), 0.9)])
@pytest.mark.parametrize("implementation", ["auto", "reference"])
def test_betas_out_of_range_are_refused(betas, implementation):
    """Before anything changes, with the argument's name, its value and its range."""
    params = parameters(SHAPES)
    optimizer = MGUPAdamW(
        [{"params": params[:1]}, {"params": params[1:]}], implementation=implementation
    )
    for t in range(3):
        give(params, gradients(params, t))
        optimizer.step()
    optimizer.param_groups[1]["betas"] = betas
    before, held = frozen(optimizer), [p.detach().clone() for p in params]
    give(params, gradients(params, 3))
    with pytest.raises(ValueError, match=r"betas\[[01]\]=.* is outside \[0, 1\)"):
        optimizer.step()
    assert same(params, held)
    assert frozen(optimizer) == before


@pytest.fixture
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


# AdamW has all kinds of values: betas by complements, eps, decay; SGD only some of them.
@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("cls", [MGUPAdamW, pytest.param(MGUPSGD, marks=pytest.mark.slow)])
def test_fifty_steps_of_a_compiled_graph(cls):
    """N2 and N3 inside the graph: float64 scalars, each rounded once."""
    params = parameters(SHAPES)
    optimizer = cls(params)
    counter = CompileCounterWithBackend("inductor")
    step = torch.compile(optimizer.step, backend=counter)
    cycled(optimizer, 0)
    followed, graphs = Followed(optimizer, params), []
    for t in range(50):
        cycled(optimizer, t)
        grads = gradients(params, t)
        give(params, grads)
        step()
        followed.step(grads)
        followed.check(params, t)
        graphs.append(counter.frame_count)
    assert graphs[0] > 0, "nothing was compiled"
    assert graphs[1] == graphs[-1], f"recompiled: {graphs} graphs after each step"


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_compiler")
def test_a_compiled_muon():
    """A rule that is not elementwise, too, where it only adds and multiplies its floats."""
    params = parameters(((6, 5),))
    optimizer = MGUPMuon(params, momentum=0.9)
    counter = CompileCounterWithBackend("inductor")
    step, graphs = torch.compile(optimizer.step, backend=counter), []
    for t in range(10):
        cycled(optimizer, t)
        give(params, gradients(params, t))
        step()
        graphs.append(counter.frame_count)
    assert graphs[1] == graphs[-1], f"recompiled: {graphs} graphs after each step"


@pytest.mark.slow
@pytest.mark.usefixtures("fresh_compiler")
def test_a_field_that_a_rule_compares_is_a_constant_of_its_graph():
    """SGD's dampening: right at each value, by a graph for each."""
    params, twins = parameters(SHAPES), parameters(SHAPES)
    optimizer, eager = MGUPSGD(params), MGUPSGD(twins)
    step = torch.compile(optimizer.step)
    for t, dampening in enumerate((0.0, 0.0, 0.3, 0.0, 0.4)):
        for o in (optimizer, eager):
            o.param_groups[0]["dampening"] = dampening
        grads = gradients(params, t)
        give(params, grads)
        give(twins, copy.deepcopy(grads))
        step()
        eager.step()
        assert same(params, twins)


@pytest.mark.parametrize("cls", [MGUPAdamW, MGUPLion, MGUPSGD])
def test_decay_from_zero_and_back(cls, monkeypatch):
    """R0 has another form without decay; each is made once."""
    loops, _ = compiled_code()
    monkeypatch.setattr(loops, "WORTH", 0)
    monkeypatch.setattr(host, "SMALL", 0)
    params = parameters(SHAPES)
    optimizer = cls(params, weight_decay=0.0, alpha=2.0, gamma=0.5)
    followed, made = Followed(optimizer, params), []
    for t in range(8):
        optimizer.param_groups[0]["weight_decay"] = 0.1 * (t % 2)
        grads = gradients(params, t)
        give(params, grads)
        optimizer.step()
        followed.step(grads)
        followed.check(params, t)
        made.append(loops._code.made)
    assert made[1] == made[-1]


def test_betas_written_into_a_list():
    """The values are looked at, not the list that holds them."""
    params = parameters(SHAPES)
    optimizer = MGUPAdamW(params, weight_decay=0.1, betas=(0.9, 0.99))
    optimizer.param_groups[0].update(betas=[0.9, 0.99], alpha=2.0, gamma=0.5)
    followed = Followed(optimizer, params)
    for t in range(4):
        optimizer.param_groups[0]["betas"][0] = 0.9 - 0.1 * t
        grads = gradients(params, t)
        give(params, grads)
        optimizer.step()
        followed.step(grads)
        followed.check(params, t)


def test_a_tensor_learning_rate_is_read_at_each_step():
    params = parameters(SHAPES)
    optimizer = MGUPAdamW(params, lr=torch.tensor(0.05))
    reference = Reference(params, core.AdamW(), core.MGUP())
    for t in range(3):
        optimizer.param_groups[0]["lr"].fill_(0.05 / (t + 1))
        grads = gradients(params, t)
        give(params, grads)
        optimizer.step()
        reference.step(grads, lr=float(optimizer.param_groups[0]["lr"]))
        reference.check(params, optimizer, step=t)
