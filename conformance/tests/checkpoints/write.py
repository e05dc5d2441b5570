"""Write checkpoints for ``test_checkpoints.py``, which loads them with whatever stands by then.

``python conformance/tests/checkpoints/write.py FOLDER``, in a checkout of the version to be kept:
three steps of a few optimizers, their states and parameters, and where the fourth step goes.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np

SHAPES = {"layer.weight": (6, 4), "layer.bias": (4,), "embed.weight": (8, 4)}
TORCH = {
    "MGUPAdamW": {"weight_decay": 0.01, "tau": 0.25},
    "MGUPLion": {"mode": "sign"},
    "MGUPSGD": {"momentum": 0.9, "nesterov": True},
    "MGUPMuon": {"ns_dtype": "float32"},
    "MGUPAdEMAMix": {},
    "MGUPAdaBelief": {"mode": "adaptive"},
}
JAX = {
    "mgup_adamw": {"weight_decay": 0.01, "tau": 0.25},
    "mgup_lion": {"mode": "sign"},
    "mgup_sgd": {"momentum": 0.9},
}
MINDSPORE = {"MGUPAdamW": {"weight_decay": 0.01, "tau": 0.25}, "MGUPLion": {"mode": "sign"}}


def arrays(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {n: rng.standard_normal(s).astype(np.float32) for n, s in SHAPES.items()}


def torch_run(name: str, steps: range, made=None):
    """(the optimizer, its named parameters) after the steps."""
    import torch

    import mgup_torch

    if made is None:
        params = [(n, torch.nn.Parameter(torch.from_numpy(x))) for n, x in arrays(0).items()]
        made = getattr(mgup_torch, name)(params, lr=0.01, **TORCH[name]), dict(params)
    optimizer, params = made
    for step in steps:
        for n, g in arrays(step + 1).items():
            params[n].grad = torch.from_numpy(g)
        optimizer.step()
    return optimizer, params


def jax_run(name: str, steps: range, made=None):
    """(the transformation, state, parameters) after the steps."""
    import jax
    import optax

    import mgup_jax

    if made is None:
        transformation = getattr(mgup_jax, name)(0.01, **JAX[name])
        params = jax.tree.map(jax.numpy.asarray, arrays(0))
        made = transformation, transformation.init(params), params
    transformation, state, params = made
    for step in steps:
        updates, state = transformation.update(arrays(step + 1), state, params)
        params = optax.apply_updates(params, updates)
    return transformation, state, params


def mindspore_run(name: str, steps: range, made=None):
    """(the optimizer, its parameters) after the steps."""
    import mgup_mindspore  # isort: skip
    import mindspore as ms

    if made is None:
        params = [ms.Parameter(ms.Tensor(x), name=n) for n, x in arrays(0).items()]
        made = getattr(mgup_mindspore, name)(params, learning_rate=0.01, **MINDSPORE[name]), params
    optimizer, params = made
    for step in steps:
        optimizer(tuple(ms.Tensor(g) for g in arrays(step + 1).values()))
    return optimizer, params


def main() -> None:
    import jax
    import mindspore as ms
    import torch

    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in TORCH:
        optimizer, params = torch_run(name, range(3))
        saved = {n: p.detach().clone() for n, p in params.items()}
        torch.save({"optimizer": optimizer.state_dict(), "params": saved}, folder / f"{name}.pt")
        with open(folder / f"{name}.pkl", "wb") as file:
            pickle.dump((optimizer, params), file)
        _, after = torch_run(name, range(3, 4), (optimizer, params))
        np.savez(folder / f"{name}.npz", **{n: p.detach().numpy() for n, p in after.items()})
    for name in JAX:
        made = jax_run(name, range(3))
        with open(folder / f"{name}.pkl", "wb") as file:
            pickle.dump(jax.tree.map(np.asarray, made[1:]), file)
        after = jax_run(name, range(3, 4), made)[2]
        np.savez(folder / f"{name}.npz", **{n: np.asarray(x) for n, x in after.items()})
    for name in MINDSPORE:
        optimizer, params = mindspore_run(name, range(3))
        ms.save_checkpoint(optimizer, str(folder / f"mindspore_{name}.ckpt"))
        _, after = mindspore_run(name, range(3, 4), (optimizer, params))
        np.savez(folder / f"mindspore_{name}.npz", **{p.name: p.asnumpy() for p in after})


if __name__ == "__main__":
    main()
