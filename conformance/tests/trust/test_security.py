"""Nothing executes what a file, a message, or a name says (SECURITY.md).

No clause: SECURITY.md.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import struct
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mgup_core as core
from mgup_conformance import reproduce, wire
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


HOSTILE = ['"); import os; os._exit(7) #', "x'\nimport os\nos._exit(7)\n'", '"""\nimport os\n"""']


def hostile_rule(name: str) -> type[core.Rule]:
    @dataclass(frozen=True)
    class Rule(core.Rule):
        rate: float = 0.5

        def init(self, be, w):
            return {name: be.zeros_like(w)}

        def accumulate(self, be, g, w, state, t):
            return {name: core.ema(be, state[name], g, self.rate)}

        def direction(self, be, g, w, state, t):
            return core.Direction(state[name], a=state[name])

    Rule.__name__ = Rule.__qualname__ = name
    return Rule


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_no_source_in_torch(name, monkeypatch):
    """The generated code of LLVM knows arrays by their places, not by their names."""
    torch = pytest.importorskip("torch", reason="mgup_torch needs PyTorch")
    from mgup_torch import optimizer
    from mgup_torch.executors import host
    from mgup_torch.llvm import codegen

    monkeypatch.setattr(codegen, "WORTH", 0)
    monkeypatch.setattr(host, "SMALL", 0)
    p = torch.ones(50, requires_grad=True)
    made = optimizer(hostile_rule(name))([p], lr=0.1)
    p.grad = torch.ones(50)
    made.step()
    reference = core.Optimizer(hostile_rule(name)(), lr=0.1)
    w = [np.ones(50, np.float32)]
    expected, _ = reference.step(w, w, reference.init(w))
    assert np.array_equal(p.detach().numpy(), expected[0])


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_no_source_in_jax(name):
    pytest.importorskip("jax", reason="mgup_jax needs JAX")
    from mgup_jax import transformation

    optimizer = transformation(hostile_rule(name))(0.1)
    w = {"a": np.ones(5, np.float32)}
    optimizer.update(w, optimizer.init(w), w)


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_no_source_in_mindspore(name):
    ms = pytest.importorskip("mindspore", reason="mgup_mindspore needs MindSpore")
    from mgup_mindspore import optimizer

    p = ms.Parameter(ms.Tensor(np.ones(5, np.float32)), name="p")
    try:
        made = optimizer(hostile_rule(name))([p], 0.1)
    except ValueError:
        return  # MindSpore refuses such a name of a parameter
    made((ms.Tensor(np.ones(5, np.float32)),))


class Hostile(float):
    """A number that calls itself something else."""

    def __repr__(self) -> str:
        return HOSTILE[0]

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return HOSTILE[0]


class Axis(int):
    __repr__ = Hostile.__repr__
    __str__ = Hostile.__str__
    __format__ = Hostile.__format__


@dataclass(frozen=True)
class Halved(core.Rule):
    rate: float = 0.5
    said: str = "plain"

    def init(self, be, w):
        return {"m": be.zeros_like(w)}

    def accumulate(self, be, g, w, state, t):
        return {"m": core.ema(be, state["m"], g, self.rate)}

    def direction(self, be, g, w, state, t):
        return core.Direction(state["m"], a=state["m"])


def stepped_halved(framework, monkeypatch):
    """A step of three coordinates by a rule of hostile values."""
    given = {"rate": Hostile(0.5), "said": HOSTILE[1]}
    start = np.array([1.0, 2.0, 3.0], np.float32)
    if framework == "torch":
        torch = pytest.importorskip("torch", reason="mgup_torch needs PyTorch")
        from mgup_torch import optimizer
        from mgup_torch.executors import host
        from mgup_torch.llvm import codegen

        monkeypatch.setattr(codegen, "WORTH", 0)
        monkeypatch.setattr(host, "SMALL", 0)
        p = torch.tensor(start, requires_grad=True)
        made = optimizer(Halved)([p], lr=Hostile(0.1), **given)
        p.grad = torch.tensor(start)
        made.step()
        return p.detach().numpy()
    if framework == "jax":
        jax = pytest.importorskip("jax", reason="mgup_jax needs JAX")
        from mgup_jax import transformation

        made = transformation(Halved)(Hostile(0.1), **given)
        update, _ = jax.jit(made.update)(start, made.init(start), start)
        return start + np.asarray(update)
    ms = pytest.importorskip("mindspore", reason="mgup_mindspore needs MindSpore")
    from mgup_mindspore import optimizer

    p = ms.Parameter(ms.Tensor(start), name="p")
    optimizer(Halved)([p], Hostile(0.1), **given)((ms.Tensor(start),))
    return p.asnumpy()


@pytest.mark.parametrize("framework", ["torch", "jax", "mindspore"])
def test_a_number_s_words_are_no_source(framework, monkeypatch):
    """Fields become numbers of a program, whatever their class would print of them."""
    start = np.array([1.0, 2.0, 3.0], np.float32)
    reference = core.Optimizer(Halved(), lr=0.1)
    (expected,), _ = reference.step([start], [start], reference.init([start]))
    assert np.array_equal(stepped_halved(framework, monkeypatch), expected)


@pytest.mark.parametrize("one", [Axis(1), np.int64(1), True], ids=["hostile", "numpy", "bool"])
def test_an_axis_s_words_are_no_source_in_mindspore(one):
    """NumPy 2 prints ``np.int64(1)``, which the program does not know either."""
    ms = pytest.importorskip("mindspore", reason="mgup_mindspore needs MindSpore")
    from mgup_mindspore.emitter import Recorder

    xp = Recorder()
    x = xp.symbol("x", (2, 3), ms.float32)
    both = xp.concat([x, x], axis=one)
    xp.sum(xp.broadcast_to(both, (one, 2, 6)), axis=(one,))
    tree = ast.parse(xp.source("x", [both]))
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert names == {"x", "v0", "v1", "v2", "concat", "broadcast_to", "total"}
    assert {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)} <= {0, 1, 2, 6}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("template", [reproduce.RUN, reproduce.MULTIPLIER])
def test_a_reproducing_script_quotes_the_case(template, name):
    """The id of a case, which may hold the name of somebody's rule, is text in the script."""
    script = reproduce.script_of(template, f"run/{name}", ("P1",), "data")
    (said, *_), names = ast.parse(script).body, compile(script, "script", "exec").co_names
    assert name in said.value.value
    assert "os" not in names


