"""Interrupted, forked and threaded: each parameter is before or after its step, never between.

No clause: the contract of ``torch.optim`` and of :class:`mgup_core.host.signals.HeldSignals`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
import torch

import mgup_core as core
import mgup_torch
from mgup_torch import MGUPSGD, MGUPAdamW, MGUPLion, MGUPMuon
from mgup_torch.executors import NumPyBlocks

from .support import advance, array, frozen, give, gradients, parameters, same

CLASSES = [MGUPAdamW, MGUPLion, MGUPSGD, MGUPMuon]


@pytest.fixture(autouse=True)
def default_handler():
    """A process that a shell starts in the background ignores SIGINT."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


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


def signal_at(line: int):
    """A trace function that sends SIGINT at the n-th line run in the adapter and the core."""
    count = 0

    def trace(frame, event, _):
        nonlocal count
        if {"mgup_torch", "mgup_core"}.isdisjoint(Path(frame.f_code.co_filename).parts):
            return None
        if event == "line":
            count += 1
            if count == line:
                signal.raise_signal(signal.SIGINT)
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
    previous, line, interrupted, partly = sys.gettrace(), 0, True, 0
    while interrupted:
        line += 1 + line // 25  # later lines repeat what earlier ones did for another parameter
        _, optimizer = started(cls, shapes, steps)
        before = by_parameter(optimizer)
        interrupted = False
        sys.settrace(signal_at(line))
        try:
            optimizer.step()
        except KeyboardInterrupt:
            interrupted = True
        finally:
            sys.settrace(previous)
        taken = check_before_or_after(optimizer, before, after)
        partly += any(taken) and not all(taken)
    assert line > 30
    assert partly
    assert all(taken)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


class _Signalled(core.SGD):
    """A signal comes while the n-th parameter is moving."""

    calls = 0
    when = 0
    send = staticmethod(lambda: None)

    def rates(self, be, lr, decay, t, size=None):  # what is asked of a rule anew for each parameter
        kind = type(self)
        kind.calls += 1
        if kind.calls == kind.when:
            kind.send()
        return super().rates(be, lr, decay, t, size)


def send(*numbers):
    def now():
        for number in numbers:
            os.kill(os.getpid(), number)
            time.sleep(0.01)  # for the handler to run, if it is let

    return now


SHAPES = tuple((6, 5 + i) for i in range(5))
"""Each is stepped alone: small tensors of one shape would be stepped together."""


def signalled(when, *numbers, shapes=SHAPES):
    """(optimizer about to be signalled, what it holds, what it would hold after the step)."""
    cls = mgup_torch.optimizer(_Signalled)
    _Signalled.when = 0
    expected, finished = started(cls, shapes)
    finished.step()
    params, optimizer = started(cls, shapes)
    _Signalled.calls, _Signalled.when, _Signalled.send = 0, when, staticmethod(send(*numbers))
    return params, optimizer, by_parameter(optimizer), by_parameter(finished), expected


@pytest.fixture
def handle():
    """Set handlers of signals, for one test."""
    previous = {}

    def handle(number, handler):
        previous[number] = signal.signal(number, handler)

    yield handle
    for number, handler in previous.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("when", [1, 2, 5])
def test_ctrl_c_in_the_middle(when, times):
    """The parameter that is moving is finished, the others wait; the message counts them.

    Issue 15, 20: a second Ctrl-C changes nothing of that.
    """
    params, optimizer, before, after, expected = signalled(when, *[signal.SIGINT] * times)
    with pytest.raises(KeyboardInterrupt, match=f"^{when} parameters have taken this step"):
        optimizer.step()
    taken = check_before_or_after(optimizer, before, after)
    assert taken == [i < when for i in range(5)]
    for p in params[:when]:
        p.grad = None
    optimizer.step()
    assert same(params, expected)


