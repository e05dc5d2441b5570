"""The local step of FedAvg-M, which is that of FedCM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..._checks import check_range
from ..._typing import Array, State
from ...numerics.backend import Backend
from ..base import Direction, Rule


@dataclass(frozen=True)
class AnchoredSGD(Rule):
    """A client's step in FedAvg-M: SGD pulled towards the server's direction G.

    Cheng, Huang, Wu and Yuan, Momentum Benefits Non-IID Federated Learning Simply and Provably,
    2023, arXiv 2306.16504; Xu et al., FedCM, 2021, arXiv 2106.10874, has the same step.

    ::

        u  = beta*g + (1 - beta)*G                                  a = u

    G is an input: the state ``anchor``, which the rule reads and never changes. Who runs the rounds
    sets it between them, on every client: ``G = sum(x - y_i) / (lr * K * N)`` over the N clients'
    weights ``y_i`` after K local steps from ``x``; the server then moves ``x <- x - server_lr*G``.
    Zeros, as before the first round, leave ``u = beta*g``.

    Experimental: there is no official code. The step is confirmed by reviews of the paper and by a
    third party's FedCM; the learning rate's default is this library's own.

    Args:
        beta: the weight of the client's own gradient, in (0, 1]; at 1 this is SGD without momentum.

    State: ``anchor`` (G), zeros of the parameter's shape.
    """

    beta: float = 0.1

    experimental: ClassVar[bool] = True
    counts_steps: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_range("beta", self.beta, "(0, 1]", "it is the weight of the client's own gradient.")

    def init(self, be: Backend, w: Array) -> State:
        return {"anchor": be.zeros_like(w)}

    def direction(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> Direction:
        own = be.mul(be.scalar(self.beta), g)
        u = own + be.mul(be.scalar(1.0 - self.beta), state["anchor"])
        return Direction(u, a=u)
