"""The arms of the audit: each an optimizer of this library, or one with a control for a policy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

import mgup_torch
from audit.policies import BottomMask, MagnitudeMask, RandomMask


class Arm(NamedTuple):
    """One optimizer of the comparison."""

    label: str
    """In figures and tables."""
    kind: str = "MGUPAdamW"
    """The class of :mod:`mgup_torch`."""
    mode: Any = "rank"
    """A mode by name, or a control."""
    numbers: tuple[float, float, float] | None = None
    """tau, alpha and gamma, where the mode has them."""
    factor: float = 1.0
    """Of the learning rate: MGUP's mean multiplier, for a base rule that is scaled by it."""


HALF, MILD, PUBLISHED = (0.5, 2.0, 0.5), (0.5, 1.5, 0.75), (0.5, 2.0, 0.1)
MEAN = 1.25  # of the defaults' multiplier (P12)

ARMS: dict[str, Arm] = {
    "adamw": Arm("AdamW", mode="off"),
    "adamw-scaled": Arm("AdamW, rate × 1.25", mode="off", factor=MEAN),
    "nadamw": Arm("NAdamW", kind="MGUPNAdamW", mode="off"),
    "cautious": Arm("Cautious AdamW", mode="cautious"),
    "mgup": Arm("MGUP (2, ½)", numbers=HALF),
    "mgup-mild": Arm("MGUP (1.5, ¾)", numbers=MILD),
    "mgup-published": Arm("MGUP (2, 0.1)", numbers=PUBLISHED),
    "sign": Arm("Cautious-MGUP (2, ½)", mode="sign", numbers=HALF),
    "adaptive": Arm("MGUP adaptive", mode="adaptive"),
    "random": Arm("random mask (2, ½)", mode=RandomMask, numbers=HALF),
    "bottom": Arm("least aligned (2, ½)", mode=BottomMask, numbers=HALF),
    "magnitude": Arm("largest |u| (2, ½)", mode=MagnitudeMask, numbers=HALF),
    "lion": Arm("Lion", kind="MGUPLion", mode="off"),
    "lion-mgup": Arm("MGUP-Lion (2, ½)", kind="MGUPLion", numbers=HALF),
    "muon": Arm("Muon", kind="MGUPMuon", mode="off"),
    "muon-mgup": Arm("MGUP-Muon (2, ½)", kind="MGUPMuon", numbers=HALF),
}
"""Every arm by its name in configurations and in the CSV."""


def make_optimizer(
    name: str,
    groups: Sequence[dict[str, Any]],
    *,
    lr: float,
    betas: tuple[float, float],
    weight_decay: float,
    seed: int,
    **more: Any,
) -> torch.optim.Optimizer:
    """The optimizer of an arm.

    Args:
        groups: parameter groups with ``stacked_dims``, ``matrices`` (whether Muon trains them) and
            ``decays``.
        lr: as the grid has it, before :attr:`Arm.factor`.
        seed: of a random mask.
    """
    arm = ARMS[name]
    given: dict[str, Any] = {"lr": lr * arm.factor, **more}
    if arm.kind == "MGUPMuon":
        given["adamw_betas"] = betas
    else:
        given["betas"] = betas
    tau, alpha, gamma = arm.numbers or (0.5, None, None)
    if isinstance(arm.mode, str):
        given |= {"mode": arm.mode, "tau": tau, "alpha": alpha, "gamma": gamma}
    else:
        of_its_own = {"seed": seed} if arm.mode is RandomMask else {}
        given["mode"] = arm.mode(tau, alpha, gamma, **of_its_own)
    return getattr(mgup_torch, arm.kind)(
        [
            {
                "params": group["params"],
                "stacked_dims": group["stacked_dims"],
                "weight_decay": weight_decay if group["decays"] else 0.0,
                **({"use_muon": group["matrices"]} if arm.kind == "MGUPMuon" else {}),
            }
            for group in groups
        ],
        **given,
    )
