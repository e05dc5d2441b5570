"""MGUP, the distribution, and where its parts are; nothing is defined here.

==================== ==============================================================================
``mgup_torch``       ``torch.optim.Optimizer`` classes: ``from mgup_torch import MGUPAdamW``
``mgup_jax``         optax transformations: ``from mgup_jax import mgup_adamw``
``mgup_mindspore``   ``nn.Optimizer`` classes: ``from mgup_mindspore import MGUPAdamW``
``mgup_keras``       ``keras.optimizers`` classes: ``from mgup_keras import MGUPAdamW``
``mgup_core``        rules, policies and the reference: ``from mgup_core import AdamW, Optimizer``
``mgup_conformance`` the suite that checks implementations: ``mgup-conformance run``
==================== ==============================================================================

They are packages of their own, so that importing one imports no other's framework.
"""

from mgup_core import __version__ as __version__
