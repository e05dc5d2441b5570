"""Time of a step of every rule beside AdamW's, with MGUP and plain, PyTorch on the CPU.

    python conformance/benchmarks/rules_cpu.py              all rules
    python conformance/benchmarks/rules_cpu.py SOAP Lion    these again, the others as they were

A rule with MGUP takes turns with MGUP-AdamW on the same tensors, a plain one with
``torch.optim.AdamW``. A turn is a step of both, or ten in alternation where a rule turns its bases
at every tenth; a ratio is the median of the turns' ratios. Times are the process's own, which other
programs on the machine disturb little; how much, the ratio of torch's AdamW to itself says. Writes
docs/optimizers/speed.json, from which the tables of rules take them (``docs/rules_table.py``,
``docs/collection.py``).
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from datetime import date
from functools import partial
from pathlib import Path

import torch

import mgup_torch
from mgup_core import rules

SHAPES = ((512, 512), (128, 1024), (1024, 128))
TURNS, ENOUGH = 15, 8.0
"""Turns, or at least three that take so many seconds together."""
TARGET = Path(__file__).parents[2] / "docs/optimizers/speed.json"


Make = Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer]


def warm(make: Make) -> torch.optim.Optimizer:
    """An optimizer of tensors of its own."""
    torch.manual_seed(0)
    params = [torch.nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    for p in params:
        p.grad = torch.randn(p.shape)
    optimizer = make(params)
    for _ in range(3):
        optimizer.step()
    return optimizer


def ratio(rule: Make, other: Make, steps: int) -> float:
    """Of the times of so many steps."""
    pair = warm(rule), warm(other)
    turns: list[float] = []
    began = time.process_time()
    while len(turns) < 3 or (len(turns) < TURNS and time.process_time() - began < ENOUGH):
        seconds = [0.0, 0.0]
        for _ in range(steps):
            for i, optimizer in enumerate(pair):
                started = time.process_time()
                optimizer.step()
                seconds[i] += time.process_time() - started
        turns.append(seconds[0] / seconds[1])
    return round(statistics.median(turns), 2)


def main(again: Sequence[str]) -> int:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    known = json.loads(TARGET.read_text(encoding="utf-8"))
    ratios: dict[str, dict[str, float]] = {"ratios": {}, "plain": {}}
    for kind in rules.ALL:
        name = kind.__name__
        make = getattr(mgup_torch, f"MGUP{name}")
        steps = getattr(kind, "precondition_frequency", 1)
        pairs: dict[str, tuple[Make, Make]] = {
            "ratios": (make, mgup_torch.MGUPAdamW),
            "plain": (partial(make, mode="off"), torch.optim.AdamW),
        }
        for key, pair in pairs.items():
            old = bool(again) and name not in again
            ratios[key][name] = known[key][name] if old else ratio(*pair, steps)
        print(f"{name:18} {ratios['ratios'][name]:7.2f} {ratios['plain'][name]:7.2f}", flush=True)
    shapes = ", ".join(f"{m} × {n}" for m, n in SHAPES)
    facts = {
        "date": date.today().isoformat(),
        "versions": f"torch {torch.__version__}, one thread",
        "shapes": f"tensors of {shapes}",
        "load": f"load average {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores",
        "itself": ratio(torch.optim.AdamW, torch.optim.AdamW, 1),
        **ratios,
    }
    TARGET.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
