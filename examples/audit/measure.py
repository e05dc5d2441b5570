"""What the audit asks of a device before it believes it: the same steps, and how long they take."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

import mgup_core
from audit.config import Experiment
from audit.plan import Cell
from audit.tasks import Where
from audit.training import Training, device_name

CHECKED = 30
TURNS, STEPS = 5, 40
TWIN = "torch.optim.AdamW, fused"


def check(experiments: Sequence[Experiment], where: Where, console: Console, **_: Any) -> int:
    """Train every arm for some steps by its fastest path and by the reference, and compare bits.

    The gradients of both are those of the fastest path's model, so that they cannot drift apart.
    """
    wrong = 0
    for one in experiments:
        for arm in one.arms:
            cell = Cell(one.name, arm, one.start(arm) or 1e-3, one.betas1[0], one.decays[0], (1, 2))
            different, executors = _compare(one, cell, where)
            wrong += different > 0
            console.print(f"{one.name} {arm}: {different} coordinates differ after {CHECKED} steps "
                          f"({', '.join(sorted(executors))})", markup=False)  # fmt: skip
    return min(wrong, 1)


def _compare(one: Experiment, cell: Cell, where: Where) -> tuple[int, set[str]]:
    fast, slow = Training(one, cell, where), Training(one, cell, where, implementation="reference")
    executors: set[str] = set()
    forward_backward = fast.begin()
    for step in range(min(CHECKED, fast.task.steps)):
        forward_backward()
        for a, b in zip(fast.model.parameters(), slow.model.parameters(), strict=True):
            assert a.grad is not None
            b.grad = a.grad.clone()
        if not step:
            rows = fast.optimizer.explain()  # type: ignore[attr-defined]
            executors = {fast.execution, *(str(row.executor) for row in rows)}
        fast.optimizer.step()
        slow.optimizer.step()
    pairs = zip(fast.model.parameters(), slow.model.parameters(), strict=True)
    return sum(int((a != b).sum()) for a, b in pairs), executors


def steps(experiments: Sequence[Experiment], where: Where, console: Console, **_: Any) -> int:
    """Milliseconds a step of one model of each arm, alone on the device, in turns; times.json."""
    rows = []
    for one in experiments:
        for arm, times in _timed(one, where).items():
            median = statistics.median(times)
            rows.append({
                "experiment": one.name, "arm": arm, "stacked": 1,
                "milliseconds": round(median, 4),
                "least": round(min(times), 4), "most": round(max(times), 4),
            })  # fmt: skip
            console.print(f"{one.name} {arm}: {median:.3f} ms a step")
    said = {"device": device_name(torch.device(where.device)), "torch": torch.__version__,
            "mgup": mgup_core.__version__, "commit": where.commit, "steps": STEPS, "turns": TURNS,
            "rows": rows}  # fmt: skip
    Path(where.folder).mkdir(parents=True, exist_ok=True)
    (Path(where.folder) / "times.json").write_text(json.dumps(said, indent=1) + "\n", "utf-8")
    return 0


def _timed(one: Experiment, where: Where) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    training = {}
    for arm in one.arms:
        cell = Cell(one.name, arm, one.start(arm) or 1e-3, one.betas1[0], one.decays[0],
                    (1,))  # fmt: skip
        training[arm] = Training(one, cell, where)
    training[TWIN] = Training(one, cell._replace(arm="adamw"), where)
    plain = [dict(group) for group in training[TWIN].optimizer.param_groups]
    training[TWIN].optimizer = torch.optim.AdamW(
        [{"params": group["params"], "weight_decay": group["weight_decay"]} for group in plain],
        lr=cell.lr, betas=(cell.beta1, one.beta2), fused=True,
    )  # fmt: skip
    passes = {arm: made.begin() for arm, made in training.items()}
    for turn in range(TURNS + 1):
        for arm, made in training.items():
            count = min(STEPS, made.task.steps)
            milliseconds = _some(made, passes[arm], count) / count
            if turn:  # the first one warms up
                found.setdefault(arm, []).append(milliseconds)
    return found


def _some(made: Training, forward_backward: Callable[[], None], count: int) -> float:
    """Milliseconds of some steps."""
    _wait(made.device)
    made.step.zero_()
    started = time.perf_counter()
    for _ in range(count):
        forward_backward()
        made.optimizer.step()
    _wait(made.device)
    return 1e3 * (time.perf_counter() - started)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
