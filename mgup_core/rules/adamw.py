"""AdamW (R1, R1p)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from .._typing import Array, State
from ..numerics.backend import Backend
from ..numerics.scalars import bias_correction, inverse_correction
from .adam import AdamMoments
from .base import Direction

Form = Literal["standard", "paper", "published"]
FORMS: tuple[str, ...] = get_args(Form)


@dataclass(frozen=True)
class AdamW(AdamMoments):
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

    form: Form = "standard"

    weight_decay: ClassVar[float] = 1e-2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.form not in FORMS:
            raise ValueError(f"form={self.form!r} is none of {', '.join(map(repr, FORMS))}.")

    def direction(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> Direction:
        m, v = state["exp_avg"], state["exp_avg_sq"]
        if self.form == "standard":
            u = self.adam(be, m, v, t)
        else:
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
