"""What users of mgup_jax write, and slips that a checker must tell them (``# slip``)."""

import jax
import jax.numpy as jnp
import optax

import mgup_jax
from mgup_core import AdamW
from mgup_jax import (
    MGUPState,
    create_optimizer,
    mgup,
    mgup_adamw,
    mgup_anchored_sgd,
    mgup_muon,
    mgup_sgd,
)

# README.md
transformation = mgup_adamw(1e-3, weight_decay=0.01, tau=0.5)

params = {"w": jnp.ones((4, 3))}
state = transformation.init(params)
updates, state = transformation.update(params, state, params)
params = optax.apply_updates(params, updates)

# Positions of the twins, schedules, arrays as numbers, names.
mgup_adamw(optax.constant_schedule(1e-3), 0.9, 0.95, 1e-8, mask={"w": True})
mgup_sgd(jnp.asarray(0.1), 0.9, True, mode="adaptive", alpha=lambda count: 2.0)
mgup_anchored_sgd(0.1, stacked_dims={"w": 1}, state_dtype=jnp.float32, update_dtype="compute")
mgup_muon(0.02, scale="original", adam_learning_rate=1e-3, mode="sign", ties="aligned")
mgup(optax.sgd(0.1), weight_decay=0.1, learning_rate=0.1, tau=0.3, selection="graph")

injected = optax.inject_hyperparams(mgup_adamw, static_args=mgup_adamw.static_args)(1e-3)
fewer: tuple[str, ...] = mgup_adamw.structural_args
static: tuple[str, ...] = mgup_muon.static_args
made: mgup_jax.Transformation = mgup_jax.transformation(AdamW, name="mine")
names: list[str] = mgup_jax.list_optimizers()
by_name = create_optimizer(names[0], 0.1, tau=0.25)
kept: MGUPState = MGUPState(jnp.zeros((), jnp.int32), {})
jax.jit(by_name.update)(updates, state, params)

mgup_adamw(lr=1e-3)  # slip
mgup_adamw(1e-3, betas=(0.9, 0.999))  # slip
mgup_adamw("fast")  # slip
mgup_adamw(1e-3, mode="ranked")  # slip
mgup_adamw(1e-3, 0.9, 0.999, 1e-8, 0.01)  # slip
mgup_adamw(1e-3, tua=0.5)  # slip
mgup_sgd(0.1, b1=0.9)  # slip
mgup_anchored_sgd(0.1, ties="both")  # slip
mgup_muon(0.02, scale="rms")  # slip
mgup_muon(0.02, tua=0.5)  # slip
mgup(optax.sgd(0.1), selection="host")  # slip
mgup(optax.sgd(0.1), tua=0.5)  # slip
print(mgup_adamw.static_arguments)  # slip
mgup_jax.mgup_adamv(1e-3)  # slip
mgup_jax.transformation("AdamW")  # slip
