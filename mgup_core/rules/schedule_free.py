"""Schedule-Free AdamW, RAdam and SGD."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from .._checks import check_beta, check_eps, check_range
from .._typing import Array, State
from ..numerics.backend import Backend
from ..numerics.rectification import rectification
from ..numerics.scalars import bias_correction, ema, inverse_correction
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

    c is the last weight's share of the sum of all.

    **The score.** z is moved by the gradient alone, so ``u * g`` is never negative and would rank
    by size. What remembers earlier gradients is the way from x to z: ``x - z`` is a sum of all
    steps so far, those of long ago with less weight, as a momentum is. So MGUP ranks by
    ``a = e = (1 - b1)*(x - z)``, and at the first two steps, where it is 0, by u. The multiplier
    acts on the step of z. On that of y it would move x, which y and z give, by a fixed share of a
    whole step, ``(1 - phi)*(1 - b1)/b1 * lr_t*u``, at every step: x would be no average that
    settles.
    """

    @property
    def share(self) -> float:
        """b1, the share of x in y, in [0, 1)."""
        raise NotImplementedError

    def __post_init__(self) -> None:
        """A subclass checks its fields."""

    def init(self, be: Backend, w: Array) -> State:
        return {TO_AVERAGE: be.zeros_like(w)}

    def ranked(self, be: Backend, u: Array, state: State, t: Any) -> Direction:
        """The direction u of z, and its score's operand."""
        later = be.scalar(t) > be.scalar(2.0)
        return Direction(u, a=be.xp.where(later, state[TO_AVERAGE], u))

    def weighed(self, be: Backend, state: State, t: Any) -> tuple[Array, State]:
        """(c, the weight of the last step over the sum of the weights, 0-d; the state)."""
        raise NotImplementedError

    def follow(
        self, be: Backend, delta: Array, w: Array, state: State, t: Any
    ) -> tuple[Array, State]:
        c, state = self.weighed(be, state, t)
        e, one, b1 = state[TO_AVERAGE], be.scalar(1.0), self.share
        rest = one - c
        back = be.mul(be.mul(be.scalar(b1 / (1.0 - b1)), c), e)
        step = back + be.mul(one - be.mul(be.scalar(b1), rest), delta)
        e = be.mul(rest, e + be.mul(be.scalar(1.0 - b1), delta))
        return step, {**state, TO_AVERAGE: be.flush(e)}


@dataclass(frozen=True)
class WarmedUp(ScheduleFree):
    """Those that are given the length of a warm-up.

    ``lr_t = lr * min(t / warmup_steps, 1)``, and step t weighs ``min(t / warmup_steps, 1)^2``, so
    that c is 1/t without warm-up.
    """

    warmup_steps: int = 0

    def __post_init__(self) -> None:
        if not (isinstance(self.warmup_steps, int) and 0 <= self.warmup_steps < 2**20):
            raise ValueError(
                f"warmup_steps={self.warmup_steps!r} must be an int in [0, 2^20): it counts steps."
            )

    def rates(
        self, be: Backend, lr: Array, decay: Array, t: Any, size: Array | None = None
    ) -> tuple[Array, Array]:
        if self.warmup_steps:
            share = be.mul(be.scalar(t), be.scalar(1.0 / self.warmup_steps))
            lr = be.mul(lr, be.xp.minimum(share, be.scalar(1.0)))
        return lr, lr

    def weighed(self, be: Backend, state: State, t: Any) -> tuple[Array, State]:
        t, one = be.scalar(t), be.scalar(1.0)
        if not self.warmup_steps:
            return be.div(one, t), state
        n = self.warmup_steps
        # 1 + 4 + … + t^2 = t(t + 1)(2t + 1)/6
        before = be.div(be.mul(be.scalar(6.0), t), be.mul(t + one, t + t + one))
        sums = (n + 1) * (2 * n + 1) / (6 * n) - n
        after = be.div(one, be.xp.maximum(t + be.scalar(sums), one))
        return be.xp.where(t > be.scalar(float(n)), after, before), state


@dataclass(frozen=True)
class AdamStep(ScheduleFree):
    """Those whose z takes Adam's step without its first moment."""

    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8

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
class ScheduleFreeAdamW(AdamStep, WarmedUp):
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


@dataclass(frozen=True)
class ScheduleFreeRAdam(AdamStep):
    """Schedule-Free RAdam: RAdam's rectification in the place of a warm-up, arXiv 2405.15682.

    :class:`ScheduleFreeAdamW` with, at step t,

    ::

        lr_t = lr * R_t       c = R_t^2 / (R_1^2 + ... + R_t^2)       R_t = 0 where rho_t <= 4

    where ``R_t = sqrt((rho_t - 4)*(rho_t - 2)*rho / ((rho - 4)*(rho - 2)*rho_t))``, rho and rho_t
    those of :func:`mgup_core.numerics.rectification.rectification`. In exact arithmetic
    ``RAdamScheduleFree`` of the authors' package ``schedulefree``, whose first steps (four for
    b2 = 0.999) are as silent: nothing moves. The sum is a number of the state, so that the rule is
    not elementwise to a driver. MGUP ranks by e, and by u for as long as e is 0.

    Args:
        b1: the share of x in y, in [0, 1).
        b2: decay rate of the second moment, in [0, 1); above 0.6, or no step moves.
        eps: added to the root, >= 0.

    State: ``to_average`` (e) and ``exp_avg_sq`` (v), zeros of the parameter's shape;
    ``weight_sum``, the sum of the weights, 0, in the compute dtype.
    """

    elementwise: ClassVar[bool] = False
    exact_state: ClassVar[tuple[str, ...]] = ("weight_sum",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("b2", self.b2, "(0.6, 1)", "where rho = 2/(1 - b2) - 1 <= 4, no step moves.")

    def init(self, be: Backend, w: Array) -> State:
        return {**super().init(be, w), "weight_sum": be.total(be.zeros_like(w))}

    def _rectified(self, be: Backend, t: Any) -> Array:
        """R_t, 0-d."""
        factor, defined = rectification(be, self.b2, t, least=4.0)
        root = be.sqrt(bias_correction(be, self.b2, t))
        return be.xp.where(defined, be.div(factor, root), be.scalar(0.0))

    def ranked(self, be: Backend, u: Array, state: State, t: Any) -> Direction:
        e = state[TO_AVERAGE]
        later = be.total(be.xp.abs(e)) > be.scalar(0.0)
        return Direction(u, a=be.xp.where(later, e, u))

    def rates(
        self, be: Backend, lr: Array, decay: Array, t: Any, size: Array | None = None
    ) -> tuple[Array, Array]:
        rate = be.mul(lr, self._rectified(be, t))
        return rate, rate

    def weighed(self, be: Backend, state: State, t: Any) -> tuple[Array, State]:
        r = self._rectified(be, t)
        weight = be.flush(be.mul(r, r))
        total = state["weight_sum"] + weight
        nothing = total == be.scalar(0.0)
        c = be.div(weight, be.xp.where(nothing, be.scalar(1.0), total))
        return c, {**state, "weight_sum": total}


@dataclass(frozen=True)
class ScheduleFreeSGD(WarmedUp):
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
