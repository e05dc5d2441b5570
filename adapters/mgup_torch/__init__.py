"""MGUP for PyTorch: optimizers made from the rules of :mod:`mgup_core`, and a wrapper."""

try:
    import torch  # noqa: F401
except ImportError as error:  # pragma: no cover
    raise ImportError("mgup_torch needs PyTorch: pip install 'mgup[torch]'") from error

from mgup_core import SGD, AdamW, Lion

from .base import RuleOptimizer as RuleOptimizer
from .factory import optimizer as optimizer
from .muon import MGUPMuon as MGUPMuon
from .wrapper import MGUP as MGUP

MGUPAdamW = optimizer(
    AdamW,
    positional=("lr", "betas", "eps", "weight_decay", "amsgrad"),
    extra={"amsgrad": False},
)
MGUPLion = optimizer(Lion, positional=("lr", "betas", "weight_decay"))
MGUPSGD = optimizer(SGD, positional=("lr", "momentum", "dampening", "weight_decay", "nesterov"))
