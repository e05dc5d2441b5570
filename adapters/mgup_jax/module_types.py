"""Which parameters go to Muon by the types of a model's modules (R4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from mgup_core.frontend.muon_routing import EXCEPTIONS, check_words, names_one_of

from .muon import MuonDimensionNumbers


def nnx_dimension_numbers(
    model: Any, exceptions: tuple[str, ...] = EXCEPTIONS
) -> Callable[[Any], Any]:
    """Of a model of ``flax.nnx``, what ``mgup_muon`` takes as ``muon_weight_dimension_numbers``.

    Parameters of ``nnx.Embed``, and of the last ``nnx.Linear`` among the model's own attributes,
    its head, go to AdamW; so do names that hold one of ``exceptions``. Of the rest, matrices go to
    Muon. Linen and Haiku have no modules beside their parameters: there the names alone decide,
    without this function.

    Args:
        model: an ``nnx.Module``.
        exceptions: words in paths, as for ``mgup_muon``.

    Returns:
        A function of ``nnx.state(model, nnx.Param)``, which ``nnx.Optimizer`` hands it.

    Raises:
        TypeError: for what is no ``nnx.Module``, or words that are none.
    """
    from flax import nnx

    if not isinstance(model, nnx.Module):
        raise TypeError(f"model is a {type(model).__name__}, not a flax.nnx.Module.")
    words = check_words(exceptions)
    special = {path for path, module in nnx.iter_modules(model) if isinstance(module, nnx.Embed)}
    own = [name for name, module in vars(model).items() if isinstance(module, nnx.Linear)]
    special |= {(name,) for name in own[-1:]}
    prefixes = [tuple(map(str, path)) for path in special]

    def numbers(path: Any, w: Any) -> MuonDimensionNumbers | None:
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        parts = tuple(name.split("."))
        if w.ndim != 2 or any(parts[: len(one)] == one for one in prefixes):
            return None
        return None if names_one_of(name, words) else MuonDimensionNumbers()

    return lambda params: jax.tree_util.tree_map_with_path(numbers, params)
