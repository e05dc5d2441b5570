"""Transforms of gradients before the optimizer's step."""

from .sam_gs import SAMGS as SAMGS
from .sam_gs import SAMGSState as SAMGSState
