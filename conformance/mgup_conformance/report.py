"""What came out, for people (a table) and for programs (JSON)."""

from __future__ import annotations

import contextlib
import json
import platform
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from itertools import count
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from . import golden
from .clauses import CLAUSES, clause_key
from .protocol import Backend
from .provenance import provenance
from .runner import STATUSES, Result, settle
from .shape import fault
from .verdicts import LEVELS
from .visible import visible

FORMAT = 2
"""Raised when the JSON changes shape."""

Plain = dict[str, Any]


def as_plain(
    results: Sequence[Result],
    backends: Sequence[Backend],
    *,
    set_of: str,
    level: str = "identical",
    command: str = "",
) -> Plain:
    """Everything as data that JSON can hold."""
    results = settle(results)
    shared = {
        "level": level,
        "command": command,
        "date": datetime.now(timezone.utc).date().isoformat(),
        "host": f"Python {platform.python_version()}, {platform.system()} {platform.machine()}",
        "processor": processor(),
        "set": set_of,
    }
    return {
        "format": FORMAT,
        "golden": golden.VERSION,
        "suite": provenance(),
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
        "verdicts": clause_verdicts(results),
        "levels": {
            **{level: sum(r.verdict == level for r in results) for level in LEVELS},
            "units": max((r.units for r in results), default=0.0),
        },
        "results": [
            {
                "case": r.case,
                "clauses": list(r.clauses),
                "status": r.status,
                "message": r.message,
                "seconds": round(r.seconds, 3),
                "verdict": r.verdict,
                "units": r.units,
                "judged": r.judged,
                "diagnosis": r.diagnosis,
                "charged": list(r.charged),
                "lacks": list(r.lacks),
                "runs": r.runs,
            }
            for r in results
        ],
    }


MAKERS = {"GenuineIntel": "Intel", "AuthenticAMD": "AMD", "aarch64": "ARM", "arm64": "ARM"}
"""Of processors, by what ``/proc/cpuinfo`` calls them or by their instruction set."""


def processor() -> str:
    """The maker of this processor and its name: ``Intel: Intel(R) Xeon(R) Processor``."""
    if platform.machine() in MAKERS:
        return f"{MAKERS[platform.machine()]}: {platform.machine()}"
    found: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            found.setdefault(key.strip(), value.strip())
    vendor = found.get("vendor_id", platform.machine())
    return f"{MAKERS.get(vendor, vendor)}: {found.get('model name', platform.processor())}"


def merge(reports: Sequence[Plain]) -> Plain:
    """One report of all their backends, in order, as from environments that cannot be one.

    A backend that is there already gets into its name where this one ran: the accelerator or the
    maker of the processor, and a number where that says nothing. One that another suite or
    specification judged keeps what says so.
    """
    merged: list[Plain] = []
    suite = reports[0].get("suite", {})
    for plain in reports:
        for one in plain["backends"]:
            own = one.get("suite", plain.get("suite", {}))
            if own != suite:
                one = one | {"suite": own}
            taken = {other["name"] for other in merged}
            merged.append(one | {"name": next(n for n in _names(one) if n not in taken)})
    return {**reports[0], "backends": merged}


def place(one: Plain) -> str:
    """Where a backend of a report ran: its accelerator or its processor's maker, if it says."""
    device: str = one["versions"].get("device", "CPU")
    maker: str = one.get("processor", "").partition(":")[0]
    return maker if device == "CPU" else device


def elsewhere(old: Plain, new: Sequence[Plain]) -> Plain:
    """Of an older report, the backends that ran where none of the newer reports' did."""
    known = {"", *(place(one) for plain in new for one in plain["backends"])}
    return {**old, "backends": [one for one in old["backends"] if place(one) not in known]}


def commit(plain: Plain, one: Plain) -> str:
    """The commit of the suite that judged one backend of a report, shortened, if it is known."""
    suite = one.get("suite") or plain.get("suite") or {}
    return str(suite.get("commit", ""))[:9]


def _names(one: Plain) -> Iterator[str]:
    """What a backend of a report may be called among others, the best first."""
    yield one["name"]
    name = f"{one['name']} on {place(one)}" if place(one) else one["name"]
    yield name
    for i in count(2):
        yield f"{name} ({i})"


