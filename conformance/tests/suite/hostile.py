"""Backends of which each does one thing that none is to do (issue 17, bad input)."""

import os
import subprocess
import sys
import time

import numpy as np
import toy_port

ESCAPES = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202e\ud800"
"""It clears a terminal, renames it, turns its colour and its direction; and is no Unicode text."""


class Run(toy_port.Run):
    """One that its backend changes afterwards."""

    def __init__(self, spec, params, change):
        super().__init__(spec, params)
        self.change = change

    def params(self):
        return [self.change(w) for w in self.w]


class Changed(toy_port.Port):
    """Its parameters go through ``change``."""

    name = "changed"

    def change(self, w):
        return w

    def run(self, spec, params):
        return Run(spec, params, self.change)


class Reshaped(Changed):
    def change(self, w):
        return w[None]


class Wider(Changed):
    def change(self, w):
        return w.astype(np.float64)


class Named(Changed):
    """Objects in place of numbers."""

    def change(self, w):
        return w.astype(object)


class Elsewhere(Changed):
    """As a tensor of an accelerator does, these cannot be read on the host."""

    def change(self, w):
        class OnDevice:
            def __array__(self, *args, **kwargs):
                raise TypeError("can't convert cuda:0 device type tensor to numpy.")

        return OnDevice()


class Fewer(toy_port.Port):
    """Gives back one parameter of several."""

    name = "fewer"

    def run(self, spec, params):
        made = toy_port.Run(spec, params)
        made.params = lambda: made.w[:1]
        return made


class Scores(toy_port.Port):
    """Writes into the gradient that it is to score."""

    name = "scores"

    def multiplier(self, policy, a, g, stacked_dims):
        phi = super().multiplier(policy, a, g, stacked_dims)
        g[...] = 0
        return phi


class Shouting(toy_port.Port):
    """Everything that it says obeys nobody's layout."""

    name = "toy" + ESCAPES

    def versions(self):
        return {"numpy" + ESCAPES: ESCAPES}

    def capabilities(self):
        return super().capabilities() | {"reasons": {"lion": ESCAPES}}

    def multiplier(self, policy, a, g, stacked_dims):
        raise RuntimeError(ESCAPES)


class Slow(toy_port.Port):
    """Is asked few cases."""

    name = "slow"

    def capabilities(self):
        return super().capabilities() | {"slow": True}


class Speechless(toy_port.Port):
    """Cannot even be made."""

    def __init__(self):
        raise ValueError(ESCAPES)


class Parent(toy_port.Port):
    """Starts another process, and never answers."""

    name = "parent"

    def run(self, spec, params):
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        with open(os.environ["HOSTILE_PID"], "w") as file:
            file.write(f"{os.getpid()} {child.pid}")
        time.sleep(600)
