"""Parameter groups of a model: what decays, and what Muon leaves to AdamW, by module type (R4)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

from torch import Tensor, nn

from mgup_core.frontend.muon_routing import check_words, names_one_of

from .groups import Group

NoDecay = str | Collection[str] | Callable[[str, Tensor], bool] | None
"""What does not decay: words in names, or a function of name and parameter."""


def parameter_groups(
    model: nn.Module, weight_decay: float | None = None, no_decay: NoDecay = None
) -> list[Group]:
    """The trainable parameters of a model with their names: those that decay, and the others.

    Matrices decay, and all that has more than one axis; biases, norms and scales do not, nor what
    ``model.no_weight_decay()`` names, as models of timm have it.

    Args:
        model: any module.
        weight_decay: of what decays; ``None`` leaves it to the optimizer.
        no_decay: further parameters without decay: words in their names, as Muon's ``exceptions``
            are read, or a function of name and parameter.

    Raises:
        TypeError: for what is no module.

    >>> groups = parameter_groups(nn.Linear(3, 2), weight_decay=0.1)
    >>> [(group["weight_decay"], [name for name, _ in group["params"]]) for group in groups]
    [(0.1, ['weight']), (0.0, ['bias'])]
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model is a {type(model).__name__}, not a torch.nn.Module.")
    excluded = _excluded(model, no_decay)
    kinds: dict[bool, list[tuple[str, Tensor]]] = {True: [], False: []}
    for name, p in model.named_parameters():
        if p.requires_grad:
            kinds[p.ndim > 1 and not excluded(name, p)].append((name, p))
    decayed: Group = {} if weight_decay is None else {"weight_decay": weight_decay}
    groups: list[Group] = [
        {"params": kinds[True], **decayed},
        {"params": kinds[False], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]] or groups[:1]


def _excluded(model: nn.Module, no_decay: NoDecay) -> Callable[[str, Tensor], bool]:
    own: Any = getattr(model, "no_weight_decay", set)
    listed = set(own())
    if callable(no_decay):
        asked = no_decay
        return lambda name, p: name in listed or bool(asked(name, p))
    words = check_words(no_decay or ())
    return lambda name, p: name in listed or names_one_of(name, words)


def tables_and_heads(model: nn.Module) -> set[Tensor]:
    """The parameters that are looked up as rows, and those that make a model's outputs.

    Of embeddings (any module whose class is called so), of what the model itself calls its input
    and output embeddings or its classifier, as those of Transformers and timm do, and where it
    names no head, of its last linear layer. Tied parameters are one, so the type of either place
    speaks for both.
    """
    found: set[Tensor] = set()
    last: nn.Module | None = None
    declared = False
    for module in model.modules():
        kind = type(module).__name__
        if isinstance(module, (nn.Embedding, nn.EmbeddingBag)) or "Embedding" in kind:
            found.update(module.parameters(recurse=False))
        if isinstance(module, nn.Linear) or "Linear" in kind:
            last = module
        for name in ("get_input_embeddings", "get_output_embeddings", "get_classifier"):
            named = set(_named_by(module, name))
            declared = declared or bool(named and name != "get_input_embeddings")
            found |= named
    if last is not None and not declared:
        found.update(last.parameters(recurse=False))
    return found


def _named_by(module: nn.Module, method: str) -> Iterator[Tensor]:
    """The parameters of what a model says to be one of its parts, if it does."""
    ask: Any = getattr(module, method, None)
    try:
        part = ask() if callable(ask) else None
    except (NotImplementedError, AttributeError, TypeError):
        return  # a part that this model has not, or that is asked for by more than a name
    for one in part if isinstance(part, (list, tuple)) else [part]:
        if isinstance(one, nn.Module):
            yield from one.parameters()
        elif isinstance(one, nn.Parameter):
            yield one
