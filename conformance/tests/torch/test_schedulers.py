"""Every scheduler of torch.optim.lr_scheduler, with the learning rate a float or a tensor (R7)."""

from __future__ import annotations

import pytest
import torch
from torch.optim import lr_scheduler as schedulers

import mgup_core as core
from mgup_torch import MGUPSGD, MGUPAdamW, MGUPLion, MGUPMuon

from .support import Reference, give, gradients, loss_of, parameters, regression

SCHEDULERS = {
    "StepLR": lambda o: schedulers.StepLR(o, 2, 0.3),
    "MultiStepLR": lambda o: schedulers.MultiStepLR(o, [1, 3], 0.3),
    "LambdaLR": lambda o: schedulers.LambdaLR(o, lambda i: 1 / (1 + i)),
    "MultiplicativeLR": lambda o: schedulers.MultiplicativeLR(o, lambda i: 0.7),
    "ConstantLR": lambda o: schedulers.ConstantLR(o, 0.3, 2),
    "LinearLR": lambda o: schedulers.LinearLR(o, 0.1, 1.0, 4),
    "ExponentialLR": lambda o: schedulers.ExponentialLR(o, 0.6),
    "CosineAnnealingLR": lambda o: schedulers.CosineAnnealingLR(o, 5),
    "CosineAnnealingWarmRestarts": lambda o: schedulers.CosineAnnealingWarmRestarts(o, 3),
    "PolynomialLR": lambda o: schedulers.PolynomialLR(o, 6, 2.0),
    "CyclicLR": lambda o: schedulers.CyclicLR(o, 1e-3, 0.1, 2, cycle_momentum=False),
    "OneCycleLR": lambda o: schedulers.OneCycleLR(o, 0.1, total_steps=8, cycle_momentum=False),
    "ReduceLROnPlateau": lambda o: schedulers.ReduceLROnPlateau(o, patience=1, factor=0.3),
    "SequentialLR": lambda o: schedulers.SequentialLR(
        o, [schedulers.LinearLR(o, 0.1, 1.0, 2), schedulers.ExponentialLR(o, 0.5)], [2]
    ),
    "ChainedScheduler": lambda o: schedulers.ChainedScheduler(
        [schedulers.ConstantLR(o, 0.3, 2), schedulers.ExponentialLR(o, 0.5)]
    ),
}
LEARNING_RATES = {"float": lambda: 0.05, "tensor": lambda: torch.tensor(0.05)}


def test_none_is_forgotten():
    """A scheduler that a later PyTorch brings must be added here."""
    kinds = {
        name
        for name, cls in vars(schedulers).items()
        if isinstance(cls, type) and issubclass(cls, schedulers.LRScheduler) and name[0] != "_"
    }
    assert kinds - {"LRScheduler"} == set(SCHEDULERS)


def tick(scheduler) -> None:
    plateau = isinstance(scheduler, schedulers.ReduceLROnPlateau)
    scheduler.step(*((1.0,) if plateau else ()))


@pytest.mark.parametrize("kind", LEARNING_RATES)
@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize(
    ("cls", "rule"), [(MGUPAdamW, core.AdamW()), (MGUPLion, core.Lion()), (MGUPSGD, core.SGD())]
)
def test_scheduled(name, kind, cls, rule):
    """The rates are those that the scheduler gives torch's SGD, and each step uses its own."""
    params = parameters()
    optimizer = cls(params, lr=LEARNING_RATES[kind](), weight_decay=0.1)
    twin = torch.optim.SGD(parameters(), lr=LEARNING_RATES[kind]())
    reference = Reference(params, rule, core.MGUP(), weight_decay=0.1)
    ours, theirs = SCHEDULERS[name](optimizer), SCHEDULERS[name](twin)
    rates = []
    for step in range(6):
        rate = float(optimizer.param_groups[0]["lr"])
        assert rate == float(twin.param_groups[0]["lr"])
        rates.append(rate)
        grads = gradients(params, step)
        give(params, grads)
        optimizer.step()
        twin.step()
        reference.step(grads, lr=rate)
        reference.check(params, optimizer, step=step)
        tick(ours)
        tick(theirs)
    assert len(set(rates)) > 1, "the rate never moved"


