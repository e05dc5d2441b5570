"""What a failure in the middle of a step says, and what kind it stays (issue 15, item 17a).

No clause: CONTRIBUTING.md, "Fail before changing anything".
"""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
import torch

import mgup_core
from mgup_torch import optimizer

from .support import give, gradients, parameters

SHAPES = ((4, 6), (5,), (3,))


class TwoArguments(Exception):
    """One that cannot be made of a message alone."""

    def __init__(self, code, what):
        super().__init__(code, what)
        self.code, self.what = code, what


class Stop(KeyboardInterrupt):
    """As handlers raise, with what they have to say."""

    def __init__(self, code, what):
        super().__init__(code, what)
        self.code, self.what = code, what


def failing(error, when=2):
    """An optimizer of a rule that fails at its n-th parameter, and its parameters."""
    calls = []

    class Failing(mgup_core.SGD):
        elementwise = False

        def direction(self, be, g, w, state, t):
            calls.append(t)
            if len(calls) == when:
                raise error
            return super().direction(be, g, w, state, t)

    params = parameters(SHAPES)
    give(params, gradients(params, 0))
    return optimizer(Failing)(params), params


def told(error):
    return " ".join([str(error), *getattr(error, "__notes__", ())])


MEMORY = [
    MemoryError(),
    MemoryError("no room"),
    np._core._exceptions._ArrayMemoryError((10**9,), np.dtype("float32"))
    if hasattr(np, "_core")
    else MemoryError((10**9,)),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
]


@pytest.mark.parametrize("error", MEMORY, ids=lambda error: type(error).__name__)
def test_want_of_memory_stays_what_it_is(error):
    """Those who catch it to take a smaller batch find it; it says how far the step went."""
    made, params = failing(error)
    before = [p.detach().clone() for p in params]
    said = str(error)
    with pytest.raises(type(error)) as caught:
        made.step()
    assert caught.value is error
    assert said in told(error)
    assert "number 1 of its group failed" in told(error)
    assert "1 parameters have taken this step: number 0" in told(error)
    moved = [not torch.equal(p, b) for p, b in zip(params, before, strict=True)]
    assert moved == [True, False, False]
    assert params[1] not in made.state


def test_other_errors_are_the_cause():
    error = TwoArguments(7, "x")
    made, _ = failing(error)
    with pytest.raises(
        RuntimeError, match=r"number 1 .*TwoArguments\(7, 'x'\).* 1 parameters"
    ) as c:
        made.step()
    assert c.value.__cause__ is error


@pytest.mark.parametrize("stop", [Stop(3, "saved"), KeyboardInterrupt()], ids=["own", "plain"])
def test_an_interrupt_stays_what_it_is(stop):
    """A handler's own kind, with its arguments; the plain one says how far the step went."""

    class Interrupting(mgup_core.SGD):
        def rates(self, be, lr, decay, t, size=None):
            if not done:
                done.append(True)
                os.kill(os.getpid(), signal.SIGINT)  # held until no parameter is moving
            return super().rates(be, lr, decay, t, size)

    done: list[bool] = [True]  # not while it is looked at

    def handler(*_):
        raise stop

    params = parameters(SHAPES)
    give(params, gradients(params, 0))
    made = optimizer(Interrupting)(params)
    previous = signal.signal(signal.SIGINT, handler)
    done.clear()
    try:
        with pytest.raises(KeyboardInterrupt) as caught:
            made.step()
    finally:
        signal.signal(signal.SIGINT, previous)
    assert caught.value is stop
    assert "parameters have taken this step" in told(stop)
    if isinstance(stop, Stop):
        assert (stop.code, stop.what, stop.args) == (3, "saved", (3, "saved"))
