"""What is no backend, or no rule, is refused in a line, before anything runs (issue 17).

No clause: the suite itself: what it says of modules, classes and names that it cannot use.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from mgup_conformance import all_cases, cli, ports, run_suite
from mgup_conformance.backends import load
from mgup_conformance.runner import select

RUN = "run/adamw/mgup/float32"


@pytest.fixture
def hostile(toys):
    yield
    sys.modules.pop("hostile", None)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Unmakeable", "cannot be made: KeyError: 'nothing'"),
        ("Leaving", "cannot be made: SystemExit: 3"),
        ("Mute", "cannot say what it is: TypeError: not now"),
        ("Ageless", "cannot say what it is: TypeError: not now"),
        ("Listed", r"versions\(\) gives \['1.0'\], not texts by their names"),
        ("Numbered", r"versions\(\) gives {'numpy': 2.4}, not texts"),
        ("Nameless", "name is ' ', not a text"),
        ("Number", "name is 3, not a text"),
    ],
)
def test_what_it_is_said_to_be(hostile, name, words):
    """Before anything is run: a report needs its name and its versions."""
    with pytest.raises(ValueError, match=f"backend 'hostile:{name}'.* {words}"):
        load(f"hostile:{name}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def f(:", "SyntaxError: invalid syntax"),
    ],
)
def test_a_module_that_cannot_be_imported(tmp_path, monkeypatch, text, words):
    """Of a backend as of a rule: one line, and no traceback."""
    (tmp_path / "unfit.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=f"'unfit:Backend' cannot be imported: {words}"):
        load("unfit:Backend")
    monkeypatch.setenv(ports.OWN, "unfit:Rule")
    with pytest.raises(ValueError, match=f"'unfit:Rule' cannot be imported: {words}"):
        list(ports._own())


def test_leaving_is_an_error_of_its_case(hostile):
    """In this process, too, which does not leave with it."""
    cases = select(all_cases(), [RUN, "count/decimals"])
    results = run_suite([load("hostile:Exiting")], cases, set_of="fast")
    assert {one.case: one.status for one in results} == {RUN: "error", "count/decimals": "passed"}
    assert "SystemExit: 0" in results[[one.case for one in results].index(RUN)].message


def test_two_of_one_name(toys):
    """Their results would be counted together."""
    here, same = load("toy_port:Port"), load("toy_port:Port")
    with pytest.raises(ValueError, match="2 backends are called 'toy'"):
        run_suite([here, same], select(all_cases(), ["count/decimals"]))


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers")
@pytest.mark.parametrize("there", [False, True])
def test_one_that_is_never_made(hostile, monkeypatch, capsys, there):
    monkeypatch.setattr(cli, "LOADING", 1.0)
    before = signal.getsignal(signal.SIGALRM)
    name = "hostile:Waiting" + f"@{sys.executable}" * there
    arguments = ["run", "--backend", name, "--case", "count/decimals", "--timeout", "1"]
    assert cli.main(arguments) == cli.USAGE
    said = capsys.readouterr().err
    assert name in said
    assert "no answer after 1 seconds" in said
    assert signal.getsignal(signal.SIGALRM) is before


def test_a_rule_without_state(monkeypatch):
    monkeypatch.setenv(ports.OWN, "stranger:Stateless")
    monkeypatch.syspath_prepend(Path(__file__).parent)
    with pytest.raises(ValueError, match="with the state of a matrix: NotImplementedError"):
        list(ports._own())
