"""What the faults strike: a small run, and a child process."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import torch

import mgup_torch

KINDS = [mgup_torch.MGUPAdamW, mgup_torch.MGUPLion, mgup_torch.MGUPSGD, mgup_torch.MGUPAdan]
SHAPES = [(4, 6), (5,), (5003,), (33, 40)]
STEPS = 12


class Run:
    """A small run whose gradients depend on the parameters, and on the number of the step."""

    def __init__(self, seed: int, shapes: list[tuple[int, ...]] = SHAPES) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.params = [torch.randn(s, generator=generator).requires_grad_() for s in shapes]
        self.optimizer = KINDS[seed % len(KINDS)](self.params, lr=0.02, weight_decay=0.1)
        self.taken = 0

    def give(self) -> None:
        generator = torch.Generator().manual_seed(1000 + self.taken)
        for p in self.params:
            noise = torch.randn(p.shape, generator=generator)
            p.grad = 0.1 * p.detach() + noise

    def step(self) -> None:
        self.give()
        self.optimizer.step()
        self.taken += 1

    def saved(self) -> dict[str, Any]:
        return {
            "params": [p.detach().clone() for p in self.params],
            "optimizer": self.optimizer.state_dict(),
            "taken": self.taken,
        }

    def load(self, saved: dict[str, Any]) -> None:
        with torch.no_grad():
            for p, x in zip(self.params, saved["params"], strict=True):
                p.copy_(x)
        self.optimizer.load_state_dict(saved["optimizer"])
        self.taken = saved["taken"]

    def bits(self) -> list[bytes]:
        """Of each parameter with its state."""
        return [
            b"".join(
                x.detach().contiguous().numpy().tobytes()
                for x in (p, *self.optimizer.state.get(p, {}).values())
            )
            for p in self.params
        ]


def undisturbed(seed: int, steps: int = STEPS) -> list[bytes]:
    run = Run(seed)
    for _ in range(steps):
        run.step()
    return run.bits()


def forked(work: Callable[[], Any], limit: float = 120) -> int:
    """The status of a child that does some work: 0 where that returned something true."""
    sys.stdout.flush()
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            signal.alarm(int(limit))
            os._exit(0 if work() else 1)
        os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
