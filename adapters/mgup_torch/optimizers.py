"""The optimizers, one class for each rule, with the rules' docstrings and their arguments."""

from __future__ import annotations

from typing import Any

from mgup_core import rules
from mgup_core.frontend.names import create

from .base.optimizer import RuleOptimizer
from .factory import FromRule
from .muon import MGUPMuon


class MGUPAdaBelief(
    FromRule, rule=rules.AdaBelief, positional=("lr", "betas", "eps", "weight_decay")
): ...


class MGUPAdamP(
    FromRule,
    rule=rules.AdamP,
    positional=("lr", "betas", "eps", "weight_decay", "delta", "wd_ratio", "nesterov"),
): ...


class MGUPAdamW(
    FromRule,
    rule=rules.AdamW,
    positional=("lr", "betas", "eps", "weight_decay", "amsgrad"),
    extra={"amsgrad": False},
): ...


class MGUPAdan(FromRule, rule=rules.Adan, positional=("lr", "betas", "eps", "weight_decay")): ...


class MGUPAdEMAMix(FromRule, rule=rules.AdEMAMix, positional=("lr", "betas")): ...


class MGUPADOPT(FromRule, rule=rules.ADOPT, positional=("lr", "betas", "eps", "weight_decay")): ...


class MGUPAMAdamW(FromRule, rule=rules.AMAdamW, positional=("lr", "betas", "eps")): ...


class MGUPAMSGD(FromRule, rule=rules.AMSGD): ...


class MGUPAMSGrad(
    FromRule, rule=rules.AMSGrad, positional=("lr", "betas", "eps", "weight_decay")
): ...


class MGUPAnchoredSGD(FromRule, rule=rules.AnchoredSGD): ...


class MGUPAuON(FromRule, rule=rules.AuON, positional=("lr", "momentum")): ...


class MGUPDeltaMomentum(FromRule, rule=rules.DeltaMomentum): ...


class MGUPFISMO(FromRule, rule=rules.FISMO): ...


class MGUPGrams(FromRule, rule=rules.Grams, positional=("lr", "betas", "eps", "weight_decay")): ...


class MGUPHybridAuON(FromRule, rule=rules.HybridAuON, positional=("lr", "momentum")): ...


class MGUPLaProp(
    FromRule, rule=rules.LaProp, positional=("lr", "betas", "eps", "weight_decay")
): ...


class MGUPLion(FromRule, rule=rules.Lion, positional=("lr", "betas", "weight_decay")): ...


class MGUPLionK(FromRule, rule=rules.LionK, positional=("lr", "betas", "weight_decay")): ...


class MGUPM3(FromRule, rule=rules.M3): ...


class MGUPMARSAdamW(
    FromRule, rule=rules.MARSAdamW, positional=("lr", "betas", "eps", "weight_decay")
): ...


class MGUPMARSLion(FromRule, rule=rules.MARSLion): ...


class MGUPNAdamW(
    FromRule, rule=rules.NAdamW, positional=("lr", "betas", "eps", "weight_decay")
): ...


class MGUPNAMO(FromRule, rule=rules.NAMO): ...


class MGUPNAMOD(FromRule, rule=rules.NAMOD): ...


class MGUPRAdam(FromRule, rule=rules.RAdam, positional=("lr", "betas", "eps", "weight_decay")): ...


class MGUPSCALE(FromRule, rule=rules.SCALE): ...


class MGUPSGD(
    FromRule, rule=rules.SGD, positional=("lr", "momentum", "dampening", "weight_decay", "nesterov")
): ...


class MGUPSGDP(
    FromRule,
    rule=rules.SGDP,
    positional=("lr", "momentum", "dampening", "weight_decay", "nesterov", "eps", "delta"),
): ...


class MGUPSGDSaI(
    FromRule, rule=rules.SGDSaI, positional=("lr", "momentum", "eps", "weight_decay")
): ...


class MGUPSignum(FromRule, rule=rules.Signum, positional=("lr", "momentum", "weight_decay")): ...


class MGUPStableAdamW(
    FromRule, rule=rules.StableAdamW, positional=("lr", "betas", "eps", "weight_decay")
): ...


class MGUPScheduleFreeAdamW(
    FromRule, rule=rules.ScheduleFreeAdamW, positional=("lr", "betas", "eps", "weight_decay")
): ...


class MGUPScheduleFreeSGD(FromRule, rule=rules.ScheduleFreeSGD): ...


class MGUPScheduleFreeRAdam(FromRule, rule=rules.ScheduleFreeRAdam): ...


class MGUPSOAP(FromRule, rule=rules.SOAP): ...


class MGUPNorMuon(FromRule, rule=rules.NorMuon): ...


class MGUPAdaMuon(FromRule, rule=rules.AdaMuon): ...


class MGUPProdigy(FromRule, rule=rules.Prodigy, positional=("lr", "betas")): ...


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
