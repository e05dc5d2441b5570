"""Plain data with arrays in it, over a pipe: what two interpreters of any versions understand.

A message is two lengths, a JSON text and the bytes of its arrays, one after another, each
announced in the text by its dtype and shape.
"""

from __future__ import annotations

import json
import struct
from typing import IO, Any

import numpy as np

from .data import dtype_of
from .protocol import Array

_LENGTHS = struct.Struct("<QQ")
_ARRAY = "__array__"


def send(stream: IO[bytes], message: Any) -> None:
    """Write a message: what JSON can hold, and arrays of the protocol's dtypes."""
    bodies: list[bytes] = []

    def announce(x: Any) -> dict[str, Any]:
        if isinstance(x, np.ndarray):
            bodies.append(x.tobytes())
            return {_ARRAY: [x.dtype.name, x.shape]}
        raise TypeError(f"{type(x).__name__} is neither plain data nor an array.")

    text, body = json.dumps(message, default=announce).encode(), b"".join(bodies)
    stream.write(_LENGTHS.pack(len(text), len(body)) + text + body)
    stream.flush()


def receive(stream: IO[bytes]) -> Any:
    """Read what :func:`send` wrote.

    Raises:
        EOFError: when the other side has closed the pipe.
    """
    head = stream.read(_LENGTHS.size)
    if len(head) < _LENGTHS.size:
        raise EOFError
    text, body = (stream.read(n) for n in _LENGTHS.unpack(head))
    start = 0

    def revive(plain: dict[str, Any]) -> Any:
        nonlocal start
        if _ARRAY not in plain:
            return plain
        name, shape = plain[_ARRAY]
        flat: Array = np.frombuffer(body, dtype_of(name), int(np.prod(shape)), start)
        start += flat.nbytes
        return flat.reshape(shape).copy()

    return json.loads(text, object_hook=revive)
