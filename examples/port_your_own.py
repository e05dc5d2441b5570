"""Port an optimizer of your own: one rule, used in four frameworks, checked by the suite.

    python examples/port_your_own.py

The rule below is in no paper. Its steps are compared bit for bit between NumPy, PyTorch, JAX and
MindSpore (those that are installed), then `mgup-conformance` runs its cases for such rules on it.
Offline, in about a minute. The guide "Porting an optimizer" goes through a published one.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import numpy as np

from mgup_core import MGUP, Direction, Optimizer, Rule
from mgup_core._checks import check_beta, check_eps
from mgup_core.numerics.scalars import ema


@dataclass(frozen=True)
class TrustedSign(Rule):
    """The sign of the momentum, trusted as far as past gradients agree on it.

    ::

        m <- b1*m + (1 - b1)*g
        s <- b1*s + (1 - b1)*|g|
        u  = m / (s + eps)                                          a = u

    |m| <= s, so that u is within [-1, 1]: the sign where all gradients had one, near 0 where they
    cancel. No bias correction: the same would be above and below.

    Args:
        b1: decay rate of both averages, in [0, 1).
        eps: > 0.

    State: ``exp_avg`` (m) and ``exp_abs`` (s), zeros of the parameter's shape.
    """

    b1: float = 0.9
    eps: float = 1e-12

    counts_steps = False  # no t in the equations
    lr = 1e-3

    def __post_init__(self) -> None:
        check_beta("b1", self.b1)
        check_eps("eps", self.eps)

    def init(self, be: Any, w: Any) -> dict[str, Any]:
        return {"exp_avg": be.zeros_like(w), "exp_abs": be.zeros_like(w)}

    def accumulate(self, be: Any, g: Any, w: Any, state: Any, t: Any) -> dict[str, Any]:
        return {
            "exp_avg": ema(be, state["exp_avg"], g, self.b1),
            "exp_abs": ema(be, state["exp_abs"], be.xp.abs(g), self.b1),
        }

    def direction(self, be: Any, g: Any, w: Any, state: Any, t: Any) -> Direction:
        u = be.div(state["exp_avg"], state["exp_abs"] + be.scalar(self.eps))
        return Direction(u, a=u)


LR, DECAY = 1e-2, 0.1
RULE = "port_your_own:TrustedSign"


def in_numpy(w: Any, grads: Any) -> Any:
    optimizer = Optimizer(TrustedSign(), MGUP(), lr=LR, weight_decay=DECAY)
    params = {"w": w}
    state = optimizer.init(params)
    for g in grads:
        params, state = optimizer.step(params, {"w": g}, state)
    return params["w"]


def in_torch(w: Any, grads: Any) -> Any:
    import torch

    from mgup_torch import optimizer

    p = torch.nn.Parameter(torch.from_numpy(w.copy()))
    trusted_sign = optimizer(TrustedSign)([p], lr=LR, weight_decay=DECAY)
    for g in grads:
        p.grad = torch.from_numpy(g)
        trusted_sign.step()
    return p.detach().numpy()


def in_jax(w: Any, grads: Any) -> Any:
    import jax
    import optax

    from mgup_jax import transformation

    trusted_sign = transformation(TrustedSign)(LR, weight_decay=DECAY)
    p, state, update = w, trusted_sign.init(w), jax.jit(trusted_sign.update)
    for g in grads:
        delta, state = update(g, state, p)
        p = optax.apply_updates(p, delta)
    return np.asarray(p)


def in_mindspore(w: Any, grads: Any) -> Any:
    import mindspore

    from mgup_mindspore import optimizer

    p = mindspore.Parameter(mindspore.Tensor(w), name="w")
    trusted_sign = optimizer(TrustedSign)([p], LR, weight_decay=DECAY)
    for g in grads:
        trusted_sign((mindspore.Tensor(g),))
    return p.asnumpy()


USES: dict[str, Callable[[Any, Any], Any]] = {
    "torch": in_torch,
    "jax": in_jax,
    "mindspore": in_mindspore,
}


def compare(steps: int = 20) -> dict[str, bool]:
    """Whether each installed framework takes the bits of NumPy, from noise, after some steps."""
    rng = np.random.default_rng(0)
    w = rng.standard_normal((7, 11)).astype(np.float32)
    grads = rng.standard_normal((steps, 7, 11)).astype(np.float32)
    expected = in_numpy(w, grads)
    installed = {name: use for name, use in USES.items() if find_spec(name)}
    return {name: np.array_equal(use(w, grads), expected) for name, use in installed.items()}


def main() -> int:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    same = compare()
    for name, equal in same.items():
        print(f"{name}: {'the bits of NumPy' if equal else 'NOT the bits of NumPy'}")
    # Looked up when the suite is imported: the same as to set it for the command.
    os.environ["MGUP_CONFORMANCE_RULES"] = RULE
    from mgup_conformance.cli import main as conformance

    backends = ["numpy", *same]
    chosen = [word for name in backends for word in ("--backend", name)]
    checked = conformance(["run", "--exhaustive", "--case", "port/trustedsign/*", *chosen])
    return checked or int(not all(same.values()))


if __name__ == "__main__":
    sys.exit(main())
