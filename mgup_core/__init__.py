"""MGUP, the momentum-gradient alignment update policy, for every array library.

A *rule* (:class:`AdamW`, :class:`Lion`, …) makes an update direction ``u`` of a gradient ``g``. A
*policy* (:class:`MGUP`, :class:`SignMGUP`, …) scores each coordinate by ``a * g``, where ``a`` is
``u`` or the momentum, selects the top ``tau`` of each *slice*, and gives these the multiplier
``alpha`` and the rest ``gamma``, which is never 0. :func:`update_array` is the *step* of one
parameter: its rule, policy, decay and learning rate. A *backend* has the few operations that the
array API lacks or that must round alike everywhere. :class:`Optimizer` steps many arrays, and is
the reference for the adapters ``mgup_torch``, ``mgup_jax`` and ``mgup_mindspore``. The core imports
NumPy and array-api-compat only.

>>> import numpy as np
>>> optimizer = Optimizer(AdamW(), MGUP(tau=0.5), lr=0.1, weight_decay=0.0)
>>> params = {"w": np.array([1.0, -2.0])}
>>> state = optimizer.init(params)
>>> params, state = optimizer.step(params, {"w": np.array([0.5, -3.0])}, state)
>>> params["w"].round(3)  # the second score is the larger: 2 * 0.1 there, 0.5 * 0.1 before
array([ 0.95, -1.8 ])
"""

from ._typing import Split as Split
from ._typing import State as State
from .check_rule import check_rule as check_rule
from .numerics.backend import Backend as Backend
from .numerics.backend import NumPyBackend as NumPyBackend
from .numerics.backend import backend_for as backend_for
from .numerics.backend import register as register
from .numerics.scalars import bias_correction as bias_correction
from .numerics.scalars import ema as ema
from .numerics.scalars import inverse_correction as inverse_correction
from .numerics.sums import dot as dot
from .numerics.sums import norm as norm
from .optimizer import Optimizer as Optimizer
from .optimizer import OptimizerState as OptimizerState
from .policy import MGUP as MGUP
from .policy import AdaptiveSignMGUP as AdaptiveSignMGUP
from .policy import Cautious as Cautious
from .policy import Policy as Policy
from .policy import SignMGUP as SignMGUP
from .policy import differentiate as differentiate
from .policy import safeguard as safeguard
from .policy import score as score
from .ranking import rank as rank
from .ranking import rank_mask as rank_mask
from .rules import AMSGD as AMSGD
from .rules import FISMO as FISMO
from .rules import M3 as M3
from .rules import NAMO as NAMO
from .rules import NAMOD as NAMOD
from .rules import SCALE as SCALE
from .rules import SGD as SGD
from .rules import SGDP as SGDP
from .rules import AdaBelief as AdaBelief
from .rules import AdamP as AdamP
from .rules import AdamW as AdamW
from .rules import Adan as Adan
from .rules import AdEMAMix as AdEMAMix
from .rules import AMAdamW as AMAdamW
from .rules import AnchoredSGD as AnchoredSGD
from .rules import AuON as AuON
from .rules import DeltaMomentum as DeltaMomentum
from .rules import Direction as Direction
from .rules import HybridAuON as HybridAuON
from .rules import Lion as Lion
from .rules import LionK as LionK
from .rules import Muon as Muon
from .rules import Rule as Rule
from .rules import SGDSaI as SGDSaI
from .rules import Signum as Signum
from .rules import fresh_state as fresh_state
from .selection.counting import counting_mask as counting_mask
from .selection.reference import top_count as top_count
from .statistics import Statistics as Statistics
from .step import contribution as contribution
from .step import summed as summed
from .step import update_array as update_array
from .transforms import SAMGS as SAMGS
from .transforms import SAMGSState as SAMGSState

__version__ = "0.1.0"
