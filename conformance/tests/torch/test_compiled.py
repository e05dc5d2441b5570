"""Steps in host memory as machine code: the bits of the reference step, whatever the rule (N1)."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch

import mgup_core as core
import mgup_torch
from mgup_conformance.compare import check_identical
from mgup_core.host import blocks
from mgup_core.selection import bracket as threshold

from .support import array, gradients

pytest.importorskip("llvmlite", reason="the extra compiled is not installed")
from mgup_torch.executors import host
from mgup_torch.llvm import codegen as loops
from mgup_torch.llvm import jit as machine
from mgup_torch.llvm import scan, step

RULES = {
    "AdamW": core.AdamW(),
    "AdamW, no eps": core.AdamW(b1=0.0, b2=0.0, eps=0.0),
    "AdamW, paper": core.AdamW(form="paper"),
    "AdamW, published": core.AdamW(form="published"),
    "Lion": core.Lion(),
    "SGD": core.SGD(),
    "SGD, nesterov, coupled": core.SGD(nesterov=True, coupled_decay=True),
    "SGD, dampening": core.SGD(dampening=0.3),
    "Adan": core.Adan(),
    "Adan, no prox": core.Adan(no_prox=True),
    "AdaBelief": core.AdaBelief(),
    "AdaBelief, plain, coupled": core.AdaBelief(rectify=False, coupled_decay=True),
    "AdaBelief, SGD at first": core.AdaBelief(degenerated_to_sgd=False),
    "AdEMAMix": core.AdEMAMix(),
    "AdEMAMix, warmup": core.AdEMAMix(mix_warmup=4, beta3_warmup=6),
    "AnchoredSGD": core.AnchoredSGD(),
    "LionK, clip": core.LionK(kernel="clip", sharpness=3.0),
    "LionK, tanh": core.LionK(kernel="tanh", sharpness=3.0),
    "Signum": core.Signum(),
}
MODES = {
    "rank": {"tau": 0.3},
    "sign": {"mode": "sign"},
    "sign aligned": {"mode": "sign", "ties": "aligned"},
    "adaptive": {"mode": "adaptive"},
    "cautious": {"mode": "cautious"},
    "off": {"mode": "off"},
}
SPECIAL = [0.0, -0.0, 1e-44, -1e-44, 2.0**-100, -(2.0**-101), 2.0**-125, 2.0**-126, 1e-30, 1e30]
NOT_FINITE = [torch.inf, -torch.inf, torch.nan, -torch.nan, 3e38, -3e38]


@pytest.fixture
def compiled(monkeypatch) -> list[step.CompiledStep]:
    """Compile at once, in small blocks. The steps that were so taken."""
    taken = []
    run = step.CompiledStep.run
    monkeypatch.setattr(loops, "WORTH", 0)
    monkeypatch.setattr(host, "SMALL", 0)
    monkeypatch.setattr(blocks, "LEAST_BLOCK", 1 << 10)
    monkeypatch.setattr(blocks, "_LARGEST", 1 << 10)
    monkeypatch.setattr(step.CompiledStep, "run", lambda self: (taken.append(self), run(self))[1])
    return taken


def optimizer_of(rule: core.Rule, params, **kwargs):
    cls = mgup_torch.optimizer(type(rule))
    values = dict(vars(rule))
    betas = tuple(values.pop(name) for name in ("b1", "b2", "b3") if name in values)
    return cls(params, **values, **({"betas": betas} if betas else {}), **kwargs)


def hard(like: torch.Tensor, t: int) -> torch.Tensor:
    """A gradient that is fed back, so that one slip shows, with what is tied, tiny or infinite."""
    (g,) = gradients([like], t)
    g = g * 10.0 ** torch.randint(-12, 1, g.shape) + 0.1 * like.detach()
    g.view(-1)[: 20 * len(SPECIAL)] = torch.tensor(SPECIAL * 20, dtype=g.dtype)
    if t % 4 == 3:
        g.view(-1)[1500 : 1500 + len(NOT_FINITE)] = torch.tensor(NOT_FINITE, dtype=g.dtype)
    return g.to(like.dtype)


def both(rule, dtype=torch.float32, shape=(5003,), gradient=hard, steps=5, start=None, **kwargs):
    """Step compiled and by the reference, and compare all bits after each step."""
    start = torch.randn(shape).to(dtype) if start is None else start
    pair = []
    for implementation in ("auto", "reference"):
        p = torch.nn.Parameter(start.clone())
        more = {"implementation": implementation, "statistics": True, "lr": 0.02, **kwargs}
        pair.append((p, optimizer_of(rule, [p], **more)))
    for t in range(steps):
        g = gradient(pair[1][0], t)
        for p, optimizer in pair:
            p.grad = g.clone()
            optimizer.step()
        (p, optimizer), (q, reference) = pair
        check_identical("parameter", array(q), array(p), step=t)
        for name, value in reference.state[q].items():
            check_identical(name, array(value), array(optimizer.state[p][name]), step=t)
    return pair


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rule", RULES)
def test_the_bits_of_the_reference(rule, mode, dtype, compiled):
    """N1 to N6, P2, P4, P7 to P11 on hard gradients, for each elementwise rule and each form."""
    both(RULES[rule], dtype, weight_decay=0.1, **MODES[mode])
    assert len(compiled) == 5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("rule", ["AdamW", "SGD", "Lion"])
def test_twenty_steps_of_a_chaotic_run(rule, dtype, compiled):
    """N1: the gradient depends on the parameter, which one wrong bit would send elsewhere."""
    both(RULES[rule], dtype, steps=20, weight_decay=0.1)
    assert len(compiled) == 20


@pytest.mark.filterwarnings("ignore:.*none is selected")
@pytest.mark.parametrize("kwargs", [
    {"maximize": True}, {"weight_decay": 0.0}, {"stacked_dims": 1, "tau": 0.4},
    {"mode": "adaptive", "dtype": torch.bfloat16}, {"state_dtype": torch.float64},
    {"state_dtype": torch.bfloat16}, {"alpha": 1e30, "lr": 1e10, "mode": "sign"},
    {"alpha": 1e30, "lr": 1e10}, {"tau": 0.0, "gamma": 0.5}, {"tau": 1.0}, {"capturable": True},
], ids=str)  # fmt: skip
def test_other_arguments(kwargs, compiled):
    """R0, R5, P5, P7: a factor under which finite steps overflow, too."""
    both(core.AdamW(), shape=(3, 1701), **{"weight_decay": 0.1, **kwargs})
    assert compiled


def ties(like: torch.Tensor, t: int) -> torch.Tensor:
    """Four scores in all."""
    return torch.randint(-1, 3, like.shape).to(like.dtype)


@pytest.mark.parametrize("tau", [0.01, 0.2, 0.21, 0.25, 0.5, 0.74, 0.75, 0.99])
def test_ties_are_taken_in_order_across_blocks(tau, compiled):
    """P4: the last tie that is selected lies within some block."""
    zeros = torch.zeros(5003)
    pair = both(core.SGD(momentum=0.0), gradient=ties, steps=3, start=zeros, tau=tau)
    measured, expected = (optimizer.statistics()[0] for _, optimizer in pair)
    assert measured == expected
    assert measured.ties > 1


@pytest.mark.parametrize("bracket", [(9.0, 10.0), (-9.0, -8.0), (-np.inf, -9.0), (9.0, np.inf)])
@pytest.mark.parametrize("implementation", ["auto", "reference"])
def test_a_guess_that_misses_costs_only_time(bracket, implementation, compiled, monkeypatch):
    """P4, with blocks that are not kept from one pass to the next."""
    shape = (300_001,)
    start, g = torch.randn(shape), torch.randn(shape)
    whole = core.Optimizer(core.AdamW(), core.MGUP(), lr=0.1, weight_decay=0.0)
    expected, _ = whole.step([start.numpy()], [g.numpy()], whole.init([start.numpy()]))
    monkeypatch.setattr(threshold, "guess", lambda sample, share: bracket)
    p = torch.nn.Parameter(start.clone())
    p.grad = g
    mgup_torch.MGUPAdamW([p], lr=0.1, weight_decay=0.0, implementation=implementation).step()
    assert p.detach().numpy().tobytes() == expected[0].tobytes()
    assert len(compiled) == (implementation == "auto")


def test_a_gradient_in_the_memory_of_its_parameter(compiled):
    """The gradient of x^2/2 may be x itself."""
    ends = []
    for implementation in ("auto", "reference"):
        torch.manual_seed(0)
        p = torch.nn.Parameter(torch.randn(5003))
        p.grad = p.detach()
        optimizer = mgup_torch.MGUPAdamW([p], implementation=implementation)
        for _ in range(3):
            optimizer.step()
        ends.append(array(p).tobytes())
    assert ends[0] == ends[1]
    assert len(compiled) == 3


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_scan_counts_as_the_core_s_does(dtype):
    """P4: any length, any bracket, what is not a number included."""
    rng = np.random.default_rng(0)
    for length in [*range(1, 70), 1000, 4096]:
        buffer = np.full(-(-length // scan.WIDTH) * scan.WIDTH, -np.inf, dtype)
        scores = buffer[:length]
        scores[:] = rng.choice([-np.inf, -1.0, 0.0, 1.0, 2.5, np.inf, np.nan], length)
        for low, high in ((-1.0, 1.0), (-np.inf, 0.0), (0.0, np.inf), (2.5, 2.5)):
            if low == high:
                low = float(np.nextafter(dtype(high), dtype(-np.inf)))
            expected = threshold.scan(scores, low, high)
            found = scan.scan(scores, low, high, np.empty_like(buffer))
            assert found[:2] == expected[:2]
            assert found.between.tolist() == expected.between.tolist()


def test_it_compiles_when_that_pays(monkeypatch):
    """Not for a few small tensors, and not again when a rate or a factor changes."""
    monkeypatch.setattr(loops, "_stepped", loops.Counter())
    monkeypatch.setattr(host, "SMALL", 0)
    p = torch.nn.Parameter(torch.randn(1000))
    optimizer = mgup_torch.MGUPAdamW([p])
    compiled = []
    code = loops._code
    monkeypatch.setattr(loops, "_code", lambda *kind: compiled.append(kind) or code(*kind))

    def advance():
        p.grad = torch.randn(1000)
        optimizer.step()

    advance()
    assert not compiled
    monkeypatch.setattr(loops, "WORTH", 2000)
    advance()
    assert compiled
    made = machine._compiled.cache_info().misses
    (group,) = optimizer.param_groups
    for i in range(3):
        group.update(alpha=1.5 + i, gamma=0.5 / (i + 1), lr=0.1 * i, betas=(0.8, 0.9 + 0.01 * i))
        advance()
    assert machine._compiled.cache_info().misses == made


def test_what_no_target_can_spell_is_refused():
    """Where the optimizer is made, with the remedy; a rule that promises nothing may call it."""

    @dataclass(frozen=True)
    class Bent(core.SGD):
        def direction(self, be, g, w, state, t):
            return core.Direction(be.xp.tanh(state["momentum_buffer"]), a=g)

    @dataclass(frozen=True)
    class Free(Bent):
        elementwise: ClassVar[bool] = False

    p = torch.nn.Parameter(torch.ones(5))
    with pytest.raises(TypeError, match=r"Bent: be\.xp\.tanh .*elementary\.tanh"):
        mgup_torch.optimizer(Bent)([p])
    p.grad = torch.ones(5)
    mgup_torch.optimizer(Free)([p], lr=0.1, mode="off").step()
    torch.testing.assert_close(p.detach(), torch.full((5,), 1 - 0.1 * float(np.tanh(1.0))))


def test_what_a_group_s_edit_calls_is_refused_before_anything_moves():
    """A branch that the defaults did not take."""

    @dataclass(frozen=True)
    class Either(core.SGD):
        bent: bool = False

        def direction(self, be, g, w, state, t):
            u = state["momentum_buffer"]
            return core.Direction(be.xp.exp(u) if self.bent else u, a=g)

    params = [torch.nn.Parameter(torch.ones(5)) for _ in range(2)]
    optimizer = mgup_torch.optimizer(Either)([{"params": [p]} for p in params])
    for p in params:
        p.grad = torch.ones(5)
    optimizer.param_groups[1]["bent"] = True
    with pytest.raises(TypeError, match=r"Either: be\.xp\.exp"):
        optimizer.step()
    assert all(torch.equal(p, torch.ones(5)) for p in params)


def test_a_compiler_that_fails_is_named(compiled, monkeypatch):
    """Once, and the step is taken."""

    class Another(core.SGD):
        pass

    def fail(text):
        raise RuntimeError("no such processor")

    monkeypatch.setattr(loops, "compiled", fail)
    with pytest.warns(UserWarning, match="Another could not be compiled .no such processor"):
        both(Another(), steps=1)
    both(Another(), steps=2)
    assert not compiled


def test_without_llvmlite():
    """The extra is optional; and to import the package loads no compiler, not torch's either."""
    code = (
        "import sys; sys.modules['llvmlite'] = None\n"
        "import torch, mgup_torch\n"
        "print('torch._dynamo' in sys.modules)\n"
        "p = torch.ones(1 << 22).requires_grad_()\n"
        "p.grad = torch.ones(1 << 22)\n"
        "mgup_torch.MGUPSGD([p]).step()\n"
        "print(f'{p[0]:.4f} {p[-1]:.4f}')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["False", "0.9980", "0.9995"]
