"""MGUP in mindformers: ``optimizer: {type: MGUPAdamW, …}`` in a YAML file."""

from __future__ import annotations

from ..optimizers import CLASSES


def register() -> list[str]:
    """Make mindformers know all optimizers of this package by their names, which are returned.

    Raises:
        ImportError: without mindformers.
    """
    from mindformers.tools.register import MindFormerModuleType, MindFormerRegister

    for made in CLASSES.values():
        MindFormerRegister.register(MindFormerModuleType.OPTIMIZER)(made)
    return list(CLASSES)
