"""MGUP in timm: ``timm.optim.create_optimizer_v2(model, "mgupadamw", …)``."""

from __future__ import annotations

import inspect


def register() -> list[str]:
    """Make timm know all optimizers of this package; returns the names it knows them by.

    The names are in lower case and without underscores, since timm cuts names at those:
    ``mgupadamw``, ``lookahead_mgupadamw``. Further arguments go through ``create_optimizer_v2``
    (``tau=0.3``) or the training script's ``--opt-kwargs``.

    Raises:
        ImportError: without timm.
    """
    from timm.optim import OptimInfo
    from timm.optim._optim_factory import default_registry

    from ..optimizers import CLASSES

    names = []
    for title, made in CLASSES.items():
        takes = inspect.signature(made).parameters
        betas = takes["betas"].default if "betas" in takes else ()
        names.append(title.lower())
        default_registry.register(
            OptimInfo(
                name=title.lower(),
                opt_class=made,
                description=f"{made.rule_class.__name__} with MGUP",
                has_eps="eps" in takes,
                has_momentum="momentum" in takes,
                has_betas=bool(betas),
                num_betas=len(betas),
            )
        )
    return names
