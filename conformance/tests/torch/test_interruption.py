"""Interrupted, forked and threaded: each parameter is before or after its step, never between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

import mgup_core as core
import mgup_torch
from mgup_torch import MGUPSGD, MGUPAdamW, MGUPLion, MGUPMuon

from .support import advance, array, frozen, give, gradients, parameters, same

CLASSES = [MGUPAdamW, MGUPLion, MGUPSGD, MGUPMuon]


def started(cls, shapes, steps=1):
    params = parameters(shapes)
    optimizer = cls(params, lr=0.05, **({"ns_dtype": "float32"} if cls is MGUPMuon else {}))
    advance(optimizer, params, steps)
    give(params, gradients(params, steps))
    return params, optimizer


def by_parameter(optimizer) -> list:
    """(value, state) of each parameter."""
    _, values, states = frozen(optimizer)
    return list(zip([v for group in values for v in group], states, strict=True))


def check_before_or_after(optimizer, before, after) -> list[bool]:
    """Which parameters have taken the step; fails for any that is in between or still moving."""
    now = by_parameter(optimizer)
    time.sleep(0.001)
    settled = by_parameter(optimizer) == now  # outside the assert: pytest would print megabytes
    assert settled, "the step went on after the interrupt was raised"
    taken = []
    for i, (b, x, a) in enumerate(zip(before, now, after, strict=True)):
        whole = x in (b, a)
        assert whole, f"parameter {i} is neither before nor after its step"
        taken.append(x == a)
    return taken


def interrupt_at(line: int):
    """A trace function that raises KeyboardInterrupt at the n-th line run in the adapter.

    Not in the core's mathematics, which changes nothing, but in its crew, to which the adapter
    entrusts its steps.
    """
    count = 0

    def trace(frame, event, _):
        nonlocal count
        file = Path(frame.f_code.co_filename)
        if file.parent.name != "mgup_torch" and file.name != "crew.py":
            return None
        if event == "line":
            count += 1
            if count == line:
                raise KeyboardInterrupt
        return trace

    return trace


@pytest.mark.parametrize(
    ("cls", "steps"), [(MGUPAdamW, 0), (MGUPSGD, 0), (MGUPLion, 1), (MGUPMuon, 1)]
)
def test_at_every_line(cls, steps):
    """Ctrl-C comes between any two instructions of the main thread: here, at each line in turn."""
    shapes = ((4, 6), (5,))
    _, finished = started(cls, shapes, steps)
    finished.step()
    after = by_parameter(finished)
    previous, line, interrupted = sys.gettrace(), 0, True
    while interrupted:
        line += 1
        _, optimizer = started(cls, shapes, steps)
        before = by_parameter(optimizer)
        interrupted = False
        sys.settrace(interrupt_at(line))
        try:
            optimizer.step()
        except KeyboardInterrupt:
            interrupted = True
        finally:
            sys.settrace(previous)
        taken = check_before_or_after(optimizer, before, after)
    assert line > 30
    assert all(taken)


class _Interrupted(core.SGD):
    """Ctrl-C comes while the n-th parameter is moving, wherever that is done."""

    calls = 0
    when = 0
    raised = threading.Event()

    def rates(self, be, lr, decay, t, size=None):  # what is asked of a rule anew for each parameter
        kind = type(self)
        kind.calls += 1
        if kind.calls == kind.when:
            os.kill(os.getpid(), signal.SIGINT)
            while not kind.raised.wait(0.1):  # one that comes just before a wait wakes nobody
                os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)  # for the main thread to catch what it has just raised
        return super().rates(be, lr, decay, t, size)


@pytest.mark.parametrize("when", [1, 2, 5])
def test_by_a_signal_in_the_middle(when):
    """The parameter that is moving is finished, the others wait; the message counts them."""
    cls = mgup_torch.optimizer(_Interrupted)
    _Interrupted.when = 0
    shapes = ((6, 5),) * 5
    expected, finished = started(cls, shapes)
    finished.step()
    after = by_parameter(finished)
    params, optimizer = started(cls, shapes)
    before = by_parameter(optimizer)
    _Interrupted.calls, _Interrupted.when = 0, when
    _Interrupted.raised.clear()

    def ctrl_c(*_):
        if not _Interrupted.raised.is_set():
            _Interrupted.raised.set()
            raise KeyboardInterrupt

    previous = signal.signal(signal.SIGINT, ctrl_c)
    try:
        with pytest.raises(KeyboardInterrupt, match=f"{when} parameters"):
            optimizer.step()
    finally:
        signal.signal(signal.SIGINT, previous)
    taken = check_before_or_after(optimizer, before, after)
    assert taken == [i < when for i in range(5)]
    for p in params[:when]:
        p.grad = None
    optimizer.step()
    assert same(params, expected)


def test_an_interrupt_while_the_work_is_handed_over(monkeypatch):
    """Ctrl-C may come when the moving thread has its work and the main one does not know it yet."""
    shapes = ((2000, 1500), (4, 5))  # a while to move
    _, finished = started(MGUPAdamW, shapes)
    finished.step()
    after = by_parameter(finished)
    _, optimizer = started(MGUPAdamW, shapes)
    before = by_parameter(optimizer)
    submit = ThreadPoolExecutor.submit

    def interrupted(*args, **kwargs):
        monkeypatch.undo()
        submit(*args, **kwargs)
        time.sleep(0.005)  # it has begun to move
        raise KeyboardInterrupt

    monkeypatch.setattr(ThreadPoolExecutor, "submit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        optimizer.step()
    check_before_or_after(optimizer, before, after)


def test_a_failing_move_says_which():
    """A failure within the step names the parameter and how many had moved."""
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
    params = list(model.parameters())
    optimizer = MGUPAdamW(model.named_parameters(), capturable=False)
    advance(optimizer, params, 1)
    give(params, gradients(params, 1))
    before = [array(p) for p in params]
    del optimizer.state[params[2]]["exp_avg"]
    with pytest.raises(RuntimeError, match=r"1\.weight.*2 parameters"):
        optimizer.step()
    moved = [array(p).tobytes() != b.tobytes() for p, b in zip(params, before, strict=True)]
    assert moved == [True, True, False, False]


FORK = """
    import os
    import torch
    from mgup_torch import MGUPAdamW

    def run(params, steps):
        for step in steps:
            for p, g in zip(params, grads[step]):
                p.grad = g.to(p.dtype)
            optimizers[params[0].dtype].step()

    torch.manual_seed(0)
    grads = [[torch.randn(300, 300) for _ in range(2)] for _ in range(4)]
    wide = [torch.randn(300, 300).requires_grad_() for _ in range(2)]
    narrow = [torch.randn(300, 300).bfloat16().requires_grad_() for _ in range(2)]
    optimizers = {params[0].dtype: MGUPAdamW(params) for params in (wide, narrow)}
    run(wide, (0, 1))
    run(narrow, (0, 1))
    child = os.fork()
    run(wide, (2, 3))
    if child == 0:
        # torch's own operations, unlike ours, hang in a forked child if they use several threads.
        torch.set_num_threads(1)
    run(narrow, (2, 3))
    values = [p.detach().view(torch.uint8).numpy().tobytes() for p in wide + narrow]
    if child == 0:
        os._exit(hash(b"".join(values)) % 251)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == hash(b"".join(values)) % 251
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_child_steps():
    """The helper threads do not live on in the child, which must notice."""
    command = [sys.executable, "-c", textwrap.dedent(FORK)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("cls", CLASSES)
def test_threads_step_their_own_optimizers(cls):
    """Several threads at once, each with its own optimizer, and none of them the main one."""
    shapes, runs, failures = ((400, 300), (70, 50)), {}, []
    # Products may be cut up differently among threads: N7 bounds what that does in float32.
    options = {"ns_dtype": "float32"} if cls is MGUPMuon else {}

    def train(key):
        try:
            params = parameters(shapes, seed=key)
            advance(cls(params, lr=0.05, **options), params, 4)
            runs[key] = params
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=train, args=(key,)) for key in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    for key, params in runs.items():
        alone = parameters(shapes, seed=key)
        advance(cls(alone, lr=0.05, **options), alone, 4)
        if cls is MGUPMuon:
            for p, q in zip(params, alone, strict=True):
                torch.testing.assert_close(p, q, rtol=1e-3, atol=1e-4)
        else:
            assert same(params, alone)
    assert len(runs) == 4
