"""The state of a transformation: trees of arrays like the parameters', by the rule's names."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from mgup_core import Rule
from mgup_core.rules.base import TO_AVERAGE, evaluation, initial_state

from .backend import JaxBackend, compute_dtype

BEGIN_AGAIN = "Begin with init(params), or restore the state that belongs to them."


class MGUPState(NamedTuple):
    """The state of a rule: a pytree."""

    count: Any
    """How many steps were taken, a 0-d int32 array."""
    moments: dict[str, Any]
    """For each name of the rule's state (``exp_avg``, …), a tree like the parameters."""


def names(rule: Rule) -> tuple[str, ...]:
    """The names of the rule's state arrays, in its order."""
    return tuple(rule.init(JaxBackend(jnp.float32), np.zeros((1, 1), np.float32)))


def initial(rule: Rule, params: Any, mu_dtype: Any, state_dtype: Any) -> MGUPState:
    """The state before the first step.

    Args:
        mu_dtype: of the first moment; state_dtype: of the others, and of the first without a
            ``mu_dtype``; ``None`` is the parameter's (R5).
    """
    treedef: Any
    leaves, treedef = jax.tree.flatten(params)
    fresh = [initial_state(JaxBackend(compute_dtype(w.dtype)), rule, w) for w in leaves]
    moments = {}
    for i, name in enumerate(names(rule)):
        wanted = (mu_dtype if i == 0 else None) or state_dtype
        exact = name in rule.exact_state
        moments[name] = treedef.unflatten(
            state[name] if exact else jnp.astype(state[name], wanted or w.dtype)
            for state, w in zip(fresh, leaves, strict=True)
        )
    return MGUPState(jnp.zeros((), jnp.int32), moments)


def eval_params(state: Any, params: Any) -> Any:
    """Where a model is to be evaluated, as ``optax.contrib.schedule_free_eval_params`` has it.

    Of Schedule-Free rules that is the average of their iterates; the gradients are taken at
    ``params``, and training goes on from there.

    Args:
        state: of an optimizer, alone or in a chain.
        params: the parameters of that state.

    Returns:
        A tree like ``params``, in their dtypes.

    Raises:
        ValueError: if no state in it is of a rule that evaluates elsewhere.
    """
    nodes = jax.tree.leaves(state, is_leaf=lambda x: isinstance(x, MGUPState))
    ways = [x.moments[TO_AVERAGE] for x in nodes if TO_AVERAGE in getattr(x, "moments", ())]
    if not ways:
        raise ValueError(
            "state has no average to evaluate at: only Schedule-Free optimizers of this package "
            "have one. Evaluate others at their parameters."
        )

    def there(w: Any, *leads: Any) -> Any:
        for lead in leads:
            if not isinstance(lead, optax.MaskedNode):
                be = JaxBackend(compute_dtype(w.dtype))
                way = {TO_AVERAGE: be.cast(lead, be.dtype)}
                w = be.cast(evaluation(be, be.cast(w, be.dtype), way), w.dtype)
        return w

    return jax.tree.map(there, params, *ways)


def check_state(rule: Rule, state: Any) -> None:
    """Refuse the state of another optimizer."""
    wanted, title = names(rule), type(rule).__name__
    if not isinstance(state, MGUPState):
        raise ValueError(
            f"state is a {type(state).__name__}, not the MGUPState that init gives for {title}: it "
            "may be that of another optimizer, or of the chain around this one."
        )
    if set(state.moments) != set(wanted):
        raise ValueError(
            f"state.moments has {', '.join(state.moments) or 'nothing'}, but {title} keeps "
            f"{', '.join(wanted) or 'nothing'}: it is the state of another rule. {BEGIN_AGAIN}"
        )


def by_leaf(moments: dict[str, Any], treedef: Any) -> list[dict[str, Any]]:
    """The state of each leaf."""
    columns = {name: treedef.flatten_up_to(tree) for name, tree in moments.items()}
    return [
        {name: column[i] for name, column in columns.items()} for i in range(treedef.num_leaves)
    ]


def by_name(states: list[dict[str, Any]], names: Any, treedef: Any) -> dict[str, Any]:
    """The same, as trees like the parameters."""
    return {name: treedef.unflatten(state[name] for state in states) for name in names}
