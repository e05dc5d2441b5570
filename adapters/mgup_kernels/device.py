"""What a plan asks of the framework that it works for."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol

Array = Any
"""An array on a device, of consecutive elements: it has ``data_ptr()``, ``shape`` and ``dtype``,
whose text ends with the name of NumPy's; indexing its first axis gives arrays."""


class Device(Protocol):
    """Where a plan has its arrays and launches its kernels."""

    streams: bool
    """Whether launches may run beside each other, on streams of their own. Where they may not, only
    the methods of the first part are called."""
    capability: int
    """Ten times its compute capability; 0 if it interprets kernels."""
    least_batch: int
    """Coordinates of the smallest batch; 0 leaves it to :mod:`tuning <.tuning>`."""
    bytes: int
    """How many its arrays hold."""

    def zeros(self, shape: tuple[int, ...], dtype: str) -> Array:
        """A new array of zeros."""

    def array(self, values: Any) -> Array:
        """A new array with the values of one of NumPy's."""

    def host_copy(self, array: Array) -> Any:
        """A new array in host memory for copies of ``array``."""

    def clear(self, array: Array) -> None:
        """Store zeros, in the order of the launches."""

    def copy_to_host(self, array: Array, host: Any) -> None:
        """Copy in the order of the launches; returns before it is done."""

    def launch(self, kernel: Any, grid: int, *args: Any, **options: Any) -> None:
        """Launch ``grid`` programs of a kernel on the current stream."""

    # -- streams, as PyTorch has them ------------------------------------------------------------

    def stream(self, *, urgent: bool) -> Any:
        """A new stream."""

    def current_stream(self) -> Any:
        """The stream of the next launch."""

    def on(self, stream: Any) -> AbstractContextManager[Any]:
        """Launch on a stream within."""
