"""Time of an MGUP step of every rule beside MGUP-AdamW's, PyTorch on the CPU.

    python conformance/benchmarks/rules_cpu.py

Rules take turns with AdamW on the same tensors; a ratio is the median of the turns' ratios. Writes
docs/optimizers/speed.json, from which the table of rules takes them.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
import warnings
from datetime import date
from pathlib import Path

import torch

import mgup_torch
from mgup_core import rules

SHAPES = ((512, 512), (128, 1024), (1024, 128))
TURNS = 7
TARGET = Path(__file__).parents[2] / "docs/optimizers/speed.json"


def seconds(optimizer: torch.optim.Optimizer) -> float:
    """Of one step."""
    started = time.perf_counter()
    optimizer.step()
    return time.perf_counter() - started


def make(name: str) -> torch.optim.Optimizer:
    """The rule with MGUP on tensors of its own, warm."""
    torch.manual_seed(0)
    params = [torch.nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    for p in params:
        p.grad = torch.randn(p.shape)
    optimizer = getattr(mgup_torch, f"MGUP{name}")(params)
    for _ in range(3):
        optimizer.step()
    return optimizer


def main() -> int:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    names = [kind.__name__ for kind in rules.ALL]
    ratios = {"AdamW": 1.0}
    for name in names:
        if name in ratios:
            continue
        rule, adamw = make(name), make("AdamW")
        turns = [seconds(rule) / seconds(adamw) for _ in range(TURNS)]
        ratios[name] = round(statistics.median(turns), 2)
        print(f"{name:15} {ratios[name]:6.2f}", flush=True)
    shapes = ", ".join(f"{m} × {n}" for m, n in SHAPES)
    facts = {
        "date": date.today().isoformat(),
        "versions": f"torch {torch.__version__}, one thread",
        "shapes": f"tensors of {shapes}",
        "ratios": ratios,
    }
    TARGET.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
