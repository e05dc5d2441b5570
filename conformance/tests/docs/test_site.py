"""What the site is made of: anchors, the notebook, the API's pages, and the figures.

No clause: CONTRIBUTING.md, "Claims are measured", and the site's own promises.
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import types
import unicodedata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"

if not DOCS.is_dir():
    pytest.skip("the documentation is not beside the tests", allow_module_level=True)


def script(name: str) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(Path(name).stem, ROOT / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


pages, reference, figures = (
    script(f"docs/{name}.py") for name in ("pages", "reference", "figures")
)
MARKDOWN = sorted(DOCS.rglob("*.md"))
NOTEBOOKS = sorted(DOCS.rglob("*.ipynb"))
PACKAGES = [
    "mgup_torch", "mgup_jax", "mgup_mindspore", "mgup_keras", "mgup_core", "mgup_conformance",
]  # fmt: skip


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def source(path: Path) -> str:
    """What MkDocs gets of a page, without its blocks of code."""
    text, uri = path.read_text(encoding="utf-8"), path.relative_to(DOCS).as_posix()
    if uri in pages.BORROWED:
        text = pages.borrowed(uri)
    if uri == "spec.md":
        text = pages.anchors(text)
    if uri.startswith(reference.FOLDER):
        text = reference.headings(text)
    return re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(path: Path) -> set[str]:
    """The ids of a page: of its headings, as Python-Markdown makes them, and its own."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.*)$", source(path), re.MULTILINE):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)|[`*]", r"\1", heading)
        plain = unicodedata.normalize("NFKD", plain).encode("ascii", "ignore").decode()
        slug = re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())
        same = sum(1 for one in found if re.fullmatch(rf"{re.escape(slug)}(_\d+)?", one))
        found.add(f"{slug}_{same}" if same else slug)
    found |= set(re.findall(r'<a [^>]*id="([^"]+)"', source(path)))
    return found | set(re.findall(r"^::: (\S+)$", source(path), re.MULTILINE))


@pytest.mark.parametrize("page", MARKDOWN, ids=name)
def test_links_lead_to_anchors(page):
    missing = []
    for file, anchor in re.findall(r"\]\((?!https?://)([^)#\s]*)#([^)\s]+)\)", source(page)):
        target = (page.parent / file).resolve() if file else page
        if target.suffix == ".md" and anchor not in anchors(target):
            missing.append(f"{file}#{anchor}")
    assert missing == []


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=name)
def test_notebooks_run(notebook, monkeypatch, tmp_path):
    """Every cell of code, in order, without Jupyter; and they are kept without what they print."""
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    module = types.ModuleType("notebook")
    monkeypatch.setitem(sys.modules, "notebook", module)
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    for number, cell in enumerate(cells):
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [], f"cell {number}"
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), vars(module))
        else:
            for link in re.findall(r"\]\((?!https?://)([^)#]+)", "".join(cell["source"])):
                assert (notebook.parent / link).exists(), link


@pytest.mark.parametrize("package", PACKAGES)
def test_the_api_has_every_public_name(package):
    """Once each, as headings that are paths to import; other names of a function in its words."""
    text = source(DOCS / "api" / f"{package}.md")
    headings = re.findall(rf"^::: {package}\.(\w+)$", text, re.MULTILINE)
    assert len(headings) == len(set(headings))
    missing = set(reference.public(package)) - set(headings)
    assert [one for one in missing if f"`{one}`" not in text] == []
    assert set(headings) <= set(reference.public(package))


def test_only_rules_come_where_the_core_names_none():
    from mgup_core import rules

    written = (DOCS / "api" / "mgup_core.md").read_text(encoding="utf-8")
    before, after = (
        set(re.findall(r"^::: (\S+)$", text, re.MULTILINE))
        for text in (written, reference.headings(written))
    )
    assert after - before == {f"mgup_core.{rule.__name__}" for rule in rules.ALL}


def test_each_argument_has_its_clause():
    """Those that its text names, else those of its name; attributes have none."""
    row = '<tr class="doc-section-item"><td>{}</td><td>float</td><td>{}</td><td>1</td></tr>'
    table = "<table><th>Default</th>{}</table>".format("".join(
        row.format(*cells) for cells in (("tau", "a share."), ("b1", "a rate."), ("x", "as (N9).")))
    )  # fmt: skip
    made = reference.clauses(table)
    assert re.findall(r'#(\w+)">', made) == ["P3", "N9"]
    assert [cells[-1] for _, cells in reference.arguments(made)] == ["P3", "", "N9"]
    assert reference.clauses(table.replace("Default", "Value")) == table.replace("Default", "Value")


@pytest.mark.parametrize("figure", figures.FIGURES)
def test_figures_show_the_newest_data(figure):
    """``python docs/figures.py``. Light and dark, and nothing from another host."""
    _, words = figures.FIGURES[figure]
    for theme in (figures.LIGHT, figures.DARK):
        svg = (DOCS / "img" / f"{figure}{theme.suffix}.svg").read_text(encoding="utf-8")
        described = re.search(r"<dc:description>(.*?)</dc:description>", svg, re.DOTALL)[1]
        assert described == words()
        assert f"fill: {theme.paper}" in svg
        assert re.findall(r'(?:href|src)="(?!#)([^"]*)"', svg) == []


def test_every_figure_is_shown_in_both_schemes():
    shown = pages.figures("a ![The loss](../img/rules.svg) and ![b](img/audit-gpt.svg)")
    assert shown.count("rules.svg#only-light") == shown.count("rules-dark.svg#only-dark") == 1
    for page in MARKDOWN:
        left = re.findall(r"!\[[^]]*\]\((\S*?\.svg)\)", pages.figures(source(page)))
        assert left == [], name(page)
    used = {
        link
        for page in [*MARKDOWN, ROOT / "README.md"]
        for link in re.findall(r"img/([\w-]+)\.(?:svg|png)", page.read_text(encoding="utf-8"))
    }
    drawn = {path.stem for path in (DOCS / "img").iterdir()}
    assert drawn == used | {f"{one}-dark" for one in used if not one.endswith("-dark")}


def test_an_index_page_gets_addresses(monkeypatch):
    """Images and links of README.md, once the repository has an address."""
    for module in ("hatchling", "hatchling.metadata", "hatchling.metadata.plugin"):
        monkeypatch.setitem(sys.modules, module, types.ModuleType(module))
    interface = types.ModuleType("hatchling.metadata.plugin.interface")
    interface.MetadataHookInterface = object
    monkeypatch.setitem(sys.modules, interface.__name__, interface)
    build = script("hatch_build.py")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    made = build.absolute(readme, "https://example.org/o/mgup")
    assert 'src="https://example.org/o/mgup/raw/main/docs/img/gains.svg"' in made
    assert "](https://example.org/o/mgup/blob/main/docs/spec.md)" in made
    assert re.findall(r'(?:\]\(|src="|srcset=")(?!https?:|#)', made) == []
    assert build.absolute(made, "https://example.org/o/mgup") == made
