"""Compiles LLVM's language to machine code for this processor."""

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

INDEX = ir.IntType(64) if available else None
"""The type of lengths and indices."""


def real(dtype: str) -> Any:
    """LLVM's type of ``"float32"`` or ``"float64"``."""
    return {"float32": ir.FloatType, "float64": ir.DoubleType}[dtype]()


def void_function(module: Any, name: str, pointers: list[Any]) -> Any:
    """An empty function that takes addresses of these types, which do not overlap, and a length."""
    kind = ir.FunctionType(ir.VoidType(), [*(cell.as_pointer() for cell in pointers), INDEX])
    function = ir.Function(module, kind, name)
    for argument in function.args[:-1]:
        argument.add_attribute("noalias")
    return function


# One thread at a time uses LLVM, and the process forks only while no thread does.
_compiling = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_compiling.acquire,
        after_in_parent=_compiling.release,
        after_in_child=_compiling.release,
    )


def compiled(text: str) -> dict[str, Callable[..., None]]:
    """The functions of a module by name; they run without the interpreter's lock.

    Threads that pass the same text get the same code. A cache alone would let each thread compile
    it, and free all codes but the last while threads run them.
    """
    with _compiling:
        return _compiled(text)


@functools.lru_cache(maxsize=256)
def _compiled(text: str) -> dict[str, Callable[..., None]]:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    # Each engine owns a machine of its own, and frees it.
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
        calls[function.name].owner = engine  # keeps alive the memory of the code
    return calls


def address(array: Any) -> int:
    """The address of the first element of a NumPy array."""
    found: int = array.__array_interface__["data"][0]
    return found
