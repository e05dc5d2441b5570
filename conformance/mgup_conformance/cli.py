"""The command ``mgup-conformance``."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

try:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
except ImportError as error:  # pragma: no cover
    raise ImportError("mgup-conformance needs rich: pip install 'mgup[conformance]'") from error

from . import golden, report
from .backends import SHIPPED, load
from .cases import Case
from .catalogue import all_cases, cases_for
from .protocol import Backend
from .runner import Result, run_suite, select

OK, FAILED, USAGE = 0, 1, 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mgup-conformance",
        description="Check implementations of MGUP against the specification, bit for bit.",
        epilog=f"Exit status: {OK} passed or skipped, {FAILED} something failed, {USAGE} usage.",
    )
    commands = parser.add_subparsers(dest="command", required=True)

    def cases(command: argparse.ArgumentParser) -> None:
        command.add_argument(
            "--case", action="append", metavar="GLOB", help="by case id or clause; repeatable"
        )
        command.add_argument("--fast", action="store_true", help="fewer cases and steps")

    listing = commands.add_parser("list", help="list cases, clauses and shipped backends")
    cases(listing)
    run = commands.add_parser("run", help="run cases on backends")
    cases(run)
    run.add_argument(
        "--backend",
        action="append",
        metavar="NAME",
        help=f"{', '.join(SHIPPED)}, or package.module:Class; repeatable; default numpy",
    )
    run.add_argument("--json", type=Path, metavar="FILE", help="write the report there")
    shown = commands.add_parser("report", help="show a report that run wrote")
    shown.add_argument("file", type=Path)
    vectors = commands.add_parser("golden", help="check or write the golden vectors")
    kind = vectors.add_mutually_exclusive_group()
    kind.add_argument("--check", action="store_true", help="make them again and compare (default)")
    kind.add_argument("--write", action="store_true", help="make them again and store them")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    arguments = _parser().parse_args(argv)
    console = Console()
    try:
        if arguments.command == "list":
            return _list(_chosen(arguments), console)
        if arguments.command == "run":
            return _run(arguments, console)
        if arguments.command == "report":
            plain = report.load(arguments.file)
            report.show(plain, console)
            return FAILED if report.failures(plain) else OK
        return _golden(arguments.write, console)
    except (ValueError, ImportError, OSError) as error:
        print(f"mgup-conformance: {error}", file=sys.stderr)
        return USAGE


def _chosen(arguments: argparse.Namespace) -> list[Case]:
    return select(all_cases(fast=arguments.fast), arguments.case or ["*"])


def _list(cases: Sequence[Case], console: Console) -> int:
    for case in cases:
        console.print(f"{case.id}  [dim]{' '.join(case.clauses)}[/]", highlight=False)
    console.print(f"{len(cases)} cases. Backends: {', '.join(SHIPPED)}.", highlight=False)
    return OK


def _run(arguments: argparse.Namespace, console: Console) -> int:
    if arguments.json and not arguments.json.absolute().parent.is_dir():
        raise ValueError(f"--json {arguments.json}: there is no such directory.")
    names = dict.fromkeys(arguments.backend or ["numpy"])
    backends = [load(name) for name in names]
    cases, fast = _chosen(arguments), arguments.fast
    results: list[Result] = []
    try:
        with _progress(console, backends, cases, fast) as progress:
            counts: dict[str, Counter[str]] = {b.name: Counter() for b in backends}
            tasks = {
                b.name: progress.add_task(b.name, total=len(cases_for(b, cases, fast=fast)), bad="")
                for b in backends
            }

            def tell(result: Result) -> None:
                results.append(result)
                count = counts[result.backend]
                count["bad"] += result.bad
                bad = f"{count['bad']} FAILED" if count["bad"] else ""
                progress.update(tasks[result.backend], advance=1, bad=bad)

            run_suite(backends, cases, fast=fast, report=tell)
    except KeyboardInterrupt:
        console.print("[yellow]Interrupted; this is what was done so far.[/]")
    plain = report.as_plain(results, backends, fast=fast)
    report.show(plain, console)
    if arguments.json:
        arguments.json.write_text(json.dumps(plain, indent=1) + "\n")
        console.print(f"Report written to {arguments.json}")
    complete = len(results) == sum(len(cases_for(b, cases, fast=fast)) for b in backends)
    return OK if complete and not report.failures(plain) else FAILED


def _progress(
    console: Console, backends: Sequence[Backend], cases: Sequence[Case], fast: bool
) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("[red]{task.fields[bad]}"),
        console=console,
    )


def _golden(write: bool, console: Console) -> int:
    if write:
        golden.PATH.write_text(golden.generate())
        console.print(f"Written: {golden.PATH} ({golden.PATH.stat().st_size} bytes)")
        return OK
    changed = golden.differences()
    for name in changed:
        console.print(f"[red]differs[/] {name}", highlight=False)
    console.print(
        "The golden vectors are as the reference makes them."
        if not changed
        else f"{len(changed)} differ from what the reference makes."
    )
    return FAILED if changed else OK
