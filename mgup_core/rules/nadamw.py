"""NAdamW."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from .._typing import Array, State
from ..numerics.backend import Backend
from ..numerics.scalars import bias_correction, ema, inverse_correction
from .adam import AdamMoments
from .base import Direction

Form = Literal["dozat", "timm"]
FORMS: tuple[str, ...] = get_args(Form)


@dataclass(frozen=True)
class NAdamW(AdamMoments):
    """NAdamW: Dozat, Incorporating Nesterov Momentum into Adam, 2016, with decoupled decay.

    ::

        m <- b1*m + (1 - b1)*g
        v <- b2*v + (1 - b2)*g*g
        n  = b1*m / (1 - b1^(t+1)) + (1 - b1)*g / (1 - b1^t)
        u  = n / (sqrt(v / (1 - b2^t)) + eps)                       a = u

    The libraries have three forms. This one has a constant momentum, as ``optax.nadamw`` has, to
    rounding. ``torch.optim.NAdam`` warms its momentum up by a schedule, and keeps the product of
    all momenta so far: that schedule is not here.

    Args:
        b1, b2: decay rates of the two moments, in [0, 1).
        eps: added to the root, >= 0.
        form: ``"dozat"`` as above. ``"timm"`` (timm and AlgoPerf): the sum of both is corrected
            as the momentum is, ``n = (b1*m + (1 - b1)*g) / (1 - b1^t)``.

    State: ``exp_avg`` (m) and ``exp_avg_sq`` (v), zeros of the parameter's shape.
    """

    form: Form = "dozat"

    weight_decay: ClassVar[float] = 1e-2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.form not in FORMS:
            raise ValueError(f"form={self.form!r} is none of {', '.join(map(repr, FORMS))}.")

    def direction(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> Direction:
        m, root = state["exp_avg"], self.root(be, state["exp_avg_sq"], t)
        inverse = inverse_correction(be, self.b1, t)
        if self.form == "timm":
            n = be.mul(ema(be, m, g, self.b1), inverse)
        else:
            one, fresh = be.scalar(1.0), be.scalar(1.0 - self.b1)
            c = bias_correction(be, self.b1, t)
            following = c + be.mul(fresh, one - c)  # 1 - b1^(t+1)
            ahead = be.div(be.scalar(self.b1), following)
            n = be.mul(ahead, m) + be.mul(be.mul(fresh, inverse), g)
        u = be.div(n, root)
        return Direction(u, a=u)
