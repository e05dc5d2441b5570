"""Steps of DTensor parameters: each rank updates its shard as the whole tensor would be updated.

Most rules are elementwise, so that only the policy's decision needs the other ranks: the mask of
the K largest, a count, or a statistic (:mod:`.deferred`). A rank changes nothing before all
collectives of a step have finished.
"""

from .deferred import PartBackend as PartBackend
from .mesh_group import MeshGroup as MeshGroup
from .mesh_group import Traffic as Traffic
from .shard import Part as Part
from .shard import check_gradient_placement as check_gradient_placement
from .shard import check_placement as check_placement
from .shard import check_same_placement as check_same_placement
from .shard import is_dtensor as is_dtensor
from .shard import is_partial as is_partial
from .shard import is_replicated as is_replicated
from .shard import local as local
from .shard import placed_gradient as placed_gradient
from .step import Proposal as Proposal
from .step import Sharding as Sharding
from .step import check_rule as check_rule
