"""AdamW (R1, R1p)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from .._checks import check_beta, check_eps
from .._typing import Array, State
from ..numerics.backend import Backend
from ..numerics.scalars import bias_correction, ema, inverse_correction
from .base import Direction, Rule

Form = Literal["standard", "paper", "published"]
FORMS: tuple[str, ...] = get_args(Form)


@dataclass(frozen=True)
class AdamW(Rule):
    """AdamW: Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019, arXiv 1711.05101.

    ::

        m <- b1*m + (1 - b1)*g
        v <- b2*v + (1 - b2)*g*g
        u  = (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)        a = u

    To rounding, this is ``torch.optim.AdamW``, ``optax.adamw`` and
    ``mindspore.experimental.optim.AdamW``.

    Args:
        b1, b2: decay rates of the two moments, in [0, 1).
        eps: added to the root, >= 0.
        form: ``"standard"`` as above. ``"paper"`` (MGUP, Algorithm 1): ``u = m / (sqrt(v) + eps)``
            at the rate ``lr * sqrt(1 - b2^t) / (1 - b1^t)``, decay included. ``"published"`` (the
            MGUP authors' code): the same, with the decay at ``lr``.

    State: ``exp_avg`` (m) and ``exp_avg_sq`` (v), zeros of the parameter's shape.
    """

    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    form: Form = "standard"

    weight_decay: ClassVar[float] = 1e-2

    def __post_init__(self) -> None:
        check_beta("b1", self.b1)
        check_beta("b2", self.b2)
        check_eps("eps", self.eps)
        if self.form not in FORMS:
            raise ValueError(f"form={self.form!r} is none of {', '.join(map(repr, FORMS))}.")

    def init(self, be: Backend, w: Array) -> State:
        return {"exp_avg": be.zeros_like(w), "exp_avg_sq": be.zeros_like(w)}

    def accumulate(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        return {
            "exp_avg": ema(be, state["exp_avg"], g, self.b1),
            "exp_avg_sq": ema(be, state["exp_avg_sq"], be.mul(g, g), self.b2),
        }

    def direction(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> Direction:
        m, v = state["exp_avg"], state["exp_avg_sq"]
        if self.form == "standard":
            m = be.mul(m, inverse_correction(be, self.b1, t))
            v = be.mul(v, inverse_correction(be, self.b2, t))
        u = be.div(m, be.sqrt(v) + be.scalar(self.eps))
        return Direction(u, a=u)

    def rates(
        self, be: Backend, lr: Array, decay: Array, t: Any, size: Array | None = None
    ) -> tuple[Array, Array]:
        if self.form == "standard":
            return lr, lr
        corrected = be.mul(lr, be.sqrt(bias_correction(be, self.b2, t)))
        corrected = be.mul(corrected, inverse_correction(be, self.b1, t))
        return corrected, corrected if self.form == "paper" else lr
