"""Plain data with arrays in it, over a pipe: what two interpreters of any versions understand.

A message is two lengths, a JSON text and the bytes of its arrays, one after another, each
announced in the text by its dtype and shape.
"""

from __future__ import annotations

import json
import math
import struct
from typing import IO, Any

import numpy as np

from .data import dtype_of
from .protocol import DTYPES, Array

_LENGTHS = struct.Struct("<QQ")
_ARRAY = "__array__"
LONGEST_TEXT, LONGEST_BODY = 2**24, 2**28
"""Bytes of a message: many times what any case sends. A length that is announced is allocated."""


def send(stream: IO[bytes], message: Any) -> None:
    """Write a message: what JSON can hold, and arrays of the protocol's dtypes."""
    bodies: list[bytes] = []

    def announce(x: Any) -> dict[str, Any]:
        if isinstance(x, np.ndarray) and x.dtype.name in DTYPES:
            bodies.append(x.tobytes())
            return {_ARRAY: [x.dtype.name, x.shape]}
        raise TypeError(
            f"{type(x).__name__} is neither plain data nor an array of {', '.join(DTYPES)}."
        )

    text, body = json.dumps(message, default=announce).encode(), b"".join(bodies)
    stream.write(_LENGTHS.pack(len(text), len(body)) + text + body)
    stream.flush()


def receive(stream: IO[bytes]) -> Any:
    """Read what :func:`send` wrote.

    Raises:
        EOFError: when the other side has closed the pipe.
        ValueError: for anything that :func:`send` does not write.
    """
    head = stream.read(_LENGTHS.size)
    if len(head) < _LENGTHS.size:
        raise EOFError
    lengths = _LENGTHS.unpack(head)
    if lengths[0] > LONGEST_TEXT or lengths[1] > LONGEST_BODY:
        raise ValueError(f"a message of {lengths[0]} and {lengths[1]} bytes is none of this suite.")
    text, body = (stream.read(n) for n in lengths)
    if (len(text), len(body)) != lengths:
        raise EOFError
    start = 0

    def revive(plain: dict[str, Any]) -> Any:
        nonlocal start
        if _ARRAY not in plain:
            return plain
        announced = plain[_ARRAY]
        if not _announces(announced):
            raise ValueError(f"a message announces {announced!r}, which is no array of this suite.")
        name, shape = announced
        count = math.prod(shape)
        if start + count * dtype_of(name).itemsize > len(body):
            raise ValueError(f"a message announces {name} {shape}, and has too few bytes.")
        flat: Array = np.frombuffer(body, dtype_of(name), count, start)
        start += flat.nbytes
        return flat.reshape(shape).copy()

    try:
        message = json.loads(text, object_hook=revive)
    except RecursionError:
        raise ValueError("a message is nested deeper than any of this suite.") from None
    except OverflowError as error:  # an axis that is no length
        raise ValueError(f"a message is none of this suite: {error}") from error
    if start != len(body):
        raise ValueError(f"a message has {len(body) - start} bytes that belong to no array.")
    return message


def _announces(x: Any) -> bool:
    return (
        isinstance(x, list)
        and len(x) == 2
        and x[0] in DTYPES
        and isinstance(x[1], list)
        and all(type(n) is int and n >= 0 for n in x[1])
    )
