"""What the wrapper keeps in the parameter groups of its inner optimizer."""

from __future__ import annotations

import difflib
from collections.abc import Collection

import torch

from mgup_core.rules.base import check_decay

from .distributed import check_placement
from .groups import (
    MGUP_DEFAULTS,
    Group,
    check_group,
    check_stacked_dims,
    named,
    policy_of,
)

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


def check_wrapped(inner: torch.optim.Optimizer, group: Group, *, wait: bool = True) -> None:
    """Refuse a group of ``inner`` whose values or parameters cannot be rescaled.

    Args:
        wait: whether values on a device may be waited for.
    """
    own = own_of(group)
    check_group({**own, "lr": 0.0, "weight_decay": 0.0}, wait=wait)
    policy = policy_of(own)
    if policy is not None and policy.opaque:
        raise ValueError(
            f"mode={policy!r} decides by itself, from the base rule's direction and step, "
            "which a wrapped optimizer does not tell: give it to an optimizer of a rule, as "
            "MGUPAdamW."
        )
    check_decay(own["decay"])
    for name, p in named(group.get("params", ())):
        check_placement(name, p)
        check_stacked_dims(name, p, own["stacked_dims"])
    decoupled = isinstance(inner, torch.optim.AdamW) or group.get("decoupled_weight_decay")
    if isinstance(inner, COUPLED) and not decoupled and group.get("weight_decay"):
        raise ValueError(
            f"weight_decay={group['weight_decay']!r}: {type(inner).__name__} adds it to the "
            "gradient, where it cannot be kept out of the score. Use weight_decay=0, a "
            "decoupled optimizer (AdamW), or MGUPSGD(coupled_decay=True)."
        )
