"""A backend in another interpreter is a backend like any other.

No clause: the suite's protocol between two interpreters, docs/guides/conformance.md.
"""

from __future__ import annotations

import io
import subprocess
import sys
import venv
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from mgup_conformance import all_cases, run_case
from mgup_conformance.backends import load
from mgup_conformance.remote import Remote, RemoteError
from mgup_conformance.runner import select
from mgup_conformance.wire import receive, send

HERE = Path(__file__).parent
SOME = ["rank/nan/float32", "rank/mixed/bfloat16", "stacked/scores/mgup", "absent/lion/float32",
        "schedule/adamw/float32", "run/muon_default/mgup/float32", "compact/lion/*",
        "nonfinite/adamw/float32", "golden/*/adaptive/float64*"]  # fmt: skip


def test_what_goes_over_the_wire_comes_back():
    arrays = [
        np.array([[1.5, -0.0, np.nan, np.inf]], np.float64), np.zeros((0, 3), np.float32),
        np.array(2.5, np.float32), np.arange(6, dtype=np.float32).reshape(2, 3).T,
        np.array([1, 3e38], ml_dtypes.bfloat16), np.array([6e-8], np.float16),
    ]  # fmt: skip
    message = {"spec": {"lr": 0.1, "none": None, "inf": float("inf")}, "arrays": [*arrays, None]}
    pipe = io.BytesIO()
    send(pipe, message)
    pipe.seek(0)
    back = receive(pipe)
    assert back["spec"] == message["spec"]
    assert back["arrays"].pop() is None
    for x, y in zip(arrays, back["arrays"], strict=True):
        assert (x.dtype, x.shape, x.tobytes()) == (y.dtype, y.shape, y.tobytes())
        assert y.flags.writeable
    with pytest.raises(EOFError):
        receive(pipe)
    with pytest.raises(TypeError, match="object is neither plain data nor an array"):
        send(pipe, object())


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """An environment that has NumPy and ml_dtypes, and nothing of this library or its needs."""
    folder = tmp_path_factory.mktemp("environments") / "bare"
    venv.create(folder, with_pip=False, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for package in (np, ml_dtypes):
        source = Path(package.__file__).parent
        for part in source.parent.glob(f"{source.name}*"):  # its libraries are beside it
            (site / part.name).symlink_to(part)
    return folder


def test_versions_that_are_not_installed_here(environment, monkeypatch):
    """The suite and the library go along; what the backend gives crosses as plain data."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    python = str(environment / "bin" / "python")
    command = [python, "-c", "import mgup_core"]
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0
    backend = load(f"numpy@{python}")
    assert backend.name == "numpy@bare"
    assert backend.versions()["numpy"] == np.__version__
    for case in select(all_cases(fast=True), SOME):
        result = run_case(backend, case, set_of="fast")
        assert result.status == "passed", result.message
    with pytest.raises(ImportError, match=r"oracl in .*unknown backend 'oracl'"):
        load(f"oracl@{python}")


def test_a_wrong_port_is_told_the_same(toys):
    """The message does not depend on where the backend runs."""
    (case,) = select(all_cases(), ["run/adamw/mgup/float32"])
    there = run_case(load(f"toy_port:WrongPort@{sys.executable}"), case, set_of="fast")
    here = run_case(load("toy_port:WrongPort"), case, set_of="fast")
    assert there.status == here.status == "failed"
    assert there.message == here.message


def test_what_it_raises_is_an_error_with_its_traceback(toys):
    (case,) = select(all_cases(), ["count/decimals"])
    result = run_case(load(f"toy_port:Crashing@{sys.executable}"), case, set_of="fast")
    assert result.status == "error"
    assert "NotImplementedError: later" in result.message


def test_an_interpreter_that_ends_is_an_error_with_its_last_words(toys):
    backend = Remote("toy_port:Dying", sys.executable)
    with pytest.raises(RemoteError, match=r"ended with status 3.\nfarewell"):
        backend.run({"dtype": "float32", "state_dtype": "float32"}, [])


def test_writing_into_what_is_given_is_caught_there_too(toys):
    (case,) = select(all_cases(), ["run/adamw/mgup/float32"])
    result = run_case(load(f"toy_port:Meddling@{sys.executable}"), case, set_of="fast")
    assert result.status == "failed"
    assert "not to be changed" in result.message


def test_no_such_interpreter():
    with pytest.raises(ValueError, match=r"--python /no/such/python: .*No such file"):
        load("numpy@/no/such/python")
