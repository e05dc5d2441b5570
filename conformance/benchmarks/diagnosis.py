"""How often the suite names a mistake that was planted: the table in docs/diagnosis.md.

    $ export PYTHONPATH=conformance/tests/suite
    $ python conformance/benchmarks/diagnosis.py docs/diagnosis.md

Three implementations that share nothing with the library (conformance/tests/suite/planted.py), with
one mistake each time. Ten minutes.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from planted import FORMS, MISTAKES

from mgup_conformance import all_cases, run_suite
from mgup_conformance.cases import Case
from mgup_conformance.runner import Result, select, settle

CASES = (
    "rank/normal/float32", "rank/ties/float32", "rank/nan/float32", "rank/infinities/float32",
    "sign/scores/float32", "adaptive/scores/float32", "cautious/scores/float32", "count/*",
    "stacked/scores/mgup", "stacked/adamw/float32", "run/adamw/mgup/float32",
    "run/lion/mgup_mild/float32", "run/sgd/mgup/float32",
    "run/sgd_dampened/mgup/float32",
    "run/sgd_nesterov/*/float32", "compact/lion/*", "tiny_gradients/lion/float32",
    "tiny_gradients/adamw/float32", "hyper/*/float32", "absent/adamw/float32",
    "schedule/adamw/float32", "ties/lion/float32",
)  # fmt: skip
"""Those of the suite that are run: every clause, and few of each."""


def names(results: Sequence[Result]) -> Counter[str]:
    """The diagnoses, by how many cases they are given for."""
    return Counter(r.diagnosis for r in results if r.verdict == "different")


def row(form: type, mistake: str, cases: Sequence[Case]) -> tuple[str, bool]:
    """(what is said of a planted mistake, whether its clause is the one that is charged most)."""
    results = settle(run_suite([form(mistake)], cases, set_of="fast"))
    found = names(results)
    charged = Counter(
        clause for r in results if r.verdict == "different" and r.suspects for clause in r.charged
    )
    if not found:
        return "missed", False
    best = max(found, key=lambda one: (bool(one), found[one]))
    right = [clause for clause, _ in charged.most_common(1)] == [MISTAKES[mistake]]
    said = best.removeprefix("as if: ") or "different, as by no known mistake"
    return f"{said}: {found[best]} of {found.total()}", right


def main(file: str) -> None:
    cases = select(all_cases(), CASES)
    lines = [
        "# Diagnosis, measured",
        "",
        "Mistakes planted in three implementations that share nothing with this library, "
        f"one at a time, and what the suite says of each, by {len(cases)} of its cases. “torch "
        "form” is how PyTorch spells an optimizer, “twin” is NumPy in the specification's order "
        "of operations, “double” computes in float64 and rounds once a step. A number says in how "
        "many of the cases that are `different` the mistake is named so. **Bold**: the clause that "
        "is charged most is another than the planted mistake's.",
        "",
        "Made by `PYTHONPATH=conformance/tests/suite python conformance/benchmarks/diagnosis.py "
        "docs/diagnosis.md`.",
        "",
        f"| planted | clause | {' | '.join(form.name for form in FORMS)} |",
        "| --- | --- |" + " --- |" * len(FORMS),
    ]
    right = Counter[str]()
    clean = []
    for form in FORMS:
        results = run_suite([form()], cases, set_of="fast")
        levels = Counter(r.verdict for r in results if r.verdict)
        most = max(r.units for r in results)
        said = ", ".join(f"{n} {level}" for level, n in levels.items())
        clean.append(f"{said}; to {most:.2g} units" if most else said)
    lines.append(f"| none | | {' | '.join(clean)} |")
    for mistake, clause in MISTAKES.items():
        cells = []
        for form in FORMS:
            said, ok = row(form, mistake, cases)
            right[form.name] += ok
            cells.append(said if ok else f"**{said}**")
        lines.append(f"| {mistake} | {clause} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    counts = " | ".join(f"{right[form.name]} of {len(MISTAKES)}" for form in FORMS)
    lines.append(f"| charged rightly | | {counts} |")
    Path(file).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
