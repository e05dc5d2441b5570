"""Wrong implementations that the suite must catch: each is the reference with one thing changed.

A suite that lets one of :data:`MUTANTS` pass is too weak. :data:`DICTIONARY` has the likely
mistakes besides, by which :mod:`mgup_conformance.diagnosis` says what is wrong with a port.
"""

from . import applying, likely, numerics, rules, selecting
from .base import Mutant as Mutant

MUTANTS: tuple[Mutant, ...] = (
    *selecting.MUTANTS,
    *applying.MUTANTS,
    *rules.MUTANTS,
    *numerics.MUTANTS,
)
DICTIONARY: tuple[Mutant, ...] = (*MUTANTS, *likely.MUTANTS)
