"""The documentation runs, and its links lead somewhere.

No clause: CONTRIBUTING.md, "Claims are measured", and the site's own promises.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import re
import sys
import textwrap
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
ROOTS = [ROOT / f"{stem}.md" for stem in ("README", "CONTRIBUTING", "CHANGELOG")]
PAGES = [*ROOTS, ROOT / "llms.txt", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^( *)```python\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)  # in tabs, too
LINK = re.compile(r'(?:\]\(|(?:src|srcset)=")(?!https?://|#)([^)"#\s]+)')

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
        line = text.count("\n", 0, block.start(2))
        code = "\n" * line + textwrap.dedent(block[2])
        exec(compile(code, name(page), "exec"), vars(module))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files(page):
    links = LINK.findall(read(page))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_support_matrix_is_made_from_its_report():
    """``mgup-conformance report docs/conformance.json --markdown docs/conformance.md``."""
    from mgup_conformance import matrix, report

    plain = report.load(ROOT / "docs" / "conformance.json")
    assert read(ROOT / "docs" / "conformance.md") == matrix.markdown(plain)


def prose(page: Path) -> list[str]:
    """The lines of a page, those of code blocks empty."""
    lines, code = [], False
    for line in read(page).splitlines():
        fence = line.lstrip().startswith(("```", "~~~"))
        lines.append("" if code or fence else line)
        code ^= fence
    return lines


ITEM = re.compile(r"([-*+]|\d+\.) ")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_blank_line_stands_before_a_list(page):
    """Without it Python-Markdown takes all items for one paragraph."""
    lines = prose(page)
    run_on = [
        f"{name(page)}:{i + 2}"
        for i, (before, line) in enumerate(itertools.pairwise(lines))
        if ITEM.match(line) and before.strip() and not ITEM.match(before.lstrip())
        and not before.startswith(" ")
    ]  # fmt: skip
    assert run_on == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_rows_of_a_table_have_the_columns_of_its_head(page):
    """What is over is dropped without a word."""
    lines, width = prose(page), 0
    for i, line in enumerate(lines, 1):
        if not line.startswith("|"):
            width = 0
            continue
        cells = len(re.findall(r"(?<!\\)\|", re.sub(r"`[^`]*`", "", line)))
        width = width or cells
        assert cells == width, f"{name(page)}:{i}"


def test_every_clause_can_be_linked_to():
    """Each number of the specification is an anchor of its page, and no anchor stands twice."""
    spec = read(ROOT / "docs" / "spec.md")
    text = script("docs/pages.py").anchors(spec)
    found = re.findall(r'<a class="clause" id="([^"]*)"', text)
    assert len(found) == len(set(found)) == len(re.findall(r"^- \*\*[PRNV]", spec, re.MULTILINE))
    assert {f"P{n}" for n in range(1, 13)} <= set(found)


def test_the_table_of_rules_is_made_from_the_rules():
    """``python docs/rules_table.py``."""
    made = script("docs/rules_table.py")
    assert read(made.PAGE) == made.page(read(made.PAGE))


def test_the_table_of_the_collection_is_made_from_its_data():
    """``python docs/collection.py``; every rule has its bits and its times."""
    made = script("docs/collection.py")
    assert read(made.PAGE) == made.page(read(made.PAGE))
    names = [kind.__name__ for kind in made.rules.ALL]
    counts, speed = (json.loads(read(data)) for data in (made.DATA, made.SPEED))
    assert names == list(counts) == list(speed["plain"]) == list(speed["ratios"])


def script(path: str) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
