"""The wrapper on optimizers that train at one point and average another (package schedulefree).

Their parameter is ``y = (1 - b1)*z + b1*x``, where x averages z, and their step moves both. The
multiplier belongs on the step of z: on that of y it would move x, which y and z give, away from
the average (:class:`mgup_core.ScheduleFreeAdamW` says why).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from .backend import TorchBackend
from .distributed import local
from .groups import Group

ITERATE, WEIGHTS = "z", "weight_sum"
"""Of the package: in the state of each parameter, and in each group."""


class Averaging(NamedTuple):
    """The state of such an optimizer before its step."""

    iterate: Tensor
    """z, a copy."""
    young: bool
    """Whether this step is the first or second, before which the average is z, as y is."""
    weights: float
    """The sum of the weights of the average."""


def before(p: Tensor, group: Group, state: dict[str, Any]) -> Averaging | None:
    """The averaging of a parameter before a step; ``None`` if its optimizer does not average."""
    if not isinstance(group.get(WEIGHTS), (int, float)):
        return None
    z = state.get(ITERATE)
    held = p if z is None else z
    young = z is None or group.get("k", 2) < 2
    return Averaging(held.detach().clone(), young, float(group[WEIGHTS]))


def rate_of_decay(group: Group) -> Any:
    """The learning rate of the step that was taken, warm-up included."""
    return group.get("scheduled_lr", group["lr"])


def way(
    be: TorchBackend, averaging: Averaging, w: Tensor, state: dict[str, Any]
) -> tuple[tuple[Tensor, Tensor], Tensor | None]:
    """((z before its step, z after it), the operand of its score), in the compute dtype.

    Args:
        w: y before the step.
    """
    z = be.cast(local(averaging.iterate), be.dtype)
    after = be.cast(local(state[ITERATE]), be.dtype)
    return (z, after), None if averaging.young else w - z


def followed(
    be: TorchBackend, averaging: Averaging, y: Tensor, further: Tensor, group: Group
) -> Tensor:
    """Y after its step, where z goes further by so much, in the compute dtype."""
    total = float(group[WEIGHTS])
    c = (total - averaging.weights) / total if total else 0.0
    b1 = group["betas"][0] if "betas" in group else group["momentum"]
    share = be.scalar(1.0 - float(b1) * (1.0 - c))
    moved: Tensor = y + be.mul(share, further)
    return moved
