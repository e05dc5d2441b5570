"""MGUP for PyTorch: optimizers made from the rules of :mod:`mgup_core`, and a wrapper."""

try:
    import torch  # noqa: F401
except ImportError as error:  # pragma: no cover
    raise ImportError("mgup_torch needs PyTorch: pip install 'mgup[torch]'") from error

from mgup_core import (
    SGD,
    AdaBelief,
    AdamW,
    Adan,
    AdEMAMix,
    AnchoredSGD,
    Lion,
    LionK,
    SGDSaI,
    Signum,
)

from .base import RuleOptimizer as RuleOptimizer
from .factory import optimizer as optimizer
from .muon import MGUPMuon as MGUPMuon
from .wrapper import MGUP as MGUP

MGUPAdaBelief = optimizer(AdaBelief, positional=("lr", "betas", "eps", "weight_decay"))
MGUPAdamW = optimizer(
    AdamW,
    positional=("lr", "betas", "eps", "weight_decay", "amsgrad"),
    extra={"amsgrad": False},
)
MGUPAdan = optimizer(Adan, positional=("lr", "betas", "eps", "weight_decay"))
MGUPAdEMAMix = optimizer(AdEMAMix, positional=("lr", "betas"))
MGUPAnchoredSGD = optimizer(AnchoredSGD)
MGUPLion = optimizer(Lion, positional=("lr", "betas", "weight_decay"))
MGUPLionK = optimizer(LionK, positional=("lr", "betas", "weight_decay"))
MGUPSGD = optimizer(SGD, positional=("lr", "momentum", "dampening", "weight_decay", "nesterov"))
MGUPSGDSaI = optimizer(SGDSaI, positional=("lr", "momentum", "eps", "weight_decay"))
MGUPSignum = optimizer(Signum, positional=("lr", "momentum", "weight_decay"))
