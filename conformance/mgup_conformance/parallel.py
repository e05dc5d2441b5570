"""The suite in several processes, each with all backends and a share of the cases.

Shared by cases and not by backends, so that the reference works on a case once.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from typing import Any

from .backends import load
from .cases import Case
from .catalogue import all_cases
from .protocol import Backend
from .runner import Result, run_suite

_backends: list[Backend] = []
_cases: dict[str, Case] = {}


def _begin(names: Sequence[str], threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is told, and gives out no more
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    _backends.extend(load(name) for name in names)
    _cases.update({case.id: case for case in all_cases()})


def _work(case: str, set_of: str) -> list[Result]:
    return run_suite(_backends, [_cases[case]], set_of=set_of)


def run_parallel(
    names: Sequence[str],
    cases: Sequence[Case],
    *,
    set_of: str,
    jobs: int,
    report: Callable[[Result], Any],
) -> list[Result]:
    """As :func:`run_suite`, in ``jobs`` processes. The backends are given by name.

    Raises:
        BrokenProcessPool: when a process is killed, or a framework crashes it.
    """
    threads = max(1, (os.cpu_count() or 1) // jobs)
    pool = ProcessPoolExecutor(
        jobs, multiprocessing.get_context("spawn"), _begin, (list(names), threads)
    )
    found: dict[str, list[Result]] = {}
    try:
        futures: dict[Future[list[Result]], str] = {
            pool.submit(_work, case.id, set_of): case.id for case in cases
        }
        for future in as_completed(futures):
            found[futures[future]] = future.result()
            for result in future.result():
                report(result)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return [result for case in cases for result in found[case.id]]
