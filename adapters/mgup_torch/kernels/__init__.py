"""The kernels of :mod:`mgup_kernels` on PyTorch's tensors."""

from __future__ import annotations

import functools

import torch


@functools.cache
def unavailable(device: torch.device) -> str | None:
    """Why nothing can be fused on a device, or ``None``."""
    if device.type != "cuda":
        return f"it is on {device.type}, and the kernels are for CUDA"
    if torch.version.hip is not None:
        return "the kernels have been checked on NVIDIA GPUs only"
    if torch.cuda.get_device_capability(device) < (7, 0):
        return f"{torch.cuda.get_device_name(device)} is older than compute capability 7.0"
    try:
        import triton  # noqa: F401
    except ImportError as error:
        return f"Triton cannot be imported ({error})"
    return None
