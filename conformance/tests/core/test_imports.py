"""The imports of the core, and its exports.

No clause: CONTRIBUTING.md, "How the code is laid out".
"""

from __future__ import annotations

import ast
import pathlib
import subprocess
import sys

import pytest

import mgup_core

ROOT = pathlib.Path(mgup_core.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))
FRAMEWORKS = ("torch", "jax", "mindspore", "tensorflow", "cupy", "dask", "scipy", "ml_dtypes")
ALLOWED = {"numpy", "array_api_compat", *sys.stdlib_module_names}


def imported(tree: ast.AST) -> set[str]:
    """The top-level names of every import, wherever it stands."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add((node.module or "").split(".")[0])
    return names


def test_there_are_modules():
    assert len(MODULES) > 10


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_numpy_and_array_api_compat(path):
    assert imported(ast.parse(path.read_text())) <= ALLOWED


def test_importing_the_core_imports_no_framework():
    """A fresh interpreter imports the core and takes a step without loading a framework."""
    code = (
        "import sys, numpy, mgup_core\n"
        "w = [numpy.ones(4)]\n"
        "o = mgup_core.Optimizer(mgup_core.AdamW())\n"
        "o.step(w, w, o.init(w))\n"
        f"print(sorted(set({FRAMEWORKS!r}) & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=600
    )
    assert done.stdout.strip() == "[]"


TESTS = pathlib.Path(__file__).parent
ABSENT = (*FRAMEWORKS[:-1], "jaxlib", "optax", "flax", "sympy", "mpmath", "llvmlite", "autograd")


def test_these_tests_ask_for_no_framework():
    """pytest collects these tests without any framework, as continuous integration does."""
    code = (
        f"import sys\nfor name in {ABSENT!r}: sys.modules[name] = None\n"
        "import pytest\n"
        f"sys.exit(pytest.main(['-q', '--collect-only', '-p', 'no:cacheprovider', {str(TESTS)!r}]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=600, cwd=TESTS
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for path in TESTS.rglob("test_*.py"):
        assert imported(ast.parse(path.read_text())).isdisjoint(ABSENT), path.name


def exported() -> set[str]:
    return set(mgup_core.__all__)


def test_the_public_names_are_those_re_exported():
    """The package has no other public names."""
    kinds = (type(ast), type(None), str)
    public = {
        name
        for name, value in vars(mgup_core).items()
        if not name.startswith("_") and not isinstance(value, kinds)
    }
    assert public == {n for n in exported() if not isinstance(getattr(mgup_core, n), kinds)}
    assert {"MGUP", "SignMGUP", "AdaptiveSignMGUP", "Cautious"} <= public
    assert {"score", "rank", "differentiate", "safeguard", "rank_mask"} <= public
    assert {"AdamW", "Lion", "SGD", "Muon", "Optimizer"} <= public


@pytest.mark.parametrize("name", sorted(exported()))
def test_every_public_name_is_documented(name):
    """Each name, and each public method of a class, has its own docstring."""
    value = getattr(mgup_core, name)
    doc = value.__doc__ or ""
    assert len(doc.split()) >= 3
    assert not doc.startswith(f"{name}("), "the signature that dataclasses and named tuples write"
    for attribute, member in vars(value).items() if isinstance(value, type) else ():
        if callable(member) and not attribute.startswith("_") and member.__doc__ is None:
            above = [getattr(base, attribute, None) for base in value.__mro__[1:]]
            assert any(getattr(other, "__doc__", None) for other in above), attribute
