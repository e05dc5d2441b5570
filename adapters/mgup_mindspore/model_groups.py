"""Parameter groups of a network: what decays, and what Muon leaves to AdamW, by cell type (R4)."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from mindspore import Parameter, nn

from mgup_core.frontend.muon_routing import check_words, names_one_of

from .groups import Group

NoDecay = str | Collection[str] | Callable[[Parameter], bool] | None
"""What does not decay: words in names, or a function of the parameter."""


def parameter_groups(network: nn.Cell, no_decay: NoDecay = None) -> list[Group]:
    """The trainable parameters of a network: those that decay, and the others, in their order.

    Args:
        network: any cell.
        no_decay: parameters without decay besides those of fewer than two axes: words in their
            names, or a function of the parameter.

    Raises:
        TypeError: for what is no cell.
    """
    if not isinstance(network, nn.Cell):
        raise TypeError(f"network is a {type(network).__name__}, not a mindspore.nn.Cell.")
    words = () if callable(no_decay) else check_words(no_decay or ())

    def decays(p: Parameter) -> bool:
        excluded = no_decay(p) if callable(no_decay) else names_one_of(p.name, words)
        return p.ndim > 1 and not excluded

    params = network.trainable_params()
    kinds = [[p for p in params if decays(p)], [p for p in params if not decays(p)]]
    groups: list[Group] = [{"params": kinds[0]}, {"params": kinds[1], "weight_decay": 0.0}]
    return [*(group for group in groups if group["params"]), {"order_params": params}]


def tables_and_heads(network: nn.Cell) -> set[str]:
    """The names of the parameters of embeddings, and of the last dense layer."""
    found: set[str] = set()
    last: Any = None
    for _, cell in network.cells_and_names():
        kind = type(cell).__name__
        if isinstance(cell, nn.Embedding) or "Embedding" in kind:
            found.update(p.name for p in cell.get_parameters(expand=False))
        if isinstance(cell, nn.Dense) or "Linear" in kind:
            last = cell
    if last is not None:
        found.update(p.name for p in last.get_parameters(expand=False))
    return found
