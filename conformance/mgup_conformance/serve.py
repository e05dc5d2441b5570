"""The far side of :mod:`mgup_conformance.remote`: one backend, in an interpreter of its own.

Needs NumPy and ml_dtypes there, and what the backend itself needs.
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any

from .backends import load
from .protocol import DTYPES, Run
from .visible import ENDS
from .wire import receive, send


def plain_capabilities(offered: Any) -> dict[str, Any]:
    """Capabilities as JSON can hold them."""
    kinds = ("dtypes", "rules", "policies", "options")
    return {**offered, **{kind: list(offered.get(kind, ())) for kind in kinds}}


class Server:
    """Answers calls by name; the last run that was begun is the one that goes on."""

    def __init__(self, name: str) -> None:
        self.backend = load(name)
        self.current: Run | None = None

    def hello(self) -> Any:
        """Who is here."""
        offers = plain_capabilities(self.backend.capabilities())
        return {"name": self.backend.name, "versions": self.backend.versions(), "offers": offers}

    def multiplier(self, policy: Any, a: Any, g: Any, stacked_dims: int) -> Any:
        """The multiplier, and what became of the operands."""
        return [self.backend.multiplier(policy, a, g, stacked_dims), a, g]

    def run(self, spec: Any, params: Any) -> Any:
        """Begin a run; what became of the parameters that it was given."""
        for key in ("dtype", "state_dtype"):  # backends look them up in their frameworks by name
            if spec[key] not in DTYPES:
                raise ValueError(f"{key}={spec[key]!r} is none of {', '.join(DTYPES)}.")
        self.current = self.backend.run(spec, params)
        return params

    def step(self, grads: Any, lr: float | None) -> Any:
        """Take a step; parameters and state after it."""
        assert self.current is not None
        self.current.step(grads, lr)
        return [self.current.params(), self.current.state()]

    def resume(self) -> Any:
        """Save the run and go on with a new one; parameters and state after it."""
        assert self.current is not None
        self.current.resume()  # type: ignore[attr-defined]
        return [self.current.params(), self.current.state()]


CALLS = ("hello", "multiplier", "run", "step", "resume")
"""What a message may ask for."""


def answer(server: Server, call: Any, arguments: list[Any]) -> Any:
    """What a call gives.

    Raises:
        ValueError: for anything that is none of :data:`CALLS`.
    """
    if call not in CALLS:
        raise ValueError(f"{call!r} is no call of this suite.")
    return getattr(server, call)(*arguments)


def serve(name: str) -> None:
    """Answer calls on standard input until it closes."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what frameworks print is no part of the conversation
    server: Any = None
    while True:
        try:
            message = receive(sys.stdin.buffer)
        except EOFError:
            return
        try:
            server = server or Server(name)
            call, *arguments = message
            send(out, {"value": answer(server, call, arguments)})
        except ENDS:  # the near side is to know of it, whatever it is
            send(out, {"error": traceback.format_exc(limit=-6)})
