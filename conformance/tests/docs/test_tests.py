"""Every file of tests says which clauses it checks, or why none.

No clause: CONTRIBUTING.md, "The specification decides".
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
SPECIFICATION = TESTS.parents[1] / "docs" / "spec.md"
NUMBERED = re.compile(r"\b[PRN]\d+[a-z]?\b")
NO_CLAUSE = re.compile(r"^No clause: \S", re.MULTILINE)


def clauses() -> set[str]:
    """The clauses of the specification, by their numbers."""
    text = SPECIFICATION.read_text(encoding="utf-8")
    return set(re.findall(r"^- \*\*([PRN]\d+[a-z]?)\b", text, re.MULTILINE))


def complaint(doc: str, known: set[str]) -> str | None:
    """What a file's docstring lacks, or ``None``."""
    cited = set(NUMBERED.findall(doc))
    if unknown := cited - known:
        return f"cites {sorted(unknown)}, which docs/spec.md does not have"
    whole = re.search(r"\bevery clause\b|\bV\b", doc)
    if not (cited or whole or NO_CLAUSE.search(doc)):
        return "cites no clause: name those that it checks, or write a paragraph 'No clause: why'"
    return None


def test_every_file_of_tests_names_its_clauses():
    known, complaints = clauses(), {}
    for path in sorted(TESTS.rglob("test_*.py")):
        doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        if said := complaint(doc, known):
            complaints[str(path.relative_to(TESTS))] = said
    assert not complaints


@pytest.mark.parametrize(
    ("doc", "said"),
    [
        ("It checks P4 and N1.", None),
        ("It checks every clause that there is.", None),
        ("Figures.\n\nNo clause: packaging.", None),
        ("It works.", "cites no clause"),
        ("It checks P99.", "P99"),
        ("Figures. No clause:", "cites no clause"),
    ],
)
def test_what_is_said_of_a_file(doc, said):
    found = complaint(doc, {"P4", "N1"})
    assert (found is None) if said is None else (said in found)
