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

from ._typing import Split, State
from .check_rule import check_rule
from .host.files import atomic_write
from .numerics.backend import Backend, NumPyBackend, backend_for, register
from .numerics.scalars import bias_correction, ema, inverse_correction
from .numerics.sums import dot, norm
from .optimizer import Optimizer, OptimizerState
from .policy import (
    MGUP,
    AdaptiveSignMGUP,
    Cautious,
    Context,
    Policy,
    SignMGUP,
    differentiate,
    parameter_key,
    safeguard,
    score,
)
from .ranking import rank, rank_mask
from .rules import (
    ADOPT,
    AMSGD,
    FISMO,
    M3,
    NAMO,
    NAMOD,
    SCALE,
    SGD,
    SGDP,
    SOAP,
    AdaBelief,
    Adafactor,
    AdamP,
    AdaMuon,
    AdamW,
    Adan,
    AdEMAMix,
    AMAdamW,
    AMSGrad,
    AnchoredSGD,
    AuON,
    DeltaMomentum,
    Direction,
    Grams,
    HybridAuON,
    LaProp,
    Lion,
    LionK,
    MARSAdamW,
    MARSLion,
    Muon,
    NAdamW,
    NorMuon,
    Prodigy,
    RAdam,
    Rule,
    ScheduleFreeAdamW,
    ScheduleFreeRAdam,
    ScheduleFreeSGD,
    SGDSaI,
    Signum,
    StableAdamW,
    fresh_state,
)
from .selection.counting import counting_mask
from .selection.reference import top_count
from .statistics import Statistics
from .step import contribution, summed, update_array
from .transforms import SAMGS, SAMGSState

__all__ = [
    "Split",
    "State",
    "check_rule",
    "atomic_write",
    "Backend",
    "NumPyBackend",
    "backend_for",
    "register",
    "bias_correction",
    "ema",
    "inverse_correction",
    "dot",
    "norm",
    "Optimizer",
    "OptimizerState",
    "MGUP",
    "AdaptiveSignMGUP",
    "Cautious",
    "Context",
    "Policy",
    "SignMGUP",
    "differentiate",
    "parameter_key",
    "safeguard",
    "score",
    "rank",
    "rank_mask",
    "AMSGD",
    "FISMO",
    "M3",
    "NAMO",
    "NAMOD",
    "SCALE",
    "SGD",
    "SGDP",
    "AdaBelief",
    "AdamP",
    "AdamW",
    "Adan",
    "AdEMAMix",
    "AMAdamW",
    "AnchoredSGD",
    "AuON",
    "DeltaMomentum",
    "Direction",
    "HybridAuON",
    "Lion",
    "LionK",
    "Muon",
    "Rule",
    "SGDSaI",
    "SOAP",
    "Signum",
    "ADOPT",
    "AMSGrad",
    "Grams",
    "LaProp",
    "MARSAdamW",
    "MARSLion",
    "NAdamW",
    "RAdam",
    "StableAdamW",
    "ScheduleFreeAdamW",
    "ScheduleFreeRAdam",
    "ScheduleFreeSGD",
    "NorMuon",
    "AdaMuon",
    "Prodigy",
    "Adafactor",
    "fresh_state",
    "counting_mask",
    "top_count",
    "Statistics",
    "contribution",
    "summed",
    "update_array",
    "SAMGS",
    "SAMGSState",
]

__version__ = "0.2.0"
