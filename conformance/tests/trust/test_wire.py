"""Messages of the remote mode: any bytes, any JSON, any call is a message or refused.

No clause: SECURITY.md.
"""

from __future__ import annotations

import contextlib
import io
import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgup_conformance import wire
from mgup_conformance.serve import CALLS, Server, answer

MESSAGES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text() | st.integers(-(10**30), 10**30),
    lambda x: st.lists(x, max_size=4) | st.dictionaries(st.text() | st.just("__array__"), x),
    max_leaves=12,
)


def packed(text: bytes, body: bytes = b"", lengths=None) -> io.BytesIO:
    lengths = (len(text), len(body)) if lengths is None else lengths
    return io.BytesIO(struct.pack("<QQ", *lengths) + text + body)


def read(stream: io.BytesIO) -> None:
    with contextlib.suppress(ValueError, EOFError):
        wire.receive(stream)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_refused(data):
    read(io.BytesIO(data))
    read(packed(data))
    read(packed(data[:20], data[20:]))


@given(MESSAGES, st.binary(max_size=64))
def test_any_json_is_a_message_or_refused(message, body):
    read(packed(json.dumps(message).encode(), body))


ANNOUNCED = st.tuples(
    st.sampled_from(["float32", "float64", "bfloat16", "int32", "object", "O", "V8", "<f4", ""]),
    st.lists(
        st.sampled_from([0, 1, 2, 3, -1, 10**9, 10**19, 10**40, 2**63, True, 1.0]), max_size=4
    ),
)


@given(st.lists(ANNOUNCED, max_size=3), st.binary(max_size=64))
def test_any_announcement_is_an_array_or_refused(arrays, body):
    """No object arrays, no size that overflows."""
    read(packed(json.dumps([{"__array__": list(one)} for one in arrays]).encode(), body))


@pytest.mark.parametrize("text", [
    b"[" * 200_000, b'{"a":' * 200_000, b"1" * 10_000, b'{"__array__": [["float32"], [1]]}',
    b'{"__array__": [{"x": 1}, [1]]}', b'{"__array__": ["float32", 1]}', b"\xff\xfe", b"nan",
])  # fmt: skip
def test_messages_made_to_break_the_reader(text):
    with pytest.raises(ValueError):
        wire.receive(packed(text))


def test_lengths_are_bounded_before_anything_is_read():
    for lengths in ((2**63, 0), (0, 2**63), (2**27, 0), (0, 2**34)):
        with pytest.raises(ValueError, match="is none of this suite"):
            wire.receive(packed(b"", lengths=lengths))


class Backend:
    name = "toy"

    def versions(self):
        return {}

    def capabilities(self):
        return {}


@pytest.mark.parametrize("call", [
    "__init__", "__class__", "__getattribute__", "backend", "current", "load", "_x", "", None, 3,
    ["run"], "__reduce__",
])  # fmt: skip
def test_a_message_calls_what_is_meant_to_be_called_only(call):
    """`__init__` with the name of a module and a class would have imported and made it."""
    server = object.__new__(Server)
    server.backend, server.current = Backend(), None
    with pytest.raises(ValueError, match="is no call"):
        answer(server, call, ["os:getcwd"])
    assert answer(server, "hello", [])["name"] == "toy"
    assert {"hello", "multiplier", "run", "step", "resume"} == set(CALLS)


SPEC = {
    "rule": {"name": "adamw", "b1": 0.9, "b2": 0.99, "eps": 1e-8, "form": "standard"},
    "policy": {"name": "mgup", "tau": 0.5, "alpha": 2.0, "gamma": 0.5},
    "lr": 0.1, "weight_decay": 0.0, "stacked_dims": [0], "dtype": "float32",
    "state_dtype": "float32",
}  # fmt: skip


@pytest.fixture(scope="module")
def server():
    return Server("numpy")


@given(
    st.sampled_from([*SPEC, ("rule", "name"), ("rule", "b1"), ("policy", "name"), ("policy", "x")]),
    MESSAGES | st.sampled_from(["__class__", "system", "load", "compile", "ops"]),
    st.sampled_from(CALLS),
    st.lists(MESSAGES, max_size=4),
)
def test_any_call_is_answered_or_refused(server, key, value, call, arguments):
    """A run whose description is wrong somewhere, and calls of any arguments: an exception."""
    spec = json.loads(json.dumps(SPEC))
    if isinstance(key, tuple):
        spec[key[0]][key[1]] = value
    else:
        spec[key] = value
    w = np.ones(3, np.float32)
    with contextlib.suppress(Exception):  # which the other side is told
        answer(server, call, arguments)
    with contextlib.suppress(Exception):
        answer(server, "run", [spec, [w]])
        answer(server, "step", [[w], None])
    answer(server, "run", [SPEC, [w]])
    (moved,), _ = answer(server, "step", [[w], None])
    assert moved.shape == w.shape
    assert not np.array_equal(moved, w)


@pytest.mark.parametrize("key", ["dtype", "state_dtype"])
@pytest.mark.parametrize("value", ["load", "__class__", "object", "int8", "", None, ["float32"]])
def test_a_dtype_that_a_message_names_is_one_of_the_protocol(server, key, value):
    """Backends look it up in their frameworks, where ``load`` is no dtype."""
    with pytest.raises(ValueError, match=rf"{key}=.* is none of float32"):
        answer(server, "run", [{**SPEC, key: value}, [np.ones(3, np.float32)]])
