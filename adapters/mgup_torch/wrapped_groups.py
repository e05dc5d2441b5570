"""What the wrapper keeps in the parameter groups of its inner optimizer."""

from __future__ import annotations

import difflib
from collections.abc import Collection

import torch

from .groups import MGUP_DEFAULTS, Group

COUPLED = (
    torch.optim.ASGD,
    torch.optim.Adadelta,
    torch.optim.Adagrad,
    torch.optim.Adam,
    torch.optim.Adamax,
    torch.optim.NAdam,
    torch.optim.RAdam,
    torch.optim.RMSprop,
    torch.optim.SGD,
)
"""Optimizers of torch.optim whose weight decay is L2, unless a group says otherwise."""

OWN = ("tau", "alpha", "gamma", "mode", "ties", "tau_min", "stacked_dims", "scope", "decay")
PREFIX = "mgup_"
"""Before the names above in the shared groups, where ``alpha`` may be the inner optimizer's."""


def check_own_keys(inner: torch.optim.Optimizer, group: Group, *, near: Collection[str]) -> None:
    """Refuse a key that is a slip for an argument of MGUP's, or for one ``near``.

    Any other is the caller's own or the inner optimizer's, and kept, as in torch.optim.
    """
    own = [PREFIX + name for name in OWN]
    for key in group.keys() - {*own, *inner.defaults, "params", "param_names"}:
        close = difflib.get_close_matches(key, [*own, *near], n=1, cutoff=0.85)
        close = [PREFIX + key] if key in OWN else close
        if close or key.startswith(PREFIX):
            raise ValueError(
                f"a parameter group holds {key!r}, which {type(inner).__name__} with MGUP does not "
                f"have"
                + (f"; did you mean {close[0]!r}?" if close else ".")
                + f" MGUP's are {', '.join(own)}."
            )


def own_of(group: Group) -> Group:
    """What MGUP put into a shared group, under its own names."""
    own = {name: group[PREFIX + name] for name in OWN if PREFIX + name in group}
    return {**MGUP_DEFAULTS, "decay": "all", **own}
