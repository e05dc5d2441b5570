"""Matrices of one shape are stepped as a stack on accelerators; here the stack lies in host memory.

Matrix products of a stack may differ from those of its members by their rounding: N7.
"""

from __future__ import annotations

import pytest
import torch

import mgup_core as core
import mgup_torch
from mgup_conformance.compare import check_close
from mgup_torch import MGUPAdamW, MGUPMuon
from mgup_torch.executors import stacked as module
from mgup_torch.executors.base import Step
from mgup_torch.executors.stacked import Stacked

from .inputs import POLICIES
from .support import array, give, parameters

SHAPES = ((6, 9), (9, 6), (6, 9), (2, 5, 4), (6, 9), (2, 5, 4))
RULES = (core.Muon, core.NAMO, core.NAMOD, core.FISMO, core.M3, core.DeltaMomentum)


def gather(optimizer, params, step: int) -> list:
    generator = torch.Generator().manual_seed(step)
    give(params, [torch.randn(p.shape, generator=generator).to(p.dtype) for p in params])
    return optimizer._gather()


def step_in_stacks(optimizer, params, step: int) -> None:
    """What an optimizer does with parameters on an accelerator."""
    found = Stacked().batches(gather(optimizer, params, step))
    assert sorted(len(stack) for stack in found) == [1, 2, 3]
    for stack in found:
        with torch.no_grad():
            Stacked().run(stack, Step({}, 0))
        for task in stack:
            optimizer.state[task.param] = task.state


@pytest.mark.parametrize(
    ("rule", "mode", "dtype"),
    [
        *((rule, "default", torch.float32) for rule in RULES),
        *((core.Muon, mode, torch.float32) for mode in ("sign", "adaptive", "off")),
        (core.NAMO, "default", torch.bfloat16),
    ],
)
def test_a_stack_takes_the_steps_of_its_members(rule, mode, dtype):
    """N7, P5: a coordinate that were selected in one only would be off by a factor of four."""
    make = mgup_torch.optimizer(rule)
    alone, together = (parameters(SHAPES, dtype) for _ in range(2))
    options = {"lr": 0.02, "weight_decay": 0.1, "state_dtype": torch.float32, **POLICIES[mode]}
    first, second = make(alone, **options), make(together, **options)
    for step in range(3):
        before = [array(p).astype("float32") for p in alone]
        gather(first, alone, step)
        first.step()
        step_in_stacks(second, together, step)
        for i, (p, q) in enumerate(zip(alone, together, strict=True)):
            if dtype == torch.float32:
                moves = [array(x) - before[i] for x in (p, q)]
                check_close("update", *moves, parameter=i, step=step)
            else:  # rounded once: to the neighbour at most
                assert ((p - q).abs() <= 2.0**-7 * p.abs()).all()
            for name, value in first.state[p].items():
                torch.testing.assert_close(second.state[q][name], value, rtol=1e-4, atol=1e-6)
            with torch.no_grad():  # each step on its own: differences do not add up
                q.copy_(p)
            second.state[q] = {name: x.clone() for name, x in first.state[p].items()}


def batches(tasks) -> list:
    """As an optimizer on an accelerator: what :class:`Stacked` refuses is alone."""
    mine = [task for task in tasks if Stacked().refuses(task) is None]
    alone = [[task] for task in tasks if Stacked().refuses(task) is not None]
    return [*Stacked().batches(mine), *alone]


def test_what_is_stacked(monkeypatch):
    """Of one group, one shape, one count, and no more than fits; in order; and only matrices."""
    params = parameters(((4, 3), (4, 3), (3, 4), (4, 3), (4, 3)))
    optimizer = MGUPMuon([{"params": params[:4]}, {"params": params[4:], "lr": 0.5}])
    found = batches(gather(optimizer, params, 0))
    wanted = [[params[i] for i in stack] for stack in ([0, 1, 3], [2], [4])]
    assert [list(map(id, stack)) for stack in wanted] == [
        [id(task.param) for task in stack] for stack in found
    ]
    monkeypatch.setattr(module, "BYTES", 2 * 12 * 4)
    assert [len(stack) for stack in batches(optimizer._gather())] == [2, 1, 1, 1]
    monkeypatch.setattr(module, "BYTES", 1)
    assert [len(stack) for stack in batches(optimizer._gather())] == [1] * 5
    monkeypatch.undo()
    namo = mgup_torch.optimizer(core.NAMO)(params)
    gather(namo, params, 0)
    params[1].grad = None
    namo.step()
    assert [len(stack) for stack in batches(gather(namo, params, 1))] == [3, 1, 1]
    plain = MGUPAdamW(params)
    assert [len(stack) for stack in batches(gather(plain, params, 0))] == [1] * 5
