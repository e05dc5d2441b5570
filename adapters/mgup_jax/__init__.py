"""MGUP for JAX: optax transformations made from the rules of :mod:`mgup_core`, and a wrapper.

Each function, such as ``mgup_adamw``, takes the arguments of its twin in optax, and ``tau``,
``alpha``, ``gamma`` and ``mode`` besides. Of each parameter, or each *slice* of it
(``stacked_dims``), the share ``tau`` of coordinates whose update agrees best with the gradient
steps ``alpha`` times as far, and the rest ``gamma`` times. :func:`transformation` makes a function
of any rule; :func:`mgup` wraps any optax transformation. States are pytrees, steps may be jitted,
and sharded parameters are ranked as wholes. On the CPU the results have the bits of the reference.

>>> import jax.numpy as jnp
>>> optimizer = mgup_adamw(learning_rate=0.1, weight_decay=0.0, tau=0.5)
>>> params = {"w": jnp.array([1.0, -2.0])}
>>> state = optimizer.init(params)
>>> updates, state = optimizer.update({"w": jnp.array([0.5, -3.0])}, state, params)
>>> print(optax.apply_updates(params, updates)["w"].round(2))
[ 0.95 -1.8 ]
"""

try:
    import jax  # noqa: F401
    import optax  # noqa: F401
except ImportError as error:  # pragma: no cover
    raise ImportError("mgup_jax needs JAX and optax: pip install 'mgup[jax]'") from error

from mgup_core import __version__ as __version__

from .in_place import Optimizer
from .module_types import nnx_dimension_numbers
from .muon import MuonDimensionNumbers
from .optimizers import (
    create_optimizer,
    list_optimizers,
    mgup_adabelief,
    mgup_adafactor,
    mgup_adamp,
    mgup_adamuon,
    mgup_adamw,
    mgup_adan,
    mgup_ademamix,
    mgup_adopt,
    mgup_am_adamw,
    mgup_am_sgd,
    mgup_amadamw,
    mgup_amsgd,
    mgup_amsgrad,
    mgup_anchored_sgd,
    mgup_anchoredsgd,
    mgup_auon,
    mgup_delta_momentum,
    mgup_deltamomentum,
    mgup_fismo,
    mgup_grams,
    mgup_hybrid_auon,
    mgup_hybridauon,
    mgup_laprop,
    mgup_lion,
    mgup_lion_k,
    mgup_lionk,
    mgup_m3,
    mgup_mars_adamw,
    mgup_mars_lion,
    mgup_marsadamw,
    mgup_marslion,
    mgup_muon,
    mgup_nadamw,
    mgup_namo,
    mgup_namo_d,
    mgup_namod,
    mgup_normuon,
    mgup_prodigy,
    mgup_radam,
    mgup_scale,
    mgup_schedule_free_adamw,
    mgup_schedule_free_sgd,
    mgup_schedulefreeadamw,
    mgup_schedulefreeradam,
    mgup_schedulefreesgd,
    mgup_sgd,
    mgup_sgd_sai,
    mgup_sgdp,
    mgup_sgdsai,
    mgup_signum,
    mgup_soap,
    mgup_stable_adamw,
    mgup_stableadamw,
)
from .state import MGUPState, eval_params
from .transformation import Transformation, transformation
from .wrapper import MGUPWrapperState, mgup, scale_by_mgup

__all__ = [
    "MGUPState",
    "MGUPWrapperState",
    "MuonDimensionNumbers",
    "Optimizer",
    "Transformation",
    "create_optimizer",
    "eval_params",
    "list_optimizers",
    "mgup",
    "nnx_dimension_numbers",
    "scale_by_mgup",
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
    "mgup_soap",
    "mgup_adopt",
    "mgup_amsgrad",
    "mgup_grams",
    "mgup_laprop",
    "mgup_marsadamw",
    "mgup_marslion",
    "mgup_nadamw",
    "mgup_radam",
    "mgup_stableadamw",
    "mgup_mars_adamw",
    "mgup_mars_lion",
    "mgup_stable_adamw",
    "mgup_schedulefreeadamw",
    "mgup_schedule_free_adamw",
    "mgup_schedulefreeradam",
    "mgup_schedulefreesgd",
    "mgup_schedule_free_sgd",
    "mgup_normuon",
    "mgup_adamuon",
    "mgup_prodigy",
    "mgup_adafactor",
]
