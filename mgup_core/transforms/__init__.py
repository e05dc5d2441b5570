"""What may happen to gradients before an optimizer sees them."""

from .sam_gs import SAMGS as SAMGS
from .sam_gs import SAMGSState as SAMGSState
