"""MGUP for PyTorch: optimizers made from the rules of :mod:`mgup_core`, and a wrapper."""

try:
    import torch  # noqa: F401
except ImportError as error:  # pragma: no cover
    raise ImportError("mgup_torch needs PyTorch: pip install 'mgup[torch]'") from error

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

from .base.optimizer import RuleOptimizer as RuleOptimizer
from .contrib.mkor import MKOR as MKOR
from .factory import optimizer as optimizer
from .muon import MGUPMuon as MGUPMuon
from .wrapper import MGUP as MGUP

MGUPAdaBelief = optimizer(AdaBelief, positional=("lr", "betas", "eps", "weight_decay"))
MGUPAdamP = optimizer(
    AdamP,
    positional=("lr", "betas", "eps", "weight_decay", "delta", "wd_ratio", "nesterov"),
)
MGUPAdamW = optimizer(
    AdamW,
    positional=("lr", "betas", "eps", "weight_decay", "amsgrad"),
    extra={"amsgrad": False},
)
MGUPAdan = optimizer(Adan, positional=("lr", "betas", "eps", "weight_decay"))
MGUPAdEMAMix = optimizer(AdEMAMix, positional=("lr", "betas"))
MGUPAMAdamW = optimizer(AMAdamW, positional=("lr", "betas", "eps"))
MGUPAMSGD = optimizer(AMSGD)
MGUPAnchoredSGD = optimizer(AnchoredSGD)
MGUPAuON = optimizer(AuON, positional=("lr", "momentum"))
MGUPDeltaMomentum = optimizer(DeltaMomentum)
MGUPFISMO = optimizer(FISMO)
MGUPHybridAuON = optimizer(HybridAuON, positional=("lr", "momentum"))
MGUPLion = optimizer(Lion, positional=("lr", "betas", "weight_decay"))
MGUPLionK = optimizer(LionK, positional=("lr", "betas", "weight_decay"))
MGUPM3 = optimizer(M3)
MGUPNAMO = optimizer(NAMO)
MGUPNAMOD = optimizer(NAMOD)
MGUPSCALE = optimizer(SCALE)
MGUPSGD = optimizer(SGD, positional=("lr", "momentum", "dampening", "weight_decay", "nesterov"))
MGUPSGDP = optimizer(
    SGDP,
    positional=("lr", "momentum", "dampening", "weight_decay", "nesterov", "eps", "delta"),
)
MGUPSGDSaI = optimizer(SGDSaI, positional=("lr", "momentum", "eps", "weight_decay"))
MGUPSignum = optimizer(Signum, positional=("lr", "momentum", "weight_decay"))
