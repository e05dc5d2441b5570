"""Hours of training in which nothing may grow: ``make soak``.

    python conformance/trust/soak.py [--minutes M] [--cuda] [torch] [jax] [mindspore]

Resident memory, file descriptors, threads (and on CUDA the memory that PyTorch's allocator holds)
are noted after a warm-up of a fifth of the time and until the end. Groups and shapes are random,
and no learning rate comes twice. Memory may end higher than at the warm-up's end by no more than
8 MB or a fiftieth; descriptors and threads by none. For JAX no program may be compiled after the
warm-up. Exits with the number of what grew, and prints a row of a table for each framework.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import os
import pathlib
import random
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

SPARE = 8 << 20
MIN_STEPS = 1000
"""Of a run, however slow the machine."""
SHAPES = [(), (7,), (64,), (33, 5), (64, 64), (4, 3, 5), (5003,), (257, 301), (70_001,)]
PAGE = os.sysconf("SC_PAGE_SIZE")


class Load(NamedTuple):
    """What a process holds."""

    memory: int
    """Resident bytes."""
    files: int
    threads: int
    device: int
    """Bytes of a device's memory."""


def load(device: Callable[[], int]) -> Load:
    gc.collect()
    memory = int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * PAGE
    tasks = pathlib.Path("/proc/self/task")
    return Load(memory, len(os.listdir("/proc/self/fd")), len(list(tasks.iterdir())), device())


def torch_steps(cuda: bool) -> Iterator[Callable[[], int]]:
    """Train a new optimizer of random groups for some steps, again and again."""
    import torch

    import mgup_torch
    from mgup_torch.llvm import codegen

    where = "cuda" if cuda else "cpu"
    kinds = [mgup_torch.MGUPAdamW, mgup_torch.MGUPLion, mgup_torch.MGUPSGD, mgup_torch.MGUPAdan]
    rng, rate = random.Random(0), iter(range(1, 1 << 60))

    def held() -> int:
        return torch.cuda.memory_allocated() if cuda else 0

    codegen.WORTH = 0  # what compiles does so at once, and not after hours of small steps
    modes, decays = ["rank", "sign", "adaptive", "off"], [0.0, 0.1]
    for kind, mode, decay in itertools.product(kinds, modes, decays):
        p = torch.ones(70_001, device=where, requires_grad=True)
        p.grad = torch.ones_like(p)
        kind([p], mode=mode, weight_decay=decay).step()
    while True:
        groups = [
            {
                "params": [
                    torch.randn(s, device=where).requires_grad_()
                    for s in rng.choices(SHAPES, k=rng.randint(1, 4))
                ],
                "mode": rng.choice(modes),
                "tau": rng.choice([0.25, 0.5, 0.75]),
                "weight_decay": rng.choice(decays),
            }
            for _ in range(rng.randint(1, 3))
        ]
        optimizer = rng.choice(kinds)(groups)
        for _ in range(rng.randint(1, 20)):
            for group in optimizer.param_groups:
                group["lr"] = 1e-3 / (1 + 1e-6 * next(rate))
                for p in group["params"]:
                    p.grad = torch.randn_like(p)
            optimizer.step()
            yield held
        optimizer.load_state_dict(optimizer.state_dict())


def jax_steps(cuda: bool) -> Iterator[Callable[[], int]]:
    """One jitted step of each of some optimizers, with learning rates from outside."""
    import jax
    import jax.numpy as jnp
    import optax

    import mgup_jax

    rng, rate = random.Random(0), iter(range(1, 1 << 60))
    made = [
        optax.inject_hyperparams(make, static_args=make.static_args)(learning_rate=1e-3)
        for make in (mgup_jax.mgup_adamw, mgup_jax.mgup_lion, mgup_jax.mgup_sgd)
    ]
    start = {str(i): jnp.ones(s) for i, s in enumerate(SHAPES)}
    runs: list[Any] = []
    for optimizer in made:

        def step(w: Any, state: Any, g: Any, optimizer: Any = optimizer) -> Any:
            updates, state = optimizer.update(g, state, w)
            return optax.apply_updates(w, updates), state

        runs.append([jax.jit(step), start, optimizer.init(start)])
    noise = np.random.default_rng(0)
    while True:
        run = rng.choice(runs)
        step, w, state = run
        state.hyperparams["learning_rate"] = jnp.float32(1e-3 / (1 + 1e-6 * next(rate)))
        grads = {n: noise.standard_normal(x.shape).astype("f4") for n, x in start.items()}
        run[1:] = step(w, state, grads)
        jax.block_until_ready(run[1])
        yield lambda: sum(step._cache_size() for step, *_ in runs)


