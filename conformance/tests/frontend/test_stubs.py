"""The stubs are as ``make stubs`` writes them.

No clause: CONTRIBUTING.md, "Adding a rule".
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
from pathlib import Path

import pytest

import mgup_core

from .public import PACKAGES

SCRIPT = Path(mgup_core.__file__).parents[1] / "adapters" / "write_stubs.py"
if not SCRIPT.exists():
    pytest.skip("the script that writes the stubs is not there", allow_module_level=True)


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("write_stubs", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def parts(source: str) -> tuple[set[str], list[str]]:
    """Imported names, and all else.

    The formatter sorts imports, drops those not needed, and indents docstrings.
    """
    imported, rest = set(), []
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = inspect.cleandoc(node.value).strip()
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            module = f"{'.' * getattr(node, 'level', 0)}{getattr(node, 'module', '')}"
            imported |= {f"{module} {alias.name} {alias.asname}" for alias in node.names}
        else:
            rest.append(ast.dump(node))
    return imported, rest


@pytest.mark.parametrize("package", [name for name in PACKAGES if name != "mgup_core"])
def test_a_stub_is_as_written(script, package):
    pytest.importorskip(PACKAGES[package])
    committed = (SCRIPT.parent / package / "__init__.pyi").read_text(encoding="utf-8")
    imported, rest = parts(committed)
    imported_now, rest_now = parts(script.stub(script.ADAPTERS[package]()))
    assert rest == rest_now, f"{package}/__init__.pyi is stale: run `make stubs`."
    assert imported <= imported_now


def test_a_changed_default_makes_a_stub_stale(script, monkeypatch):
    """The check can fail: Lion's default is in the stub."""
    pytest.importorskip("torch")
    from mgup_torch import MGUPLion

    signature = MGUPLion.__init__.__signature__
    changed = [
        p.replace(default=0.3) if p.name == "tau" else p for p in signature.parameters.values()
    ]
    monkeypatch.setattr(MGUPLion.__init__, "__signature__", signature.replace(parameters=changed))
    committed = (SCRIPT.parent / "mgup_torch" / "__init__.pyi").read_text(encoding="utf-8")
    assert parts(committed)[1] != parts(script.stub(script.ADAPTERS["mgup_torch"]()))[1]
