"""The documentation runs, and its links lead somewhere."""

from __future__ import annotations

import ast
import re
import sys
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")

if not (ROOT / "docs").is_dir():
    pytest.skip("the documentation is not beside the tests", allow_module_level=True)


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", [page for page in PAGES if BLOCK.search(read(page))], ids=name)
def test_python_blocks_run(page, tmp_path, monkeypatch):
    """All blocks of a page, in order, as one module, with the page's own line numbers."""
    text = read(page)
    if "torch" in text:
        pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    module = types.ModuleType("page")
    # Classes look up their module: dataclasses for annotations, pickle for the class itself.
    monkeypatch.setitem(sys.modules, "page", module)
    for block in BLOCK.finditer(text):
        line = text.count("\n", 0, block.start(1))
        exec(compile("\n" * line + block[1], name(page), "exec"), vars(module))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files(page):
    links = LINK.findall(read(page))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_support_matrix_is_made_from_its_report():
    """``mgup-conformance report docs/conformance.json --markdown docs/conformance.md``."""
    from mgup_conformance import matrix, report

    plain = report.load(ROOT / "docs" / "conformance.json")
    assert read(ROOT / "docs" / "conformance.md") == matrix.markdown(plain)


@pytest.mark.parametrize("package", ["mgup_core", "mgup_torch", "mgup_jax", "mgup_mindspore"])
def test_the_api_page_has_every_public_name(package):
    """As headings, which are paths to import; other names of a function in its words."""
    folder = ROOT if package == "mgup_core" else ROOT / "adapters"
    tree = ast.parse(read(folder / package / "__init__.py"))
    named = next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )
    page = read(ROOT / "docs" / "api.md")
    headings = re.findall(rf"^::: {package}\.(\w+)$", page, re.MULTILINE)
    assert len(headings) == len(set(headings))
    assert set(headings) <= set(named)
    missing = set(named) - set(headings) - {"State"}
    assert [name for name in missing if f"`{name}`" not in page] == []
