"""Base optimizers, one in each file; :data:`ALL` lists them."""

from .._typing import State as State
from .adabelief import AdaBelief as AdaBelief
from .adafactor import Adafactor as Adafactor
from .adamp import AdamP as AdamP
from .adamuon import AdaMuon as AdaMuon
from .adamw import AdamW as AdamW
from .adan import Adan as Adan
from .ademamix import AdEMAMix as AdEMAMix
from .adopt import ADOPT as ADOPT
from .amsgrad import AMSGrad as AMSGrad
from .auon import AuON as AuON
from .base import Direction as Direction
from .base import Rule as Rule
from .base import fresh_state as fresh_state
from .contrib.am_adamw import AMAdamW as AMAdamW
from .contrib.am_sgd import AMSGD as AMSGD
from .contrib.anchored_sgd import AnchoredSGD as AnchoredSGD
from .contrib.delta_momentum import DeltaMomentum as DeltaMomentum
from .contrib.fismo import FISMO as FISMO
from .contrib.m3 import M3 as M3
from .grams import Grams as Grams
from .hybrid_auon import HybridAuON as HybridAuON
from .laprop import LaProp as LaProp
from .lion import Lion as Lion
from .lion_k import LionK as LionK
from .mars import MARSAdamW as MARSAdamW
from .mars import MARSLion as MARSLion
from .muon import Muon as Muon
from .nadamw import NAdamW as NAdamW
from .namo import NAMO as NAMO
from .namo import NAMOD as NAMOD
from .normuon import NorMuon as NorMuon
from .prodigy import Prodigy as Prodigy
from .radam import RAdam as RAdam
from .scale import SCALE as SCALE
from .schedule_free import ScheduleFreeAdamW as ScheduleFreeAdamW
from .schedule_free import ScheduleFreeRAdam as ScheduleFreeRAdam
from .schedule_free import ScheduleFreeSGD as ScheduleFreeSGD
from .sgd import SGD as SGD
from .sgd_sai import SGDSaI as SGDSaI
from .sgdp import SGDP as SGDP
from .signum import Signum as Signum
from .soap import SOAP as SOAP
from .stable_adamw import StableAdamW as StableAdamW

ALL: tuple[type[Rule], ...] = (
    AdamW,
    Lion,
    SGD,
    Muon,
    AdaBelief,
    Adafactor,
    AdamP,
    AdaMuon,
    Adan,
    AdEMAMix,
    ADOPT,
    AMAdamW,
    AMSGD,
    AMSGrad,
    AnchoredSGD,
    AuON,
    DeltaMomentum,
    FISMO,
    Grams,
    HybridAuON,
    LaProp,
    LionK,
    M3,
    MARSAdamW,
    MARSLion,
    NAdamW,
    NAMO,
    NAMOD,
    NorMuon,
    Prodigy,
    RAdam,
    SCALE,
    ScheduleFreeAdamW,
    ScheduleFreeRAdam,
    ScheduleFreeSGD,
    SGDP,
    SGDSaI,
    Signum,
    SOAP,
    StableAdamW,
)
"""Every rule of the library: those of the specification first, then by name."""
