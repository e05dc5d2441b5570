"""MGUP for PyTorch: optimizers made from the rules of :mod:`mgup_core`, and a wrapper.

Each class takes the arguments of its twin in ``torch.optim``, and ``tau``, ``alpha``, ``gamma`` and
``mode`` besides. :func:`optimizer` makes one of any rule; :class:`MGUP` wraps any optimizer.

>>> import torch
>>> model = torch.nn.Linear(4, 2)
>>> optimizer = MGUPAdamW(model.parameters(), lr=1e-3, weight_decay=0.01, tau=0.5)
>>> model(torch.ones(4)).sum().backward()
>>> optimizer.step()
"""

try:
    import torch  # noqa: F401
except ImportError as error:  # pragma: no cover
    raise ImportError("mgup_torch needs PyTorch: pip install 'mgup[torch]'") from error

from .base.optimizer import RuleOptimizer
from .contrib.mkor import MKOR
from .factory import optimizer
from .muon import MGUPMuon
from .optimizers import (
    MGUPADOPT,
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
    MGUPAMSGrad,
    MGUPAnchoredSGD,
    MGUPAuON,
    MGUPDeltaMomentum,
    MGUPGrams,
    MGUPHybridAuON,
    MGUPLaProp,
    MGUPLion,
    MGUPLionK,
    MGUPMARSAdamW,
    MGUPMARSLion,
    MGUPNAdamW,
    MGUPRAdam,
    MGUPSGDSaI,
    MGUPSignum,
    MGUPStableAdamW,
    create_optimizer,
    list_optimizers,
)
from .wrapper import MGUP

__all__ = [
    "MGUP",
    "MKOR",
    "RuleOptimizer",
    "create_optimizer",
    "list_optimizers",
    "optimizer",
    "MGUPMuon",
    "MGUPADOPT",
    "MGUPAMAdamW",
    "MGUPAMSGD",
    "MGUPAMSGrad",
    "MGUPAdEMAMix",
    "MGUPAdaBelief",
    "MGUPAdamP",
    "MGUPAdamW",
    "MGUPAdan",
    "MGUPAnchoredSGD",
    "MGUPAuON",
    "MGUPDeltaMomentum",
    "MGUPFISMO",
    "MGUPGrams",
    "MGUPHybridAuON",
    "MGUPLaProp",
    "MGUPLion",
    "MGUPLionK",
    "MGUPM3",
    "MGUPMARSAdamW",
    "MGUPMARSLion",
    "MGUPNAMO",
    "MGUPNAMOD",
    "MGUPNAdamW",
    "MGUPRAdam",
    "MGUPSCALE",
    "MGUPSGD",
    "MGUPSGDP",
    "MGUPSGDSaI",
    "MGUPSignum",
    "MGUPStableAdamW",
]
