"""Many short slices (P5) are stepped some at a time, with the bits of each as if it were alone."""

from __future__ import annotations

import math

import pytest
import torch

import mgup_core as core
import mgup_torch
from mgup_core.host import blocks
from mgup_torch import MGUPSGD, MGUPAdamW, MGUPLion
from mgup_torch.executors import host
from mgup_torch.llvm import codegen
from mgup_torch.llvm.step import CompiledStep

from .inputs import POLICIES
from .support import DTYPES, advance, parameters, same

CASES = {
    "one axis": ((40, 1000), 1),
    "two axes": ((3, 4, 96), 2),
    "rows of one": ((9, 1), 1),
    "nearly a block": ((3, 32767), 1),
    "more than a block": ((3, 40000), 1),
    "none": ((0, 5), 1),
    "empty": ((5, 0), 1),
}


MODES = ["default", "sign", "adaptive", "cautious"]


def flat(x, stacked_dims):
    return x.reshape(math.prod(x.shape[:stacked_dims]), *x.shape[stacked_dims:])


def apart(params, cls, stacked_dims, **options):
    """Each slice as a parameter of its own."""
    (p,) = params
    rows = flat(p.detach(), stacked_dims)
    rows = [row.clone().requires_grad_() for row in rows]
    return rows, cls([{"params": [row]} for row in rows], **options) if rows else None


def give_both(p, rows, stacked_dims, step, special=False):
    generator = torch.Generator().manual_seed(step)
    g = torch.randn(p.shape, generator=generator)
    g = g * (torch.rand(p.shape, generator=generator) > 0.3)  # ties
    if special:
        where = torch.rand(p.shape, generator=generator)
        for i, value in enumerate((torch.nan, torch.inf, -torch.inf)):
            g[(where > i / 6) & (where < (i + 1) / 6)] = value
    p.grad = g.to(p.dtype)
    for row, mine in zip(rows, flat(p.grad, stacked_dims), strict=True):
        row.grad = mine.clone()


@pytest.mark.filterwarnings("ignore:.*none is selected")
@pytest.mark.parametrize(
    ("mode", "code"), [*((mode, "numpy") for mode in MODES), ("default", "llvm")]
)
@pytest.mark.parametrize("case", CASES)
def test_slices_as_if_alone(case, mode, code, monkeypatch):
    """P2 to P10: not finite gradients too, where rows may be lacking scores to select."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    compiled = []
    if code == "llvm":
        pytest.importorskip("llvmlite", reason="the extra compiled is not installed")
        monkeypatch.setattr(codegen, "WORTH", 0)
        monkeypatch.setattr(host, "SMALL", 0)
        run = CompiledStep._run_rows
        monkeypatch.setattr(CompiledStep, "_run_rows", lambda *x: compiled.append(x) or run(*x))
    shape, stacked_dims = CASES[case]
    params = parameters([shape])
    options = {"lr": 0.1, "weight_decay": 0.1, **POLICIES[mode]}
    reference = {**options, "implementation": "reference"}
    rows, alone = apart(params, MGUPAdamW, stacked_dims, **reference)
    together = MGUPAdamW(params, stacked_dims=stacked_dims, **options)
    for step in range(3):
        give_both(params[0], rows, stacked_dims, step, special=step == 2)
        together.step()
        if rows:
            alone.step()
    if rows:
        whole = torch.stack([row.detach() for row in rows]).reshape(shape)
        assert same([params[0]], [whole])
        for name in ("exp_avg", "exp_avg_sq"):
            whole = torch.stack([alone.state[row][name] for row in rows]).reshape(shape)
            assert same([together.state[params[0]][name]], [whole])
    short = params[0].numel() > 0 and case != "more than a block"
    assert len(compiled) == (3 if code == "llvm" and short else 0)


@pytest.mark.parametrize("options", [{}, {"maximize": True}, {"state_dtype": torch.float32}])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cls", [MGUPLion, MGUPSGD])
def test_dtypes_and_layouts(cls, dtype, options):
    """R5."""
    params = [parameters([(64, 40)], dtype)[0].detach().T.requires_grad_()]  # not contiguous
    rows, alone = apart(params, cls, 1, **options)
    together = cls(params, stacked_dims=1, **options)
    for step in range(2):
        give_both(params[0], rows, 1, step)
        together.step()
        alone.step()
    assert same([params[0]], [torch.stack([row.detach() for row in rows])])


@pytest.mark.parametrize("mode", MODES)
def test_no_loop_over_slices(mode, monkeypatch):
    """Issue 15, 5: 0.28 s for 0.01 s."""
    made, init = [], blocks.BlockStep.__init__

    def counting(self, *args, **options):
        made.append(self)
        init(self, *args, **options)

    monkeypatch.setattr(blocks.BlockStep, "__init__", counting)
    params = parameters([(2000, 8)])
    optimizer = MGUPAdamW(params, stacked_dims=1, implementation="reference", **POLICIES[mode])
    advance(optimizer, params, 1)
    assert len(made) == 1
    assert len(made[0].spans) == 1


def test_a_cache_of_scalars_has_an_end():
    """Issue 15, 5: one entry for every learning rate ever used, for ever."""
    params = parameters([(3, 4)])
    optimizer = MGUPAdamW(params)
    for i in range(1000):
        optimizer.param_groups[0]["lr"] = 1e-3 + i * 1e-6
        params[0].grad = torch.ones(3, 4)
        optimizer.step()
    known = mgup_torch.backend.host_backend(torch.float32)._scalars
    assert 0 < len(known) <= 256
    be = core.backend_for(params[0].detach().numpy())
    values = [be.scalar(i / 7) for i in range(1000)]
    assert len(be._scalars) <= 256
    assert [float(x) for x in values] == [float(be.scalar(i / 7)) for i in range(1000)]
