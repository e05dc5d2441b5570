"""The command ``mgup-conformance``."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .clauses import PASSING
from .provenance import provenance
from .visible import visible

EXTRA = "pip install 'mgup[conformance]'"

unfit: ImportError | ValueError | None = None
try:  # the extra may be absent, in which --help is to work, and a rule of the environment none
    from .backends import SHIPPED, known, load  # isort: skip (first, and without the extra)

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.text import Text

    from . import golden, matrix, report, reproduce
    from .cases import Case
    from .catalogue import all_cases, cases_for
    from .parallel import run_parallel
    from .ports import OWN
    from .protocol import Backend
    from .runner import Result, check_names, run_suite, select
except (ImportError, ValueError) as error:
    unfit = error

OK, FAILED, USAGE = 0, 1, 2
SLOW = ("oracle", "torch_compiled")
"""Shipped backends that take many minutes: one number at a time, and one compilation a case."""
LOADING = 300.0
"""Seconds that a backend may take to load, whatever a case may: a framework is imported."""
MANY = 40
"""Cases that are worth a process."""
EXAMPLES = """examples:
  mgup-conformance run --fast --backend torch
  mgup-conformance run --backend mypackage.port:Backend --json report.json
  mgup-conformance run --backend jax --case "run/adamw*" --case P4
  mgup-conformance show run/adamw/mgup/float32 --to case
  mgup-conformance report report.json --markdown matrix.md"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mgup-conformance",
        description="Check implementations of MGUP against the specification, bit for bit.",
        epilog=f"{EXAMPLES}\n\n"
        f"Exit status: {OK} passed or skipped, {FAILED} something failed, {USAGE} usage.\n"
        f"The commands need an extra: {EXTRA}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="versions of suite and library")
    commands = parser.add_subparsers(dest="command")

    def cases(command: argparse.ArgumentParser) -> None:
        command.add_argument(
            "--case", action="append", metavar="GLOB", help="by case id or clause; repeatable"
        )
        size = command.add_mutually_exclusive_group()
        size.add_argument("--fast", action="store_true", help="fewer cases and steps")
        size.add_argument(
            "--exhaustive",
            action="store_true",
            help="all steps, and all cases where compiling takes long too",
        )

    listing = commands.add_parser("list", help="list cases, clauses and shipped backends")
    cases(listing)
    run = commands.add_parser("run", help="run cases on backends")
    cases(run)
    run.add_argument(
        "--backend",
        action="append",
        metavar="NAME",
        help=f"{', '.join(SHIPPED)}; the name of an entry point; or package.module:Class, all "
        "with @PATH after them for a Python of their own; repeatable. 'all' is those shipped whose "
        f"framework is installed, but {' and '.join(SLOW)}. Default numpy",
    )
    run.add_argument(
        "--python", metavar="PATH", help="run the backends that name no Python of their own there"
    )
    run.add_argument(
        "--jobs", type=int, metavar="N", help="processes; by default one a core, if cases are many"
    )
    run.add_argument(
        "--level", choices=PASSING, default=PASSING[0],
        help="what passes: the same bits, or what differs by rounding alone; default identical",
    )  # fmt: skip
    run.add_argument(
        "--timeout", type=float, default=900.0, metavar="SECONDS",
        help="for one case on one backend, where it runs in a process of its own; "
        "default %(default)g",
    )  # fmt: skip
    run.add_argument("--html", type=Path, metavar="FILE", help="write a page to send")
    run.add_argument("--json", type=Path, metavar="FILE", help="write the report there")
    inputs = commands.add_parser("show", help="write a case as arrays, with a script that runs it")
    inputs.add_argument("id", metavar="CASE", help="the id of one case, as list prints it")
    inputs.add_argument(
        "--to", type=Path, default=Path(), metavar="FOLDER", help="where to; default here"
    )
    inputs.add_argument("--steps", type=int, metavar="N", help="of a run; default a few")
    shown = commands.add_parser("report", help="show reports that run wrote, as one")
    shown.add_argument("file", type=Path, nargs="+")
    shown.add_argument(
        "--keep", type=Path, metavar="FILE",
        help="an older report: add its backends that ran on other accelerators, or processors of "
        "other makers, than those of the reports",
    )  # fmt: skip
    shown.add_argument("--markdown", type=Path, metavar="FILE", help="write the support matrix")
    shown.add_argument("--html", type=Path, metavar="FILE", help="write the support matrix")
    shown.add_argument(
        "--json", type=Path, metavar="FILE", help="write them as one, without what passed"
    )
    vectors = commands.add_parser("golden", help="check or write the golden vectors")
    kind = vectors.add_mutually_exclusive_group()
    kind.add_argument("--check", action="store_true", help="make them again and compare (default)")
    kind.add_argument("--write", action="store_true", help="make them again and store them")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    if isinstance(unfit, ValueError):
        print(f"mgup-conformance: {visible(str(unfit))}", file=sys.stderr)
        return USAGE
    parser = _parser()
    arguments = parser.parse_args(argv)
    if arguments.version:
        print(", ".join(f"{key} {value}" for key, value in provenance().items()))
        return OK
    if unfit is not None:
        print(f"mgup-conformance: {unfit}. It comes with {EXTRA}", file=sys.stderr)
        return USAGE
    if arguments.command is None:
        parser.error("a command is needed: list, run, report, show or golden.")
    console = Console()
    try:
        if arguments.command == "list":
            return _list(_chosen(arguments), console)
        if arguments.command == "run":
            return _run(arguments, console)
        if arguments.command == "report":
            return _report(arguments, console)
        if arguments.command == "show":
            return _show(arguments, console)
        return _golden(arguments.write, console)
    except (ValueError, ImportError, OSError, RuntimeError) as error:
        print(f"mgup-conformance: {visible(str(error))}", file=sys.stderr)
        return USAGE


