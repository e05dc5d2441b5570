"""Triton kernels compiled ahead of their launches, several at a time.

Triton's own launcher compiles a kernel when it is first launched, and with it, by the C compiler of
the system, a function that launches it: for a first step one after the other, most of its seconds.
Here the kernels of a step are compiled by several threads, and the CUDA driver launches them.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from . import cuda_driver

_TYPES = {
    "float64": "fp64",
    "float32": "fp32",
    "bfloat16": "bf16",
    "float16": "fp16",
    "int64": "i64",
    "int32": "i32",
    "int16": "i16",
    "int8": "i8",
    "bool": "i1",
}
_ALIGNMENT = 16
_SCRATCH = [0, 0]
"""Triton adds the addresses of two buffers to the arguments, which these kernels do not use. The
driver reads as many arguments as the function has."""
_WARP = 32


class Specialization(NamedTuple):
    """What a binary depends on besides the kernel's text: two equal ones have the same binary."""

    text: str
    """Of the kernel and all that it calls, as a hash."""
    types: tuple[str, ...]
    """Of the arguments, ``"constexpr"`` among them; ``+`` marks aligned pointers."""
    constants: tuple[Any, ...]
    """Of constexpr arguments; functions by their text."""
    options: tuple[tuple[str, Any], ...]
    capability: int
    """Ten times the compute capability."""


class Binary(NamedTuple):
    """A compiled kernel."""

    code: bytes
    name: str
    warps: int
    shared: int


class Launch(NamedTuple):
    """A launch of a kernel before anything is compiled."""

    kernel: Any
    args: tuple[Any, ...]
    options: dict[str, Any]


@functools.cache
def _parameters(kernel: Any) -> tuple[tuple[str, bool], ...]:
    return tuple((param.name, param.is_constexpr) for param in kernel.params)


@functools.cache
def _type(dtype: Any) -> str:
    return "*" + _TYPES[str(dtype).rpartition(".")[2]]


def specialize(launch: Launch, capability: int) -> tuple[Specialization, list[int]]:
    """What a launch needs compiled, and the values of its other arguments."""
    types, constants, values = [], [], []
    given = iter(launch.args)
    parameters = _parameters(launch.kernel)
    named = 0
    for name, constant in parameters:
        if name in launch.options:
            value = launch.options[name]
            named += 1
        else:
            value = next(given)
        if constant or value is None:
            types.append("constexpr")
            constants.append(getattr(value, "cache_key", value))
        elif isinstance(value, int):
            types.append("i32" if -(2**31) <= value < 2**31 else "i64")
            values.append(value & (2**64 - 1))
        else:
            address = value.data_ptr()
            aligned = "" if address % _ALIGNMENT else "+"
            types.append(_type(value.dtype) + aligned)
            values.append(address)
    known = {name for name, _ in parameters}
    options = tuple((k, v) for k, v in launch.options.items() if k not in known)
    text = launch.kernel.cache_key
    made = Specialization(text, tuple(types), tuple(constants), options, capability)
    return made, values


def _compile(launch: Launch, made: Specialization) -> Binary:
    """The binary of a launch, from Triton's cache on the disk or new."""
    given = dict(launch.options)
    positional = iter(launch.args)
    signature, constants, attributes = {}, {}, {}
    for i, (name, _) in enumerate(_parameters(launch.kernel)):
        value = given[name] if name in given else next(positional)
        signature[name] = made.types[i].removesuffix("+")
        if signature[name] == "constexpr":
            constants[name] = value
        elif made.types[i].endswith("+"):
            attributes[(i,)] = [["tt.divisibility", _ALIGNMENT]]
    found = triton.compile(
        ASTSource(launch.kernel, signature, constants, attributes),
        target=GPUTarget("cuda", made.capability, _WARP),
        options=dict(made.options),
    )
    about = found.metadata
    return Binary(found.asm["cubin"], about.name, about.num_warps, about.shared)


_binaries: dict[Specialization, Binary] = {}
_functions: dict[tuple[int, Specialization], Any] = {}


def prepare(launches: Iterable[Launch], capability: int) -> None:
    """Compile what launches need, by as many threads as there are processors."""
    wanted = {specialize(one, capability)[0]: one for one in launches}
    wanted = {made: one for made, one in wanted.items() if made not in _binaries}
    if wanted:
        with ThreadPoolExecutor(min(len(wanted), os.cpu_count() or 1)) as threads:
            _binaries.update(
                zip(wanted, threads.map(_compile, wanted.values(), wanted), strict=True)
            )


def run(launch: Launch, grid: int, capability: int, device: int, stream: int) -> None:
    """Launch ``grid`` programs.

    Args:
        device: the ordinal of the device, whose context is current.
        stream: the address of a ``CUstream``.
    """
    made, values = specialize(launch, capability)
    if (device, made) not in _functions:
        prepare([launch], capability)
        binary = _binaries[made]
        _functions[device, made] = (
            cuda_driver.load(binary.code, binary.name, binary.shared),
            binary,
        )
    function, binary = _functions[device, made]
    cuda_driver.launch(function, grid, binary.warps, binary.shared, stream, values + _SCRATCH)
