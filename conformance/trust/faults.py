"""Faults put in on purpose, and what is left after them: ``make faults``.

Those of one process of PyTorch; :mod:`faults_frameworks` has what takes several, and the others'.

    python conformance/trust/faults.py [--tries N] [--out FILE] [NAME ...]

Each fault is tried N times at random points. A try survives if what the documentation promises
holds: a checkpoint that is whole, each parameter before or after its step together with its state,
the bits of a run that nothing disturbed. Prints a table: fault, tries, survived.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import random
import resource
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import torch
from faults_checkpoints import (
    a_corrupted_state,
    a_flipped_bit,
    a_foreign_checkpoint,
    a_full_disk,
    a_truncated_file,
    killed_while_saving,
)
from faulty import Run, forked, undisturbed

# -- a step that breaks off ------------------------------------------------------------------------


class Stop(Exception):
    """What the handlers here raise."""


def a_signal(number: int, rng: random.Random) -> bool:
    """At a random moment: each parameter before or after its step; the rest then takes it."""
    run = Run(rng.randrange(100))
    for _ in range(rng.randint(0, 2)):
        run.step()
    before, taken = run.bits(), run.taken
    other = Run(0)
    other.params = [p.detach().clone().requires_grad_() for p in run.params]
    other.optimizer = type(run.optimizer)(other.params)
    other.load(run.saved())
    other.step()
    after = other.bits()

    def handler(*_: Any) -> None:
        raise Stop

    run.give()
    previous = signal.signal(number, handler)
    delay = rng.random() * 0.004
    armed = threading.Timer(delay, lambda: os.kill(os.getpid(), number))
    if number == signal.SIGALRM:
        signal.setitimer(signal.ITIMER_REAL, max(delay, 1e-6))
    else:
        armed.start()
    try:
        try:
            run.optimizer.step()
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            if number != signal.SIGALRM:
                armed.join()
    except Stop:
        pass
    finally:
        signal.signal(number, previous)
    mixed = zip(run.bits(), before, after, strict=True)
    if not all(now in (b, a) for now, b, a in mixed):
        return False
    for p, now, a in zip(run.params, run.bits(), after, strict=True):
        if now == a:
            p.grad = None
    run.taken = taken
    run.optimizer.step()
    return run.bits() == after


def want_of_memory(rng: random.Random) -> bool:
    """At most the parameters that were moving are between; the process lives, and steps again."""

    def work() -> bool:
        run = Run(rng.randrange(100), [(300, 400), (5,), (70_001,), (4, 4)])
        for _ in range(rng.randint(0, 1)):
            run.step()
        run.give()
        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
        room = pages * os.sysconf("SC_PAGE_SIZE") + rng.randrange(4 << 20)
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (room, most))
        said = ""
        try:
            run.optimizer.step()
        except MemoryError as error:
            said = "memory " + " ".join([str(error), *getattr(error, "__notes__", ())])
        except RuntimeError as error:
            said = str(error)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        if said and not ("memory" in said.lower() or "alloc" in said.lower()):
            return False
        run.step()
        return all(bool(torch.isfinite(p).all()) for p in run.params)

    return forked(work) == 0


def an_exception(rng: random.Random) -> bool:
    """Of a closure, a hook before or after, or a scheduler: it arrives, nothing is half done."""
    run = Run(rng.randrange(100))
    run.step()
    before = run.bits()
    where = rng.choice(["closure", "before", "after", "scheduler"])

    def fail(*_: Any) -> Any:
        raise Stop(where)

    run.give()
    try:
        if where == "closure":
            run.optimizer.step(fail)
        elif where == "scheduler":
            torch.optim.lr_scheduler.LambdaLR(run.optimizer, fail)
        else:
            register = getattr(
                run.optimizer,
                "register_step_pre_hook" if where == "before" else "register_step_post_hook",
            )
            handle = register(fail)
            try:
                run.optimizer.step()
            finally:
                handle.remove()
    except Stop:
        pass
    else:
        return False
    if where == "after":
        run.taken += 1
        return run.bits() == undisturbed_from(run.optimizer, before, run)
    return run.bits() == before


def undisturbed_from(optimizer: Any, before: list[bytes], run: Run) -> list[bytes]:
    """The step was whole: its bits are those of the same run without the hook."""
    del optimizer, before
    for seed in range(100):
        other = Run(seed)
        if [p.shape for p in other.params] == [p.shape for p in run.params]:
            other.step()
            other.step()
            if other.bits() == run.bits():
                return other.bits()
    return []


def two_threads(rng: random.Random) -> bool:
    """Two optimizers in two threads: the bits of one after the other."""
    seeds = [rng.randrange(100), rng.randrange(100)]
    expected = [undisturbed(seed) for seed in seeds]
    found: dict[int, list[bytes]] = {}
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)

    def train(i: int) -> None:
        found[i] = undisturbed(seeds[i])

    threads = [threading.Thread(target=train, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(interval)
    return [found.get(0), found.get(1)] == expected


AT_EXIT = """
import atexit, sys, threading
import torch, mgup_torch
torch.set_num_threads(4)
p = torch.ones(300_000, requires_grad=True)
optimizer = mgup_torch.MGUPAdamW([p])
def step():
    p.grad = torch.ones(300_000)
    optimizer.step()
{first}
class Last:
    def __del__(self):
        step()
        print("deleted", flush=True)
{last}
"""
LAST = [
    "atexit.register(lambda: (step(), print('stepped', flush=True)))",
    "keep = Last()",
    "threading.Thread(target=lambda: [step() for _ in range(50)]).start()",
]
"""No daemon thread: Python ends one within an operation of torch's, which aborts the process, with
the optimizers of torch.optim as often."""


def shutdown(rng: random.Random) -> bool:
    """Steps while the interpreter ends: it ends, by no signal."""
    text = AT_EXIT.format(first=rng.choice(["step()", ""]), last=rng.choice(LAST))
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, timeout=300)
    return done.returncode == 0


FAULTS: dict[str, tuple[Callable[[random.Random], bool], int]] = {
    # The second: one in so many of the tries that are asked for, since some take a process each.
    "kill -9 while checkpoints are written (50 kills a try)": (killed_while_saving, 10),
    "full disk": (a_full_disk, 1),
    "truncated checkpoint": (a_truncated_file, 1),
    "flipped bits in a checkpoint": (a_flipped_bit, 1),
    "corrupted state_dict": (a_corrupted_state, 1),
    "foreign checkpoint": (a_foreign_checkpoint, 1),
    "SIGINT in a step": (lambda rng: a_signal(signal.SIGINT, rng), 1),
    "SIGTERM in a step": (lambda rng: a_signal(signal.SIGTERM, rng), 1),
    "SIGALRM in a step": (lambda rng: a_signal(signal.SIGALRM, rng), 1),
    "want of memory in a step": (want_of_memory, 1),
    "exception of a closure, a hook, a scheduler": (an_exception, 2),
    "two optimizers in two threads": (two_threads, 10),
    "steps while the interpreter ends": (shutdown, 20),
}


def tries(name: str, many: int) -> Iterator[bool]:
    fault, one_in = FAULTS[name]
    for i in range(max(many // one_in, 1)):
        try:
            yield fault(random.Random(f"{name} {i}"))
        except Exception:
            print(f"  {name}, try {i}:")
            traceback.print_exc()
            yield False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="parts of the faults' names; all by default")
    parser.add_argument("--tries", type=int, default=200)
    parser.add_argument("--out", type=pathlib.Path, help="a JSON file for the results")
    given = parser.parse_args()
    torch.set_num_threads(1)  # threads that torch has started do not survive a fork
    chosen = [n for n in FAULTS if not given.names or any(x in n for x in given.names)]
    rows = []
    print("| fault | tries | survived |\n|---|---:|---:|")
    for name in chosen:
        found = list(tries(name, given.tries))
        rows.append({"fault": name, "tries": len(found), "survived": sum(found)})
        print(f"| {name} | {len(found)} | {sum(found)} |", flush=True)
    if given.out is not None:
        given.out.write_text(json.dumps(rows, indent=1) + "\n")
    sys.exit(any(r["tries"] != r["survived"] for r in rows))


if __name__ == "__main__":
    main()
