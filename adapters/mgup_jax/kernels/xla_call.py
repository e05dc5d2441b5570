"""A Python function as the target of a custom call, by the C interface of XLA's typed FFI.

XLA calls it on the thread that launches the program, with the addresses of the arrays, and it
launches kernels on the stream that it is given: as NVIDIA's Warp does. The structures are those of
``xla/ffi/api/c_api.h``, whose first fields never change within a major version.
"""

from __future__ import annotations

import ctypes
import traceback
from collections.abc import Callable
from ctypes import CFUNCTYPE, POINTER, Structure, c_char_p, c_int, c_int64, c_size_t, c_void_p
from typing import Any

import jax
import numpy as np

Target = Callable[[int, Any, Any, int], None]
"""``(stream, arguments, results, number)``: the address of a ``CUstream``, those of the buffers,
(buffers,) int64, and the attribute ``number`` of the call."""

_METADATA = 1  # XLA_FFI_Extension_Metadata
_EXECUTE = 3  # XLA_FFI_ExecutionStage_EXECUTE
_INTERNAL = 13  # XLA_FFI_Error_Code_INTERNAL
_DATA = 24  # of XLA_FFI_Buffer, the offset of the address
_VALUE = 8  # of XLA_FFI_Scalar, likewise


class _Extension(Structure):
    _fields_ = (("size", c_size_t), ("type", c_int), ("next", c_void_p))


class _Version(Structure):
    _fields_ = (("size", c_size_t), ("extension", c_void_p), ("major", c_int), ("minor", c_int))


class _Metadata(Structure):
    _fields_ = (("size", c_size_t), ("version", _Version), ("traits", c_int))


class _MetadataExtension(Structure):
    _fields_ = (("base", _Extension), ("metadata", POINTER(_Metadata)))


class _Buffers(Structure):
    _fields_ = (
        ("size", c_size_t),
        ("extension", c_void_p),
        ("count", c_int64),
        ("types", c_void_p),
        ("items", c_void_p),
    )


class _Attributes(Structure):
    _fields_ = (
        ("size", c_size_t),
        ("extension", c_void_p),
        ("count", c_int64),
        ("types", c_void_p),
        ("names", c_void_p),
        ("items", c_void_p),
    )


class _NewError(Structure):
    _fields_ = (
        ("size", c_size_t),
        ("extension", c_void_p),
        ("message", c_char_p),
        ("code", c_int),
    )


class _StreamOf(Structure):
    _fields_ = (
        ("size", c_size_t),
        ("extension", c_void_p),
        ("context", c_void_p),
        ("stream", c_void_p),
    )


class _Api(Structure):
    _fields_ = (
        ("size", c_size_t),
        ("extension", c_void_p),
        ("version", _Version),
        ("internal", c_void_p),
        ("new_error", CFUNCTYPE(c_void_p, POINTER(_NewError))),
        ("error_message", c_void_p),
        ("free_error", c_void_p),
        ("register", c_void_p),
        ("stream", CFUNCTYPE(c_void_p, POINTER(_StreamOf))),
    )


class _Frame(Structure):
    _fields_ = (
        ("size", c_size_t),
        ("extension", POINTER(_Extension)),
        ("api", POINTER(_Api)),
        ("context", c_void_p),
        ("stage", c_int),
        ("arguments", _Buffers),
        ("results", _Buffers),
        ("attributes", _Attributes),
    )


def _addresses(buffers: Any) -> Any:
    """Of the buffers, (buffers,) int64."""
    n = buffers.count
    if not n:
        return np.zeros(0, np.int64)
    items = np.ctypeslib.as_array((c_int64 * n).from_address(buffers.items))
    width = int(items[1] - items[0]) if n > 1 else 8
    if width in range(_DATA + 8, 16 * _DATA, 8) and (np.diff(items) == width).all():
        # XLA has them one after the other, so all are read at once.
        words = (c_int64 * (n * width // 8)).from_address(int(items[0]))
        return np.ctypeslib.as_array(words)[_DATA // 8 :: width // 8].copy()
    return np.array([c_int64.from_address(int(item) + _DATA).value for item in items])


def _number(attributes: Any) -> int:
    (item,) = (c_int64 * attributes.count).from_address(attributes.items)
    value = c_int64.from_address(item + _VALUE).value
    return c_int64.from_address(value).value


def _describe(frame: Any) -> None:
    """Say which version of the interface this is: the one that asks."""
    asked = ctypes.cast(frame.extension, POINTER(_MetadataExtension)).contents
    metadata = asked.metadata.contents
    if frame.api:
        theirs = frame.api.contents.version
        metadata.version.major, metadata.version.minor = theirs.major, theirs.minor
    metadata.traits = 0  # it is not to be recorded: the next call may have other addresses


def _handler(target: Target, platform: str) -> Any:
    def call(pointer: Any) -> int | None:
        frame = pointer.contents
        try:
            if frame.extension and frame.extension.contents.type == _METADATA:
                _describe(frame)
                return None
            if frame.stage != _EXECUTE:
                return None
            stream = 0
            if platform == "CUDA":
                found = _StreamOf(ctypes.sizeof(_StreamOf), None, frame.context, None)
                if frame.api.contents.stream(ctypes.byref(found)):
                    raise RuntimeError("XLA has no stream for this call.")
                stream = found.stream or 0
            arguments, results = map(_addresses, (frame.arguments, frame.results))
            target(stream, arguments, results, _number(frame.attributes))
        except BaseException as error:  # nothing can pass through XLA
            text = "".join(traceback.format_exception(error))
            new = _NewError(ctypes.sizeof(_NewError), None, text.encode(), _INTERNAL)
            return frame.api.contents.new_error(ctypes.byref(new))  # type: ignore[no-any-return]
        return None

    return CFUNCTYPE(c_void_p, POINTER(_Frame))(call)


_registered: dict[tuple[str, str], Any] = {}


def register(name: str, target: Target, platform: str) -> None:
    """Let custom calls of this name be calls of a function.

    Args:
        platform: ``"CUDA"``, or ``"cpu"``, where there is no stream.
    """
    if (name, platform) not in _registered:
        handler = _handler(target, platform)
        address = ctypes.cast(handler, c_void_p).value
        jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(address), platform=platform)
        _registered[name, platform] = handler  # XLA keeps its address for ever


def call(name: str, number: int, in_place: list[Any], others: list[Any]) -> list[Any]:
    """Call a registered target.

    Args:
        number: which it is told, int64.
        in_place: arrays that it changes.
        others: arrays that it reads.

    Returns:
        The former as they are afterwards, which XLA does not copy where they are donated or not
        used again.
    """
    shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in in_place]
    same = {i: i for i in range(len(in_place))}
    made = jax.ffi.ffi_call(name, shapes, input_output_aliases=same, vmap_method="sequential")
    return list(made(*in_place, *others, number=np.int64(number)))
