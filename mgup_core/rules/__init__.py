"""Base optimizers, one file each."""

from .adamw import AdamW as AdamW
from .base import Direction as Direction
from .base import Rule as Rule
from .lion import Lion as Lion
from .muon import Muon as Muon
from .sgd import SGD as SGD
