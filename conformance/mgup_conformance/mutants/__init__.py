"""Wrong implementations that the suite must catch: each is the reference with one thing changed.

A suite that lets one of these pass is too weak. They are also something to look at when a port
fails a case: the mutants caught by the same case are its likeliest mistakes.
"""

from . import applying, numerics, rules, selecting
from .base import Mutant as Mutant

MUTANTS: tuple[Mutant, ...] = (
    *selecting.MUTANTS,
    *applying.MUTANTS,
    *rules.MUTANTS,
    *numerics.MUTANTS,
)
