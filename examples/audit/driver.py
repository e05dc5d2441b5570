"""Runs what the plan wants, several cells at a time, and writes down each as it ends."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from audit.config import Experiment
from audit.plan import Cell, Plan
from audit.records import Records
from audit.training import TASKS, Outcome, Where, corpus_of, run_cell

INTERRUPTED = 130
MOST_FAILURES = 3


def run(
    experiments: Sequence[Experiment], where: Where, console: Console, *, jobs: int, until: float
) -> int:
    """Run the experiments, in their order, until nothing is wanted or the time is over.

    Args:
        jobs: processes; 0 is this one.
        until: seconds after which no cell is to end.

    Returns:
        0, or 130 after Ctrl-C.
    """
    deadline = time.monotonic() + until
    records = Records(Path(where.folder))
    by_name = {one.name: one for one in experiments}
    if len(by_name) < len(experiments):
        raise ValueError("two configurations have one name: their runs could not be told apart.")
    if absent := {one.rates_of for one in experiments} - by_name.keys() - {None}:
        raise ValueError(f"give the configurations of {absent} too: rates_of names them.")
    for one in experiments:  # once, before the processes want it
        if one.task == "text":
            corpus = corpus_of(one.vocabulary, where)
            console.print(f"{one.name}: {len(corpus.train):,} tokens, {len(corpus.held_out):,} "
                          f"held out, corpus {corpus.sha256[:16]}")  # fmt: skip
        check_corpus(one, records, where)
    progress = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=console,
    )  # fmt: skip
    pool = _Pool(jobs, where, by_name)
    try:
        with progress:
            _Turns(experiments, by_name, records, pool, deadline, progress).take()
    except KeyboardInterrupt:
        console.print(f"Interrupted; the same command goes on from {records.runs}.")
        return INTERRUPTED
    finally:
        pool.kill()
    for one in experiments:
        left = len(Plan(one, records.rows, by_name).cells())
        console.print(f"{one.name}: " + (f"{left} cells or more left" if left else "complete"))
    return 0


def check_corpus(one: Experiment, records: Records, where: Where) -> None:
    """Refuse to go on with an experiment whose runs are of other data, or of another length."""
    task = TASKS[one.task](one, where, torch.device(where.device))
    for row in records.rows:
        if row["experiment"] != one.name:
            continue
        now = {"tokens": str(task.tokens), "steps": str(task.steps), "batch": str(one.batch)}
        if one.task == "text":
            now["corpus"] = task.corpus.sha256[:16]
        for name, value in now.items():
            if row[name] != value:
                raise ValueError(
                    f"{records.runs} has runs of {one.name} with {name} {row[name]}, and now it "
                    f"is {value}: give the experiment another name, or another folder with --out."
                )


class _Turns:
    """The loop: what is wanted and not under way is begun; what ends is written down."""

    def __init__(
        self, experiments: Sequence[Experiment], by_name: dict[str, Experiment], records: Records,
        pool: _Pool, deadline: float, progress: Progress,
    ) -> None:  # fmt: skip
        self.experiments, self.by_name, self.records = experiments, by_name, records
        self.pool, self.deadline, self.progress = pool, deadline, progress
        self.failed: list[Cell] = []
        self.running: dict[Future[Outcome], Cell] = {}
        self.spent: dict[tuple[str, int], list[float]] = defaultdict(list)
        self.begun = time.monotonic()
        self.bars = {one.name: progress.add_task(one.name, total=None) for one in experiments}

    def take(self) -> None:
        while True:
            while len(self.running) < max(self.pool.jobs, 1) and (cell := self._next()):
                self.running[self.pool.begin(cell)] = cell
            if not self.running:
                return
            left = self.deadline - time.monotonic()
            ended, _ = wait(
                self.running, max(left, 0) if left < 1e9 else None, return_when=FIRST_COMPLETED
            )
            if not ended:
                return  # the time is over, and what is under way is lost
            for future in ended:
                cell = self.running.pop(future)
                if error := future.exception():
                    self._failed(cell, error)
                    continue
                outcome = future.result()
                self.records.add(outcome.rows, outcome.curves)
                self.spent[cell.experiment, len(cell.seeds)].append(outcome.seconds)
                self._tell(cell, f"{' '.join(row['loss'] for row in outcome.rows)} in "
                                 f"{outcome.seconds:.1f} s")  # fmt: skip

    def _tell(self, cell: Cell, what: str) -> None:
        self.progress.console.print(
            f"{time.monotonic() - self.begun:6.1f} {cell.experiment} {cell.arm} {cell.lr:g} "
            f"{cell.beta1:g} {cell.decay:g}: {what}", markup=False, highlight=False,
        )  # fmt: skip

    def _failed(self, cell: Cell, error: BaseException) -> None:
        """Say so and leave it out for now: one cell that fails must not end the others."""
        self._tell(cell, f"failed ({error!r})")
        self.failed.append(cell)
        if len(self.failed) > MOST_FAILURES or isinstance(error, BrokenProcessPool):
            raise error

    def _next(self) -> Cell | None:
        """The most important cell that nobody runs, if there is time for it."""
        busy = [cell._replace(seeds=()) for cell in self.running.values()]
        for one in self.experiments:
            cells = Plan(one, self.records.rows, self.by_name).cells()
            done = sum(row["experiment"] == one.name for row in self.records.rows)
            wanted = sum(len(cell.seeds) for cell in cells)
            self.progress.update(self.bars[one.name], completed=done, total=done + wanted)
            for cell in cells:
                if cell._replace(seeds=()) in busy or cell in self.failed:
                    continue
                if time.monotonic() + self._expected(cell) > self.deadline:
                    return None
                return cell
        return None

    def _expected(self, cell: Cell) -> float:
        """Seconds: the longest of its like."""
        return max(self.spent[cell.experiment, len(cell.seeds)], default=0.0)


class _Pool:
    """Processes that run cells, or this one."""

    def __init__(self, jobs: int, where: Where, by_name: dict[str, Experiment]) -> None:
        self.jobs, self.where, self.by_name = jobs, where, by_name
        self.executor = None
        if jobs:
            context = multiprocessing.get_context("spawn")
            self.executor = ProcessPoolExecutor(jobs, context, _end_with_parent)

    def begin(self, cell: Cell) -> Future[Outcome]:
        one = self.by_name[cell.experiment]
        if self.executor is not None:
            return self.executor.submit(run_cell, one, cell, self.where)
        future: Future[Outcome] = Future()
        try:
            future.set_result(run_cell(one, cell, self.where))
        except Exception as error:
            future.set_exception(error)
        return future

    def kill(self) -> None:
        """End the processes at once: what they are at would not be written down."""
        if self.executor is not None:
            processes = list((self.executor._processes or {}).values())
            self.executor.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.kill()


def _end_with_parent() -> None:
    """A process whose parent was killed must not go on alone."""
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