@pytest.mark.parametrize("name", ["CyclicLR", "OneCycleLR"])
@pytest.mark.parametrize(
    ("cls", "twin_class", "key"),
    [
        (MGUPAdamW, torch.optim.AdamW, "betas"),
        (MGUPSGD, torch.optim.SGD, "momentum"),
        (MGUPLion, torch.optim.AdamW, "betas"),
        (MGUPMuon, torch.optim.Muon, "momentum"),
    ],
)
def test_momentum_cycles_too(name, cls, twin_class, key):
    make = {
        "CyclicLR": lambda o: schedulers.CyclicLR(o, 1e-3, 0.1, 2),
        "OneCycleLR": lambda o: schedulers.OneCycleLR(o, 0.1, total_steps=8),
    }[name]
    options = {} if key == "betas" else {"momentum": 0.9}
    params, others = parameters(((4, 6),)), parameters(((4, 6),))
    optimizer, twin = cls(params, lr=0.05, **options), twin_class(others, lr=0.05, **options)
    ours, theirs = make(optimizer), make(twin)
    seen = set()
    for step in range(5):
        first = [o.param_groups[0][key] for o in (optimizer, twin)]
        first = [v[0] if key == "betas" else v for v in first]
        assert first[0] == first[1]
        seen.add(first[0])
        for p, q in zip(params, others, strict=True):
            p.grad = q.grad = gradients(params, step)[0]
        optimizer.step()
        twin.step()
        ours.step()
        theirs.step()
    assert len(seen) > 2


def test_cycled_beta_is_used():
    """A beta that moves between steps is the rule's beta of that step."""
    params = parameters()
    optimizer = MGUPAdamW(params, lr=0.05)
    states, arrays = None, None
    for step, b1 in enumerate((0.9, 0.7, 0.85)):
        optimizer.param_groups[0]["betas"] = (b1, 0.999)
        reference = Reference(params, core.AdamW(b1), core.MGUP(), lr=0.05)
        if states is not None:
            reference.params, reference.state = arrays, states
        grads = gradients(params, step)
        give(params, grads)
        optimizer.step()
        reference.step(grads)
        reference.check(params, optimizer, step=step)
        arrays, states = reference.params, reference.state


def test_scheduler_checkpoint_goes_on():
    """Optimizer and scheduler restored together continue as if never interrupted."""

    def fresh():
        model, x, y = regression()
        matrices = [p for p in model.parameters() if p.ndim > 1]
        optimizer = MGUPAdamW(matrices, lr=0.05)
        return model, x, y, optimizer, schedulers.OneCycleLR(optimizer, 0.1, total_steps=10)

    def train(model, x, y, optimizer, scheduler, steps):
        for _ in range(steps):
            optimizer.zero_grad()
            loss_of(model, x, y).backward()
            optimizer.step()
            scheduler.step()

    model, x, y, optimizer, scheduler = fresh()
    train(model, x, y, optimizer, scheduler, 4)
    saved = [s.state_dict() for s in (model, optimizer, scheduler)]
    saved = torch.utils._pytree.tree_map(
        lambda v: v.clone() if isinstance(v, torch.Tensor) else v, saved
    )
    train(model, x, y, optimizer, scheduler, 4)

    other, x, y, optimizer2, scheduler2 = fresh()
    for part, state in zip((other, optimizer2, scheduler2), saved, strict=True):
        part.load_state_dict(state)
    train(other, x, y, optimizer2, scheduler2, 4)
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(p, q)
    assert scheduler.get_last_lr() == scheduler2.get_last_lr()


def test_tensor_lr_is_kept_a_tensor():
    """Schedulers write into it, so whoever holds it sees the rate."""
    rate = torch.tensor(0.05)
    params = parameters()
    optimizer = MGUPAdamW(params, lr=rate)
    scheduler = schedulers.ExponentialLR(optimizer, 0.5)
    give(params, gradients(params, 0))
    optimizer.step()
    scheduler.step()
    assert isinstance(optimizer.param_groups[0]["lr"], torch.Tensor)
    assert torch.equal(optimizer.param_groups[0]["lr"], torch.tensor(0.05) * 0.5)
