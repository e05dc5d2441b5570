"""Where only NumPy, array-api-compat and pytest are installed: the plugin and the command.

No clause: packaging.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import mgup_core as core

ABSENT = (
    "ml_dtypes", "hypothesis", "rich", "array_api_strict", "torch", "jax", "jaxlib", "optax",
    "mindspore", "llvmlite", "scipy", "autograd", "flax", "matplotlib",
)  # fmt: skip
BLOCKED = f"import sys\nfor name in {ABSENT!r}:\n    sys.modules[name] = None\n"


def python(code, tmp_path, *arguments):
    """A fresh interpreter in which what is absent cannot be imported, away from this project."""
    here = {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    return subprocess.run(
        [sys.executable, "-c", BLOCKED + code, *arguments],
        cwd=tmp_path, capture_output=True, text=True, timeout=600,
        env={**os.environ, **here, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "COLUMNS": "200"},
    )  # fmt: skip


@pytest.fixture
def pytest_run(tmp_path):
    """Pytest with the plugin, in a project that has nothing to do with this one."""
    (tmp_path / "test_theirs.py").write_text("def test_one():\n    assert 1 + 1 == 2\n")

    def run(*arguments):
        code = "import pytest\nsys.exit(pytest.main(sys.argv[1:]))"
        plugin = ["-p", "mgup_conformance.pytest_plugin", "-W", "error"]
        return python(code, tmp_path, *plugin, *arguments)

    return run


def test_the_tests_of_other_projects_run(pytest_run):
    done = pytest_run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_the_plugin_names_what_it_needs_when_asked(pytest_run):
    done = pytest_run("--mgup-backend", "numpy")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "pip install 'mgup[conformance]'" in done.stderr


def test_the_plugin_imports_nothing_but_pytest(tmp_path):
    """Not even NumPy: it loads with every pytest of the environment."""
    code = (
        "sys.modules['numpy'] = None\n"
        "import mgup_conformance.pytest_plugin\n"
        "print([n for n in sys.modules if n.startswith('mgup_')])"
    )
    done = python(code, tmp_path)
    assert done.stdout.split() == ["['mgup_conformance',", "'mgup_conformance.pytest_plugin']"]


COMMAND = "from mgup_conformance.cli import main\nsys.exit(main(sys.argv[1:]))"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--help"], "usage: mgup-conformance"),
        (["run", "--help"], "usage: mgup-conformance"),
        (["--version"], f"mgup {core.__version__}"),
    ],
)
def test_what_needs_no_extra(tmp_path, arguments, said):
    done = python(COMMAND, tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout


def test_what_the_commands_need(tmp_path):
    assert "pip install 'mgup[conformance]'" in python(COMMAND, tmp_path, "--help").stdout
    done = python(COMMAND, tmp_path, "list")
    assert done.returncode == 2
    assert "rich" in done.stderr
    assert "pip install 'mgup[conformance]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_public_names_come_when_asked():
    import mgup_conformance

    for name in mgup_conformance._MODULES:
        assert getattr(mgup_conformance, name) is not None
        assert name in dir(mgup_conformance)
    with pytest.raises(AttributeError, match="has no attribute 'run_cases'"):
        mgup_conformance.run_cases  # noqa: B018
    scope: dict[str, object] = {}
    exec("from mgup_conformance import Backend, run_suite", scope)
    assert scope["Backend"] is mgup_conformance.Backend


def test_a_rule_in_the_working_directory_is_found(tmp_path):
    """As `python -m` finds it; the folder of a console script comes first otherwise."""
    (tmp_path / "mine.py").write_text("class Backend: pass\n")
    code = (
        "import sys\nsys.path[:] = [p for p in sys.path if p]\n"
        "from mgup_conformance.__main__ import main\nsys.exit(main())"
    )
    here = {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, "-c", code, "run", "--backend", "mine:Backend"],
        cwd=tmp_path, capture_output=True, text=True, timeout=600, env={**os.environ, **here},
    )  # fmt: skip
    assert "backend 'mine:Backend' lacks" in done.stderr
