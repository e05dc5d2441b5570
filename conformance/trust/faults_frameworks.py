"""Faults of whole processes: JAX, MindSpore and FSDP2 killed, forks, exceptions of schedules.

    python conformance/trust/faults_frameworks.py [--tries N] [--out FILE] [NAME ...]

``make faults`` runs it after :mod:`faults`, whose faults strike within one process of PyTorch. A
framework that is not installed is left out.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from faults_programs import (
    FORKED,
    FSDP,
    JAX,
    JAX_ALARMED,
    JAX_RAISES,
    MINDSPORE,
    MINDSPORE_ALARMED,
    MINDSPORE_RAISES,
)

KILLS = 4
PATIENCE = 600


def started(text: str, folder: str, rank: int, steps: int, store: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", text, folder, str(rank), str(steps), store]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def run(text: str, folder: str, ranks: int, steps: int, kill: Callable[[], float] | None) -> str:
    """What the first rank printed at its end, or nothing where one was killed before that.

    Args:
        text: the program.
        folder: of its checkpoints.
        ranks: how many processes.
        steps: of the run, those before included.
        kill: the seconds after which one is killed, since all were ready; ``None``: never.
    """
    with tempfile.TemporaryDirectory() as place:
        some = [started(text, folder, r, steps, f"{place}/store") for r in range(ranks)]
        try:
            for one in some:
                assert one.stdout is not None
                while (line := one.stdout.readline()) and line != "ready\n":
                    pass
                assert line, "a process ended before it trained"
            if kill is not None:
                time.sleep(kill())
                random.choice(some).send_signal(signal.SIGKILL)
                time.sleep(0.05)
                for one in some:
                    one.kill()  # as torchrun does when one of them has died
            said = [one.communicate(timeout=PATIENCE)[0] for one in some]
        finally:
            for one in some:
                one.kill()
    done = [line.split()[1] for text in said for line in text.splitlines() if "done" in line]
    return done[0] if len(done) == ranks and len(set(done)) == 1 else ""


@functools.cache
def undisturbed(text: str, ranks: int, steps: int) -> tuple[str, float]:
    """What a run prints that nothing kills, and the seconds of its steps."""
    with tempfile.TemporaryDirectory() as folder:
        found = run(text, folder, ranks, steps, None)
        times = [p.stat().st_mtime for p in pathlib.Path(folder).rglob("*")]
        began = pathlib.Path(folder).stat().st_ctime
    assert found
    return found, max(times, default=began) - min(times, default=began) + 0.5


def killed(text: str, ranks: int, steps: int, rng: random.Random) -> bool:
    """Kill -9 at random moments of a run that saves after each step; it goes on from the file."""
    expected, took = undisturbed(text, ranks, steps)
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(KILLS):
            run(text, folder, ranks, steps, lambda: rng.random() * took)
        return run(text, folder, ranks, steps, None) == expected


def program(text: str, *arguments: object) -> bool:
    command = [sys.executable, "-c", text, *map(str, arguments)]
    return subprocess.run(command, timeout=PATIENCE).returncode == 0


def forked(rng: random.Random) -> bool:
    """A child forked before or after pools and compiled code has its parent's bits."""
    return program(FORKED, rng.choice([1, 4]), rng.randint(0, 2), rng.randrange(100),
                   rng.choice([5003, 300_000]))  # fmt: skip


FAULTS: dict[str, tuple[Callable[[random.Random], bool], int, tuple[str, ...]]] = {
    # One in so many of the tries that are asked for, since each takes processes; what it needs.
    "JAX: kill -9 while checkpoints are written (4 kills a try)": (
        lambda rng: killed(JAX, 1, 150, rng), 50, ("jax", "optax")),
    "MindSpore: kill -9 while checkpoints are written (4 kills a try)": (
        lambda rng: killed(MINDSPORE, 1, 60, rng), 50, ("mindspore",)),
    "FSDP2, two ranks: kill -9 of one (4 kills a try)": (
        lambda rng: killed(FSDP, 2, 12, rng), 50, ("torch",)),
    "fork before and after pools and compiled code": (forked, 10, ("torch",)),
    "JAX: SIGALRM in a step (20 a try)": (
        lambda rng: program(JAX_ALARMED, rng.randrange(100)), 20, ("jax", "optax")),
    "MindSpore: SIGALRM in a step (20 a try)": (
        lambda rng: program(MINDSPORE_ALARMED, rng.randrange(100)), 20, ("mindspore",)),
    "JAX: exception of a schedule": (
        lambda rng: program(JAX_RAISES, rng.randrange(100)), 50, ("jax", "optax")),
    "MindSpore: exception of a schedule": (
        lambda rng: program(MINDSPORE_RAISES, rng.randrange(100)), 50, ("mindspore",)),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="parts of the faults' names; all by default")
    parser.add_argument("--tries", type=int, default=200)
    parser.add_argument("--out", type=pathlib.Path, help="a JSON file for the results")
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    print("| fault | tries | survived |\n|---|---:|---:|")
    for name, (fault, one_in, needs) in FAULTS.items():
        if given.names and not any(x in name for x in given.names):
            continue
        if not all(importlib.util.find_spec(n) for n in needs):
            continue
        many = max(given.tries // one_in, 1)
        survived = sum(fault(random.Random(f"{name} {i}")) for i in range(many))
        rows.append({"fault": name, "tries": many, "survived": survived})
        print(f"| {name} | {many} | {survived} |", flush=True)
    if given.out is not None:
        given.out.write_text(json.dumps(rows, indent=1) + "\n")
    sys.exit(any(r["tries"] != r["survived"] for r in rows))


if __name__ == "__main__":
    main()
