"""Checkpoints of versions before load, and the next step has the bits that it had then.

``write.py`` wrote them. Muon multiplies matrices, so that its step agrees by norm (N7).
"""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from .write import JAX, MINDSPORE, TORCH, arrays, jax_run, mindspore_run, torch_run

VERSIONS = sorted(
    path for path in Path(__file__).parent.iterdir() if (path / "MGUPAdamW.pt").exists()
)
STEPS = range(3, 4)


def check(found: dict[str, np.ndarray], path: Path) -> None:
    expected = np.load(path)
    assert set(expected) == set(found)
    for name, value in found.items():
        if "Muon" in path.name and value.ndim == 2:
            moved = np.linalg.norm(expected[name] - arrays(0)[name])
            assert np.linalg.norm(value - expected[name]) <= 1e-4 * moved
        else:
            np.testing.assert_array_equal(value, expected[name])


def test_there_is_one():
    assert VERSIONS


@pytest.mark.parametrize("name", TORCH)
@pytest.mark.parametrize("version", VERSIONS, ids=lambda path: path.name)
def test_torch_state_dict(version, name):
    torch = pytest.importorskip("torch")
    saved = torch.load(version / f"{name}.pt", weights_only=True)
    optimizer, params = torch_run(name, range(0))
    with torch.no_grad():
        for n, p in params.items():
            p.copy_(saved["params"][n])
    optimizer.load_state_dict(saved["optimizer"])
    torch_run(name, STEPS, (optimizer, params))
    check({n: p.detach().numpy() for n, p in params.items()}, version / f"{name}.npz")


@pytest.mark.parametrize("name", TORCH)
@pytest.mark.parametrize("version", VERSIONS, ids=lambda path: path.name)
def test_torch_pickle(version, name):
    """The optimizer as a whole, parameters and all."""
    pytest.importorskip("torch")
    made = pickle.loads((version / f"{name}.pkl").read_bytes())
    _, params = torch_run(name, STEPS, made)
    check({n: p.detach().numpy() for n, p in params.items()}, version / f"{name}.npz")


@pytest.mark.parametrize("name", JAX)
@pytest.mark.parametrize("version", VERSIONS, ids=lambda path: path.name)
def test_jax(version, name):
    jax = pytest.importorskip("jax")
    saved = pickle.loads((version / f"{name}.pkl").read_bytes())
    state, params = jax.tree.map(jax.numpy.asarray, saved)
    transformation, *_ = jax_run(name, range(0))
    params = jax_run(name, STEPS, (transformation, state, params))[2]
    check({n: np.asarray(x) for n, x in params.items()}, version / f"{name}.npz")


@pytest.mark.parametrize("name", MINDSPORE)
@pytest.mark.parametrize("version", VERSIONS, ids=lambda path: path.name)
def test_mindspore(version, name):
    pytest.importorskip("mindspore")
    pytest.importorskip("mgup_mindspore")  # whose warm-up comes before any operation
    import mindspore as ms

    saved = ms.load_checkpoint(str(version / f"mindspore_{name}.ckpt"))
    optimizer, params = mindspore_run(name, range(0))
    missing, unknown = ms.load_param_into_net(optimizer, saved)
    assert (missing, unknown) == ([], [])
    mindspore_run(name, STEPS, (optimizer, params))
    check({p.name: p.asnumpy() for p in params}, version / f"mindspore_{name}.npz")
