"""MGUP for MindSpore: optimizers made from the rules of :mod:`mgup_core`."""

try:
    import mindspore  # noqa: F401
except ImportError as error:  # pragma: no cover
    raise ImportError("mgup_mindspore needs MindSpore: pip install 'mgup[mindspore]'") from error

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

from .startup import warm_up

warm_up()

from .base import RuleOptimizer as RuleOptimizer  # noqa: E402
from .factory import optimizer as optimizer  # noqa: E402
from .muon import MGUPMuon as MGUPMuon  # noqa: E402

MGUPAdaBelief = optimizer(AdaBelief)
MGUPAdamW = optimizer(AdamW, positional=("learning_rate", "beta1", "beta2", "eps", "weight_decay"))
MGUPAdan = optimizer(Adan)
MGUPAdEMAMix = optimizer(AdEMAMix)
MGUPAnchoredSGD = optimizer(AnchoredSGD)
MGUPLion = optimizer(Lion, positional=("learning_rate", "beta1", "beta2", "weight_decay"))
MGUPLionK = optimizer(LionK)
MGUPSGD = optimizer(SGD, positional=("learning_rate", "momentum", "dampening", "weight_decay"))
MGUPSGDSaI = optimizer(SGDSaI)
MGUPSignum = optimizer(Signum)
