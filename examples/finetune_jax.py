"""Fine-tune with a frozen part and two optimizers, by optax.multi_transform.

    python examples/finetune_jax.py [--steps 300]

A small perceptron is trained to tell which of sixteen classes a noisy pattern belongs to. Then the
classes are relabelled: the first layer is frozen, the second is fine-tuned by MGUP-AdamW with mild
factors, and the new head by plain AdamW. Offline, in seconds.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import optax

from mgup_jax import mgup_adamw

CLASSES, INPUTS, WIDTH, BATCH = 16, 64, 128, 128
Params = dict[str, dict[str, jax.Array]]


def layer(key: jax.Array, inputs: int, outputs: int) -> dict[str, jax.Array]:
    kernel = jax.random.normal(key, (inputs, outputs)) / jnp.sqrt(inputs)
    return {"kernel": kernel, "bias": jnp.zeros(outputs)}


def initial(key: jax.Array) -> Params:
    sizes = {"first": (INPUTS, WIDTH), "second": (WIDTH, WIDTH), "head": (WIDTH, CLASSES)}
    keys = jax.random.split(key, len(sizes))
    return {name: layer(k, *size) for k, (name, size) in zip(keys, sizes.items(), strict=True)}


def logits(params: Params, x: jax.Array) -> jax.Array:
    for name in ("first", "second"):
        x = jax.nn.relu(x @ params[name]["kernel"] + params[name]["bias"])
    return x @ params["head"]["kernel"] + params["head"]["bias"]


def batch(key: jax.Array, patterns: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Patterns under noise, and their classes."""
    which, noise = jax.random.split(key)
    chosen = jax.random.randint(which, (BATCH,), 0, len(patterns))
    x = patterns[chosen] + 1.5 * jax.random.normal(noise, (BATCH, INPUTS))
    return x, labels[chosen]


def loss_fn(params: Params, x: jax.Array, y: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(logits(params, x), y).mean()


def train(
    optimizer: optax.GradientTransformation, params: Params, steps: int, data: Any, key: jax.Array
) -> Params:
    """All steps in one scan."""

    def step(carry: Any, key: jax.Array) -> tuple[Any, jax.Array]:
        params, state = carry
        loss, grads = jax.value_and_grad(loss_fn)(params, *batch(key, *data))
        updates, state = optimizer.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), loss

    start = params, optimizer.init(params)
    run = jax.jit(lambda carry, keys: jax.lax.scan(step, carry, keys))
    (params, _), losses = run(start, jax.random.split(key, steps))
    print(f"  loss {losses[:20].mean():.3f} -> {losses[-20:].mean():.3f}")
    return params


def accuracy(params: Params, data: Any, key: jax.Array) -> float:
    x, y = jax.vmap(lambda k: batch(k, *data))(jax.random.split(key, 20))
    return float((logits(params, x).argmax(-1) == y).mean())


def main(steps: int = 300) -> dict[str, float]:
    keys = iter(jax.random.split(jax.random.key(0), 9))
    patterns = jax.random.normal(next(keys), (CLASSES, INPUTS))
    old = patterns, jnp.arange(CLASSES)
    new = patterns, jax.random.permutation(next(keys), CLASSES)

    print("pretraining")
    params = initial(next(keys))
    params = train(mgup_adamw(3e-3, weight_decay=0.01), params, steps, old, next(keys))

    print("fine-tuning on new labels: first layer frozen, second by MGUP-AdamW, head by AdamW")
    params = {**params, "head": layer(next(keys), WIDTH, CLASSES)}
    before = accuracy(params, new, next(keys))
    schedule = optax.cosine_decay_schedule(1e-3, steps)
    optimizer = optax.multi_transform(
        {
            "frozen": optax.set_to_zero(),
            "body": mgup_adamw(schedule, weight_decay=0.01, alpha=1.25, gamma=0.75),
            "head": optax.adamw(schedule),
        },
        {"first": "frozen", "second": "body", "head": "head"},
    )
    tuned = train(optimizer, params, steps, new, next(keys))
    after = accuracy(tuned, new, next(keys))
    frozen = bool((tuned["first"]["kernel"] == params["first"]["kernel"]).all())
    print(f"accuracy {before:.3f} -> {after:.3f}; first layer unchanged: {frozen}")
    return {"before": before, "after": after, "frozen": frozen}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300, help="of each of the two phases")
    asked = parser.parse_args()
    if asked.steps < 1:
        parser.error(f"--steps {asked.steps}: at least 1")
    main(asked.steps)
