"""What the kernels of :mod:`mgup_kernels` ask of PyTorch."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from mgup_kernels import compiled


class TorchDevice:
    """A device of PyTorch's for one plan: see :class:`mgup_kernels.device.Device`.

    Args:
        device: a GPU, or the CPU under Triton's interpreter.
    """

    streams = True
    least_batch = 0

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.interpreted = device.type == "cpu"
        self.index, self.capability = -1, 0
        if not self.interpreted:
            found = device.index
            self.index = torch.cuda.current_device() if found is None else found
            major, minor = torch.cuda.get_device_capability(device)
            self.capability = 10 * major + minor
        self.bytes = 0
        """Held on the device."""

    def zeros(self, shape: tuple[int, ...], dtype: str) -> Tensor:
        """A new tensor of zeros."""
        made = torch.zeros(shape, dtype=getattr(torch, dtype), device=self.device)
        self.bytes += math.prod(shape) * made.element_size()
        return made

    def array(self, values: Any) -> Tensor:
        """A new tensor with the values of an array of NumPy's."""
        self.bytes += values.nbytes
        return torch.from_numpy(values).to(self.device)

    def host_copy(self, array: Tensor) -> Tensor:
        """Pinned memory for copies of a tensor."""
        return torch.zeros(array.shape, dtype=array.dtype, pin_memory=not self.interpreted)

    def clear(self, array: Tensor) -> None:
        """Store zeros."""
        array.zero_()

    def copy_to_host(self, array: Tensor, host: Tensor) -> None:
        """Copy to pinned memory; returns before it is done."""
        host.copy_(array, non_blocking=True)

    def launch(self, kernel: Any, grid: int, *args: Any, **options: Any) -> None:
        """Launch ``grid`` programs of a kernel on the current stream."""
        if self.interpreted:
            kernel[(grid,)](*args, **options)
            return
        stream = torch.cuda.current_stream(self.device).cuda_stream
        launch = compiled.Launch(kernel, args, options)
        compiled.run(launch, grid, self.capability, self.index, stream)

    def stream(self, *, urgent: bool) -> torch.cuda.Stream:
        """A new stream."""
        return torch.cuda.Stream(self.device, priority=-1 if urgent else 0)

    def current_stream(self) -> torch.cuda.Stream:
        """The stream of the next launch."""
        return torch.cuda.current_stream(self.device)

    def on(self, stream: torch.cuda.Stream) -> AbstractContextManager[Any]:
        """Launch on a stream within."""
        return torch.cuda.stream(stream)
