"""Any number of threads, in processes of their own: what is compiled is compiled once (N1).

Issue 15, 2a: one machine shared by all engines, and a cache filled by the threads that use it, were
a segmentation fault in ordinary use on four cores.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np
import pytest


def run(program: str) -> str:
    command = [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stderr[-3000:]}"
    return done.stdout


ORDINARY = """
    import torch, mgup_torch
    from mgup_core.host import threads as crew
    for threads in {numbers}:
        torch.set_num_threads(threads)
        for name in ("MGUPAdamW", "MGUPLion", "MGUPSGD"):
            torch.manual_seed(0)
            p = torch.nn.Parameter(torch.randn(300_000))
            optimizer = getattr(mgup_torch, name)([p])
            for _ in range(20):
                p.grad = torch.randn(300_000)
                optimizer.step()
            print(p.detach().view(torch.int32).sum().item())
"""


@pytest.mark.parametrize(
    "numbers",
    [[4, 1], *(pytest.param([n, 1], marks=pytest.mark.slow) for n in (2, 16))],
    ids=str,
)
def test_ordinary_use(numbers):
    """20 steps of 300,000 coordinates, rule after rule; every number of threads, the same bits.

    Several threads come first, so that what they need is compiled while they run.
    """
    several, one = np.reshape(run(ORDINARY.format(numbers=numbers)).split(), (2, 3))
    assert several.tolist() == one.tolist()


EACH_ITS_OWN = """
    import sys, threading
    import torch, mgup_torch
    torch.set_num_threads(4)
    sys.setswitchinterval(1e-5)
    rules = ["MGUPAdamW", "MGUPLion", "MGUPSGD"] * 2
    grads = [torch.randn(300_000, generator=torch.Generator().manual_seed(i)) for i in range(20)]
    together, values = threading.Barrier({users}), {{}}

    def train(user):
        p = torch.nn.Parameter(torch.ones(300_000))
        optimizer = getattr(mgup_torch, rules[user])([p])
        together.wait()
        for g in grads:
            p.grad = g.clone()
            optimizer.step()
        values[user] = p.detach().view(torch.int32).sum().item()

    users = [threading.Thread(target=train, args=(user,)) for user in range({users})]
    for user in users:
        user.start()
    for user in users:
        user.join()
    assert len(values) == {users}
    print(*(values[user] for user in sorted(values)))
"""


def test_six_threads_that_each_start_an_optimizer():
    together = run(EACH_ITS_OWN.format(users=6)).split()
    assert together[:3] == together[3:], "the same rule, the same gradients"


def test_a_code_is_compiled_once(monkeypatch):
    """Threads that ask for one module at the same time are given one code."""
    pytest.importorskip("llvmlite", reason="the extra compiled is not installed")
    from concurrent.futures import ThreadPoolExecutor

    from mgup_torch.llvm import jit as machine

    text = """
    define void @nothing(float* noalias %x, i64 %n) {
      ret void
    }
    """
    before = machine._compiled.cache_info().misses
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(machine.compiled, [text] * 8))
    assert machine._compiled.cache_info().misses == before + 1
    assert all(one is found[0] for one in found)


AFTER_THE_MAIN_THREAD = """
    import threading, time
    import torch, mgup_torch
    torch.set_num_threads(4)
    p = torch.nn.Parameter(torch.ones(300_000))
    optimizer = mgup_torch.MGUPAdamW([p])
    optimizer.zero_grad()
    main = threading.current_thread()

    def train():
        while main.is_alive():
            time.sleep(0.01)
        time.sleep(0.2)  # for the interpreter to begin its shutdown
        for _ in range(20):
            p.grad = torch.ones(300_000)
            optimizer.step()
        print("trained", flush=True)

    {first}
    threading.Thread(target=train).start()
"""


@pytest.mark.parametrize(
    "first",
    [pytest.param("", marks=pytest.mark.slow), "p.grad = torch.ones(300_000); optimizer.step()"],
)
def test_training_after_the_main_thread_has_ended(first):
    """Issue 15, 21: pools refuse work then, so it is done by the thread that has it."""
    assert run(AFTER_THE_MAIN_THREAD.format(first=first)).split() == ["trained"]
