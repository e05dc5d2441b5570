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

from mgup_core import (
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
    HybridAuON,
    Lion,
    LionK,
    SGDSaI,
    Signum,
)

from .numpy2 import warm_up

warm_up()

from . import arrays as arrays  # noqa: E402  (the core finds its backend there: N10)
from .base import RuleOptimizer as RuleOptimizer  # noqa: E402
from .factory import optimizer as optimizer  # noqa: E402
from .muon import MGUPMuon as MGUPMuon  # noqa: E402

MGUPAdaBelief = optimizer(AdaBelief)
MGUPAdamP = optimizer(AdamP)
MGUPAdamW = optimizer(AdamW, positional=("learning_rate", "beta1", "beta2", "eps", "weight_decay"))
MGUPAdan = optimizer(Adan)
MGUPAdEMAMix = optimizer(AdEMAMix)
MGUPAMAdamW = optimizer(AMAdamW)
MGUPAMSGD = optimizer(AMSGD)
MGUPAnchoredSGD = optimizer(AnchoredSGD)
MGUPAuON = optimizer(AuON)
MGUPDeltaMomentum = optimizer(DeltaMomentum)
MGUPFISMO = optimizer(FISMO)
MGUPHybridAuON = optimizer(HybridAuON)
MGUPLion = optimizer(Lion, positional=("learning_rate", "beta1", "beta2", "weight_decay"))
MGUPLionK = optimizer(LionK)
MGUPM3 = optimizer(M3)
MGUPNAMO = optimizer(NAMO)
MGUPNAMOD = optimizer(NAMOD)
MGUPSCALE = optimizer(SCALE)
# No further: nn.SGD has its dampening next, and nn.Momentum its decay.
MGUPSGD = optimizer(SGD, positional=("learning_rate", "momentum"))
MGUPSGDP = optimizer(SGDP)
MGUPSGDSaI = optimizer(SGDSaI)
MGUPSignum = optimizer(Signum)
