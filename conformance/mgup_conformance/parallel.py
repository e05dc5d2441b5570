"""The suite in other processes, each with all backends and a share of the cases.

Shared by cases and not by backends, so that the reference works on a case once. A backend that
takes its process with it, or never answers, is reported with its case; another process goes on.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from .backends import load
from .cases import Case
from .catalogue import all_cases, cases_for
from .runner import Result, check_names, run_case

Job = tuple[str, int]
"""A case, and the backend by its number."""


def _work(pipe: Connection, names: Sequence[str], threads: int, options: dict[str, Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is told, and gives out no more
    if hasattr(os, "setsid"):
        os.setsid()  # what the backends start is ended with this process
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    backends = [load(name) for name in names]
    cases = {case.id: case for case in all_cases()}
    pipe.send(None)  # ready
    while True:
        try:
            case, index = pipe.recv()
        except EOFError:
            return
        pipe.send(run_case(backends[index], cases[case], **options))


@dataclass(eq=False)
class _Worker:
    """A process, and what it is at."""

    start: Callable[[Connection], Any]
    jobs: deque[Job] = field(default_factory=deque)
    """Of the case it has been given, what is yet to be done; the first is being done."""
    since: float = 0.0

    def __post_init__(self) -> None:
        self.pipe, far = multiprocessing.Pipe()
        self.process = self.start(far)
        far.close()
        self.ready = False

    def next(self) -> None:
        """Begin with the next of its jobs."""
        self.since = time.monotonic()
        self.pipe.send(self.jobs[0])

    def end(self) -> int:
        """Kill the process, and what its backends have started: an interpreter may hang, too.

        Returns its status, if it had ended by itself.
        """
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)  # it leads a group of its own
        self.process.kill()
        self.process.join()
        self.pipe.close()
        code: int = self.process.exitcode
        return code


def run_parallel(
    names: Sequence[str],
    cases: Sequence[Case],
    *,
    set_of: str,
    jobs: int,
    report: Callable[[Result], Any],
    level: str = "identical",
    timeout: float = 900.0,
) -> list[Result]:
    """As :func:`run_suite`, in ``jobs`` processes. The backends are given by name.

    Args:
        names: of the backends, for each process to load.
        cases: what to run.
        set_of: see :func:`run_suite`.
        jobs: how many processes.
        report: is called with each result as it comes.
        level: what passes.
        timeout: seconds that a case may take on one backend.

    Raises:
        RuntimeError: when the backends cannot be loaded in a process of their own.
        ValueError: where two have one name.
    """
    context = multiprocessing.get_context("spawn")
    threads = max(1, (os.cpu_count() or 1) // jobs)
    options = {"set_of": set_of, "level": level}

    def start(far: Connection) -> Any:
        process = context.Process(
            target=_work, args=(far, list(names), threads, options), daemon=True
        )
        process.start()
        return process

    backends = [load(name) for name in names]
    check_names(backends)
    asked = [{case.id for case in cases_for(one, cases, set_of=set_of)} for one in backends]
    todo: Iterator[deque[Job]] = (
        deque((case.id, i) for i, ids in enumerate(asked) if case.id in ids) for case in cases
    )
    by_id = {case.id: case for case in cases}
    found: dict[Job, Result] = {}
    workers = [_Worker(start) for _ in range(min(jobs, len(cases)))]

    def tell(job: Job, result: Result) -> None:
        found[job] = result
        report(result)

    def lost(worker: _Worker, why: str) -> None:
        """A process is gone: its case is an error, and another process takes its place."""
        job = worker.jobs.popleft()
        case, took = by_id[job[0]], time.monotonic() - worker.since
        tell(job, Result(backends[job[1]].name, case.id, case.clauses, "error", why, took,
                         charged=case.clauses, runs=case.runs))  # fmt: skip
        workers[workers.index(worker)] = _Worker(start, worker.jobs)

    def go_on(worker: _Worker) -> bool:
        """Give a free process what is next; whether there is anything."""
        while not worker.jobs:
            more = next(todo, None)
            if more is None:
                return False
            worker.jobs = more
        worker.next()
        return True

    busy = set(workers)
    try:
        while busy:
            for worker in busy.copy():
                if not worker.ready or time.monotonic() - worker.since < timeout:
                    continue
                worker.end()
                lost(worker, f"No answer after {timeout:g} seconds (--timeout); it was ended.")
                busy = {w for w in workers if w in busy or not w.ready}
            pipes = {worker.pipe: worker for worker in busy}
            for pipe in wait(list(pipes), timeout=1.0):
                worker = pipes[pipe]  # type: ignore[index]
                if worker not in busy:
                    continue
                try:
                    answer = worker.pipe.recv()
                except (EOFError, OSError):
                    worker.process.join(timeout=10)  # it has closed its pipe: it is ending
                    code = worker.end()
                    if not worker.ready:
                        raise RuntimeError(
                            f"a process for {', '.join(names)} ended with status {code} before it "
                            "could begin; --jobs 1 shows why."
                        ) from None
                    lost(worker, f"The process ended with status {code} in this case.")
                    busy = {w for w in workers if w in busy or not w.ready}
                    continue
                if answer is None:
                    worker.ready = True
                else:
                    tell(worker.jobs.popleft(), answer)
                if not go_on(worker):
                    busy.discard(worker)
    finally:
        for worker in workers:
            worker.end()
    order = [(case.id, i) for case in cases for i in range(len(names))]
    return [found[job] for job in order if job in found]
