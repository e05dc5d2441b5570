"""MGUP for Keras 3, on its torch and JAX backends: the core's rules as ``keras.optimizers``.

The step is the core's, in the arithmetic that mgup_torch or mgup_jax gives the backend's arrays, so
that on the CPU the updates have the bits of the reference with the gradients that Keras hands over.
Keras casts the learning rate to float32. TensorFlow has no such arithmetic here and is refused.
"""

try:
    import keras  # noqa: F401
except ImportError as error:  # pragma: no cover
    raise ImportError("mgup_keras needs Keras 3: pip install keras") from error

from mgup_core import __version__ as __version__

from .optimizers import (
    MGUPSGD,
    MGUPAdamW,
    MGUPLion,
    RuleOptimizer,
    create_optimizer,
    list_optimizers,
)

__all__ = [
    "RuleOptimizer",
    "create_optimizer",
    "list_optimizers",
    "MGUPAdamW",
    "MGUPLion",
    "MGUPSGD",
]
