"""What the distribution says of itself is so: one version, true addresses, extras that exist.

No clause: packaging.
"""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
if not (ROOT / "CITATION.cff").is_file():
    pytest.skip("the checkout is not beside the tests", allow_module_level=True)

tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PACKAGES = {
    "mgup": None, "mgup_core": None, "mgup_conformance": None,
    "mgup_torch": "torch", "mgup_jax": "optax", "mgup_mindspore": "mindspore",
    "mgup_keras": "keras",
}  # fmt: skip


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_has_the_one_version(package):
    if PACKAGES[package]:
        pytest.importorskip(PACKAGES[package])
    from mgup_core import __version__

    assert importlib.import_module(package).__version__ == __version__


def test_the_version_is_written_once():
    written = [
        path
        for folder in ("mgup", "mgup_core", "adapters", "conformance/mgup_conformance")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Assign)
        and any(isinstance(x, ast.Name) and x.id == "__version__" for x in node.targets)
    ]
    assert written == [ROOT / "mgup_core" / "__init__.py"]


def test_the_citation_and_the_changelog_have_it_too():
    from mgup_core import __version__

    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(r"^version: (.*)$", citation, re.MULTILINE)[1] == __version__
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## \[([\d.]+)\]", changes, re.MULTILINE)
    assert "## [Unreleased]" in changes
    assert __version__ not in released[1:], "the version has not moved since"


def test_the_old_name_of_an_extra_brings_what_the_new_one_does():
    extras = PROJECT["optional-dependencies"]
    assert extras["cpu"] == ["mgup[compiled]"]
    named = {
        name
        for requirements in extras.values()
        for requirement in requirements
        for found in re.findall(r"^mgup\[(.*?)\]", requirement)
        for name in found.split(",")
    }
    assert named <= set(extras)


def test_mgup_says_where_things_are():
    """Every package of the wheel but itself."""
    import mgup

    for package in set(PACKAGES) - {"mgup"}:
        assert f"``{package}``" in mgup.__doc__
