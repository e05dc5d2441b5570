"""MGUP for MindSpore: optimizers made from the rules of :mod:`mgup_core`."""

try:
    import mindspore  # noqa: F401
except ImportError as error:  # pragma: no cover
    raise ImportError("mgup_mindspore needs MindSpore: pip install 'mgup[mindspore]'") from error

from mgup_core import (
    ADOPT,
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
    AMSGrad,
    AnchoredSGD,
    AuON,
    DeltaMomentum,
    Grams,
    HybridAuON,
    LaProp,
    Lion,
    LionK,
    MARSAdamW,
    MARSLion,
    NAdamW,
    RAdam,
    SGDSaI,
    Signum,
    StableAdamW,
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
MGUPADOPT = optimizer(ADOPT)
MGUPAMAdamW = optimizer(AMAdamW)
MGUPAMSGD = optimizer(AMSGD)
MGUPAMSGrad = optimizer(AMSGrad)
MGUPAnchoredSGD = optimizer(AnchoredSGD)
MGUPAuON = optimizer(AuON)
MGUPDeltaMomentum = optimizer(DeltaMomentum)
MGUPFISMO = optimizer(FISMO)
MGUPGrams = optimizer(Grams)
MGUPHybridAuON = optimizer(HybridAuON)
MGUPLaProp = optimizer(LaProp)
MGUPLion = optimizer(Lion, positional=("learning_rate", "beta1", "beta2", "weight_decay"))
MGUPLionK = optimizer(LionK)
MGUPM3 = optimizer(M3)
MGUPMARSAdamW = optimizer(MARSAdamW)
MGUPMARSLion = optimizer(MARSLion)
MGUPNAdamW = optimizer(NAdamW)
MGUPNAMO = optimizer(NAMO)
MGUPNAMOD = optimizer(NAMOD)
MGUPRAdam = optimizer(RAdam)
MGUPSCALE = optimizer(SCALE)
# No further: nn.SGD has its dampening next, and nn.Momentum its decay.
MGUPSGD = optimizer(SGD, positional=("learning_rate", "momentum"))
MGUPSGDP = optimizer(SGDP)
MGUPSGDSaI = optimizer(SGDSaI)
MGUPSignum = optimizer(Signum)
MGUPStableAdamW = optimizer(StableAdamW)
