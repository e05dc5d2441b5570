"""The same bits whatever the machine is told: threads, alignment, hashes, order, instructions.

N1, N4, N5. What needs a process of its own is slow; ``make processors`` runs all tests so.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("torch", reason="mgup_torch needs PyTorch")

pytest.importorskip("processors")
import torch

import mgup_torch
import processors

from ..torch.support import advance, give, gradients, parameters, same

SHAPES = ((7, 5), (33,), (300, 401), (5003,), (4, 3, 2, 2))
KINDS = ["MGUPAdamW", "MGUPLion", "MGUPSGD", "MGUPAdan", "MGUPAdamP", "MGUPRAdam"]

PROGRAM = """
import hashlib, sys
import numpy as np, torch
torch.set_num_threads(int(sys.argv[1]))
import mgup_core as core, mgup_torch

def gradients(params, step):
    rng = np.random.default_rng(step)
    return [rng.standard_normal(p.shape).astype("f4") + 0.1 * p for p in params]

found = {}
shapes = [(7, 5), (33,), (300, 401), (5003,)]
start = [np.random.default_rng(99).standard_normal(s).astype("f4") for s in shapes]
for name in ("AdamW", "Lion", "SGD", "AdamP", "StableAdamW"):
    optimizer = core.Optimizer(getattr(core, name)(), lr=0.02, weight_decay=0.1)
    w, state = list(start), optimizer.init(start)
    ours = [torch.from_numpy(x.copy()).requires_grad_() for x in start]
    theirs = getattr(mgup_torch, "MGUP" + name)(ours, lr=0.02, weight_decay=0.1)
    for t in range(4):
        grads = gradients(w, t)
        w, state = optimizer.step(w, grads, state)
        for p, g in zip(ours, gradients([p.detach().numpy() for p in ours], t)):
            p.grad = torch.from_numpy(g)
        theirs.step()
    assert b"".join(x.tobytes() for x in w) == b"".join(p.detach().numpy().tobytes() for p in ours)
    found[name] = hashlib.sha256(b"".join(x.tobytes() for x in w)).hexdigest()
matrix = core.Optimizer(core.Muon(ns_dtype="exact"), lr=0.02)
w = [start[0]]
state = matrix.init(w)
for t in range(3):
    w, state = matrix.step(w, gradients(w, t), state)
found["Muon"] = hashlib.sha256(w[0].tobytes()).hexdigest()
try:
    import jax, mgup_jax, optax
except ImportError:
    pass
else:
    optimizer = mgup_jax.mgup_adamw(0.02, weight_decay=0.1)
    w, state = list(start), optimizer.init(start)
    def step(w, state, grads):
        updates, state = optimizer.update(grads, state, w)
        return optax.apply_updates(w, updates), state
    step = jax.jit(step)
    for t in range(4):
        w, state = step(w, state, gradients([np.asarray(x) for x in w], t))
    found["JAX"] = hashlib.sha256(b"".join(np.asarray(x).tobytes() for x in w)).hexdigest()
    assert found["JAX"] == found["AdamW"]
print(sorted(found.items()))
"""


def bits(threads: int = 1, **environment: str) -> str:
    """The digests that a process prints; empty values are left out of its environment."""
    given = {name: value for name, value in environment.items() if value}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(threads)],
        env={**os.environ, **given}, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def usual() -> str:
    return bits()


@pytest.mark.slow
@pytest.mark.parametrize("threads", [2, 4, 16])
def test_threads(threads, usual):
    assert bits(threads, OMP_NUM_THREADS=str(threads)) == usual


@pytest.mark.slow
@pytest.mark.parametrize("seed", ["0", "1", "4294967295"])
def test_hash_seeds(seed, usual):
    assert bits(PYTHONHASHSEED=seed) == usual


@pytest.mark.slow
@pytest.mark.parametrize("processor", processors.SETTINGS)
def test_processors(processor, usual):
    assert bits(**processors.SETTINGS[processor]) == usual


def made(name, params):
    return getattr(mgup_torch, name)(params, lr=0.02, weight_decay=0.1)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("offset", [1, 2, 3, 7])
def test_memory_alignment(name, offset):
    """Tensors that begin at any multiple of an entry's bytes."""
    usual = parameters(SHAPES)
    advance(made(name, usual), usual, 3)

    def moved(x):
        storage = torch.zeros(x.numel() + offset)
        storage[offset:] = x.detach().reshape(-1)
        return storage[offset:].view(x.shape)

    shifted = [moved(p).requires_grad_() for p in parameters(SHAPES)]
    optimizer = made(name, shifted)
    for step in range(3):
        give(shifted, [moved(g) for g in gradients(shifted, step)])
        optimizer.step()
    assert same(usual, shifted)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("how", ["reversed", "one by one", "groups", "together"])
def test_order_and_company(name, how):
    """What a parameter becomes depends on it alone."""
    usual, others = parameters(SHAPES), parameters(SHAPES)
    advance(made(name, usual), usual, 3)
    if how == "reversed":
        optimizers = [made(name, others[::-1])]
    elif how == "one by one":
        optimizers = [made(name, [p]) for p in others]
    elif how == "groups":
        optimizers = [made(name, [{"params": [p]} for p in others])]
    else:  # many of one shape, which are stepped as a stack
        twins = [p.detach().clone().requires_grad_() for p in others for _ in range(3)]
        optimizers = [made(name, [*others, *twins])]
    for step in range(3):
        grads = gradients(others, step)
        give(others, grads)
        if how == "together":
            give(twins, [g.clone() for g in grads for _ in range(3)])
        for optimizer in optimizers:
            optimizer.step()
    assert same(usual, others)
    if how == "together":
        assert same([p for p in usual for _ in range(3)], twins)
