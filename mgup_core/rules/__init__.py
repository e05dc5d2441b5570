"""Base optimizers, one file each."""

from .adamw import AdamW as AdamW
from .base import Direction as Direction
from .base import Rule as Rule
from .base import State as State
from .base import fresh_state as fresh_state
from .lion import Lion as Lion
from .muon import Muon as Muon
from .sgd import SGD as SGD
