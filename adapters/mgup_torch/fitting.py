"""Checks before a step that a parameter and its state still fit each other."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mgup_core import Rule

from .backend import TorchBackend, compute_dtype
from .distributed import check_same_placement, is_dtensor


def state_shapes(rule: Rule, p: Tensor) -> dict[str, torch.Size]:
    """The shapes of a parameter's state arrays by name, in the rule's order."""
    try:
        return _state_shapes(rule, p.shape, p.dtype)
    except TypeError:  # a user's rule without a hash
        return _state_shapes.__wrapped__(rule, p.shape, p.dtype)


@functools.lru_cache(maxsize=4096)  # asked for at every step
def _state_shapes(rule: Rule, shape: torch.Size, dtype: torch.dtype) -> dict[str, torch.Size]:
    hollow = torch.empty(shape, dtype=compute_dtype(dtype), device="meta")
    state = rule.init(TorchBackend(hollow.dtype, hollow.device), hollow)
    return {name: value.shape for name, value in state.items()}


def has_state(rule: Rule, names: Mapping[str, Any], state: Mapping[str, Any]) -> bool:
    """Whether a parameter has state of the rule already, besides what others keep there."""
    own = (*names, "step") if rule.counts_steps else names
    return any(state.get(name) is not None for name in own)


def check_state(
    name: str, p: Tensor, state: Mapping[str, Any], rule: Rule, shapes: Mapping[str, torch.Size]
) -> None:
    """Refuse a parameter whose state has another shape or device.

    Raises:
        ValueError: naming both, and the remedy.
    """
    for key, shape in shapes.items():
        value = state.get(key)
        if not (
            isinstance(value, Tensor)
            and value.shape == shape
            and value.device == p.device
            and value.is_floating_point()
            and value.layout == torch.strided
        ):
            _refuse(name, p, key, value, f"{tuple(shape)} on {p.device}")
    for key in shapes:
        if not (is_dtensor(p) or is_dtensor(state[key])):
            continue
        check_same_placement(
            f"state {key!r} of parameter {name}",
            p,
            state[key],
            remedy="place it alike, or make a new optimizer",
        )
    if rule.counts_steps:
        step = state.get("step")
        if not (isinstance(step, Tensor) and step.numel() == 1 and step.is_floating_point()):
            _refuse(name, p, "step", step, "()")
        elif step.device.type != "cpu" and step.device != p.device:
            _refuse(name, p, "step", step, f"() on {p.device}")


def check_shape(name: str, p: Tensor, state: Mapping[str, Any], shape: torch.Size | None) -> None:
    """Refuse a parameter that had another shape when an unknown optimizer made its state.

    Raises:
        ValueError: naming both, and the remedy.
    """
    if shape is not None and p.shape != shape:
        alike = [key for key, x in state.items() if isinstance(x, Tensor) and x.shape == shape]
        key = next(iter(alike or state))
        _refuse(name, p, key, state[key], f"{tuple(p.shape)}; it was made for {tuple(shape)}")


def _refuse(name: str, p: Tensor, key: str, value: Any, wanted: str) -> None:
    if value is None:
        found = "is missing"
    elif not isinstance(value, Tensor):
        found = f"is a {type(value).__name__}"
    else:
        found = f"is {value.dtype} {tuple(value.shape)} on {value.device}"
    raise ValueError(
        f"state {key!r} of parameter {name} {found}, but the parameter is {p.dtype} "
        f"{tuple(p.shape)} on {p.device}, and needs a floating one of shape {wanted}. Keep a "
        "parameter as it was when its state was made; after changing it, make a new optimizer, or "
        "let its state begin anew with optimizer.state.pop(parameter)."
    )
