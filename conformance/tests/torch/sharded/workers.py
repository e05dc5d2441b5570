"""A few processes with a gloo process group, kept for many tests: starting them takes seconds."""

from __future__ import annotations

import importlib
import multiprocessing
import sys
import tempfile
import traceback
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PATIENCE = 100  # seconds until a group of processes is given up
PRELOADED = ["torch.distributed.tensor", "torch.distributed.fsdp", "mgup_torch"]


class Workers:
    """``n`` ranks that run functions of the modules beside this one."""

    def __init__(self, n: int, *, timeout: float = 60.0) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)  # imported once for all
        self.folder = tempfile.TemporaryDirectory()
        store = str(Path(self.folder.name, "store"))
        pipes = [context.Pipe() for _ in range(n)]
        self.connections = [mine for mine, _ in pipes]
        # The child finds this module by its name, which must not depend on who imported it.
        sys.path.insert(0, str(HERE))
        try:
            serve = importlib.import_module("workers").serve
            self.processes = [
                context.Process(target=serve, args=(i, n, store, theirs, timeout), daemon=True)
                for i, (_, theirs) in enumerate(pipes)
            ]
            for process in self.processes:
                process.start()
        finally:
            sys.path.remove(str(HERE))

    def run(self, task: str, /, *args: Any, patience: float = PATIENCE, **kwargs: Any) -> list[Any]:
        """``module.function`` on every rank; what each returned, or the first exception's story."""
        for connection in self.connections:
            connection.send((task, args, kwargs))
        results, failures = [], []
        for rank, connection in enumerate(self.connections):
            if not connection.poll(patience if not failures else 5):
                failures.append(f"rank {rank} gave no answer")
                continue
            try:
                done, result = connection.recv()
            except EOFError:
                failures.append(f"rank {rank} died")
                continue
            results.append(result)
            if not done:
                failures.append(f"rank {rank}:\n{result}")
        if failures:
            self.close()
            raise AssertionError("\n".join(failures[:2]))
        return results

    @property
    def alive(self) -> bool:
        return all(process.is_alive() for process in self.processes)

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.join()
        self.folder.cleanup()


def serve(rank: int, n: int, store: str, connection: Any, timeout: float) -> None:
    """What a rank does: run what it is told to, until it is told nothing more."""
    sys.path.append(str(HERE.parent))  # the helpers of all PyTorch tests
    warnings.simplefilter("ignore")
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=n,
        timeout=timedelta(seconds=timeout),
    )  # fmt: skip
    while True:
        try:
            name, args, kwargs = connection.recv()
        except EOFError:
            return
        try:
            module, _, function = name.partition(".")
            torch.manual_seed(0)
            connection.send(
                (True, getattr(importlib.import_module(module), function)(*args, **kwargs))
            )
        except BaseException:
            connection.send((False, traceback.format_exc()))
