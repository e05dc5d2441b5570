"""The optimizers, one function for each rule, with the rules' docstrings and their arguments."""

from __future__ import annotations

from typing import Any

import optax

from mgup_core import rules
from mgup_core.frontend.names import create

from .arguments import Scheduled
from .muon import mgup_muon as mgup_muon
from .transformation import Transformation, transformation

mgup_adabelief = transformation(rules.AdaBelief, positional=("learning_rate", "b1", "b2", "eps"))
mgup_adamp = transformation(
    rules.AdamP, positional=("learning_rate", "b1", "b2", "eps"), defaults={"out_axis": -1}
)
mgup_adamw = transformation(rules.AdamW, positional=("learning_rate", "b1", "b2", "eps"))
mgup_adan = transformation(rules.Adan, positional=("learning_rate", "b1", "b2", "b3", "eps"))
mgup_ademamix = transformation(rules.AdEMAMix, positional=("learning_rate", "b1", "b2", "b3"))
mgup_amadamw = transformation(rules.AMAdamW, positional=("learning_rate", "b1", "b2", "eps"))
mgup_amsgd = transformation(rules.AMSGD)
mgup_anchoredsgd = transformation(rules.AnchoredSGD)
mgup_auon = transformation(rules.AuON, positional=("learning_rate", "momentum"))
mgup_deltamomentum = transformation(rules.DeltaMomentum, defaults={"out_axis": -1})
mgup_fismo = transformation(rules.FISMO)
mgup_hybridauon = transformation(rules.HybridAuON, positional=("learning_rate", "momentum"))
mgup_lion = transformation(rules.Lion, positional=("learning_rate", "b1", "b2"))
mgup_lionk = transformation(rules.LionK, positional=("learning_rate", "b1", "b2"))
mgup_m3 = transformation(rules.M3)
mgup_namo = transformation(rules.NAMO)
mgup_namod = transformation(rules.NAMOD, defaults={"out_axis": -1})
mgup_scale = transformation(rules.SCALE, defaults={"out_axis": -1})
mgup_sgd = transformation(rules.SGD, positional=("learning_rate", "momentum", "nesterov"))
mgup_sgdp = transformation(
    rules.SGDP, positional=("learning_rate", "momentum"), defaults={"out_axis": -1}
)
mgup_sgdsai = transformation(rules.SGDSaI)
mgup_signum = transformation(rules.Signum, positional=("learning_rate", "momentum"))
mgup_adopt = transformation(rules.ADOPT, positional=("learning_rate", "b1", "b2", "eps"))
mgup_amsgrad = transformation(rules.AMSGrad, positional=("learning_rate", "b1", "b2", "eps"))
mgup_grams = transformation(rules.Grams, positional=("learning_rate", "b1", "b2", "eps"))
mgup_laprop = transformation(rules.LaProp, positional=("learning_rate", "b1", "b2", "eps"))
mgup_marsadamw = transformation(rules.MARSAdamW, positional=("learning_rate", "b1", "b2", "eps"))
mgup_marslion = transformation(rules.MARSLion)
mgup_nadamw = transformation(rules.NAdamW, positional=("learning_rate", "b1", "b2", "eps"))
mgup_radam = transformation(rules.RAdam, positional=("learning_rate", "b1", "b2", "eps"))
mgup_stableadamw = transformation(
    rules.StableAdamW, positional=("learning_rate", "b1", "b2", "eps")
)
mgup_schedulefreeadamw = transformation(
    rules.ScheduleFreeAdamW, positional=("learning_rate", "b1", "b2", "eps")
)
mgup_schedulefreesgd = transformation(rules.ScheduleFreeSGD)
mgup_schedulefreeradam = transformation(rules.ScheduleFreeRAdam)
mgup_soap = transformation(rules.SOAP)
mgup_normuon = transformation(rules.NorMuon, defaults={"out_axis": -1})
mgup_adamuon = transformation(rules.AdaMuon)
mgup_prodigy = transformation(rules.Prodigy, positional=("learning_rate", "b1", "b2"))
mgup_adafactor = transformation(rules.Adafactor)

# The same under names that read.
mgup_am_adamw = mgup_amadamw
mgup_am_sgd = mgup_amsgd
mgup_anchored_sgd = mgup_anchoredsgd
mgup_delta_momentum = mgup_deltamomentum
mgup_hybrid_auon = mgup_hybridauon
mgup_lion_k = mgup_lionk
mgup_mars_adamw = mgup_marsadamw
mgup_mars_lion = mgup_marslion
mgup_namo_d = mgup_namod
mgup_sgd_sai = mgup_sgdsai
mgup_stable_adamw = mgup_stableadamw
mgup_schedule_free_adamw = mgup_schedulefreeadamw
mgup_schedule_free_sgd = mgup_schedulefreesgd

# Of two names, the one that reads.
_NAMES: dict[Transformation, str] = {
    value: name for name, value in list(globals().items()) if hasattr(value, "rule_class")
}
_BY_NAME = {name: make for make, name in _NAMES.items()}


def list_optimizers() -> list[str]:
    """The names of all optimizers of this package, as :func:`create_optimizer` takes them."""
    return sorted(_BY_NAME)


def create_optimizer(
    name: str, learning_rate: Scheduled | None = None, **arguments: Any
) -> optax.GradientTransformationExtraArgs:
    """An optimizer by its name, as a configuration file or a sweep has it.

    Args:
        name: one of :func:`list_optimizers`, in any case, with or without ``mgup_``.
        learning_rate: as for its function; None is the function's own default.
        arguments: the function's own.

    Raises:
        ValueError: for an unknown name, with the nearest known one.
        TypeError: for an argument that the function does not take.
    """
    if learning_rate is not None:
        arguments["learning_rate"] = learning_rate
    return create(_BY_NAME, name, **arguments)
