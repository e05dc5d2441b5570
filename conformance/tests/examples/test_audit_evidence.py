"""docs/evidence.md says what the committed runs say.

No clause: figures of a page.
"""

from __future__ import annotations

import re

import numpy as np
import pytest

pytest.importorskip("audit", reason="the examples are not beside the tests")

import report_audit
from audit.analysis import difference, floor
from report_audit import DATA, FIELD, ROOT, TEMPLATE, Evidence

DOCS = ROOT / "docs"
if not DATA.is_dir():
    pytest.skip("the documentation is not beside the tests", allow_module_level=True)

TEXT = TEMPLATE.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def evidence():
    return Evidence(sorted(path for path in DATA.iterdir() if path.is_dir()))


def test_the_page_is_made_from_the_runs(evidence):
    """``python examples/report_audit.py``."""
    assert (DOCS / "evidence.md").read_text(encoding="utf-8") == evidence.page(TEXT)


def test_the_figures_are_made_from_the_runs(evidence):
    """The same command."""
    figures = dict(evidence.figures())
    assert figures
    for name, svg in figures.items():
        assert (DOCS / "img" / name).read_text(encoding="utf-8") == svg, name
        assert "img/" + name.replace("-dark", "") in TEXT


def test_no_result_is_written_by_hand():
    """What looks like a loss, or a difference of losses, is a field; quoted claims are not ours."""
    ours, _, _ = FIELD.sub("", TEXT).partition("## The paper's own claims")
    assert re.findall(r"(?<![\d.])\d\.\d{3,}", ours) == ["0.008"]  # a learning rate of the grid
    assert re.findall(r"[−+]\d", ours) == []


def test_every_run_is_there_once(evidence):
    for found in evidence.found.values():
        names = [row["curve"] for row in found.rows]
        assert len(names) == len(set(names))
        for arm in found.chosen:
            for row in found.chosen_rows(arm):
                assert row["curve"] in found.curves


def test_paired_differences():
    """The mean, and intervals that hold it; seeds of one side only do not count."""
    ours = {1: 1.0, 2: 2.0, 3: 3.5, 9: 0.0}
    theirs = {1: 0.5, 2: 1.0, 3: 3.0, 8: 7.0}
    found = difference(ours, theirs)
    assert found.pairs == 3
    assert found.mean == pytest.approx(2 / 3)
    assert 0.5 <= found.low < found.mean < found.high <= 1.0
    d = np.array([0.5, 1.0, 0.5])
    assert found.student == pytest.approx(4.303 * d.std(ddof=1) / 3**0.5)
    assert difference({1: 1.0}, {1: 2.0}) is None
    assert difference({1: 1.0, 2: float("nan")}, {1: 2.0, 2: 2.0}) is None


def test_floors_of_valleys():
    """Of a parabola its vertex, wherever the grid lies; without one inside, the least."""
    for shift in (-0.5, -0.2, 0.0, 0.4):
        x = np.array([-1.0, 0.0, 1.0])
        assert floor(3.0 * (x - shift) ** 2 + 0.7) == pytest.approx(0.7, abs=1e-12)
    assert floor(np.array([1.0, 2.0, 3.0])) == 1.0
    assert floor(np.array([1.0, 2.0, 1.5])) == 1.0


def test_pictures_that_no_page_shows():
    """Issue 19.6: README's curves were of another run than its caption; they are gone."""
    pages = [ROOT / "README.md", *DOCS.rglob("*.md")]
    shown = "".join(page.read_text(encoding="utf-8") for page in pages)
    names = (path.name for path in (DOCS / "img").iterdir())
    # The site shows a picture's dark twin by itself.
    assert [
        n for n in names if f"img/{n.replace('-dark', '')}" not in shown and n not in shown
    ] == []


def test_taking_runs_keeps_what_the_page_looks_at(evidence, tmp_path):
    names = ["signals-conv", "signals-mlp-tuned"]
    report_audit.take(DATA / "signals", tmp_path, evidence, names)
    for name in ("runs.csv", "curves.jsonl"):
        assert (tmp_path / name).read_bytes() == (DATA / "signals" / name).read_bytes()
