"""The backends that come with the suite, and how to name one's own."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

from ..protocol import Backend, check_backend
from ..visible import ENDS, raised

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


ENTRY_POINTS = "mgup_conformance.backends"
"""The group of entry points in which an installed package names backends of its own."""


def known() -> dict[str, str]:
    """Every name that needs no module: the shipped ones, and those of installed packages."""
    installed = {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}
    return {**installed, **SHIPPED}


def load(name: str) -> Backend:
    """The backend of a name.

    A known name; ``package.module:Class``, called without arguments; or either of them and the
    interpreter that is to run it, ``torch@/envs/old/bin/python``.

    Raises:
        ValueError: when there is no such backend or interpreter, or it does not follow the
            protocol.
        ImportError: when its framework is not installed.
    """
    here, at, python = name.partition("@")
    if at and not python:
        raise ValueError(f"backend {name!r} names no interpreter after the '@'.")
    if at:
        from ..remote import Remote

        return Remote(here, python)
    names = known()
    path = names.get(name, name)
    module, colon, attribute = path.partition(":")
    if not colon:
        near = difflib.get_close_matches(name, names, n=1)
        raise ValueError(
            f"unknown backend {name!r}"
            + (f", did you mean {near[0]!r}?" if near else ".")
            + f" Known: {', '.join(names)}; or give your own as package.module:Class."
        )
    found = made = _taken(name, module, attribute)
    if isinstance(found, type) or not isinstance(found, Backend):
        if not callable(found):
            raise ValueError(f"backend {name!r} is neither a backend nor a class of one.")
        made = _made(name, found)
    if not isinstance(made, Backend):
        wanted = [key for key in vars(Backend) if not key.startswith("_")] + ["name"]
        absent = [key for key in wanted if not hasattr(made, key)]
        raise ValueError(f"backend {name!r} lacks {', '.join(absent)} of the protocol.")
    try:
        check_backend(made)
    except ValueError as error:
        raise ValueError(f"backend {name!r}, {error}") from error
    except ENDS as error:
        raise ValueError(f"backend {name!r} cannot say what it is: {raised(error)}") from error
    return made


def _taken(name: str, module: str, attribute: str) -> Any:
    """What ``module:attribute`` is."""
    try:
        found = importlib.import_module(module)
    except ImportError:
        raise
    except ENDS as error:
        raise ValueError(f"backend {name!r} cannot be imported: {raised(error)}") from error
    try:
        return getattr(found, attribute)
    except AttributeError as error:
        raise ValueError(f"backend {name!r}: {error}") from error


def _made(name: str, make: Callable[[], Any]) -> Any:
    """What the class or function gives."""
    try:
        return make()
    except ImportError:
        raise
    except TypeError as error:
        raise ValueError(
            f"backend {name!r} cannot be made without arguments: {error}. An optimizer class "
            "becomes a backend by mgup_conformance.ready."
        ) from error
    except ENDS as error:
        raise ValueError(f"backend {name!r} cannot be made: {raised(error)}") from error
