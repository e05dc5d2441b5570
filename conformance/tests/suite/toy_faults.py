"""Ports that go wrong in ways of their own."""

import os

from toy_port import Port, Run


class Crashing(Port):
    """Not finished."""

    def multiplier(self, policy, a, g, stacked_dims):
        raise NotImplementedError("later")


class Dying(Port):
    """Takes its interpreter with it."""

    def run(self, spec, params):
        os.write(2, b"farewell")
        os._exit(3)


class Meddling(Port):
    """Writes into what it is given."""

    def run(self, spec, params):
        made = Run(spec, params)
        for w in params:
            w += 1
        return made