def brief(plain: Plain) -> Plain:
    """Without the results that passed, which the counts tell of: what documentation keeps.

    Of those that were skipped what the backend lacks is kept, and not again in words.
    """

    def short(result: Plain) -> Plain:
        said = result["status"] == "skipped" and result.get("lacks")
        return result | {"message": ""} if said else result

    backends = [
        one | {"results": [short(r) for r in one["results"] if r["status"] != "passed"]}
        for one in plain["backends"]
    ]
    return {**plain, "backends": backends}


def skipped(one: Plain) -> dict[str, int]:
    """Why cases were skipped on one backend of a report, and how many for each reason.

    What is missing of one kind for one reason is one line. A case that lacks several things counts
    for each.
    """
    names: dict[tuple[str, str], set[str]] = {}
    cases: dict[tuple[str, str], set[str]] = {}
    plain: Counter[str] = Counter()
    for result in (r for r in one["results"] if r["status"] == "skipped"):
        if "lacks" not in result:
            plain[result["message"]] += 1
        for lack in result.get("lacks", ()):
            kind, _, rest = lack.partition(": ")
            name, _, reason = rest.partition(" (")
            names.setdefault((kind, reason), set()).add(name)
            cases.setdefault((kind, reason), set()).add(result["case"])
    said = {}
    for (kind, reason), found in names.items():
        what = ", ".join(sorted(found))
        text = f"{kind}: {what}" if what else kind
        text += f" ({reason}" if reason else ""
        said[f"{one['name']} does not offer {text}"] = len(cases[kind, reason])
    return said | plain


def versions(one: Plain) -> str:
    """The versions of one backend of a report, in a line."""
    return ", ".join(f"{name} {number}" for name, number in one["versions"].items())


def totals(one: Plain) -> str:
    """How the cases of one backend of a report came out, in a line."""
    counts = one["totals"]
    said = ", ".join(f"{counts[s]} {s}" for s in STATUSES if counts[s])
    return said or "nothing run"


def clause_counts(results: Sequence[Result]) -> dict[str, dict[str, int]]:
    """For each clause of the specification, how its cases came out; 0 for those not run.

    Of a case that is ``different`` the clauses that are charged count, and no others: of them
    :func:`clause_verdicts` says that they were not judged.
    """
    counts: dict[str, Counter[str]] = {clause: Counter() for clause in CLAUSES}
    for result in results:
        for clause in result.charged or result.clauses:
            counts[clause][result.status] += 1
    ordered = sorted(counts, key=clause_key)
    return {c: {status: counts[c][status] for status in STATUSES} for c in ordered}


def clause_verdicts(results: Sequence[Result]) -> dict[str, Plain]:
    """For each clause, which level its cases reached (clause V).

    ``level`` is the worst of them, ``units`` the largest deviation by rounding, ``run_cases`` how
    many of them were training runs: a clause without any is known of ``multiplier`` alone.
    """
    found: dict[str, Plain] = {
        clause: {"level": "", **dict.fromkeys((*LEVELS, "not judged"), 0), "units": 0.0,
                 "run_cases": 0}
        for clause in sorted(CLAUSES, key=clause_key)
    }  # fmt: skip
    for result in results:
        for clause in dict.fromkeys((*result.clauses, *result.charged)):
            one = found[clause]
            verdict = result.verdict
            if verdict == "different" and clause not in result.charged:
                verdict = "not judged"
            if not verdict:
                continue
            one[verdict] += 1
            if verdict == "not judged":
                continue
            one["level"] = max(one["level"] or LEVELS[0], verdict, key=LEVELS.index)
            one["units"] = max(one["units"], result.units)
            one["run_cases"] += result.runs
    return found


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
    if reason := fault(plain) or (None if plain["backends"] else "it has no backends"):
        raise ValueError(f"{path} is not a report of this suite: {reason}.")
    none = dict.fromkeys(STATUSES, 0)
    for one in plain["backends"]:  # an older suite knew fewer clauses
        one["clauses"] = {clause: one["clauses"].get(clause, none) for clause in CLAUSES}
    return plain


