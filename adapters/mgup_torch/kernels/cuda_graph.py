"""The launches of a plan, recorded in a CUDA graph and replayed at every step.

Collectives are never recorded. NCCL keeps a communicator for as long as a graph refers to it, so
that ``torch.distributed.destroy_process_group`` would wait forever for an optimizer that is still
there.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from mgup_kernels.plan import Plan


class Launcher:
    """A plan on one device. Its second step is captured in a CUDA graph, if it asks no other."""

    def __init__(self, plan: Plan, device: torch.device) -> None:
        self.plan, self.device = plan, device
        self.graph: torch.cuda.CUDAGraph | None = None
        self.launches = 0
        self.captured_copies: list[Tensor] = []
        self.uploaded_numbers: Any = None

    def upload(self) -> None:
        """Copy the plan's rows and numbers to the device."""
        plan = self.plan
        self._copy(plan.rows, plan.slice_table)
        # The numbers of most rules do not change from step to step.
        capturing = torch.cuda.is_current_stream_capturing()
        if capturing or plan.host_numbers is not self.uploaded_numbers:
            self._copy(plan.host_numbers, plan.numbers[: len(plan.host_numbers)])
            self.uploaded_numbers = plan.host_numbers

    def _copy(self, values: Any, target: Tensor) -> None:
        # PyTorch's cache of pinned memory does not reuse what a copy still reads.
        host = torch.empty(target.shape, dtype=target.dtype, pin_memory=True)
        host.numpy()[:] = values
        if torch.cuda.is_current_stream_capturing():
            self.captured_copies.append(host)  # the graph reads it at every replay
        target.copy_(host, non_blocking=True)

    def launch(self) -> None:
        """Rank and step; returns before the device is done.

        Raises:
            RuntimeError: as :meth:`Plan.check`.
        """
        with torch.cuda.device(self.device):
            if torch.cuda.is_current_stream_capturing():
                self.plan.launch()
                return
            self.plan.check()
            self.launches += 1
            # The launches of a mesh group's plan lie between collectives.
            if self.launches == 1 and self.plan.mesh_group is None:
                from mgup_kernels import compiled

                compiled.prepare(self.plan.launches(), self.plan.device.capability)
            # The first step has compiled and loaded the kernels.
            if self.launches == 2 and self.plan.mesh_group is None:
                self.graph = _captured(self.plan)
            if self.graph is None:
                self.plan.launch()
            else:
                self.graph.replay()


@contextlib.contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Collect no garbage in here: the destruction of another graph would invalidate a capture."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _captured(plan: Plan) -> torch.cuda.CUDAGraph:
    """The launches as a graph: whatever changes from step to step, they read from the device."""
    graph = torch.cuda.CUDAGraph()
    current, side = torch.cuda.current_stream(), torch.cuda.Stream()
    side.wait_stream(current)
    with torch.cuda.stream(side), _without_garbage_collection():
        graph.capture_begin(capture_error_mode="thread_local")
        try:
            plan.launch()
        finally:
            graph.capture_end()
    current.wait_stream(side)
    return graph
