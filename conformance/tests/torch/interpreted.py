"""Checks of the Triton kernels by Triton's interpreter, on the CPU: run by test_interpreted.py.

The interpreter is chosen when Triton is imported, by ``TRITON_INTERPRET=1``, so these have a
process of their own; without it they run on a GPU. The argument is the name of a check.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np
import pytest
import torch
import triton
import triton.language as tl

import mgup_core as core
import mgup_torch
from mgup_conformance.compare import check_identical
from mgup_core.numerics.scalars import complements, host_correction
from mgup_core.trace.ops import OPERATIONS
from mgup_kernels import codegen, layout, tuning
from mgup_kernels.apply import bias_correction
from mgup_torch.executors import fused
from mgup_torch.executors.programs import program
from mgup_torch.kernels import rank_mask
from tests.core.operations import CALLS, Namespace, as_number, expected, inputs, operands, recorded

DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
SHAPES = ((1500,), (7, 5), (3, 11, 2))


class _Here:
    """In the place of a launcher: no pinned memory, no graph."""

    def __init__(self, plan: Any, device: torch.device) -> None:
        self.plan = plan

    def upload(self) -> None:
        plan = self.plan
        plan.slice_table.copy_(torch.from_numpy(plan.rows))
        numbers = torch.from_numpy(plan.host_numbers)
        plan.numbers[: len(numbers)].copy_(numbers)

    def launch(self) -> None:
        self.plan.launch()


def _on_cpu() -> None:
    fused.unavailable = lambda device: None
    fused.Launcher = _Here


def _numbers_are_indices() -> None:
    """Triton before 3.7 takes an array of one number for an index, which NumPy 2.4 refuses."""
    from triton.runtime import interpreter

    patch = interpreter._patch_lang_tensor

    def patched(tensor: Any, *scope: Any) -> None:
        patch(tensor, *scope)
        tensor.__index__ = lambda self: self.handle.data.item()

    interpreter._patch_lang_tensor = patched


def _cycled(group: dict[str, Any], t: int) -> None:
    group.update(lr=0.02 / (t + 1), weight_decay=0.1 / (t + 1))
    group.update(alpha=2.0 + 0.01 * t, gamma=0.5 - 0.001 * t)
    if "betas" in group:
        group["betas"] = tuple(b - 0.001 * t for b in (0.9, 0.98, 0.99)[: len(group["betas"])])
    for name in ("momentum", "eps", "mix", "sharpness"):
        if group.get(name):
            group[name] *= 0.99


def _pair(
    rule: core.Rule, groups: int = 1, shapes: Any = SHAPES, **options: Any
) -> tuple[Any, Any, list[Any]]:
    cls = mgup_torch.optimizer(type(rule))
    values = dict(vars(rule))
    betas = tuple(values.pop(name) for name in ("b1", "b2", "b3") if name in values)
    values |= {"betas": betas} if betas else {}
    start = [torch.randn(shape) for shape in shapes]
    made = []
    for implementation in ("fused", "reference"):
        params = [torch.nn.Parameter(x.clone()) for x in start]
        parts = [{"params": params[i::groups]} for i in range(groups)]
        made.append(cls(parts, implementation=implementation, **values, **options))
    return *made, start


def _advance(fast: Any, slow: Any, t: int) -> None:
    for optimizer in (fast, slow):
        torch.manual_seed(t)
        for group in optimizer.param_groups:
            for p in group["params"]:
                p.grad = torch.randn(p.shape)
        optimizer.step()
    for one, other in zip(fast.param_groups, slow.param_groups, strict=True):
        for p, q in zip(one["params"], other["params"], strict=True):
            assert torch.equal(p, q), f"step {t}: {(p != q).sum()} of {p.numel()} differ"
            for name, value in slow.state[q].items():
                assert torch.equal(fast.state[p][name], value), (t, name)


def steps() -> None:
    """R7: one text for twelve steps whose values all change, with the bits of the reference."""
    _on_cpu()
    rules = [
        core.AdamW(), core.AdamW(form="paper"), core.Lion(), core.SGD(nesterov=True),
        core.AdaBelief(), core.AdEMAMix(mix_warmup=4, beta3_warmup=6), core.Adan(),
    ]  # fmt: skip
    for rule in rules:
        for options in ({}, {"mode": "adaptive"}, {"mode": "off"})[: 3 if rule == rules[0] else 1]:
            fast, slow, _ = _pair(rule, **options)
            made = []
            for t in range(12 if rule == rules[0] else 4):
                for optimizer in (fast, slow):
                    _cycled(optimizer.param_groups[0], t)
                _advance(fast, slow, t)
                plans = len(fast._fusion.step._plans)
                misses = codegen.functions.cache_info().misses
                made.append((program.made, misses, plans))
            assert made[1] == made[-1], made


def masks() -> None:
    """P4: the mask of any scores, by a plan without a rule."""
    rank_mask.Launcher = _Here
    for d in (7, 48, 1500):
        scores = np.random.default_rng(d).integers(-9, 9, (2, d)).astype(np.float32)
        for k in sorted({1, d // 3, d}):
            ranking = rank_mask._Ranking(2, d, k, torch.device(DEVICE), aligned=d % 16 == 0)
            found = ranking.mask(torch.from_numpy(scores).to(DEVICE)).cpu().numpy()
            wanted = core.rank_mask(scores, k, stacked_dims=1, method="argsort")
            assert np.array_equal(found, wanted), (d, k)


def groups() -> None:
    """Groups with other values share one plan, and each has its own numbers."""
    _on_cpu()
    fast, slow, _ = _pair(core.AdamW(), groups=3)
    for t in range(5):
        for optimizer in (fast, slow):
            for i, group in enumerate(optimizer.param_groups):
                group["betas"] = (0.9 - 0.1 * i, 0.99 - 0.01 * t)
                group["eps"] = 0.0 if i == 2 else 1e-8
        _advance(fast, slow, t)
        assert len(fast._fusion.step._launched) == 1


def one_pass() -> None:
    """P4, N1 in one pass, and where the list is too short for most blocks."""
    _on_cpu()
    for name in ("ONE_PASS", "ONE_PASS_NARROW"):
        setattr(tuning, name, 1024)
    tuning.ONE_PASS_TOTAL, tuning.ONE_PASS_LEAST = 1, 1 << 30
    rules = core.AdamW(), core.Lion(), core.AdaBelief()
    for tuning.LIST_ROOM, tuning.FILL in ((1.25, 0.95), (0.3, 1e9)):
        for rule in rules:
            fast, slow, _ = _pair(rule, shapes=((200, 100), (20_001,), (7, 5)))
            for t in range(2):
                _advance(fast, slow, t)
            plans = [one.plan for one in fast._fusion.step._launched]
            records = torch.cat([one.search_records for one in plans])
            verified = records[records[:, layout.VERIFIED] > 0]
            assert len(verified) == 2
            assert not any(one.misses.any() for one in plans)
            among = verified[:, layout.BRACKET_COUNTS] & 0xFFFFFFFF
            deferred = verified[:, layout.LIST_LENGTH] < among
            assert deferred.all() == deferred.any() == (tuning.LIST_ROOM < 1)


def repeats() -> None:
    """A step that differs in values is repeated, another is not; a refusal changes nothing."""
    _on_cpu()
    fast, slow, _ = _pair(core.SGD(), weight_decay=0.1)
    repeated = []
    for t, change in enumerate([
        {}, {"momentum": 0.8}, {"alpha": 3.0, "gamma": 0.25}, {"weight_decay": 0.2, "lr": 0.5},
        {"momentum": 0.0}, {"dampening": 0.3}, {"dampening": 0.4}, {"tau": 0.25},
        {"weight_decay": 0.0}, {},
    ]):  # fmt: skip
        for optimizer in (fast, slow):
            optimizer.param_groups[0].update(change)
        last = fast._fusion.step._last_step
        _advance(fast, slow, t)
        repeated.append(last is not None and fast._fusion.step._last_step is last)
    expected = [False, True, True, True, True, False, True, False, False, True]
    assert repeated == expected, repeated
    fast, slow, _ = _pair(core.AdamW())
    betas = [0.9, 0.99]
    for t in range(4):
        betas[0] = 0.9 - 0.1 * t
        for optimizer in (fast, slow):
            optimizer.param_groups[0]["betas"] = betas
        _advance(fast, slow, t)
    before = [p.detach().clone() for p in fast.param_groups[0]["params"]]
    for bad in ((1.0, 0.99), (0.9, 1.5), (float("nan"), 0.9)):
        fast.param_groups[0]["betas"] = bad
        with pytest.raises(ValueError, match=r"betas\[[01]\]=.* is outside"):
            fast.step()
    after = fast.param_groups[0]["params"]
    assert all(torch.equal(p, q) for p, q in zip(before, after, strict=True))


@triton.jit
def _corrected(steps, rows, out, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(out + i, bias_correction(tl.load(steps + i), rows + i * 31, i < N))


def corrections() -> None:
    """N3: at every step and beta, also near 2^31 steps."""
    betas = [0.0, 0.1, 0.5, 0.9, 0.99, 0.999, 0.99999, 1 - 2.0**-30]
    counts = [1, 2, 3, 5, 10, 1000, 12345, 10**7, 2**31 - 1]
    cases = [(b, t) for b in betas for t in counts][:64]
    rows = torch.tensor(np.array([complements(b) for b, _ in cases], np.float32), device=DEVICE)
    steps, out = torch.tensor([t for _, t in cases], device=DEVICE), torch.empty(64, device=DEVICE)
    _corrected[(1,)](steps, rows, out, N=64, enable_fp_fusion=False)
    expected = [host_correction(np.float32, b, t) for b, t in cases]
    np.testing.assert_array_equal(out.cpu().numpy(), np.array(expected, np.float32))


def _value(symbol: Any) -> Any:
    """What the kernels make of a symbol."""
    writer = codegen._Writer()
    for one, name in zip(inputs("float32"), ("w", "g", "z"), strict=True):
        writer.assign(one, f"tl.load({name} + at)")
    # The same objects as in the symbol, by name.
    found = {s.args[0]: s for s in codegen.needed([symbol]) if s.op == "input"}
    writer.names |= {s: f"x{'wgz'.index(name)}" for name, s in found.items()}
    writer.lines.insert(0, "at = tl.program_id(0) * 1024 + tl.arange(0, 1024)")
    writer.write([symbol])
    writer.lines.append(f"tl.store(out + at, {writer.names[symbol]})")
    kernel = codegen.define(writer.function("apply(w, g, z, out)"))["apply"]
    arrays = [torch.tensor(x, device=DEVICE) for x in operands("float32")]
    out = torch.empty_like(arrays[0])
    kernel[(out.numel() // 1024,)](*arrays, out, enable_fp_fusion=False)
    return out.cpu().numpy()


def operations() -> None:
    """Every operation, and everything that a rule may write, with NumPy's bits."""
    assert set(codegen.SPELLED) == set(OPERATIONS)
    for name in OPERATIONS:
        found, wanted = _value(recorded(name, "float32")), expected(name, "float32")
        known = ~np.isnan(operands("float32")[0]) if name == "signbit" else slice(None)
        check_identical(name, wanted[known], found[known])
    for name, call in CALLS.items():
        w, g, _ = inputs("float32")
        found = _value(as_number(call(Namespace(), g, w), "float32"))
        w, g, _ = operands("float32")
        check_identical(name, np.asarray(call(np, g, w)), found)


if __name__ == "__main__":
    torch.manual_seed(0)
    np.seterr(all="ignore")
    if DEVICE == "cpu":
        _numbers_are_indices()
    globals()[sys.argv[1]]()
