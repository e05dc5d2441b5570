"""Gradients that autograd hands over with their minus signs undone (P1, N1; issue 15, item 16).

``(z.conj() * c).abs()`` of complex intermediates leaves real gradients with the negative bit:
their memory holds the opposite, and what reads memory crashed in the middle of a step.
"""

from __future__ import annotations

import copy

import pytest
import torch

import mgup_core
import mgup_torch
from mgup_torch import MGUP, MKOR, MGUPAdamW, MGUPMuon

from .support import DEVICES, gradients, parameters, same

SHAPES = ((6, 5), (7,), (3, 4, 2))
CLASSES = sorted(
    name
    for name, kind in vars(mgup_torch).items()
    if isinstance(kind, type)
    and issubclass(kind, mgup_torch.RuleOptimizer)
    and kind is not mgup_torch.RuleOptimizer
)


def lazy(x):
    """The same values, the memory holding their opposites."""
    x = torch._neg_view(-x)
    assert x.is_neg()
    return x


def shapes_for(cls):
    rule = cls.rule_class()
    return [shape for shape in SHAPES if rule.accepts(shape) is None]


def trained(make, shapes, change, steps=3, device="cpu", dtype=torch.float32):
    params = parameters(shapes, dtype, device=device)
    optimizer = make(params)
    for i in range(steps):
        for p, g in zip(params, gradients(params, i), strict=True):
            p.grad = change(g)
        optimizer.step()
    return params, optimizer


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", CLASSES)
def test_every_rule(name, device):
    cls = getattr(mgup_torch, name)
    shapes = SHAPES if cls is MGUPMuon else shapes_for(cls)
    expected, _ = trained(cls, shapes, lambda g: g, device=device)
    params, _ = trained(cls, shapes, lazy, device=device)
    assert same(params, expected)


@pytest.mark.parametrize(
    "kwargs",
    [
        {"maximize": True},
        {"mode": "adaptive"},
        {"statistics": True},
        {"implementation": "reference"},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_every_path(kwargs, dtype):
    def make(params):
        return MGUPAdamW(params, **kwargs)

    expected, _ = trained(make, SHAPES, lambda g: g, dtype=dtype)
    params, _ = trained(make, SHAPES, lazy, dtype=dtype)
    assert same(params, expected)


@pytest.mark.parametrize("inner", [torch.optim.AdamW, torch.optim.SGD])
def test_the_wrapper(inner):
    def make(params):
        return MGUP(inner(params, lr=0.01))

    expected, _ = trained(make, SHAPES, lambda g: g)
    params, _ = trained(make, SHAPES, lazy)
    assert same(params, expected)


def test_compiled():
    def make(params):
        optimizer = MGUPAdamW(params)
        optimizer.step = torch.compile(optimizer.step, backend="eager")
        return optimizer

    expected, _ = trained(make, SHAPES, lambda g: g)
    params, _ = trained(make, SHAPES, lazy)
    assert same(params, expected)


def test_mkor():
    """Its gradients pass through products before anything else."""
    torch.manual_seed(0)
    first = torch.nn.Linear(5, 4)
    second = copy.deepcopy(first)
    for model, change in ((first, lambda g: g), (second, lazy)):
        generator = torch.Generator().manual_seed(1)
        mkor = MKOR(model)
        optimizer = mkor.precede(MGUPAdamW(model.parameters()))
        for _ in range(3):
            model(torch.randn(3, 5, generator=generator)).square().sum().backward()
            for p in model.parameters():
                p.grad = change(p.grad)
            optimizer.step()
            optimizer.zero_grad()
    assert same(first.parameters(), second.parameters())


def test_sam_gs():
    tasks = [gradients(parameters(SHAPES), i) for i in range(3)]
    surgery = mgup_core.SAMGS()
    expected, _ = surgery.aggregate(tasks, surgery.init(tasks))
    undone = [[lazy(g) for g in task] for task in tasks]
    found, _ = surgery.aggregate(undone, surgery.init(undone))
    assert same(found, expected)


def test_out_of_autograd():
    """The public example: a loss through conjugates of complex numbers."""
    w = torch.nn.Parameter(torch.tensor([0.5, -1.5, 2.0]))
    optimizer = MGUPAdamW([w])
    z = torch.complex(torch.zeros_like(w), w)
    (z.conj().imag * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    before = w.detach().clone()
    optimizer.step()
    assert torch.equal(torch.sign(before - w.detach()), torch.full((3,), -1.0))


def test_a_parameter_with_undone_signs():
    """A leaf may be a view of a conjugate; the step is taken in its memory."""
    z = torch.randn(6, 5, dtype=torch.complex64)
    p = z.conj().imag.requires_grad_()
    q = p.detach().clone().requires_grad_()
    assert p.is_neg()
    assert not q.is_neg()
    for w in (p, q):
        optimizer = MGUPAdamW([w], lr=0.1)
        for i in range(3):
            w.grad = gradients([q], i)[0]
            optimizer.step()
    assert p.is_neg()
    assert same([p], [q])
