"""Steps of DTensor parameters: each rank moves what it holds, as the whole would have moved.

Rules are elementwise, so only the decision needs the other ranks: see :mod:`.questions`. Nothing
changes before all collectives of a step are through.
"""

from .layout import Part as Part
from .layout import check_gradient_placement as check_gradient_placement
from .layout import check_placement as check_placement
from .layout import check_same_placement as check_same_placement
from .layout import is_dtensor as is_dtensor
from .layout import is_partial as is_partial
from .layout import local as local
from .layout import placed_gradient as placed_gradient
from .questions import PartBackend as PartBackend
from .step import Proposal as Proposal
from .step import Sharding as Sharding
from .step import check_rule as check_rule
from .team import Team as Team
from .team import Traffic as Traffic
