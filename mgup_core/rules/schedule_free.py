"""Schedule-Free AdamW and SGD."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from .._checks import check_beta, check_eps
from .._typing import Array, State
from ..numerics.backend import Backend
from ..numerics.scalars import ema, inverse_correction
from .base import TO_AVERAGE, Direction, Rule


@dataclass(frozen=True)
class ScheduleFree(Rule):
    """What Schedule-Free optimizers share: an average in the place of momentum and schedule.

    ::

        y   = (1 - b1)*z + b1*x             where the gradient is taken: the parameter
        z <- z - s                          s = lr_t * (phi*u + weight_decay*y), the whole step
        x <- (1 - c)*x + c*z                where the model is evaluated

    The parameter is y, and one buffer holds ``e = x - y`` in the place of z, which is the same::

        y <- y - (c * b1/(1 - b1) * e + (1 - b1*(1 - c)) * s)
        e <- (1 - c) * (e + (1 - b1)*s)

    ``lr_t = lr * min(t / warmup_steps, 1)``, and c is the last weight's share of the sum of all,
    where step t weighs ``min(t / warmup_steps, 1)^2``: 1/t without warm-up.

    **The score.** z is moved by the gradient alone, so ``u * g`` is never negative and would rank
    by size. What remembers earlier gradients is the way from x to z: ``x - z`` is a sum of all
    steps so far, those of long ago with less weight, as a momentum is. So MGUP ranks by
    ``a = e = (1 - b1)*(x - z)``, and at the first two steps, where it is 0, by u. The multiplier
    acts on the step of z. On that of y it would move x, which y and z give, by a fixed share of a
    whole step, ``(1 - phi)*(1 - b1)/b1 * lr_t*u``, at every step: x would be no average that
    settles.
    """

    warmup_steps: int = 0

    @property
    def share(self) -> float:
        """b1, the share of x in y, in [0, 1)."""
        raise NotImplementedError

    def __post_init__(self) -> None:
        if not (isinstance(self.warmup_steps, int) and 0 <= self.warmup_steps < 2**20):
            raise ValueError(
                f"warmup_steps={self.warmup_steps!r} must be an int in [0, 2^20): it counts steps."
            )

    def init(self, be: Backend, w: Array) -> State:
        return {TO_AVERAGE: be.zeros_like(w)}

    def ranked(self, be: Backend, u: Array, state: State, t: Any) -> Direction:
        """The direction u of z, and its score's operand."""
        later = be.scalar(t) > be.scalar(2.0)
        return Direction(u, a=be.xp.where(later, state[TO_AVERAGE], u))

    def rates(
        self, be: Backend, lr: Array, decay: Array, t: Any, size: Array | None = None
    ) -> tuple[Array, Array]:
        if self.warmup_steps:
            share = be.mul(be.scalar(t), be.scalar(1.0 / self.warmup_steps))
            lr = be.mul(lr, be.xp.minimum(share, be.scalar(1.0)))
        return lr, lr

    def follow(
        self, be: Backend, delta: Array, w: Array, state: State, t: Any
    ) -> tuple[Array, State]:
        e, c = state[TO_AVERAGE], self._weight(be, t)
        one, b1 = be.scalar(1.0), self.share
        rest = one - c
        back = be.mul(be.mul(be.scalar(b1 / (1.0 - b1)), c), e)
        step = back + be.mul(one - be.mul(be.scalar(b1), rest), delta)
        e = be.mul(rest, e + be.mul(be.scalar(1.0 - b1), delta))
        return step, {**state, TO_AVERAGE: be.flush(e)}

    def _weight(self, be: Backend, t: Any) -> Array:
        """c, the weight of the last step over the sum of the weights, 0-d."""
        t, one = be.scalar(t), be.scalar(1.0)
        if not self.warmup_steps:
            return be.div(one, t)
        n = self.warmup_steps
        # 1 + 4 + … + t^2 = t(t + 1)(2t + 1)/6
        before = be.div(be.mul(be.scalar(6.0), t), be.mul(t + one, t + t + one))
        sums = (n + 1) * (2 * n + 1) / (6 * n) - n
        after = be.div(one, be.xp.maximum(t + be.scalar(sums), one))
        return be.xp.where(t > be.scalar(float(n)), after, before)


