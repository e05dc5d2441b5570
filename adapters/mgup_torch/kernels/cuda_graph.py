"""Handing a plan to its device again and again."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .plan import Plan


class Launcher:
    """A plan on one device, whose launches become one graph at their second time."""

    def __init__(self, plan: Plan, device: torch.device) -> None:
        self.plan, self.device = plan, device
        self.graph: torch.cuda.CUDAGraph | None = None
        self.launches = 0
        self.uploads: list[Tensor] = []
        self.numbers_sent: Any = None
        self.sent: Any = None  # what a replay of the graph sends to other ranks

    def upload(self) -> None:
        """What the plan's rows and numbers say, to its device."""
        plan = self.plan
        self._send(plan.rows, plan.tables)
        # The numbers of most rules stay as they are from step to step.
        capturing = torch.cuda.is_current_stream_capturing()
        if capturing or plan.host_numbers is not self.numbers_sent:
            self._send(plan.host_numbers, plan.numbers[: len(plan.host_numbers)])
            self.numbers_sent = plan.host_numbers

    def _send(self, values: Any, there: Tensor) -> None:
        # From PyTorch's cache of pinned memory, which knows what a copy is still reading.
        host = torch.empty(there.shape, dtype=there.dtype, pin_memory=True)
        host.numpy()[:] = values
        if torch.cuda.is_current_stream_capturing():
            self.uploads.append(host)  # the graph reads it again at every replay
        there.copy_(host, non_blocking=True)

    def launch(self) -> None:
        """Rank and step; returns before it is done."""
        with torch.cuda.device(self.device):
            if torch.cuda.is_current_stream_capturing():
                self.plan.launch()
                return
            self.plan.check()
            self.launches += 1
            team = self.plan.team
            if self.launches == 2:  # the first compiled and loaded the kernels
                before = None if team is None else replace(team.traffic)
                self.graph = _captured(self.plan)
                self.sent = None if team is None else team.traffic - before
            elif self.graph is None:
                self.plan.launch()
            elif team is not None:
                team.traffic += self.sent
            if self.graph is not None:
                self.graph.replay()


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """No garbage is collected in here: the end of another graph would end a capture."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _captured(plan: Plan) -> torch.cuda.CUDAGraph:
    """The launches as one: they read everything that changes from the tables."""
    graph = torch.cuda.CUDAGraph()
    current, aside = torch.cuda.current_stream(), torch.cuda.Stream()
    aside.wait_stream(current)
    with torch.cuda.stream(aside), _uncollected():
        graph.capture_begin(capture_error_mode="thread_local")
        try:
            plan.launch()
        finally:
            graph.capture_end()
    current.wait_stream(aside)
    return graph
