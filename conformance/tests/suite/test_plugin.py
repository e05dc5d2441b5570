"""The pytest plugin: cases as items, and a list of known failures that is kept downstream.

No clause: the suite's plugin, docs/guides/conformance.md.
"""

from __future__ import annotations

from importlib.metadata import entry_points

import pytest

pytest_plugins = ["pytester"]

PLUGIN = "mgup_conformance.pytest_plugin"
INSTALLED = any(point.value == PLUGIN for point in entry_points(group="pytest11"))


@pytest.fixture
def run(toys, pytester):
    """Pytest in a project that is not this one."""
    pytester.makeini("[pytest]")

    def run(*arguments, xfails=None):
        if xfails is not None:
            arguments += ("--mgup-xfails", pytester.makefile(".txt", known=xfails))
        load = [] if INSTALLED else ["-p", PLUGIN]
        done = pytester.runpytest_inprocess(*load, *arguments)
        return done.ret, "\n".join(done.outlines + done.errlines)

    return run


WRONG = (
    "--mgup-backend",
    "toy_port:WrongPort",
    "-k",
    "(run/adamw/mgup/ or rank/ties/float32) and not golden",
)


def test_nothing_happens_unasked(run):
    code, out = run()
    assert code == pytest.ExitCode.NO_TESTS_COLLECTED
    assert "mgup::" not in out


def test_ids_are_readable(run):
    code, out = run(
        "--mgup-backend", "toy_port:Port", "--mgup-backend", "numpy", "--collect-only", "-q",
        "-k", "count/",
    )  # fmt: skip
    assert code == 0
    found = [line for line in out.splitlines() if line.startswith("mgup::")]
    assert found == [
        "mgup::toy::count/decimals", "mgup::toy::count/mean",
        "mgup::numpy::count/decimals", "mgup::numpy::count/mean",
    ]  # fmt: skip


def test_a_failure_is_its_message_and_nothing_else(run):
    code, out = run(*WRONG)
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "1 failed, 1 passed" in out
    _, _, shown = out.partition("mgup::wrong_toy::run/adamw/mgup/float32 ___")
    lines = shown.partition("short test summary")[0].splitlines()[1:-1]
    assert lines[0].startswith("run/adamw/mgup/float32 (R1, P6")
    assert lines[1].startswith("parameter: ")
    assert lines[2].startswith("  at step 1, parameter 0, coordinate [")
    assert lines[3].startswith("  expected ")
    assert lines[4].startswith("  got      ")
    assert "the threshold" in lines[5]
    assert len(lines) == 6


@pytest.mark.parametrize("line", ["run/adamw/mgup/*", "wrong_toy::run/adamw/mgup/float32  # why"])
def test_known_failures(run, line):
    code, out = run(*WRONG, xfails=f"# known\n\n{line}\n")
    assert code == 0
    assert "1 passed" in out
    assert "1 xfailed" in out


def test_an_unexpected_pass_fails(run):
    code, out = run(*WRONG, xfails="run/adamw/mgup/*\nrank/ties/float32\n")
    assert code == pytest.ExitCode.TESTS_FAILED
    assert "XPASS(strict)" in out


def test_what_is_not_offered_is_skipped_with_the_reason(run):
    code, out = run("--mgup-backend", "toy_port:Port", "-k", "run/lion/large", "-rs")
    assert code == 0
    assert "lion (not yet ported)" in out


@pytest.mark.parametrize(
    ("arguments", "xfails", "message"),
    [
        (["--mgup-backend", "nunpy"], None, "unknown backend 'nunpy', did you mean 'numpy'"),
        (WRONG, "rnak/ties/float32", "'rnak/ties/float32' matches no case; the nearest is 'rank/"),
        ([*WRONG, "--mgup-xfails", "none.txt"], None, "--mgup-xfails: [Errno 2]"),
    ],
)
def test_usage(run, arguments, xfails, message):
    code, out = run(*arguments, xfails=xfails)
    assert code == pytest.ExitCode.USAGE_ERROR
    assert message in out
