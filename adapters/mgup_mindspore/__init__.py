"""MGUP for MindSpore: optimizers made from the rules of :mod:`mgup_core`.

Each class, such as ``MGUPAdamW``, is an ``nn.Optimizer`` with the arguments of its twin in
MindSpore, and ``tau``, ``alpha``, ``gamma`` and ``mode`` besides. Of each parameter, or each
*slice* of it (``stacked_dims``), the share ``tau`` of coordinates whose update agrees best with the
gradient steps ``alpha`` times as far, and the rest ``gamma`` times. :func:`optimizer` makes a class
of any rule. Steps run in PyNative mode and in graphs, with the bits of the reference on the CPU.

>>> import numpy as np
>>> from mindspore import Parameter, Tensor
>>> w = Parameter(Tensor(np.array([1.0, -2.0], np.float32)), name="w")
>>> step = MGUPAdamW([w], learning_rate=0.1, weight_decay=0.0, tau=0.5)
>>> _ = step((Tensor(np.array([0.5, -3.0], np.float32)),))
>>> print(w.asnumpy().round(2))
[ 0.95 -1.8 ]
"""

try:
    import mindspore  # noqa: F401
except ImportError as error:  # pragma: no cover
    raise ImportError("mgup_mindspore needs MindSpore: pip install 'mgup[mindspore]'") from error

from mgup_core import __version__ as __version__

from .numpy2 import warm_up

warm_up()

from . import arrays as arrays  # noqa: E402  (the core finds its backend there: N10)
from .base import RuleOptimizer  # noqa: E402
from .factory import optimizer  # noqa: E402
from .optimizers import (  # noqa: E402
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
    MGUPMuon,
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
    "MGUPSOAP",
    "MGUPSignum",
    "MGUPADOPT",
    "MGUPAMSGrad",
    "MGUPGrams",
    "MGUPLaProp",
    "MGUPMARSAdamW",
    "MGUPMARSLion",
    "MGUPNAdamW",
    "MGUPRAdam",
    "MGUPStableAdamW",
    "MGUPScheduleFreeAdamW",
    "MGUPScheduleFreeRAdam",
    "MGUPScheduleFreeSGD",
    "MGUPNorMuon",
    "MGUPAdaMuon",
    "MGUPProdigy",
    "MGUPAdafactor",
]
