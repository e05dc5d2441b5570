"""What ``torch.amp.GradScaler`` leaves to an optimizer that skips steps by itself.

Before a step the scaler sets two attributes of the optimizer: ``grad_scale``, the factor of the
gradients (``None`` if they were unscaled already), and ``found_inf``, above zero if one of them is
not finite. Both are tensors on a device, so that the host need not wait for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor


def check_scaled(optimizer: Any, grads: Iterable[Tensor]) -> None:
    """Refuse, as the scaler does, gradients that would lose digits when unscaled in place.

    Raises:
        ValueError: for float16 gradients that are scaled.
    """
    scaled = getattr(optimizer, "grad_scale", None) is not None
    if scaled and any(g.dtype == torch.float16 for g in grads):
        raise ValueError(
            "a gradient to be unscaled is float16, where small values are lost: keep the "
            "parameters in float32 and let autocast lower the precision."
        )


def unscale(optimizer: Any, grads: Iterable[Tensor]) -> Tensor | None:
    """Divide gradients by the scale, in place and with the bits of ``scaler.unscale_``.

    Args:
        grads: plain tensors on any devices.

    Returns:
        Above zero if the step is to be skipped, 0-d on a device; ``None`` without a scaler.
    """
    scale, found = (getattr(optimizer, name, None) for name in ("grad_scale", "found_inf"))
    if scale is not None:
        alike: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
        for g in grads:
            alike.setdefault((g.device, g.dtype), []).append(g)
        inverse = scale.double().reciprocal().float()
        for (device, _), mine in alike.items():
            unused = torch.zeros((), device=device)  # the scaler has found_inf
            torch._amp_foreach_non_finite_check_and_unscale_(mine, unused, inverse.to(device))
    return None if found is None else torch.as_tensor(found)


def forget(optimizer: Any) -> None:
    """Delete the attributes that a scaler set; after a step that raised it does not."""
    for name in ("grad_scale", "found_inf"):
        optimizer.__dict__.pop(name, None)
