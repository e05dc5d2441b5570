"""MGUP for MindSpore: optimizers made from the rules of :mod:`mgup_core`."""

try:
    import mindspore  # noqa: F401
except ImportError as error:  # pragma: no cover
    raise ImportError("mgup_mindspore needs MindSpore: pip install 'mgup[mindspore]'") from error

from .numpy2 import warm_up

warm_up()

from . import arrays as arrays  # noqa: E402  (the core finds its backend there: N10)
from .base import RuleOptimizer  # noqa: E402
from .factory import optimizer  # noqa: E402
from .optimizers import (  # noqa: E402
    MGUPAMSGD,
    MGUPFISMO,
    MGUPM3,
    MGUPNAMO,
    MGUPNAMOD,
    MGUPSCALE,
    MGUPSGD,
    MGUPSGDP,
    MGUPAdaBelief,
    MGUPAdamP,
    MGUPAdamW,
    MGUPAdan,
    MGUPAdEMAMix,
    MGUPAMAdamW,
    MGUPAnchoredSGD,
    MGUPAuON,
    MGUPDeltaMomentum,
    MGUPHybridAuON,
    MGUPLion,
    MGUPLionK,
    MGUPMuon,
    MGUPSGDSaI,
    MGUPSignum,
    create_optimizer,
    list_optimizers,
)

__all__ = [
    "RuleOptimizer",
    "create_optimizer",
    "list_optimizers",
    "optimizer",
    "MGUPMuon",
    "MGUPAMAdamW",
    "MGUPAMSGD",
    "MGUPAdEMAMix",
    "MGUPAdaBelief",
    "MGUPAdamP",
    "MGUPAdamW",
    "MGUPAdan",
    "MGUPAnchoredSGD",
    "MGUPAuON",
    "MGUPDeltaMomentum",
    "MGUPFISMO",
    "MGUPHybridAuON",
    "MGUPLion",
    "MGUPLionK",
    "MGUPM3",
    "MGUPNAMO",
    "MGUPNAMOD",
    "MGUPSCALE",
    "MGUPSGD",
    "MGUPSGDP",
    "MGUPSGDSaI",
    "MGUPSignum",
]
