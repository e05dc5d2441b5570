"""Nothing executes what a file, a message, or a name says (SECURITY.md).

No clause: SECURITY.md.
"""

from __future__ import annotations

import ast
import io
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest

import mgup_core as core
from mgup_conformance import reproduce

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
    tree = ast.parse(xp.recording("x", [both]).source)
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
        [sys.executable, "-c", PICKLE], capture_output=True, text=True, timeout=600
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
    assert {"`mgup_kernels/codegen.py`", "`mgup_mindspore/program.py`"} <= set(named)


def test_no_module_evaluates_text_but_the_two_that_make_programs():
    """`exec` and `eval` in the library: the sources of kernels, made of a table of operations."""
    import pathlib

    root = pathlib.Path(core.__file__).parents[1]
    found = set()
    for package in (
        "mgup_core",
        "mgup_kernels",
        "mgup_torch",
        "mgup_jax",
        "mgup_mindspore",
        "mgup_conformance",
    ):
        for folder in (root, root / "adapters", root / "conformance"):
            for path in (folder / package).rglob("*.py"):
                text = path.read_text()
                if evaluates(text):
                    found.add(f"{package}/{path.name}")
    assert found == {"mgup_kernels/codegen.py", "mgup_mindspore/program.py"}
