"""The arguments that every function of this package adds to its rule's, and what they mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import jax
import numpy as np

from mgup_core.frontend.arguments import ARGUMENTS, Argument, literal

Scheduled: TypeAlias = float | jax.Array | np.ndarray[Any, Any] | Callable[[Any], Any]
"""A number, a 0-d array, or a function of the step count, from 0, that gives either."""
Selection = Literal["auto", "callback", "graph"]
UpdateDtype = Literal["parameter", "compute"]

JAX_ARGUMENTS: dict[str, Argument] = {
    **ARGUMENTS,
    "learning_rate": Argument("{number}", "a number >= 0, a 0-d array, or a schedule."),
    "mask": Argument(
        "Any", "which parameters decay: a tree of bools, or a function from the parameters to one."
    ),
    "mu_dtype": Argument("DTypeLike | None", "dtype of the first moment alone, as in optax."),
    "state_dtype": Argument(
        "DTypeLike | None", "dtype of the moments; None is the parameter's (R5)."
    ),
    "stacked_dims": Argument(
        "Any",
        "how many leading axes are slices of their own, as of stacked layers (P5): an int, or a "
        "tree of ints.",
    ),
    "selection": Argument(
        literal(Selection),
        'what selects, never what: a "callback" to the host, the program\'s "graph", or the '
        "faster.",
    ),
    "param_specs": Argument(
        "Any", "inside shard_map, the tree of PartitionSpecs of the parameters; None elsewhere."
    ),
    "update_dtype": Argument(
        literal(UpdateDtype),
        'dtype of the updates: the "parameter"\'s, as in optax, or the "compute" dtype (R5).',
    ),
}