def failures(plain: Plain) -> list[tuple[str, Any]]:
    """(backend, result) of everything that must be repaired."""
    return [
        (backend["name"], result)
        for backend in plain["backends"]
        for result in backend["results"]
        if result["status"] in ("failed", "error")
    ]


def _cell(one: Plain, clause: str) -> str:
    counts, verdicts = one["clauses"][clause], one.get("verdicts", {}).get(clause, {})
    bad, passed, skipped = counts["failed"] + counts["error"], counts["passed"], counts["skipped"]
    by_rounding, unknown = verdicts.get("rounding", 0), verdicts.get("not judged", 0)
    rounding = f" [dim]({by_rounding} by rounding)[/]" if by_rounding else ""
    if bad:
        return f"[bold red]FAILED {bad}[/] of {bad + passed}{rounding}"
    if passed:
        said = f"[green]passed {passed}[/]{rounding}"
        return said + (f" [dim]({skipped} skipped)[/]" if skipped else "")
    if unknown:
        return f"[yellow]not judged {unknown}[/]"
    return f"[yellow]skipped {skipped}[/]" if skipped else "[dim]not run[/]"


WIDE = 4
"""Backends that fit beside each other in 80 columns, without what the clauses say."""


def _table(backends: Sequence[Plain], *, statements: bool) -> Table:
    table = Table(title="Clauses of the specification", title_justify="left")
    table.add_column("clause", no_wrap=True)
    if statements:
        table.add_column("what it says")
    for backend in backends:
        table.add_column(escape(backend["name"]), overflow="fold")
    for clause, statement in CLAUSES.items():
        cells = [_cell(backend, clause) for backend in backends]
        table.add_row(clause, *([escape(statement)] if statements else []), *cells)
    return table


def show(plain: Plain, console: Console) -> None:
    """Print failures, the reasons of what was skipped, and the table of clauses."""
    plain = visible(plain)
    for name, result in failures(plain):
        console.print(f"[bold red]{result['status'].upper()}[/] {escape(name)}")
        console.print(escape(result["message"]), highlight=False)
        if said := verdict(result):
            console.print(escape(said), highlight=False)
        console.print()
    backends = plain["backends"]
    narrow = console.width < 40 + 16 * len(backends)
    if not narrow or len(backends) == 1:
        console.print(_table(backends, statements=True))
    else:
        for i in range(0, len(backends), WIDE):
            console.print(_table(backends[i : i + WIDE], statements=False))
    for backend in backends:
        name, of = escape(backend["name"]), escape(versions(backend))
        console.print(f"[bold]{name}[/] ({of}): {totals(backend)}", highlight=False)
        for line in (*summary(backend), *untrained(backend)):
            console.print(f"  {escape(line)}", highlight=False)
        for reason, n in skipped(backend).items():
            console.print(f"  skipped {n}: {escape(reason)}", highlight=False)


def verdict(result: Plain) -> str:
    """What is said of a result that is not identical, in a line; empty for others."""
    judged, diagnosis = result.get("judged", ""), result.get("diagnosis", "")
    return f"verdict: {judged}" + (f"; {diagnosis}" if diagnosis else "") if judged else ""


def summary(one: Plain) -> list[str]:
    """The levels that one backend of a report reached, and its mistakes with their clauses."""
    levels = one.get("levels", {})
    if not levels or not levels["rounding"] + levels["different"]:
        return []
    said = {"rounding": f" (to {levels['units']:.2g} units in the last place)"}
    lines = [", ".join(f"{levels[n]} {n}{said.get(n, '')}" for n in LEVELS if levels[n])]
    results = [r for r in one["results"] if r.get("verdict")]
    named = Counter(r.get("diagnosis", "") for r in results if r["verdict"] == "different")
    unnamed = named.pop("", 0)
    lines += [f"{n} different {diagnosis}" for diagnosis, n in named.most_common()]
    if unnamed:
        lines.append(f"{unnamed} different as by no known mistake")
    return lines


def untrained(one: Plain) -> list[str]:
    """The clauses that passed by ``multiplier`` alone, which training may never call."""
    found = [
        clause
        for clause, verdicts in one.get("verdicts", {}).items()
        if verdicts["level"] and not verdicts["run_cases"]
    ]
    return [f"no training run was judged by: {', '.join(found)}"] if found else []
