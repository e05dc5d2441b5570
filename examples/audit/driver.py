"""Runs what the plan wants, several cells at a time, and writes down each as it ends."""

from __future__ import annotations

import multiprocessing
import os
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from audit.config import Experiment
from audit.plan import Cell, Plan
from audit.records import Records
from audit.tasks import TASKS, Where
from audit.training import Outcome, base_of, data_of, run_cell

INTERRUPTED = 130
MOST_FAILURES = 3
"""Of an arm of an experiment, before the rest of it is left out."""
MOST_IN_ALL = 12


def run(
    experiments: Sequence[Experiment], where: Where, console: Console, *, jobs: int, until: float
) -> int:
    """Run the experiments, in their order, until nothing is wanted or the time is over.

    Args:
        jobs: processes, to which the GPUs are dealt in turn; 0 is this one.
        until: seconds after which no cell is to end.

    Returns:
        0, 1 where cells failed, or 130 after Ctrl-C.
    """
    deadline = time.monotonic() + until
    records = Records(Path(where.folder))
    by_name = {one.name: one for one in experiments}
    if len(by_name) < len(experiments):
        raise ValueError("two configurations have one name: their runs could not be told apart.")
    if absent := {one.rates_of for one in experiments} - by_name.keys() - {None}:
        raise ValueError(f"give the configurations of {absent} too: rates_of names them.")
    work = {}
    for one in experiments:  # once, before the processes want it
        task = TASKS[one.task](one, where, torch.device(where.device))
        if one.reads:
            corpus = task.corpus
            console.print(f"{one.name}: {len(corpus.train):,} tokens, {len(corpus.held_out):,} "
                          f"held out, corpus {corpus.sha256[:16]}")  # fmt: skip
        if one.task == "finetuning-text":
            base = base_of(one, where)
            console.print(f"{one.name}: from {base.sha256[:16]}, {base.loss:.4f} on held-out code")
        check_data(one, task, where, records)
        work[one.name] = float(task.parameters * task.tokens)
    progress = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=console,
    )  # fmt: skip
    pool = _Pool(jobs, where, by_name)
    turns = _Turns(experiments, by_name, work, records, pool, deadline, progress)
    try:
        with progress:
            turns.take()
    except KeyboardInterrupt:
        console.print(f"Interrupted; the same command goes on from {records.runs}.")
        return INTERRUPTED
    finally:
        pool.kill()
    for one in experiments:
        left = len(Plan(one, records.rows, by_name).cells())
        console.print(f"{one.name}: " + (f"{left} cells or more left" if left else "complete"))
    return int(bool(turns.failed))


def check_data(one: Experiment, task: Any, where: Where, records: Records) -> None:
    """Refuse to go on with an experiment whose runs are of other data, model or length."""
    now = {
        "tokens": str(task.tokens), "steps": str(task.steps), "batch": str(one.batch),
        "parameters": str(task.parameters), "corpus": data_of(one, task, where),
    }  # fmt: skip
    for row in records.rows:
        if row["experiment"] != one.name:
            continue
        for name, value in now.items():
            if row[name] != value:
                raise ValueError(
                    f"{records.runs} has runs of {one.name} with {name} {row[name]}, and now it "
                    f"is {value}: give the experiment another name, or another folder with --out."
                )


class _Turns:
    """The loop: what is wanted and not under way is begun; what ends is written down."""

    def __init__(
        self, experiments: Sequence[Experiment], by_name: dict[str, Experiment],
        work: dict[str, float], records: Records, pool: _Pool, deadline: float, progress: Progress,
    ) -> None:  # fmt: skip
        self.experiments, self.by_name, self.records = experiments, by_name, records
        self.work = work  # parameters times tokens of a run, by experiment
        self.pool, self.deadline, self.progress = pool, deadline, progress
        self.failed: list[Cell] = []
        self.running: dict[Future[Outcome], Cell] = {}
        self.paces: dict[tuple[str, str], list[float]] = defaultdict(list)
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
                self.paces[cell.experiment, cell.arm].append(
                    outcome.seconds / len(cell.seeds) / self.work[cell.experiment]
                )
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
        if len(self.failed) > MOST_IN_ALL or isinstance(error, BrokenProcessPool):
            raise error

    def _left_out(self, cell: Cell) -> bool:
        of_arm = [one for one in self.failed if one[:2] == cell[:2]]
        return len(of_arm) >= MOST_FAILURES or any(one[:5] == cell[:5] for one in of_arm)

    def _next(self) -> Cell | None:
        """The most important cell that nobody runs, with as many seeds as there is time for.

        The neighbours of what was chosen come after all experiments.
        """
        first, last = [], []
        for one in self.experiments:
            selection, fresh, beside = Plan(one, self.records.rows, self.by_name).stages()
            first += [*selection, *fresh]
            last += beside
            done = sum(row["experiment"] == one.name for row in self.records.rows)
            wanted = sum(len(cell.seeds) for cell in (*selection, *fresh, *beside))
            self.progress.update(self.bars[one.name], completed=done, total=done + wanted)
        left = self.deadline - time.monotonic()
        for cell in (*first, *last):
            if left <= 0 or self._left_out(cell):
                continue
            busy = {seed for x in self.running.values() if x[:5] == cell[:5] for seed in x.seeds}
            seeds = [seed for seed in cell.seeds if seed not in busy]
            expected = self._expected(cell)
            while seeds and len(seeds) * expected > left:
                seeds.pop()
            if seeds:
                return cell._replace(seeds=tuple(seeds))
        return None

    def _expected(self, cell: Cell) -> float:
        """Seconds for one seed: the longest of its arm, or what other arms, or others, take."""
        paces = {key: max(x) for key, x in self.paces.items()}
        near = [x for key, x in paces.items() if key[0] == cell.experiment] or [*paces.values()]
        pace = paces.get(cell[:2]) or (statistics.median(near) if near else 0.0)
        return pace * self.work[cell.experiment]


class _Pool:
    """Processes that run cells, or this one."""

    def __init__(self, jobs: int, where: Where, by_name: dict[str, Experiment]) -> None:
        self.jobs, self.where, self.by_name = jobs, where, by_name
        self.executor = None
        if jobs:
            context = multiprocessing.get_context("spawn")
            given = where.device, context.Value("i", 0)
            self.executor = ProcessPoolExecutor(jobs, context, _begin_process, given)

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


def _begin_process(device: str, places: Any) -> None:
    """Give a process its GPU; one whose parent was killed must not go on alone."""
    torch.set_num_threads(1)
    _take_gpu(device, places)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _take_gpu(device: str, places: Any) -> None:
    """The next GPU in turn, which is "cuda" to this process from now on."""
    with places.get_lock():
        place = places.value
        places.value += 1
    if device == "cuda":
        torch.cuda.set_device(place % torch.cuda.device_count())
