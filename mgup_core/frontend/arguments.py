"""The arguments that every adapter adds to a rule's own: their types and meaning.

Docstrings, stubs and the documentation are generated from this table, so that they agree.
"""

from __future__ import annotations

from typing import Any, NamedTuple, get_args

from ..policy import Ties
from ..rules.base import Decay
from .modes import Mode


def literal(kind: Any) -> str:
    """The source text of a Literal.

    >>> literal(Ties)
    "Literal['damped', 'aligned']"
    """
    return f"Literal[{', '.join(map(repr, get_args(kind)))}]"


class Argument(NamedTuple):
    """The type and the meaning of one argument of an optimizer."""

    type: str
    """The type in stubs; ``{number}`` stands for the framework's type of a scheduled number."""
    text: str
    """Its meaning, its range and its clause."""


ARGUMENTS: dict[str, Argument] = {
    "lr": Argument("{number}", "learning rate, finite and >= 0."),
    "learning_rate": Argument("{number}", "finite and >= 0."),
    "weight_decay": Argument(
        "{number}",
        "decoupled decay, finite and >= 0: a step takes lr * weight_decay * w besides (R0).",
    ),
    "decay": Argument(
        literal(Decay),
        '"all", or "aligned" for cautious weight decay: a coordinate decays only where u * w >= 0 '
        "(R0c).",
    ),
    "tau": Argument("float", "share of each slice's coordinates selected, in [0, 1]; static (P3)."),
    "alpha": Argument(
        "{number} | None", "factor of the selected, finite and >= 1; default 1 / tau (P6, P7)."
    ),
    "gamma": Argument("{number} | None", "factor of the rest, in (0, 1]; default tau (P6, P7)."),
    "mode": Argument(
        literal(Mode),
        '"rank" selects the top tau of each slice (P4); "sign" every coordinate whose score is '
        'positive (P8); "adaptive" the same, with the factors 1/tau_t and tau_t of their share '
        'tau_t (P9); "cautious" zeroes the rest, for comparison only (P10); "off" is the plain '
        "rule (P11).",
    ),
    "ties": Argument(
        literal(Ties),
        'in sign mode, what a score of exactly 0 takes: "damped" gamma, "aligned" alpha (P8).',
    ),
    "tau_min": Argument("float", "in adaptive mode, the least tau_t, in (0, 1] (P9)."),
    "stacked_dims": Argument(
        "int", "how many leading axes are slices of their own, as of stacked layers (P5)."
    ),
}
