"""Base optimizers, one file each."""

from .adabelief import AdaBelief as AdaBelief
from .adamp import AdamP as AdamP
from .adamw import AdamW as AdamW
from .adan import Adan as Adan
from .ademamix import AdEMAMix as AdEMAMix
from .am_adamw import AMAdamW as AMAdamW
from .am_sgd import AMSGD as AMSGD
from .anchored_sgd import AnchoredSGD as AnchoredSGD
from .auon import AuON as AuON
from .base import Direction as Direction
from .base import Rule as Rule
from .base import State as State
from .base import fresh_state as fresh_state
from .lion import Lion as Lion
from .lion_k import LionK as LionK
from .muon import Muon as Muon
from .scale import SCALE as SCALE
from .sgd import SGD as SGD
from .sgd_sai import SGDSaI as SGDSaI
from .sgdp import SGDP as SGDP
from .signum import Signum as Signum
