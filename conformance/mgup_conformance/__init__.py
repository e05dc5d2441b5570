"""The conformance suite of MGUP: whether an implementation gives the updates of the specification.

``mgup-conformance run --backend mypackage.module:Backend`` checks any object that follows
:mod:`mgup_conformance.protocol`.
"""

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
