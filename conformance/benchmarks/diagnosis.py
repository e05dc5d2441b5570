"""How often the suite names a mistake that was planted: the table in docs/diagnosis.md.

    $ export PYTHONPATH=conformance/tests/suite
    $ python conformance/benchmarks/diagnosis.py docs/diagnosis.md

Three implementations that share nothing with the library (conformance/tests/suite/planted.py), with
one mistake each time.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from planted import FORMS, MISTAKES, TELLING

from mgup_conformance import all_cases, matrix, run_case
from mgup_conformance.runner import select


def said(form: type, mistake: str) -> tuple[str, bool]:
    """(what is said of a planted mistake, whether its clause is charged)."""
    (case,) = select(all_cases(), [TELLING[mistake]])
    result = run_case(form(mistake), case, set_of="fast")
    if result.verdict != "different":
        return result.verdict, False
    words = result.diagnosis.removeprefix("as if: ") or "by no known mistake"
    return words, bool(result.suspects) and MISTAKES[mistake] in result.charged


def main(file: str) -> None:
    cases = select(all_cases(), sorted(set(TELLING.values())))
    intro = [
        "# Diagnosis, measured",
        "",
        "Mistakes planted in three implementations that share nothing with this library, one at a "
        "time, and what the suite says of each by the one case that is there for it. “torch form” "
        "is how PyTorch spells an optimizer, “twin” is NumPy in the specification's order of "
        "operations, “double” computes in float64 and rounds once a step. Where several mistakes "
        "are named, that case cannot tell them apart; a whole run names the one that explains "
        "most of its cases. **Bold**: missed, or named as another clause's.",
        "",
        "Made by `PYTHONPATH=conformance/tests/suite python conformance/benchmarks/diagnosis.py "
        "docs/diagnosis.md`.",
        "",
    ]
    rows = [["planted", "clause", "case", *(form.name for form in FORMS)]]
    clean = []
    for form in FORMS:
        results = [run_case(form(), case, set_of="fast") for case in cases]
        levels = Counter(r.verdict for r in results if r.verdict)
        most = max(r.units for r in results)
        words = ", ".join(f"{n} {level}" for level, n in levels.items())
        clean.append(f"{words}, to {most:.2g} units" if most else words)
    rows.append(["none", "", "all of these", *clean])
    right, alone = Counter[str](), Counter[str]()
    for mistake, clause in MISTAKES.items():
        cells = []
        for form in FORMS:
            words, ok = said(form, mistake)
            right[form.name] += ok
            alone[form.name] += ok and "; or: " not in words
            cells.append(words if ok else f"**{words}**")
        rows.append([mistake, clause, TELLING[mistake], *cells])
    counts = [
        f"{right[form.name]} of {len(MISTAKES)}, {alone[form.name]} of them alone" for form in FORMS
    ]
    rows.append(["named rightly", "", "", *counts])
    Path(file).write_text("\n".join(intro) + "\n" + matrix.markdown_table(rows))


if __name__ == "__main__":
    main(sys.argv[1])
