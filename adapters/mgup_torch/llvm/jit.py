"""From LLVM's language to machine code for the processor at hand."""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from collections.abc import Callable
from typing import Any

try:
    import llvmlite.binding as llvm
    from llvmlite import ir as ir
except ImportError:  # the extra "cpu" was not installed
    llvm = ir = None

available = llvm is not None

INDEX: Any = ir.IntType(64) if available else None
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


# LLVM is asked by one thread at a time, and no thread may be in it when the process forks.
_compiling = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_compiling.acquire,
        after_in_parent=_compiling.release,
        after_in_child=_compiling.release,
    )


def compiled(text: str) -> dict[str, Callable[..., None]]:
    """The functions of a module by name. They take addresses and a length, and hold no lock.

    Threads that ask for one text are given one code: a cache alone would let each compile it, and
    throw away all but the last while they run.
    """
    with _compiling:
        return _compiled(text)


@functools.lru_cache(maxsize=256)
def _compiled(text: str) -> dict[str, Callable[..., None]]:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    # One for each engine, which owns it and frees it.
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=3,
    )
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
