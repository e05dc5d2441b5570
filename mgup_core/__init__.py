"""MGUP: the momentum-gradient alignment update policy, once, for every array library.

Score, rank, differentiate and safeguard (:mod:`mgup_core.policy`), the rules they plug into
(:mod:`mgup_core.rules`), and the reference optimizer. Imports NumPy and array-api-compat only.
"""

from ._typing import Split, State
from .check_rule import check_rule
from .numerics.backend import Backend, NumPyBackend, backend_for, register
from .numerics.scalars import bias_correction, ema, inverse_correction
from .numerics.sums import dot, norm
from .optimizer import Optimizer, OptimizerState
from .policy import (
    MGUP,
    AdaptiveSignMGUP,
    Cautious,
    Policy,
    SignMGUP,
    differentiate,
    safeguard,
    score,
)
from .ranking import rank, rank_mask
from .rules import (
    AMSGD,
    FISMO,
    M3,
    NAMO,
    NAMOD,
    SCALE,
    SGD,
    SGDP,
    AdaBelief,
    AdamP,
    AdamW,
    Adan,
    AdEMAMix,
    AMAdamW,
    AnchoredSGD,
    AuON,
    DeltaMomentum,
    Direction,
    HybridAuON,
    Lion,
    LionK,
    Muon,
    Rule,
    SGDSaI,
    Signum,
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
    "Policy",
    "SignMGUP",
    "differentiate",
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
    "Signum",
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

__version__ = "0.1.0"
