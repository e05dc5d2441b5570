"""MGUP for JAX: optax transformations made from the rules of :mod:`mgup_core`, and a wrapper."""

try:
    import jax  # noqa: F401
    import optax  # noqa: F401
except ImportError as error:  # pragma: no cover
    raise ImportError("mgup_jax needs JAX and optax: pip install 'mgup[jax]'") from error

from .muon import MuonDimensionNumbers
from .optimizers import (
    create_optimizer,
    list_optimizers,
    mgup_adabelief,
    mgup_adamp,
    mgup_adamw,
    mgup_adan,
    mgup_ademamix,
    mgup_am_adamw,
    mgup_am_sgd,
    mgup_amadamw,
    mgup_amsgd,
    mgup_anchored_sgd,
    mgup_anchoredsgd,
    mgup_auon,
    mgup_delta_momentum,
    mgup_deltamomentum,
    mgup_fismo,
    mgup_hybrid_auon,
    mgup_hybridauon,
    mgup_lion,
    mgup_lion_k,
    mgup_lionk,
    mgup_m3,
    mgup_muon,
    mgup_namo,
    mgup_namo_d,
    mgup_namod,
    mgup_scale,
    mgup_sgd,
    mgup_sgd_sai,
    mgup_sgdp,
    mgup_sgdsai,
    mgup_signum,
)
from .state import MGUPState
from .transformation import Transformation, transformation
from .wrapper import MGUPWrapperState, mgup

__all__ = [
    "MGUPState",
    "MGUPWrapperState",
    "MuonDimensionNumbers",
    "Transformation",
    "create_optimizer",
    "list_optimizers",
    "mgup",
    "transformation",
    "mgup_adabelief",
    "mgup_adamp",
    "mgup_adamw",
    "mgup_adan",
    "mgup_ademamix",
    "mgup_am_adamw",
    "mgup_am_sgd",
    "mgup_amadamw",
    "mgup_amsgd",
    "mgup_anchored_sgd",
    "mgup_anchoredsgd",
    "mgup_auon",
    "mgup_delta_momentum",
    "mgup_deltamomentum",
    "mgup_fismo",
    "mgup_hybrid_auon",
    "mgup_hybridauon",
    "mgup_lion",
    "mgup_lion_k",
    "mgup_lionk",
    "mgup_m3",
    "mgup_muon",
    "mgup_namo",
    "mgup_namo_d",
    "mgup_namod",
    "mgup_scale",
    "mgup_sgd",
    "mgup_sgd_sai",
    "mgup_sgdp",
    "mgup_sgdsai",
    "mgup_signum",
]
