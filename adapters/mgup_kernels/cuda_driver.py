"""The CUDA driver, as far as compiled kernels need it: modules, launches, memory and graphs.

All calls work in the current context of the thread, which a framework has made.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from ctypes import byref, c_int, c_size_t, c_uint64, c_void_p
from typing import Any

_MAX_DYNAMIC_SHARED = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
_SHARED_BY_DEFAULT = 48 << 10
_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING
_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL


class DriverError(RuntimeError):
    """A call of the driver has failed."""


@functools.cache
def _library() -> Any:
    return ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")


def _call(name: str, *args: Any) -> None:
    code = getattr(_library(), name)(*args)
    if code:
        text = ctypes.c_char_p()
        _library().cuGetErrorString(code, byref(text))
        what = (text.value or b"unknown error").decode()
        raise DriverError(f"{name} failed with CUDA's error {code}: {what}.")


def current_device() -> int:
    """The ordinal of the device whose context is current."""
    device = c_int()
    _call("cuCtxGetDevice", byref(device))
    return device.value


def load(binary: bytes, name: str, shared: int) -> c_void_p:
    """A function of a cubin, in the current context for as long as the process lives.

    Args:
        shared: bytes of shared memory of a block.
    """
    module, function = c_void_p(), c_void_p()
    _call("cuModuleLoadData", byref(module), binary)
    _call("cuModuleGetFunction", byref(function), module, name.encode())
    if shared > _SHARED_BY_DEFAULT:
        _call("cuFuncSetAttribute", function, c_int(_MAX_DYNAMIC_SHARED), c_int(shared))
    return function


def launch(
    function: c_void_p, grid: int, warps: int, shared: int, stream: int, values: list[int]
) -> None:
    """Launch a function.

    Args:
        stream: the address of a ``CUstream``.
        values: of the arguments; each takes eight bytes at most.
    """
    n = len(values)
    cells = (c_uint64 * n)(*values)
    first = ctypes.addressof(cells)
    params = (c_void_p * n)(*range(first, first + 8 * n, 8))
    code = _library().cuLaunchKernel(
        function, grid, 1, 1, 32 * warps, 1, 1, shared, c_void_p(stream), params, None
    )
    if code:
        _call("cuLaunchKernel", function, grid, 1, 1, 32 * warps, 1, 1, shared, c_void_p(stream),
              params, None)  # fmt: skip


class Memory:
    """Zeros on the current device.

    Args:
        size: in bytes.
    """

    def __init__(self, size: int) -> None:
        address = c_uint64()
        _call("cuMemAlloc_v2", byref(address), c_size_t(max(size, 1)))
        self.address, self.size = address.value, size
        _call("cuMemsetD8_v2", c_uint64(self.address), 0, c_size_t(size))


def clear(address: int, size: int, stream: int) -> None:
    """Store zero bytes."""
    _call("cuMemsetD8Async", c_uint64(address), 0, c_size_t(size), c_void_p(stream))


def copy_to_device(address: int, values: Any, stream: int) -> None:
    """Copy an array of NumPy's, which may change as soon as this returns."""
    source = c_void_p(values.ctypes.data)
    size = c_size_t(values.nbytes)
    _call("cuMemcpyHtoDAsync_v2", c_uint64(address), source, size, c_void_p(stream))


def copy_to_host(host: int, address: int, size: int, stream: int) -> None:
    """Copy to pinned memory; returns before it is done."""
    _call("cuMemcpyDtoHAsync_v2", c_void_p(host), c_uint64(address), c_size_t(size),
          c_void_p(stream))  # fmt: skip


def pinned(size: int) -> int:
    """The address of zero bytes in pinned host memory, for as long as the process lives."""
    address = c_void_p()
    _call("cuMemHostAlloc", byref(address), c_size_t(size), 0)
    found = address.value or 0
    ctypes.memset(found, 0, size)
    return found


class Graph:
    """What is launched on ``stream`` between the entry and the exit of the context, to be replayed.

    While it is captured nothing runs.
    """

    def __enter__(self) -> Graph:
        stream = c_void_p()
        _call("cuStreamCreate", byref(stream), _NON_BLOCKING)
        self.stream = stream.value or 0
        _call("cuStreamBeginCapture_v2", stream, _THREAD_LOCAL)
        return self

    def __exit__(self, *error: object) -> None:
        graph, self._executable = c_void_p(), c_void_p()
        _call("cuStreamEndCapture", c_void_p(self.stream), byref(graph))
        _call("cuGraphInstantiateWithFlags", byref(self._executable), graph, c_uint64(0))
        _call("cuGraphDestroy", graph)
        _call("cuStreamDestroy_v2", c_void_p(self.stream))

    def replay(self, stream: int) -> None:
        """Run it on a stream; returns before the device is done."""
        _call("cuGraphLaunch", self._executable, c_void_p(stream))
