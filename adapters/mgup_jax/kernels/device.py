"""Where the plans of :mod:`mgup_kernels` have their arrays, beside XLA's."""

from __future__ import annotations

import ctypes
import math
from contextlib import AbstractContextManager
from typing import Any

import jax.numpy as jnp
import numpy as np

from mgup_kernels import compiled, cuda_driver

_ALIGNMENT = 256


class DeviceArray:
    """A part of the memory of a :class:`JaxDevice`."""

    def __init__(
        self, device: JaxDevice, offset: int, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        self.device, self.offset, self.shape, self.dtype = device, offset, shape, dtype

    @property
    def nbytes(self) -> int:
        """Its size."""
        return math.prod(self.shape) * self.dtype.itemsize

    def data_ptr(self) -> int:
        """Its address; before the memory is there, the distance from its start."""
        return self.device.address + self.offset

    def __getitem__(self, i: int) -> DeviceArray:
        row = DeviceArray(self.device, 0, self.shape[1:], self.dtype)
        row.offset = self.offset + i * row.nbytes
        return row


class HostCopy:
    """Pinned memory with what was last copied from an array of int32."""

    def __init__(self) -> None:
        self.address = 0

    def __getitem__(self, i: int) -> int:
        if not self.address:
            return 0
        return ctypes.c_int32.from_address(self.address + 4 * i).value


class JaxDevice:
    """A device for one plan: see :class:`mgup_kernels.device.Device`.

    A plan is made, and its kernels compiled, while JAX traces. Only a running program has a device:
    then :meth:`allocate` brings the memory.

    Args:
        capability: ten times the compute capability.
    """

    streams = False
    least_batch = 1 << 26

    def __init__(self, capability: int) -> None:
        self.capability = capability
        self.address, self.bytes = 0, 0
        self.stream_address, self.ordinal = 0, 0
        self._values: list[tuple[DeviceArray, Any]] = []
        self._copies: list[HostCopy] = []

    def zeros(self, shape: tuple[int, ...], dtype: str) -> DeviceArray:
        """A new array of zeros."""
        made = DeviceArray(self, self.bytes, shape, jnp.dtype(dtype))
        self.bytes += -(-made.nbytes // _ALIGNMENT) * _ALIGNMENT
        return made

    def array(self, values: Any) -> DeviceArray:
        """A new array with the values of one of NumPy's."""
        made = self.zeros(values.shape, values.dtype.name)
        self._values.append((made, values))
        return made

    def host_copy(self, array: DeviceArray) -> HostCopy:
        """Pinned memory for copies of an array of int32."""
        del array
        self._copies.append(HostCopy())
        return self._copies[-1]

    def allocate(self, stream: int) -> None:
        """Bring the memory, on the current device."""
        self.ordinal = cuda_driver.current_device()
        self.address = cuda_driver.Memory(self.bytes).address
        for array, values in self._values:
            if values.nbytes:
                cuda_driver.copy_to_device(array.data_ptr(), values, stream)
        for copy in self._copies:
            copy.address = cuda_driver.pinned(8)

    def clear(self, array: DeviceArray) -> None:
        """Store zeros."""
        if self.address:
            cuda_driver.clear(array.data_ptr(), array.nbytes, self.stream_address)

    def copy_to_host(self, array: DeviceArray, host: HostCopy) -> None:
        """Copy to pinned memory; returns before it is done."""
        if self.address:
            cuda_driver.copy_to_host(
                host.address, array.data_ptr(), array.nbytes, self.stream_address
            )

    def launch(self, kernel: Any, grid: int, *args: Any, **options: Any) -> None:
        """Launch ``grid`` programs of a kernel on :attr:`stream_address`."""
        launch = compiled.Launch(kernel, args, options)
        compiled.run(launch, grid, self.capability, self.ordinal, self.stream_address)

    def stream(self, *, urgent: bool) -> Any:
        """None: XLA has one stream for what a program computes."""
        raise NotImplementedError

    def current_stream(self) -> Any:
        """Likewise."""
        raise NotImplementedError

    def on(self, stream: Any) -> AbstractContextManager[Any]:
        """Likewise."""
        raise NotImplementedError