PICKLE = """
import io, os, pickle, sys, torch, mgup_torch
class Evil:
    def __reduce__(self):
        return os._exit, (7,)
file = io.BytesIO()
torch.save({"state": {}, "param_groups": [{"params": [0], "lr": Evil()}]}, file)
file.seek(0)
try:
    torch.load(file, weights_only=True)
except pickle.UnpicklingError:
    print("refused")
"""


def test_a_pickle_in_a_checkpoint_is_refused():
    pytest.importorskip("torch", reason="mgup_torch needs PyTorch")
    done = subprocess.run(
        [sys.executable, "-c", PICKLE], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["refused"]


def test_every_class_s_checkpoint_loads_with_weights_only():
    """Whatever a group or a state holds, no pickle is needed to read it."""
    torch = pytest.importorskip("torch", reason="mgup_torch needs PyTorch")
    import mgup_torch

    tried = 0
    for name in mgup_torch.list_optimizers():
        kind = getattr(mgup_torch, name)
        for low in (torch.float32, torch.bfloat16):
            p = torch.ones(6, 8, dtype=low, requires_grad=True)
            optimizer = kind([p], lr=torch.tensor(0.1), state_dtype=torch.float32)
            p.grad = torch.ones_like(p)
            optimizer.step()
            if hasattr(optimizer, "eval"):
                optimizer.eval()
            file = io.BytesIO()
            torch.save(optimizer.state_dict(), file)
            file.seek(0)
            kind([p]).load_state_dict(torch.load(file, weights_only=True))
            tried += 1
    assert tried == 2 * len(mgup_torch.list_optimizers()) > 70
    wrapped = mgup_torch.MGUP(torch.optim.AdamW([p]), alpha=torch.tensor(1.5))
    file = io.BytesIO()
    torch.save(wrapped.state_dict(), file)
    file.seek(0)
    wrapped.load_state_dict(torch.load(file, weights_only=True))


def evaluates(source: str) -> bool:
    """Whether a module calls what makes code or objects of a text."""
    calls = (node.func for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return any(
        ast.unparse(call) in ("exec", "eval", "pickle.load", "pickle.loads", "yaml.load")
        for call in calls
    )


def test_security_names_the_modules_that_do():
    import pathlib
    import re

    root = pathlib.Path(core.__file__).parents[1]
    named = re.findall(r"`(?:[\w/]+/)*\w+\.py`", (root / "SECURITY.md").read_text())
    for path in (name.strip("`") for name in named):
        assert any((root / f / path).is_file() for f in ("", "adapters", "conformance")), path
    assert {"`mgup_torch/kernels/codegen.py`", "`mgup_mindspore/emitter.py`"} <= set(named)


def test_no_module_evaluates_text_but_the_two_that_make_programs():
    """`exec` and `eval` in the library: the sources of kernels, made of a table of operations."""
    import pathlib

    root = pathlib.Path(core.__file__).parents[1]
    found = set()
    for package in ("mgup_core", "mgup_torch", "mgup_jax", "mgup_mindspore", "mgup_conformance"):
        for folder in (root, root / "adapters", root / "conformance"):
            for path in (folder / package).rglob("*.py"):
                text = path.read_text()
                if evaluates(text):
                    found.add(f"{package}/{path.name}")
    assert found == {"mgup_torch/codegen.py", "mgup_mindspore/emitter.py"}
