"""The conformance suite of MGUP: checks that an implementation gives the specified updates.

A *backend* is any object that follows :mod:`mgup_conformance.protocol`: it makes optimizers and
steps them. A *case* is one check with the *clauses* of the specification that it covers, such as a
mask of hard scores or a trajectory. :func:`run_case` compares the backend with the reference bit
for bit, or within the bound of the clause, and returns a :class:`Result` with its verdict.
``mgup-conformance run --backend mypackage.module:Backend`` runs all cases.

The names below are imported on first use, since every pytest of an environment imports this package
for its plugin, with or without the extra ``conformance``.

>>> from mgup_conformance import all_cases, run_case
>>> from mgup_conformance.backends import load
>>> case = next(case for case in all_cases() if case.id == "run/adamw/mgup/float32")
>>> run_case(load("numpy"), case).status
'passed'
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
