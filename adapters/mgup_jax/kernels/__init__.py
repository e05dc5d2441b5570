"""The kernels of :mod:`mgup_kernels` in JAX: one custom call for all arrays of a kind."""

from __future__ import annotations

import functools
from importlib import metadata

import jax

_OLDEST = (3, 5)


@functools.cache
def unavailable() -> str | None:
    """Why no step can be taken by kernels here, or ``None``."""
    if jax.default_backend() != "gpu":
        return f"JAX runs on {jax.default_backend()}, and the kernels are for CUDA"
    devices = jax.devices()
    if "cuda" not in devices[0].client.platform_version.lower():
        return "the kernels have been checked on NVIDIA GPUs only"
    if len(devices) > 1:
        return f"JAX sees {len(devices)} GPUs, and the kernels are for one"
    if float(devices[0].compute_capability) < 7.0:
        return f"{devices[0].device_kind} is older than compute capability 7.0"
    try:
        import triton

        version = metadata.version("triton")
    except (ImportError, metadata.PackageNotFoundError) as error:
        return f"Triton cannot be imported ({error}): pip install 'mgup[jax-cuda]'"
    del triton
    if tuple(map(int, version.split(".")[:2])) < _OLDEST:
        return f"Triton {version} is older than {'.'.join(map(str, _OLDEST))}"
    return None