@dataclass(frozen=True)
class ScheduleFreeAdamW(ScheduleFree):
    """Schedule-Free AdamW: Defazio et al., The Road Less Scheduled, 2024, arXiv 2405.15682.

    The parameter is y, where the gradient is taken; the model is evaluated at x, an average::

        v <- b2*v + (1 - b2)*g*g
        u  = g / (sqrt(v / (1 - b2^t)) + eps)                       a = e (first two: u)
        s  = lr_t * (phi*u + weight_decay*y)
        y <- y - (c * b1/(1 - b1) * e + (1 - b1*(1 - c)) * s)
        e <- (1 - c) * (e + (1 - b1)*s)                             e = x - y

    in exact arithmetic the ``AdamWScheduleFree`` of the authors' package ``schedulefree``, whose z
    is ``x - e/(1 - b1)``. ``lr_t = lr * min(t / warmup_steps, 1)``; c is 1/t without warm-up, and
    with it the share of the last of the weights ``min(t / warmup_steps, 1)^2``. Two of its settings
    are left out: ``r`` is 0, and ``weight_lr_power`` is 2 for the rule's own warm-up only. A
    learning rate that the caller changes scales the steps and no weight of the average.

    z is moved by the gradient alone: ``u * g`` is never negative and would rank by size. MGUP ranks
    by ``e``, which sums the steps so far as a momentum does, ``e = (1 - b1)*(x - z)``. The
    multiplier acts on the step of z, so that x stays an average.

    Evaluate at x and train at y: ``optimizer.eval()`` and ``optimizer.train()`` (PyTorch and
    MindSpore), ``mgup_jax.eval_params(state, params)`` (JAX), ``Optimizer.evaluation`` (core).

    Args:
        b1: the share of x in y, in [0, 1).
        b2: decay rate of the second moment, in [0, 1).
        eps: added to the root, >= 0.
        warmup_steps: the number of steps over which the learning rate grows, >= 0.

    State: ``to_average`` (e) and ``exp_avg_sq`` (v), zeros of the parameter's shape.
    """

    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    warmup_steps: int = 0

    lr: ClassVar[float] = 2.5e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_beta("b1", self.b1)
        check_beta("b2", self.b2)
        check_eps("eps", self.eps)

    @property
    def share(self) -> float:
        return self.b1

    def init(self, be: Backend, w: Array) -> State:
        return {**super().init(be, w), "exp_avg_sq": be.zeros_like(w)}

    def accumulate(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        return {**state, "exp_avg_sq": ema(be, state["exp_avg_sq"], be.mul(g, g), self.b2)}

    def direction(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> Direction:
        v = be.mul(state["exp_avg_sq"], inverse_correction(be, self.b2, t))
        u = be.div(g, be.sqrt(v) + be.scalar(self.eps))
        return self.ranked(be, u, state, t)


@dataclass(frozen=True)
class ScheduleFreeSGD(ScheduleFree):
    """Schedule-Free SGD: Defazio et al., The Road Less Scheduled, 2024, arXiv 2405.15682.

    The parameter is y, where the gradient is taken; the model is evaluated at x, an average::

        u  = g                                                      a = e (first two: u)
        s  = lr_t * (phi*u + weight_decay*y)
        y <- y - (c * b1/(1 - b1) * e + (1 - b1*(1 - c)) * s)       b1 = momentum
        e <- (1 - c) * (e + (1 - b1)*s)                             e = x - y

    All else is as in :class:`ScheduleFreeAdamW`. In exact arithmetic ``SGDScheduleFree`` of the
    authors' package ``schedulefree``.

    Args:
        momentum: the share of x in y, in [0, 1).
        warmup_steps: the number of steps over which the learning rate grows, >= 0.

    State: ``to_average`` (e), zeros of the parameter's shape.
    """

    momentum: float = 0.9
    warmup_steps: int = 0

    lr: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_beta("momentum", self.momentum)

    @property
    def share(self) -> float:
        return self.momentum

    def direction(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> Direction:
        return self.ranked(be, g, state, t)
