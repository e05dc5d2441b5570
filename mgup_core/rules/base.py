"""What a base optimizer is to this library: its state, its direction, its alignment operand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from .._typing import Array, State
from ..numerics.backend import Backend


class Direction(NamedTuple):
    """What a rule proposes for one parameter: ``u`` and ``a`` of its shape and compute dtype."""

    u: Array
    """The update direction: plain training is ``w <- decay(w) - lr * u``."""
    a: Array
    """The alignment operand: the score is ``a * g`` (P1)."""
    size: Array | None = None
    """What :meth:`Rule.rates` needs to know of this parameter: 0-d, as it broadcasts with ``u``, or
    a tuple of such. Not for elementwise rules."""


@dataclass(frozen=True)
class Rule:
    """A momentum optimizer for one parameter, written once for every framework.

    A step calls, in this order, :meth:`accumulate` (the moments take in the gradient),
    :meth:`direction` (read off them), and :meth:`finish` (what the paper updates last). Each is
    pure: it returns new arrays and changes none. ``g``, ``w`` and ``state`` come in the compute
    dtype; ``t`` is 1, 2, … as a Python int or a 0-d integer array. The decay, the score, the
    multiplier and the step size are not a rule's business.

    An elementwise rule is also called on symbols, to be recorded (:mod:`mgup_core.trace.tracer`):
    like any traced function it must not ask for an array's values.

    State may have any shape: a number for each parameter, one for each row, a matrix. An input that
    others supply (a server's direction, a layer's statistics) is state that the rule reads and
    never changes. What a parameter is (a matrix, an embedding) is a field of the rule, and each
    group of parameters has a rule of its own.
    """

    elementwise: ClassVar[bool] = True
    """Whether each coordinate's step depends on that coordinate alone, so that a driver may
    work block by block."""
    experimental: ClassVar[bool] = False
    """Whether the equations are confirmed by no official source."""
    counts_steps: ClassVar[bool] = True
    """Whether ``t`` enters beyond "is this the first step", so that it must be kept."""
    stacks: ClassVar[bool] = True
    """Whether leading axes of a parameter may be a stack of parameters (P5). Not where the rule
    reduces over the whole of it."""
    reads_parameters: ClassVar[bool] = False
    """Whether the parameter's values enter, and not just its shape, so that they must be given."""
    exact_state: ClassVar[tuple[str, ...]] = ()
    """State that stays in the compute dtype when the parameter's is lower: sums, factors."""
    lr: ClassVar[float] = 1e-3
    """Default learning rate."""
    weight_decay: ClassVar[float] = 0.0
    """Default weight decay."""

    @property
    def identical(self) -> bool:
        """Whether every backend must give the same bits: all but rounded matrix products (N7).

        A class may say it in one word, ``identical = False``.
        """
        return True

    @property
    def bounded_state(self) -> tuple[str, ...]:
        """State that holds such products, and agrees between backends by norm only."""
        return ()

    @property
    def couples_decay(self) -> bool:
        """Whether decay enters the moments' gradient, as L2 (never the score's gradient)."""
        return False

    @property
    def couples_parameters(self) -> bool:
        """Whether a step needs :meth:`totals` over all parameters together."""
        return False

    def accepts(self, shape: tuple[int, ...], stacked_dims: int = 0) -> str | None:
        """``None`` for a shape that the rule can train, else the reason and the remedy."""
        if stacked_dims and not self.stacks:
            return (
                f"{type(self).__name__} measures whole tensors, so stacked_dims={stacked_dims} is "
                "not available: give it each layer as a parameter of its own."
            )
        return None

    def init(self, be: Backend, w: Array) -> State:
        """The state before the first step: a flat dict of arrays."""
        raise NotImplementedError

    def totals(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        """This parameter's part of the sums over all parameters, each 0-d.

        :meth:`accumulate` finds the sums in its ``state``, by the same names.
        """
        return {}

    def accumulate(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        """The state with the gradient taken in; by default unchanged."""
        return state

    def direction(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> Direction:
        """The direction, from the state that :meth:`accumulate` returned."""
        raise NotImplementedError

    def finish(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        """The state after the direction was read off; by default unchanged."""
        return state

    def rates(
        self, be: Backend, lr: Array, decay: Array, t: Any, size: Array | None = None
    ) -> tuple[Array, Array]:
        """(rate of the update, rate of the decay), from the learning rate; by default both it.

        Args:
            lr, decay: learning rate and weight decay, 0-d.
            size: :attr:`Direction.size`.
        """
        return lr, lr

    def constrain(
        self, be: Backend, delta: Array, w: Array, rate: Array, direction: Direction
    ) -> Array:
        """The step without its decay, after the multiplier; by default as it is.

        Args:
            delta: ``(rate * phi) * u``; where phi = 1 it must be returned with its bits (P11).
            rate, direction: as :meth:`rates` and :meth:`direction` gave them.
        """
        return delta


def fresh_state(be: Backend, rule: Rule, w: Array, dtype: Any) -> State:
    """The state before the first step of ``w``, in ``dtype`` save :attr:`Rule.exact_state`."""
    state = rule.init(be, be.cast(w, be.dtype))
    return {n: x if n in rule.exact_state else be.cast(x, dtype) for n, x in state.items()}