def _chosen(arguments: argparse.Namespace) -> list[Case]:
    return select(all_cases(fast=arguments.fast), arguments.case or ["*"])


def _list(cases: Sequence[Case], console: Console) -> int:
    for case in cases:
        console.print(Text.assemble(f"{case.id}  ", (" ".join(case.clauses), "dim")))
    console.print(
        visible(f"{len(cases)} cases. Backends: {', '.join(known())}."),
        highlight=False,
        markup=False,
    )
    return OK


def _names(arguments: argparse.Namespace, console: Console) -> list[str]:
    """The backends asked for, each with the Python that is to run it."""
    names = dict.fromkeys(arguments.backend or ["numpy"])
    if "all" in names:
        installed = [name for name in SHIPPED if name not in SLOW and _installed(name, console)]
        names = dict.fromkeys([*installed, *(name for name in names if name != "all")])
    if arguments.python is None:
        return list(names)
    return [name if "@" in name else f"{name}@{arguments.python}" for name in names]


def _installed(name: str, console: Console) -> bool:
    try:
        load(name)
    except ImportError as error:
        console.print(visible(f"left out: {name} ({error})"), highlight=False, markup=False)
        return False
    return True


@contextmanager
def _limit(seconds: float) -> Iterator[None]:
    """Ends what takes longer, where the system has timers, by an error of the command."""

    def late(*_: object) -> None:
        raise RuntimeError(f"no answer after {seconds:g} seconds.")

    if not hasattr(signal, "setitimer") or threading.current_thread() != threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _load(name: str, timeout: float) -> Backend:
    """A backend, if its module, its class or its interpreter answers in time."""
    seconds = max(timeout, LOADING)
    try:
        with _limit(seconds):
            return load(name)
    except RuntimeError as error:
        raise ValueError(f"backend {name!r}: {error}") from error


def _check_files(*paths: tuple[str, Path | None]) -> None:
    """Refuse files that could not be written, before there is anything to write."""
    for flag, path in paths:
        if path is None:
            continue
        if not path.absolute().parent.is_dir():
            raise ValueError(f"{flag} {path}: there is no such directory.")
        if path.is_dir():
            raise ValueError(f"{flag} {path} is a directory; give a file.")
        if not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
            raise ValueError(f"{flag} {path}: it may not be written.")


