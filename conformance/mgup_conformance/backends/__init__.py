"""The backends that come with the suite, and how to name one's own."""

from __future__ import annotations

import difflib
import importlib

from ..protocol import Backend

SHIPPED: dict[str, str] = {
    "numpy": "mgup_conformance.backends.core:NumPy",
    "array_api_strict": "mgup_conformance.backends.core:Strict",
    "oracle": "mgup_conformance.backends.oracle:Oracle",
    "torch": "mgup_conformance.backends.torch:Torch",
    "torch_compiled": "mgup_conformance.backends.torch:TorchCompiled",
    "jax": "mgup_conformance.backends.jax:Jax",
    "jax_jit": "mgup_conformance.backends.jax:JaxJit",
    "mindspore": "mgup_conformance.backends.mindspore:MindSpore",
    "mindspore_graph": "mgup_conformance.backends.mindspore:MindSporeGraph",
}
"""Name -> ``module:Class``; the module is imported only when the backend is asked for."""


def load(name: str) -> Backend:
    """The backend of a shipped name, or of ``package.module:Class`` (called without arguments).

    Raises:
        ValueError: when there is no such backend, or it does not follow the protocol.
        ImportError: when its framework is not installed.
    """
    path = SHIPPED.get(name, name)
    module, colon, attribute = path.partition(":")
    if not colon:
        near = difflib.get_close_matches(name, SHIPPED, n=1)
        raise ValueError(
            f"unknown backend {name!r}"
            + (f", did you mean {near[0]!r}?" if near else ".")
            + f" Shipped: {', '.join(SHIPPED)}; or give your own as package.module:Class."
        )
    try:
        made = getattr(importlib.import_module(module), attribute)()
    except AttributeError as error:
        raise ValueError(f"backend {name!r}: {error}") from error
    if not isinstance(made, Backend):
        wanted = [key for key in vars(Backend) if not key.startswith("_")] + ["name"]
        absent = [key for key in wanted if not hasattr(made, key)]
        raise ValueError(f"backend {name!r} lacks {', '.join(absent)} of the protocol.")
    return made
