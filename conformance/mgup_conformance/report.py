"""What came out, for people (a table) and for programs (JSON)."""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from . import golden
from .clauses import CLAUSES, clause_key
from .protocol import Backend
from .runner import STATUSES, Result

FORMAT = 2
"""Raised when the JSON changes shape."""

Plain = dict[str, Any]


def as_plain(results: Sequence[Result], backends: Sequence[Backend], *, set_of: str) -> Plain:
    """Everything as data that JSON can hold."""
    shared = {
        "date": datetime.now(timezone.utc).date().isoformat(),
        "host": f"Python {platform.python_version()}, {platform.system()} {platform.machine()}",
        "set": set_of,
    }
    return {
        "format": FORMAT,
        "golden": golden.VERSION,
        "backends": [
            _one(backend, [r for r in results if r.backend == backend.name]) | shared
            for backend in backends
        ],
    }


def _one(backend: Backend, results: Sequence[Result]) -> Plain:
    totals = Counter(result.status for result in results)
    return {
        "name": backend.name,
        "versions": backend.versions(),
        "totals": {status: totals[status] for status in STATUSES},
        "clauses": clause_counts(results),
        "results": [
            {
                "case": r.case,
                "clauses": list(r.clauses),
                "status": r.status,
                "message": r.message,
                "seconds": round(r.seconds, 3),
            }
            for r in results
        ],
    }


def merge(reports: Sequence[Plain]) -> Plain:
    """One report of all their backends, in order, as from environments that cannot be one."""
    return {**reports[0], "backends": [one for plain in reports for one in plain["backends"]]}


def brief(plain: Plain) -> Plain:
    """Without the results that passed, which the counts tell of: what documentation keeps."""
    backends = [
        one | {"results": [r for r in one["results"] if r["status"] != "passed"]}
        for one in plain["backends"]
    ]
    return {**plain, "backends": backends}


def skipped(one: Plain) -> dict[str, int]:
    """Why cases were skipped on one backend of a report, and how many."""
    return Counter(r["message"] for r in one["results"] if r["status"] == "skipped")


def versions(one: Plain) -> str:
    """The versions of one backend of a report, in a line."""
    return ", ".join(f"{name} {number}" for name, number in one["versions"].items())


def totals(one: Plain) -> str:
    """How the cases of one backend of a report came out, in a line."""
    counts = one["totals"]
    said = ", ".join(f"{counts[s]} {s}" for s in STATUSES if counts[s])
    return said or "nothing run"


def clause_counts(results: Sequence[Result]) -> dict[str, dict[str, int]]:
    """For each clause of the specification, how its cases came out; 0 for those not run."""
    counts: dict[str, Counter[str]] = {clause: Counter() for clause in CLAUSES}
    for result in results:
        for clause in result.clauses:
            counts[clause][result.status] += 1
    ordered = sorted(counts, key=clause_key)
    return {c: {status: counts[c][status] for status in STATUSES} for c in ordered}


def load(path: Path) -> Plain:
    """A report from a file.

    Raises:
        ValueError: when the file is no report of this format.
    """
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # no JSON, no text, too long, too deep
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(plain, dict) or plain.get("format") != FORMAT:
        raise ValueError(f"{path} is not a report of format {FORMAT} of this suite.")
    return plain


def failures(plain: Plain) -> list[tuple[str, Any]]:
    """(backend, result) of everything that must be repaired."""
    return [
        (backend["name"], result)
        for backend in plain["backends"]
        for result in backend["results"]
        if result["status"] in ("failed", "error")
    ]


def _cell(counts: dict[str, int]) -> str:
    bad, passed, skipped = counts["failed"] + counts["error"], counts["passed"], counts["skipped"]
    if bad:
        return f"[bold red]FAILED {bad}[/] of {bad + passed}"
    if passed:
        return f"[green]passed {passed}[/]" + (f" [dim]({skipped} skipped)[/]" if skipped else "")
    return f"[yellow]skipped {skipped}[/]" if skipped else "[dim]not run[/]"


def show(plain: Plain, console: Console) -> None:
    """Print failures, the reasons of what was skipped, and the table of clauses."""
    for name, result in failures(plain):
        console.print(f"[bold red]{result['status'].upper()}[/] {escape(name)}")
        console.print(escape(result["message"]), highlight=False)
        console.print()
    table = Table(title="Clauses of the specification", title_justify="left")
    table.add_column("clause", no_wrap=True)
    table.add_column("what it says")
    for backend in plain["backends"]:
        table.add_column(escape(backend["name"]))
    for clause, statement in CLAUSES.items():
        cells = [_cell(backend["clauses"][clause]) for backend in plain["backends"]]
        table.add_row(clause, escape(statement), *cells)
    console.print(table)
    for backend in plain["backends"]:
        console.print(
            f"[bold]{escape(backend['name'])}[/] ({escape(versions(backend))}): {totals(backend)}"
        )
        for reason, n in skipped(backend).items():
            console.print(f"  skipped {n}: {escape(reason)}", highlight=False)
