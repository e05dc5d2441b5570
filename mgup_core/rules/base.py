"""The interface of a base optimizer: its state, its direction and its alignment operand."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, NamedTuple, get_args

from .._checks import check_flag
from .._typing import Array, State
from ..numerics.backend import Backend

Decay = Literal["all", "aligned"]
DECAYS: tuple[str, ...] = get_args(Decay)
"""Where weight decay acts: everywhere, or where it goes with the step (R0c)."""


TO_AVERAGE = "to_average"
"""A state of this name leads from the parameter, where a model is trained, to where it is to be
evaluated: drivers add it (``eval()`` of an optimizer, ``mgup_jax.eval_params``)."""


class Direction(NamedTuple):
    """A rule's direction for one parameter: ``u`` and ``a``, of its shape, in the compute dtype."""

    u: Array
    """The update direction: plain training is ``w <- decay(w) - lr * u``."""
    a: Array
    """The alignment operand: the score is ``a * g`` (P1)."""
    size: Array | None = None
    """What :meth:`Rule.rates` needs of this parameter, such as a norm: an array that broadcasts
    with ``u``, or a tuple of them. An elementwise rule has none."""


@dataclass(frozen=True)
class Rule:
    """A momentum optimizer for one parameter, written once for every framework.

    A step calls :meth:`accumulate` (the moments take in the gradient), :meth:`direction` (formed
    from the moments), :meth:`finish` (the state that the paper updates last) and :meth:`follow`
    (what hangs on the step as the policy made it), in this order.
    Each method is pure: it returns new arrays and changes none. ``g``, ``w`` and ``state`` are in
    the compute dtype; ``t`` is 1, 2, … as a Python int or a 0-d integer array. The step, not the
    rule, applies the decay, the score, the multiplier and the learning rate.

    An elementwise rule is also called on symbols, which record it (:mod:`mgup_core.trace.tracer`).
    Like any traced function, it must not read an array's values.

    State may have any shape: a number for each parameter, one for each row, a matrix. An input that
    others supply (a server's direction, a layer's statistics) is state that the rule reads and
    never changes. The kind of a parameter (a matrix, an embedding) is a field of the rule, and each
    group of parameters has a rule of its own.

    Args:
        decay: ``"all"``, or ``"aligned"`` for cautious weight decay (R0c): a coordinate decays
            where ``u * w >= 0`` only, so that decay never works against the step. By name only.
    """

    decay: Decay = field(default="all", kw_only=True)

    elementwise: ClassVar[bool] = True
    """Whether each coordinate's step depends on that coordinate alone, so that a driver may
    work block by block."""
    matrices: ClassVar[bool] = False
    """Whether it trains matrices, so that those of one shape are worth stepping as one stack."""
    gathers: ClassVar[bool] = False
    """Whether its step is elementwise but for functions that it gives to
    :meth:`Backend.whole`, so that ranks that hold a part each can take it together."""
    experimental: ClassVar[bool] = False
    """Whether the equations are confirmed by no official source."""
    counts_steps: ClassVar[bool] = True
    """Whether the rule needs more of ``t`` than whether it is 1, so that drivers must keep it."""
    stacks: ClassVar[bool] = True
    """Whether leading axes of a parameter may be a stack of parameters (P5). They may not where the
    rule reduces over the whole tensor."""
    reads_parameters: ClassVar[bool] = False
    """Whether the rule reads the parameter's values, and not only its shape."""
    reads_lr: ClassVar[bool] = False
    """Whether :meth:`accumulate` and :meth:`totals` read the learning rate of this step. The state
    that they take then has it as ``lr``, 0-d."""
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
        """Whether decay enters the moments' gradient, as L2 does. It never enters the score's."""
        return False

    @property
    def couples_parameters(self) -> bool:
        """Whether a step needs the sums of :meth:`totals` over all parameters."""
        return False

    @property
    def ranks_by_size(self) -> bool:
        """Whether it has no momentum: then ``a * g`` is never negative and ranks by size alone."""
        return False

    def accepts(self, shape: tuple[int, ...], stacked_dims: int = 0) -> str | None:
        """``None`` for a shape that the rule trains, else the reason and the remedy."""
        if stacked_dims and not self.stacks:
            return (
                f"{type(self).__name__} measures whole tensors, so stacked_dims={stacked_dims} is "
                "not available: give it each layer as a parameter of its own."
            )
        return None

    def init(self, be: Backend, w: Array) -> State:
        """The state before the first step: a flat dict of arrays; by default none."""
        return {}

    def totals(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        """This parameter's part of the sums over all parameters, each 0-d.

        The ``state`` that :meth:`accumulate` takes has the sums under the same names.
        """
        return {}

    def accumulate(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        """The state after it took in the gradient; by default unchanged."""
        return state

    def direction(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> Direction:
        """The direction, from the state that :meth:`accumulate` returned."""
        raise NotImplementedError(
            f"{type(self).__name__} has no method direction(be, g, w, state, t), which returns a "
            "Direction(u, a): what the optimizer proposes, and what is scored."
        )

    def finish(self, be: Backend, g: Array, w: Array, state: State, t: Any) -> State:
        """The state after the direction was formed; by default unchanged."""
        return state

    def rates(
        self, be: Backend, lr: Array, decay: Array, t: Any, size: Array | None = None
    ) -> tuple[Array, Array]:
        """(rate of the update, rate of the decay); by default both are the learning rate.

        Args:
            lr, decay: learning rate and weight decay, 0-d.
            size: :attr:`Direction.size`.
        """
        return lr, lr

    def constrain(
        self, be: Backend, delta: Array, w: Array, rate: Array, direction: Direction
    ) -> Array:
        """The step after the multiplier and before the decay; by default unchanged.

        Args:
            delta: ``(rate * phi) * u``. Where phi = 1, the method must return its bits (P11).
            rate, direction: the results of :meth:`rates` and :meth:`direction`.
        """
        return delta

    def follow(
        self, be: Backend, delta: Array, w: Array, state: State, t: Any
    ) -> tuple[Array, State]:
        """(what is subtracted from the parameter, the state); by default both unchanged.

        For rules whose own iterate is not the parameter, and must know the step as it was made. It
        is elementwise where the rule is.

        Args:
            delta: the whole step, multiplier and decay included.
            state: the result of :meth:`finish`.
        """
        return delta, state


def evaluation(be: Backend, w: Array, state: State) -> Array:
    """Where a model is to be evaluated: at the parameter, or where its state leads.

    Args:
        w, state: in the compute dtype.
    """
    return w + state[TO_AVERAGE] if TO_AVERAGE in state else w


def is_zero(value: Any) -> bool:
    """Whether a hyperparameter is the number 0; of a traced one that cannot be known."""
    return isinstance(value, (int, float)) and value == 0


def size_alone(rule: Rule, policy: Any) -> str | None:
    """What to say of a policy that ranks a rule without momentum; ``None`` if there is nothing."""
    if policy is None or not policy.ranks or not rule.ranks_by_size:
        return None
    return (
        f"{type(rule).__name__} has no momentum here, so every score is positive and MGUP ranks by "
        "size alone: the largest updates are made larger. Give it momentum, or mode='off'."
    )


def check_decay(decay: Any, rule: Rule | None = None) -> None:
    """Refuse a word that is unknown, or a rule that has no decay to leave out (R0c).

    Raises:
        ValueError: naming the argument, its value and the remedy.
    """
    if decay not in DECAYS:
        raise ValueError(f"decay={decay!r} is none of {', '.join(map(repr, DECAYS))}.")
    if decay != "all" and rule is not None and rule.couples_decay:
        raise ValueError(
            f"decay={decay!r} needs decoupled decay, but {type(rule).__name__} takes it into "
            "its moments (coupled_decay=True): leave out one of the two."
        )


def check_fields(rule: Rule) -> None:
    """Refuse what no rule can have, whatever it checks itself: :func:`check_decay`, and flags.

    Raises:
        ValueError, TypeError: naming the argument, its value and the remedy.
    """
    check_decay(rule.decay, rule)
    for f in fields(rule):
        if f.type in ("bool", bool):
            check_flag(f.name, getattr(rule, f.name))


def initial_state(be: Backend, rule: Rule, w: Array) -> State:
    """The state of :meth:`Rule.init` with an array of its own for each name.

    A driver that writes into its state, or donates it, would change two of them by one array.

    Args:
        w: the parameter, in the compute dtype.
    """
    taken, state = [w], {}
    for name, x in rule.init(be, w).items():
        own = be.mul(x, be.scalar(1.0)) if any(x is other for other in taken) else x
        state[name] = own
        taken.append(own)
    return state


def fresh_state(be: Backend, rule: Rule, w: Array, dtype: Any) -> State:
    """The state before the first step of ``w``, in ``dtype`` except :attr:`Rule.exact_state`."""
    state = initial_state(be, rule, be.cast(w, be.dtype))
    return {n: x if n in rule.exact_state else be.cast(x, dtype) for n, x in state.items()}
