"""The conformance suite of MGUP: whether an implementation gives the updates of the specification.

``mgup-conformance run --backend mypackage.module:Backend`` checks any object that follows
:mod:`mgup_conformance.protocol`. What is here is imported when it is asked for, since every pytest
of an environment imports this package for its plugin, with or without the extra ``conformance``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cases import Case
    from .catalogue import all_cases
    from .clauses import CLAUSES
    from .compare import Mismatch
    from .protocol import Backend, Run, RunSpec
    from .runner import Result, run_case, run_suite

__all__ = [
    "Case",
    "all_cases",
    "CLAUSES",
    "Mismatch",
    "Backend",
    "Run",
    "RunSpec",
    "Result",
    "run_case",
    "run_suite",
]

__version__ = "1"

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
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
