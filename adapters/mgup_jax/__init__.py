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

from mgup_core import (
    AMSGD,
    FISMO,
    M3,
    NAMO,
    NAMOD,
    SCALE,
    SGD,
    SGDP,
    AdaBelief,
    AdamP,
    AdamW,
    Adan,
    AdEMAMix,
    AMAdamW,
    AnchoredSGD,
    AuON,
    DeltaMomentum,
    HybridAuON,
    Lion,
    LionK,
    SGDSaI,
    Signum,
)

from .muon import MuonDimensionNumbers as MuonDimensionNumbers
from .muon import mgup_muon as mgup_muon
from .state import MGUPState as MGUPState
from .transformation import transformation as transformation
from .wrapper import MGUPWrapperState as MGUPWrapperState
from .wrapper import mgup as mgup

mgup_adabelief = transformation(AdaBelief, positional=("learning_rate", "b1", "b2", "eps"))
mgup_adamp = transformation(
    AdamP, positional=("learning_rate", "b1", "b2", "eps"), defaults={"out_axis": -1}
)
mgup_adamw = transformation(AdamW, positional=("learning_rate", "b1", "b2", "eps"))
mgup_adan = transformation(Adan, positional=("learning_rate", "b1", "b2", "b3", "eps"))
mgup_ademamix = transformation(AdEMAMix, positional=("learning_rate", "b1", "b2", "b3"))
mgup_amadamw = transformation(AMAdamW, positional=("learning_rate", "b1", "b2", "eps"))
mgup_amsgd = transformation(AMSGD)
mgup_anchoredsgd = transformation(AnchoredSGD)
mgup_auon = transformation(AuON, positional=("learning_rate", "momentum"))
mgup_deltamomentum = transformation(DeltaMomentum, defaults={"out_axis": -1})
mgup_fismo = transformation(FISMO)
mgup_hybridauon = transformation(HybridAuON, positional=("learning_rate", "momentum"))
mgup_lion = transformation(Lion, positional=("learning_rate", "b1", "b2"))
mgup_lionk = transformation(LionK, positional=("learning_rate", "b1", "b2"))
mgup_m3 = transformation(M3)
mgup_namo = transformation(NAMO)
mgup_namod = transformation(NAMOD, defaults={"out_axis": -1})
mgup_scale = transformation(SCALE, defaults={"out_axis": -1})
mgup_sgd = transformation(SGD, positional=("learning_rate", "momentum", "nesterov"))
mgup_sgdp = transformation(
    SGDP, positional=("learning_rate", "momentum"), defaults={"out_axis": -1}
)
mgup_sgdsai = transformation(SGDSaI)
mgup_signum = transformation(Signum, positional=("learning_rate", "momentum"))
