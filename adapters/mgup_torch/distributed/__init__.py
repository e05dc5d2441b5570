"""Steps of DTensor parameters: each rank moves what it holds, as the whole would have moved.

Rules are elementwise, so only the decision needs the other ranks: see :mod:`.deferred`. Nothing
changes before all collectives of a step are through.
"""

from .deferred import PartBackend as PartBackend
from .mesh_group import Team as Team
from .mesh_group import Traffic as Traffic
from .shard import Part as Part
from .shard import check_gradient_placement as check_gradient_placement
from .shard import check_placement as check_placement
from .shard import check_same_placement as check_same_placement
from .shard import is_dtensor as is_dtensor
from .shard import is_partial as is_partial
from .shard import local as local
from .shard import placed_gradient as placed_gradient
from .step import Proposal as Proposal
from .step import Sharding as Sharding
from .step import check_rule as check_rule
