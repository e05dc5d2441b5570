"""MGUP for JAX: optax transformations made from the rules of :mod:`mgup_core`, and a wrapper."""

try:
    import jax  # noqa: F401
    import optax  # noqa: F401
except ImportError as error:  # pragma: no cover
    raise ImportError("mgup_jax needs JAX and optax: pip install 'mgup[jax]'") from error

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

from .muon import MuonDimensionNumbers as MuonDimensionNumbers
from .muon import mgup_muon as mgup_muon
from .state import MGUPState as MGUPState
from .transformation import transformation as transformation
from .wrapper import MGUPWrapperState as MGUPWrapperState
from .wrapper import mgup as mgup

mgup_adabelief = transformation(AdaBelief, positional=("learning_rate", "b1", "b2", "eps"))
mgup_adamp = transformation(
    AdamP, positional=("learning_rate", "b1", "b2", "eps"), defaults={"out_axis": -1}
)
mgup_adamw = transformation(AdamW, positional=("learning_rate", "b1", "b2", "eps"))
mgup_adan = transformation(Adan, positional=("learning_rate", "b1", "b2", "b3", "eps"))
mgup_ademamix = transformation(AdEMAMix, positional=("learning_rate", "b1", "b2", "b3"))
mgup_adopt = transformation(ADOPT, positional=("learning_rate", "b1", "b2", "eps"))
mgup_amadamw = transformation(AMAdamW, positional=("learning_rate", "b1", "b2", "eps"))
mgup_amsgd = transformation(AMSGD)
mgup_amsgrad = transformation(AMSGrad, positional=("learning_rate", "b1", "b2", "eps"))
mgup_anchoredsgd = transformation(AnchoredSGD)
mgup_auon = transformation(AuON, positional=("learning_rate", "momentum"))
mgup_deltamomentum = transformation(DeltaMomentum, defaults={"out_axis": -1})
mgup_fismo = transformation(FISMO)
mgup_grams = transformation(Grams, positional=("learning_rate", "b1", "b2", "eps"))
mgup_hybridauon = transformation(HybridAuON, positional=("learning_rate", "momentum"))
mgup_laprop = transformation(LaProp, positional=("learning_rate", "b1", "b2", "eps"))
mgup_lion = transformation(Lion, positional=("learning_rate", "b1", "b2"))
mgup_lionk = transformation(LionK, positional=("learning_rate", "b1", "b2"))
mgup_m3 = transformation(M3)
mgup_marsadamw = transformation(MARSAdamW, positional=("learning_rate", "b1", "b2", "eps"))
mgup_marslion = transformation(MARSLion)
mgup_nadamw = transformation(NAdamW, positional=("learning_rate", "b1", "b2", "eps"))
mgup_namo = transformation(NAMO)
mgup_namod = transformation(NAMOD, defaults={"out_axis": -1})
mgup_radam = transformation(RAdam, positional=("learning_rate", "b1", "b2", "eps"))
mgup_scale = transformation(SCALE, defaults={"out_axis": -1})
mgup_sgd = transformation(SGD, positional=("learning_rate", "momentum", "nesterov"))
mgup_sgdp = transformation(
    SGDP, positional=("learning_rate", "momentum"), defaults={"out_axis": -1}
)
mgup_sgdsai = transformation(SGDSaI)
mgup_signum = transformation(Signum, positional=("learning_rate", "momentum"))
mgup_stableadamw = transformation(StableAdamW, positional=("learning_rate", "b1", "b2", "eps"))
