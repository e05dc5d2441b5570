"""The optimizers, one class for each rule, with the rules' docstrings and their arguments."""

from __future__ import annotations

from typing import Any

from mgup_core import rules
from mgup_core.frontend.names import create

from .base import RuleOptimizer
from .factory import FromRule
from .muon import MGUPMuon


class MGUPAdaBelief(FromRule, rule=rules.AdaBelief): ...


class MGUPAdamP(FromRule, rule=rules.AdamP): ...


class MGUPAdamW(
    FromRule,
    rule=rules.AdamW,
    positional=("learning_rate", "beta1", "beta2", "eps", "weight_decay"),
): ...


class MGUPAdan(FromRule, rule=rules.Adan): ...


class MGUPAdEMAMix(FromRule, rule=rules.AdEMAMix): ...


class MGUPAMAdamW(FromRule, rule=rules.AMAdamW): ...


class MGUPAMSGD(FromRule, rule=rules.AMSGD): ...


class MGUPAnchoredSGD(FromRule, rule=rules.AnchoredSGD): ...


class MGUPAuON(FromRule, rule=rules.AuON): ...


class MGUPDeltaMomentum(FromRule, rule=rules.DeltaMomentum): ...


class MGUPFISMO(FromRule, rule=rules.FISMO): ...


class MGUPHybridAuON(FromRule, rule=rules.HybridAuON): ...


class MGUPLion(
    FromRule, rule=rules.Lion, positional=("learning_rate", "beta1", "beta2", "weight_decay")
): ...


class MGUPLionK(FromRule, rule=rules.LionK): ...


class MGUPM3(FromRule, rule=rules.M3): ...


class MGUPNAMO(FromRule, rule=rules.NAMO): ...


class MGUPNAMOD(FromRule, rule=rules.NAMOD): ...


class MGUPSCALE(FromRule, rule=rules.SCALE): ...


# No further: nn.SGD has its dampening next, and nn.Momentum its decay.
class MGUPSGD(FromRule, rule=rules.SGD, positional=("learning_rate", "momentum")): ...


class MGUPSGDP(FromRule, rule=rules.SGDP): ...


class MGUPSGDSaI(FromRule, rule=rules.SGDSaI): ...


class MGUPSignum(FromRule, rule=rules.Signum): ...


class MGUPADOPT(FromRule, rule=rules.ADOPT): ...


class MGUPAMSGrad(FromRule, rule=rules.AMSGrad): ...


class MGUPGrams(FromRule, rule=rules.Grams): ...


class MGUPLaProp(FromRule, rule=rules.LaProp): ...


class MGUPMARSAdamW(FromRule, rule=rules.MARSAdamW): ...


class MGUPMARSLion(FromRule, rule=rules.MARSLion): ...


class MGUPNAdamW(FromRule, rule=rules.NAdamW): ...


class MGUPRAdam(FromRule, rule=rules.RAdam): ...


class MGUPStableAdamW(FromRule, rule=rules.StableAdamW): ...


class MGUPScheduleFreeAdamW(FromRule, rule=rules.ScheduleFreeAdamW): ...


class MGUPScheduleFreeSGD(FromRule, rule=rules.ScheduleFreeSGD): ...


class MGUPScheduleFreeRAdam(FromRule, rule=rules.ScheduleFreeRAdam): ...


class MGUPSOAP(FromRule, rule=rules.SOAP): ...


class MGUPNorMuon(FromRule, rule=rules.NorMuon): ...


class MGUPAdaMuon(FromRule, rule=rules.AdaMuon): ...


class MGUPProdigy(FromRule, rule=rules.Prodigy): ...


class MGUPAdafactor(FromRule, rule=rules.Adafactor): ...


_ALL: list[type[RuleOptimizer]] = [MGUPMuon, *FromRule.__subclasses__()]
CLASSES = {one.__name__: one for one in sorted(_ALL, key=lambda one: one.__name__.lower())}
"""The optimizers of this package by name."""


def list_optimizers() -> list[str]:
    """The names of all optimizers of this package, as :func:`create_optimizer` takes them."""
    return list(CLASSES)


def create_optimizer(name: str, params: Any, **arguments: Any) -> RuleOptimizer:
    """An optimizer by its name, as a configuration file or a sweep has it.

    Args:
        name: one of :func:`list_optimizers`, in any case, with or without ``MGUP``.
        params: as for its class.
        arguments: the class's own.

    Raises:
        ValueError: for an unknown name, with the nearest known one.
        TypeError: for an argument that the class does not take.
    """
    return create(CLASSES, name, params, **arguments)