def mindspore_steps(cuda: bool) -> Iterator[Callable[[], int]]:
    """One optimizer of many shapes, PyNative."""
    import mindspore as ms

    import mgup_mindspore

    noise, rate = np.random.default_rng(0), iter(range(1, 1 << 60))
    params = [ms.Parameter(ms.Tensor(np.ones(s, "f4")), name=f"p{i}") for i, s in enumerate(SHAPES)]
    optimizer = mgup_mindspore.MGUPAdamW(params, learning_rate=1e-3, weight_decay=0.1)
    while True:
        optimizer.learning_rate.set_data(ms.Tensor(1e-3 / (1 + 1e-6 * next(rate)), ms.float32))
        optimizer.set_hyperparameters(weight_decay=0.1 / (1 + 1e-6 * next(rate)))
        optimizer(tuple(ms.Tensor(noise.standard_normal(p.shape).astype("f4")) for p in params))
        yield lambda: 0


STEPS = {"torch": torch_steps, "jax": jax_steps, "mindspore": mindspore_steps}


def soak(name: str, minutes: float, cuda: bool) -> dict[str, Any]:
    begun = time.monotonic()
    warm, until = begun + 12 * minutes, begun + 60 * minutes
    first: Load | None = None
    worst = Load(0, 0, 0, 0)
    steps = 0
    for held in STEPS[name](cuda):
        steps += 1
        if steps % 50:
            continue
        now = time.monotonic()
        if now < warm or steps < MIN_STEPS // 5:
            continue
        seen = load(held)
        first = first or seen
        worst = Load(*map(max, worst, seen))
        if now > until and steps > MIN_STEPS:
            break
    assert first is not None
    last = seen
    grew = [
        what
        for what, before, after, spare in (
            ("memory", first.memory, last.memory, max(SPARE, first.memory // 50)),
            ("files", first.files, last.files, 0),
            ("threads", first.threads, last.threads, 0),
            # Of JAX the number of compiled programs; of CUDA what is allocated between two steps.
            ("device", first.device, worst.device, SPARE if cuda else 0),
        )
        if after > before + spare
    ]
    return {
        "framework": name + (" (CUDA)" if cuda else ""),
        "minutes": round((time.monotonic() - begun) / 60, 1),
        "steps": steps, "warm": first._asdict(), "end": last._asdict(), "worst": worst._asdict(),
        "grew": grew,
    }  # fmt: skip


def row(one: dict[str, Any]) -> str:
    warm, end = one["warm"], one["end"]
    mb = [f"{x['memory'] / 2**20:.1f}" for x in (warm, end)]
    return (
        f"| {one['framework']} | {one['minutes']} | {one['steps']} | {mb[0]} -> {mb[1]} | "
        f"{warm['files']} -> {end['files']} | {warm['threads']} -> {end['threads']} | "
        f"{warm['device']} -> {end['device']} | {', '.join(one['grew']) or 'nothing'} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("frameworks", nargs="*", default=["torch"], help=", ".join(STEPS))
    parser.add_argument("--minutes", type=float, default=60, help="for each framework")
    parser.add_argument("--cuda", action="store_true", help="torch on a GPU")
    parser.add_argument("--out", type=pathlib.Path, help="a JSON file to add the results to")
    given = parser.parse_args()
    warnings.filterwarnings("ignore", ".*none is selected")
    grew = 0
    for name in given.frameworks:
        one = soak(name, given.minutes, given.cuda)
        grew += len(one["grew"])
        print(row(one), flush=True)
        if given.out is not None:
            known = json.loads(given.out.read_text()) if given.out.exists() else []
            given.out.write_text(json.dumps([*known, one], indent=1) + "\n")
    sys.exit(grew)


if __name__ == "__main__":
    main()
