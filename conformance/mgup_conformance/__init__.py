"""The conformance suite of MGUP: whether an implementation gives the updates of the specification.

``mgup-conformance run --backend mypackage.module:Backend`` checks any object that follows
:mod:`mgup_conformance.protocol`. What is here is imported when it is asked for, since every pytest
of an environment imports this package for its plugin, with or without the extra ``conformance``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mgup_core import __version__ as __version__

    from .cases import Case as Case
    from .catalogue import all_cases as all_cases
    from .clauses import CLAUSES as CLAUSES
    from .compare import Mismatch as Mismatch
    from .protocol import Backend as Backend
    from .protocol import Run as Run
    from .protocol import RunSpec as RunSpec
    from .runner import Result as Result
    from .runner import run_case as run_case
    from .runner import run_suite as run_suite

SUITE = "1"
"""The version of the cases and of what a report says; that of the package is ``__version__``."""

_MODULES = {
    "Case": "cases",
    "all_cases": "catalogue",
    "CLAUSES": "clauses",
    "Mismatch": "compare",
    "Backend": "protocol",
    "Run": "protocol",
    "RunSpec": "protocol",
    "Result": "runner",
    "run_case": "runner",
    "run_suite": "runner",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.import_module("mgup_core").__version__
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, "__version__"})
