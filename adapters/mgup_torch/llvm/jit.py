"""From LLVM's language to machine code for the processor at hand."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any

try:
    import llvmlite.binding as llvm
    from llvmlite import ir as ir
except ImportError:  # the extra "cpu" was not installed
    llvm = ir = None

available = llvm is not None

INDEX = ir.IntType(64) if available else None
"""The type of lengths and places."""


def real(dtype: str) -> Any:
    """The type of ``"float32"`` or ``"float64"``."""
    return {"float32": ir.FloatType, "float64": ir.DoubleType}[dtype]()


def void_function(module: Any, name: str, pointers: list[Any]) -> Any:
    """A function to be written, of addresses of these types that do not overlap, and a length."""
    kind = ir.FunctionType(ir.VoidType(), [*(cell.as_pointer() for cell in pointers), INDEX])
    function = ir.Function(module, kind, name)
    for argument in function.args[:-1]:
        argument.add_attribute("noalias")
    return function


@functools.cache
def _processor() -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=3,
    )


@functools.lru_cache(maxsize=256)
def compiled(text: str) -> dict[str, Callable[..., None]]:
    """The functions of a module by name. They take addresses and a length, and hold no lock."""
    machine = _processor()
    module = llvm.parse_assembly(text)
    module.verify()
    options = llvm.create_pipeline_tuning_options(speed_level=3)
    options.loop_vectorization = True
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    engine = llvm.create_mcjit_compiler(module, machine)
    engine.finalize_object()
    calls: dict[str, Any] = {}
    for function in module.functions:
        if function.is_declaration:
            continue
        pointers = len(list(function.arguments)) - 1
        kind = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * pointers, ctypes.c_int64)
        calls[function.name] = kind(engine.get_function_address(function.name))
        calls[function.name].owner = engine  # whose memory it runs from
    return calls


def address(array: Any) -> int:
    """Where a NumPy array begins."""
    found: int = array.__array_interface__["data"][0]
    return found