def _run(arguments: argparse.Namespace, console: Console) -> int:
    _check_files(("--json", arguments.json), ("--html", arguments.html))
    provenance()  # before anything is run
    if not arguments.timeout > 0:
        raise ValueError(f"--timeout {arguments.timeout:g} is not above 0 seconds.")
    if arguments.jobs is not None and arguments.jobs < 1:
        raise ValueError(f"--jobs {arguments.jobs} is below 1.")
    cases = _chosen(arguments)
    set_of = "exhaustive" if arguments.exhaustive else "fast" if arguments.fast else "standard"
    names = _names(arguments, console)
    backends = [_load(name, arguments.timeout) for name in names]
    check_names(backends)
    idle = [b.name for b in backends if not cases_for(b, cases, set_of=set_of)]
    jobs = arguments.jobs or max(1, min(os.cpu_count() or 1, len(cases) // MANY))
    results: list[Result] = []
    try:
        with _progress(console) as progress:
            bad: Counter[str] = Counter()
            tasks = {
                b.name: progress.add_task(
                    visible(b.name), total=len(cases_for(b, cases, set_of=set_of)), bad=""
                )
                for b in backends
            }

            def tell(result: Result) -> None:
                results.append(result)
                bad[result.backend] += result.bad
                said = f"{bad[result.backend]} FAILED" if bad[result.backend] else ""
                progress.update(tasks[result.backend], advance=1, bad=said)

            options = {"set_of": set_of, "level": arguments.level, "report": tell}
            if jobs == 1 and all(name in SHIPPED for name in names):
                run_suite(backends, cases, **options)
            else:  # a stranger's code, or another Python's, may crash or hang: a process sees it
                run_parallel(names, cases, jobs=jobs, timeout=arguments.timeout, **options)
    except KeyboardInterrupt:
        console.print("Interrupted; this is what was done so far.", style="yellow")
    plain = report.as_plain(
        results, backends, set_of=set_of, level=arguments.level, command=_command(arguments, names)
    )
    report.show(plain, console)
    if arguments.json:
        arguments.json.write_text(json.dumps(plain, indent=1) + "\n")
        console.print(f"Report written to {arguments.json}", markup=False)
    if arguments.html:
        arguments.html.write_text(matrix.page(plain, matrix.OF_ONE_RUN))
        console.print(f"Report written to {arguments.html}", markup=False)
    nothing = _nothing(plain, idle, chosen=bool(arguments.case))
    for line in _fewer(backends, cases, set_of=set_of) if arguments.case else ():
        console.print(visible(line), style="yellow", markup=False, highlight=False)
    for line in map(visible, nothing):
        console.print(line, style="bold red", markup=False, highlight=False)
    asked = sum(len(cases_for(b, cases, set_of=set_of)) for b in backends)
    complete = not nothing and len(results) == asked
    return OK if complete and not report.failures(plain) else FAILED


def _nothing(plain: report.Plain, idle: Sequence[str], *, chosen: bool) -> list[str]:
    """The backends of which nothing was checked, with the reason: that is no success."""
    lines = []
    for one in plain["backends"]:
        if one["name"] in idle:
            lines.append(
                f"{one['name']}: no case was run. A backend that says that it is slow or compiles "
                "is asked few of the set; --exhaustive asks all."
            )
        elif not chosen and not sum(one["totals"][s] for s in ("passed", "failed", "error")):
            lines.append(f"{one['name']}: every case was skipped, so nothing was checked.")
    return lines


def _fewer(backends: Sequence[Backend], cases: Sequence[Case], *, set_of: str) -> list[str]:
    """The backends that were asked fewer cases than were chosen by name, with the reason."""
    asked = {b.name: len(cases_for(b, cases, set_of=set_of)) for b in backends}
    return [
        f"{name}: {n} of the {len(cases)} cases chosen were run, since it says that it is slow or "
        "compiles; --exhaustive runs all."
        for name, n in asked.items()
        if 0 < n < len(cases)
    ]


def _command(arguments: argparse.Namespace, names: Sequence[str]) -> str:
    """The command that makes this report again, without where it was written to."""
    words = ["mgup-conformance", "run"]
    words += ["--fast"] * arguments.fast + ["--exhaustive"] * arguments.exhaustive
    words += [word for case in arguments.case or () for word in ("--case", case)]
    words += [word for name in names for word in ("--backend", name)]
    words += ["--level", arguments.level] * (arguments.level != PASSING[0])
    own = os.environ.get(OWN)
    return (f"{OWN}={shlex.quote(own)} " if own else "") + shlex.join(words)


def _show(arguments: argparse.Namespace, console: Console) -> int:
    (case, *others) = select(all_cases(), [arguments.id])
    if others:
        raise ValueError(f"{arguments.id!r} is {1 + len(others)} cases; show takes the id of one.")
    if not arguments.to.is_dir():
        _check_files(("--to", arguments.to))
        arguments.to.mkdir()
    if arguments.steps is not None and arguments.steps < 1:
        raise ValueError(f"--steps {arguments.steps} is below 1.")
    console.print(f"{case.id} ({', '.join(case.clauses)})", highlight=False)
    for path in reproduce.write(case, arguments.to, steps=arguments.steps):
        console.print(f"Written: {path}", highlight=False)
    return OK


def _report(arguments: argparse.Namespace, console: Console) -> int:
    wanted: dict[str, tuple[Path | None, Callable[[Any], str]]] = {
        "--markdown": (arguments.markdown, matrix.markdown),
        "--html": (arguments.html, matrix.page),
        "--json": (arguments.json, lambda plain: json.dumps(report.brief(plain), indent=1) + "\n"),
    }
    _check_files(*((flag, path) for flag, (path, _) in wanted.items()))
    reports = [report.load(file) for file in arguments.file]
    if arguments.keep:
        reports.append(report.elsewhere(report.load(arguments.keep), reports))
    plain = report.merge(reports)
    report.show(plain, console)
    for path, write in wanted.values():
        if path:
            path.write_text(write(plain))
            console.print(f"Written: {path}", markup=False)
    return FAILED if report.failures(plain) else OK


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[bad]}", style="red", markup=False),
        console=console,
    )


def _golden(write: bool, console: Console) -> int:
    if write:
        golden.PATH.write_text(golden.generate())
        console.print(f"Written: {golden.PATH} ({golden.PATH.stat().st_size} bytes)")
        return OK
    changed = golden.differences()
    for name in changed:
        console.print(Text.assemble(("differs", "red"), f" {name}"))
    console.print(
        "The golden vectors are as the reference makes them."
        if not changed
        else f"{len(changed)} differ from what the reference makes."
    )
    return FAILED if changed else OK
