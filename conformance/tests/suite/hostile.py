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


class Overwriting(toy_port.Port):
    """Takes the parameters that it is given for its own."""

    name = "overwriting"

    def run(self, spec, params):
        made = toy_port.Run(spec, [w.copy() for w in params])
        for w in params:
            w[...] = 0
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


class Unmakeable(toy_port.Port):
    """Cannot be made."""

    def __init__(self):
        raise KeyError("nothing")


class Leaving(Unmakeable):
    """Ends the process that makes it."""

    def __init__(self):
        sys.exit(3)


def saying(**methods):
    """A backend that says something else than it is to."""
    return type("Saying", (toy_port.Port,), methods)


def refuse(self):
    raise TypeError("not now")


Mute = saying(capabilities=refuse)
Ageless = saying(versions=refuse)
Listed = saying(versions=lambda self: ["1.0"])
Numbered = saying(versions=lambda self: {"numpy": 2.4})
Nameless = saying(name=" ")
Number = saying(name=3)


class Exiting(toy_port.Port):
    """Leaves by sys.exit in the midst of a case, and as if all were well."""

    name = "exiting"

    def run(self, spec, params):
        sys.exit(0)


class Waiting(toy_port.Port):
    """Is never made."""

    def __init__(self):
        time.sleep(3600)