def test_ctrl_c_in_a_stack():
    """Small tensors of one shape take their steps together, or wait together."""
    _, optimizer, before, after, _ = signalled(2, signal.SIGINT, shapes=[(5,)] * 3 + [(2, 3)] * 4)
    with pytest.raises(KeyboardInterrupt, match=r"^7 parameters have taken this step"):
        optimizer.step()
    assert all(check_before_or_after(optimizer, before, after))
    _, optimizer, before, after, _ = signalled(1, signal.SIGINT, shapes=[(5,)] * 3 + [(2, 3)] * 4)
    with pytest.raises(KeyboardInterrupt, match=r"^3 parameters have taken this step"):
        optimizer.step()
    assert check_before_or_after(optimizer, before, after) == [True] * 3 + [False] * 4


def exits(*_):
    raise SystemExit(3)


def times_out(*_):
    raise TimeoutError("that is long enough")


@pytest.mark.parametrize(
    ("number", "handler", "error"),
    [
        (signal.SIGTERM, exits, SystemExit),
        pytest.param(
            getattr(signal, "SIGALRM", None), times_out, TimeoutError,
            marks=pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="needs SIGALRM"),
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("when", [1, 4])
def test_a_handler_that_raises(handle, number, handler, error, when):
    """Issue 15, 20: the step has ended when the error leaves it, and a note says how far it is."""
    _, optimizer, before, after, _ = signalled(when, number)
    handle(number, handler)
    with pytest.raises(error) as caught:
        optimizer.step()
    assert check_before_or_after(optimizer, before, after) == [i < when for i in range(5)]
    assert caught.value.__notes__[0].startswith(f"{when} parameters have taken this step")
    assert caught.value.args in ((3,), ("that is long enough",))
    assert signal.getsignal(number) is handler


@pytest.mark.parametrize("when", [1, 3, 5])
def test_a_handler_that_saves_a_checkpoint(handle, when):
    """Issue 15, 20: it sees each parameter whole with its state, and the step goes on after it."""
    params, optimizer, before, after, expected = signalled(when, signal.SIGTERM)
    seen = []

    def save(*_):
        seen.append(by_parameter(optimizer))
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # and sets a handler

    handle(signal.SIGTERM, save)
    optimizer.step()
    (saved,) = seen
    assert saved == after[:when] + before[when:]
    assert same(params, expected)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


def test_signals_that_come_together(handle):
    """Each handler runs, even if one before it raises."""
    ran = []

    def noting(number, _):
        ran.append(number)
        raise SystemExit(number)

    _, optimizer, before, after, _ = signalled(2, signal.SIGTERM, signal.SIGINT)
    handle(signal.SIGTERM, noting)
    handle(signal.SIGINT, noting)
    with pytest.raises(SystemExit):
        optimizer.step()
    assert sorted(ran) == sorted([signal.SIGTERM, signal.SIGINT])
    assert check_before_or_after(optimizer, before, after) == [True, True, False, False, False]


def test_the_wrapper_holds_signals_too(handle):
    """The parameters of ``MGUP(inner)`` are before or after their step with inner's state."""

    class Inner(torch.optim.AdamW):
        def step(self, closure=None):
            super().step(closure)
            send(signal.SIGTERM)()

    params = parameters(SHAPES)
    optimizer = mgup_torch.MGUP(Inner(params))
    give(params, gradients(params, 0))
    handle(signal.SIGTERM, exits)
    with pytest.raises(SystemExit):
        optimizer.step()
    twins = parameters(SHAPES)
    twin = mgup_torch.MGUP(torch.optim.AdamW(twins))
    give(twins, gradients(twins, 0))
    twin.step()
    assert by_parameter(optimizer) == by_parameter(twin)


def test_a_failing_move_says_which(monkeypatch):
    """A failure within the step names the parameter and how many had moved."""
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
    params = list(model.parameters())
    optimizer = MGUPAdamW(model.named_parameters(), capturable=False)
    advance(optimizer, params, 1)
    give(params, gradients(params, 1))
    before = [array(p) for p in params]
    run, calls = NumPyBlocks.run, []

    def failing(executor, batch, step):
        calls.append(batch)
        if len(calls) == 3:
            raise ArithmeticError
        return run(executor, batch, step)

    monkeypatch.setattr(NumPyBlocks, "run", failing)
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
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
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
        thread.join()
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
