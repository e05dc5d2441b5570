"""MGUP for PyTorch: optimizers made from the rules of :mod:`mgup_core`, and a wrapper.

Each class takes the arguments of its twin in ``torch.optim``, and ``tau``, ``alpha``, ``gamma`` and
``mode`` besides. Of each parameter, or each *slice* of it (``stacked_dims``), the share ``tau`` of
coordinates whose update agrees best with the gradient steps ``alpha`` times as far, and the rest
``gamma`` times. :func:`optimizer` makes a class of any rule; :class:`MGUP` wraps any optimizer of
``torch.optim``. The CPU steps by compiled loops, CUDA by kernels, and DTensors are ranked as
wholes, all with the bits of the reference as far as the specification promises them.

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

from mgup_core import __version__ as __version__

from .base.optimizer import RuleOptimizer
from .contrib.mkor import MKOR
from .factory import optimizer
from .integrations import timm as timm
from .model_groups import parameter_groups
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
    MGUPSOAP,
    MGUPAdaBelief,
    MGUPAdafactor,
    MGUPAdamP,
    MGUPAdaMuon,
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
    MGUPNorMuon,
    MGUPProdigy,
    MGUPRAdam,
    MGUPScheduleFreeAdamW,
    MGUPScheduleFreeRAdam,
    MGUPScheduleFreeSGD,
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
    "parameter_groups",
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
    "MGUPSOAP",
    "MGUPSignum",
    "MGUPStableAdamW",
    "MGUPScheduleFreeAdamW",
    "MGUPScheduleFreeRAdam",
    "MGUPScheduleFreeSGD",
    "MGUPNorMuon",
    "MGUPAdaMuon",
    "MGUPProdigy",
    "MGUPAdafactor",
]
