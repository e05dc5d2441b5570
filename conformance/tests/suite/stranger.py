"""Backends that go wrong in ways of their own, and a rule of a user."""

import os
import time
from dataclasses import dataclass

import numpy as np
import toy_port

from mgup_core import Direction, Rule, ema


class Crashing(toy_port.Port):
    """Ends its process in one case."""

    name = "crashing"

    def run(self, spec, params):
        if spec["policy"]["name"] == "off":
            os._exit(7)
        return super().run(spec, params)


class Hanging(toy_port.Port):
    """Never answers in one case."""

    name = "hanging"

    def run(self, spec, params):
        if spec["policy"]["name"] == "off":
            time.sleep(3600)
        return super().run(spec, params)


class Printing(toy_port.Port):
    """Prints what is no part of the conversation."""

    name = "printing"

    def multiplier(self, policy, a, g, stacked_dims):
        print("step", flush=True)
        os.write(1, b"\x00\xff")
        return super().multiplier(policy, a, g, stacked_dims)


class Narrow(toy_port.Port):
    """Gives another dtype."""

    name = "narrow"

    def multiplier(self, policy, a, g, stacked_dims):
        return super().multiplier(policy, a, g, stacked_dims).astype(np.float64)


class Flat(toy_port.Port):
    """Gives another shape."""

    name = "flat"

    def run(self, spec, params):
        made = super().run(spec, params)
        made.params = lambda: [w.ravel() for w in made.w]
        return made


class Misnamed(toy_port.Port):
    """Calls its state otherwise."""

    name = "misnamed"

    def run(self, spec, params):
        made = super().run(spec, params)
        made.state = lambda: [{"exp_average": m, "exp_avg_sq": v} for m, v in made.kept]
        return made


def offering(**changes):
    def capabilities(self):
        return {**toy_port.Port.capabilities(self), **changes}

    return type("Offering", (toy_port.Port,), {"name": "offering", "capabilities": capabilities})


Dtype = offering(dtypes=["float_32"])
Kind = offering(dtype=["float32"])
Option = offering(options=["multipliers"])
Word = offering(rules="adamw")
Reason = offering(reasons={"lyon": "later"})
Nothing = offering(dtypes=[])


@dataclass(frozen=True)
class Unflushed(Rule):
    """Second moments without a flush."""

    b1: float = 0.9
    b2: float = 0.9999

    def init(self, be, w):
        return {"exp_avg": be.zeros_like(w), "exp_avg_sq": be.zeros_like(w)}

    def accumulate(self, be, g, w, state, t):
        v = be.mul(be.scalar(self.b2), state["exp_avg_sq"])
        v = v + be.mul(be.scalar(1 - self.b2), be.mul(g, g))
        m = ema(be, state["exp_avg"], be.div(g, be.sqrt(v)), self.b1)
        return {"exp_avg": m, "exp_avg_sq": v}

    def direction(self, be, g, w, state, t):
        return Direction(state["exp_avg"], state["exp_avg"])


@dataclass(frozen=True)
class Unmakeable(Rule):
    strength: float


@dataclass(frozen=True)
class Stateless(Rule):
    def init(self, be, w):
        raise NotImplementedError
