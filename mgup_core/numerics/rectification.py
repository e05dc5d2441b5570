"""The variance rectification of RAdam, which AdaBelief has too."""

from __future__ import annotations

from math import factorial, log
from typing import Any

from .._typing import Array
from .backend import Backend
from .elementary import polynomial
from .runtime import on_host
from .scalars import bias_correction


def rectification(be: Backend, beta: float, t: Any, least: float = 5.0) -> tuple[Array, Array]:
    """(R, whether it is defined) at step t, each 0-d.

    Liu et al., On the Variance of the Adaptive Learning Rate and Beyond (RAdam), 2019, arXiv
    1908.03265, with Adam's bias correction folded in::

        rho_t = rho - 2*t*beta^t / (1 - beta^t)         rho = 2 / (1 - beta) - 1
        R = sqrt((1 - beta^t) * (rho_t - 4)*(rho_t - 2)*rho / ((rho - 4)*(rho - 2)*rho_t))

    defined for ``rho_t >= least``, where ``least >= 4``. In the first steps that difference is
    small beside rho, and float32 would lose what decides. There ``rho_t = 1 - H(x) + t*H(t*x)``
    instead, which is the same, with ``x = -log(beta)`` and ``H(x) = 2/x - 2/(e^x - 1)`` by its
    power series.
    """
    one, limit = be.scalar(1.0), 2.0 / (1.0 - beta) - 1.0
    if limit <= least:
        return one, one < be.scalar(0.0)
    c, steps, x = bias_correction(be, beta, t), be.scalar(t), -on_host(log, beta)
    product = be.mul(steps, be.scalar(x))
    small = product < be.scalar(0.5)
    tx = be.xp.where(small, product, be.scalar(0.0))
    start = be.scalar(-x * sum(h * x ** (2 * k) for k, h in enumerate(_H)))
    early = start + be.mul(steps, one + be.mul(tx, polynomial(be, _H, be.mul(tx, tx))))
    late = be.scalar(limit) - be.div(be.mul(steps + steps, one - c), c)
    rho = be.xp.where(small, early, late)
    defined = rho >= be.scalar(least)
    tail = be.scalar(limit / ((limit - 4.0) * (limit - 2.0)))
    ratio = be.mul(rho - be.scalar(4.0), be.div(rho - be.scalar(2.0), rho))
    return be.sqrt(be.xp.where(defined, be.mul(be.mul(c, tail), ratio), one)), defined


_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6)
_H = [-2.0 * b / factorial(2 * k) for k, b in enumerate(_BERNOULLI, start=1)]
"""``H(x) = 1 + x*(H0 + H1*x^2 + H2*x^4 + …)``, to 1e-16 where x <= 1/2."""
