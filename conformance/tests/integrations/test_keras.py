"""Keras 3 on its torch and JAX backends: a process for each, since Keras chooses when imported.

N1: the bits are the reference's.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("keras")

WORKER = """
import sys
import keras
import numpy as np
import mgup_core as core
import mgup_keras

folder = sys.argv[1]
rng = np.random.default_rng(0)
shapes = [(4, 5), (7,), (2, 3, 4)]
start = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
CASES = {
    "MGUPAdamW": (core.AdamW, {"beta_1": 0.8, "tau": 0.3, "weight_decay": 0.1}),
    "MGUPLion": (core.Lion, {"mode": "sign"}),
    "MGUPSGD": (core.SGD, {"momentum": 0.9, "mode": "adaptive"}),
}

# The bits of the reference, with the gradients that Keras hands over.
for name, (rule, arguments) in CASES.items():
    optimizer = mgup_keras.create_optimizer(name.lower(), learning_rate=2.0**-5, **arguments)
    params = [keras.Variable(w) for w in start]
    reference = core.Optimizer(
        optimizer.rule, optimizer.policy, lr=2.0**-5, weight_decay=optimizer.weight_decay or 0.0
    )
    weights = [w.copy() for w in start]
    state = reference.init(weights)
    for _ in range(5):
        grads = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
        optimizer.apply([keras.ops.convert_to_tensor(g) for g in grads], params)
        weights, state = reference.step(weights, grads, state)
    for w, p in zip(weights, params, strict=True):
        np.testing.assert_array_equal(w, keras.ops.convert_to_numpy(p), err_msg=name)

# fit, save and load.
keras.utils.set_random_seed(0)
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8), keras.layers.Dense(2)])
x, y = rng.normal(size=(16, 4)), rng.normal(size=(16, 2))
schedule = keras.optimizers.schedules.CosineDecay(0.01, 10)
model.compile(mgup_keras.MGUPAdamW(schedule, weight_decay=0.1, tau=0.3, clipnorm=1.0), loss="mse")
model.fit(x, y, epochs=2, batch_size=8, shuffle=False, verbose=0)
model.save(f"{folder}/half.keras")
model.fit(x, y, epochs=2, batch_size=8, shuffle=False, verbose=0)
again = keras.saving.load_model(f"{folder}/half.keras")
assert again.optimizer.policy == model.optimizer.policy
again.fit(x, y, epochs=2, batch_size=8, shuffle=False, verbose=0)
for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
    np.testing.assert_array_equal(a, b)
assert set(mgup_keras.list_optimizers()) == set(CASES)
for wrong in ({"tau": 2.0}, {"beta_1": 1.0}):
    try:
        mgup_keras.MGUPAdamW(**wrong)
    except ValueError as error:
        assert next(iter(wrong))[0] in str(error)
    else:
        raise AssertionError(wrong)
print("done")
"""


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_bits_fit_and_files(tmp_path, backend):
    pytest.importorskip(backend)
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", WORKER, str(tmp_path)],
        capture_output=True, text=True, timeout=500, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.endswith("done\n")
