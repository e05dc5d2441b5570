"""Faults of checkpoints: killed while written, cut off, changed, of another optimizer."""

from __future__ import annotations

import io
import os
import pathlib
import pickle
import random
import resource
import signal
import tempfile
import time
from typing import Any

import torch
from faulty import STEPS, Run, forked, undisturbed

from mgup_core import atomic_write


def killed_while_saving(rng: random.Random) -> bool:
    """Kill -9 at a random moment of a run that saves after each step; it goes on from the file."""
    seed = rng.randrange(100)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "checkpoint.pt")

        def save(run: Run) -> None:
            with atomic_write(path) as file:
                torch.save(run.saved(), file)

        def train() -> None:
            run = Run(seed)
            if path.exists():
                run.load(torch.load(path, weights_only=True))
            while run.taken < STEPS:
                run.step()
                save(run)

        for _ in range(50):
            child = os.fork()
            if not child:
                train()
                os._exit(0)
            time.sleep(rng.random() * 0.05)
            os.kill(child, signal.SIGKILL)
            if os.WIFEXITED(os.waitpid(child, 0)[1]):
                break
        if path.exists():  # whole at any moment
            torch.load(path, weights_only=True)
        train()
        run = Run(seed)
        run.load(torch.load(path, weights_only=True))
        return run.bits() == undisturbed(seed)


def a_full_disk(rng: random.Random) -> bool:
    """No room for the whole file: an error, the old checkpoint as it was, nothing left behind."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "checkpoint.pt")
        run = Run(rng.randrange(100))
        run.step()
        with atomic_write(path) as file:
            torch.save(run.saved(), file)
        before = path.read_bytes()
        room = rng.randrange(len(before))

        def work() -> bool:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
            run.step()
            try:
                with atomic_write(path) as file:
                    torch.save(run.saved(), file)
            except (OSError, RuntimeError):  # torch's writer says RuntimeError
                return path.read_bytes() == before and os.listdir(folder) == [path.name]
            return False

        return forked(work) == 0


def a_truncated_file(rng: random.Random) -> bool:
    """An error of torch.load; the optimizer has changed in nothing, and goes on."""
    run = Run(rng.randrange(100))
    run.step()
    file = io.BytesIO()
    torch.save(run.saved(), file)
    data = file.getvalue()
    before = run.bits()
    try:
        run.load(torch.load(io.BytesIO(data[: rng.randrange(len(data))]), weights_only=True))
    except (RuntimeError, EOFError, ValueError, pickle.UnpicklingError, OSError):
        return run.bits() == before
    return False


def a_flipped_bit(rng: random.Random) -> bool:
    """An error before anything changes, or a state that the next step takes: never a crash."""
    run = Run(rng.randrange(100))
    run.step()
    file = io.BytesIO()
    torch.save(run.saved(), file)
    data = bytearray(file.getvalue())
    for _ in range(rng.randint(1, 4)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    before = run.bits()
    try:
        loaded = torch.load(io.BytesIO(bytes(data)), weights_only=True)
        run.optimizer.load_state_dict(loaded["optimizer"])
    except Exception:
        return run.bits() == before
    run.step()
    return True


WRONG = [None, "a word", -1, 2.5, [], {}, torch.ones(2, 9), torch.tensor(1), float("nan"), b"x"]


def a_corrupted_state(rng: random.Random) -> bool:
    """One entry of a state_dict is something else: an error and no change, or what a step takes."""
    run = Run(rng.randrange(100))
    run.step()
    saved = run.saved()["optimizer"]
    saved = pickle.loads(pickle.dumps(saved))
    place: Any = saved
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = rng.choice(keys)
        inner = place[key]
        if not (isinstance(inner, (dict, list)) and inner) or rng.random() < 0.2:
            break
        place = inner
    if rng.random() < 0.3:
        del place[key]
    else:
        place[key] = rng.choice(WRONG)
    before = run.bits(), repr(run.optimizer)
    try:
        run.optimizer.load_state_dict(saved)
    except Exception as error:
        if not isinstance(error, (ValueError, TypeError, KeyError)):
            raise
        return (run.bits(), repr(run.optimizer)) == before
    run.give()
    try:
        run.optimizer.step()
    except (ValueError, TypeError) as error:
        print(f"  loaded, and refused by the next step: {key!r}: {error}")
        return False
    return True


FOREIGN = [
    lambda p: torch.optim.RMSprop(p), lambda p: torch.optim.Adagrad(p, initial_accumulator_value=1),
    lambda p: torch.optim.Adadelta(p), lambda p: torch.optim.Rprop(p),
    lambda p: torch.optim.ASGD(p),
    lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), lambda p: torch.optim.Adamax(p),
]  # fmt: skip


def a_foreign_checkpoint(rng: random.Random) -> bool:
    """Of another rule: refused by the name of what is missing."""
    run = Run(0)
    run.step()
    other = rng.choice(FOREIGN)([p.detach().clone().requires_grad_() for p in run.params])
    for group in other.param_groups:
        for p in group["params"]:
            p.grad = torch.randn_like(p)
    other.step()
    before = run.bits()
    try:
        run.optimizer.load_state_dict(other.state_dict())
    except ValueError:
        return run.bits() == before
    return False
