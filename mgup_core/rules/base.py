"""What a base optimizer is to this library: its state, its direction, its alignment operand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from ..backend import Array, Backend

State = dict[str, Array]


class Direction(NamedTuple):
    """What a rule proposes for one parameter, both in the compute dtype and of its shape."""

    u: Array
    """The update direction: plain training is ``w <- decay(w) - lr * u``."""
    a: Array
    """The alignment operand: the score is ``a * g`` (P1)."""


@dataclass(frozen=True)
class Rule:
    """A momentum optimizer for one parameter, written once for every framework.

    A step calls, in this order, :meth:`accumulate` (the moments take in the gradient),
    :meth:`direction` (read off them), and :meth:`finish` (what the paper updates last). Each is
    pure: it returns new arrays and changes none. ``g``, ``w`` and ``state`` come in the compute
    dtype; ``t`` is 1, 2, … as a Python int or a 0-d integer array. The decay, the score, the
    multiplier and the step size are not a rule's business.

    An elementwise rule is also called on symbols, to be recorded (:mod:`mgup_core.program`): like
    any traced function it must not ask for an array's values.
    """

    elementwise: ClassVar[bool] = True
    """Whether each coordinate's step depends on that coordinate alone, so that a driver may
    work block by block, and every backend must give the same bits."""
    counts_steps: ClassVar[bool] = True
    """Whether ``t`` enters beyond "is this the first step", so that it must be kept."""
    lr: ClassVar[float] = 1e-3
    """Default learning rate."""
    weight_decay: ClassVar[float] = 0.0
    """Default weight decay."""

    @property
    def couples_decay(self) -> bool:
        """Whether decay enters the moments' gradient, as L2 (never the score's gradient)."""
        return False

    def accepts(self, shape: tuple[int, ...]) -> str | None:
        """``None`` for a shape that the rule can train, else the reason and the remedy."""
        return None

    def init(self, be: Backend, w: Array) -> State:
        """The state before the first step: a flat dict of arrays."""
        raise NotImplementedError

    def accumulate(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        """The state with the gradient taken in; by default unchanged."""
        return state

    def direction(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> Direction:
        """The direction, from the state that :meth:`accumulate` returned."""
        raise NotImplementedError

    def finish(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        """The state after the direction was read off; by default unchanged."""
        return state

    def rates(self, be: Backend, lr: Array, t: Any) -> tuple[Array, Array]:
        """(rate of the update, rate of the decay), from the learning rate; by default both it."""
        return lr, lr
