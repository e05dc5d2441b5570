"""The core on the arrays of each shipped framework: NumPy's bits (N10)."""

from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import array_api_strict
import numpy as np
import pytest

import mgup_core as core
from mgup_conformance.compare import check_identical
from mgup_conformance.data import SCORES, chaotic, generator
from mgup_conformance.ports import CLASSES, SPECIFIED

ELEMENTWISE = [name for name, rule in CLASSES.items() if rule().identical]
POLICIES = {
    "rank": core.MGUP(0.29, 1.5, 0.8),
    "sign": core.SignMGUP(ties="aligned"),
    "adaptive": core.AdaptiveSignMGUP(),
    "cautious": core.Cautious(),
    "off": None,
}
DTYPES = ["float32", "float64"]
SHAPES = [(5, 7), (7, 3)]


class Framework(NamedTuple):
    put: Callable[[Any], Any]
    get: Callable[[Any], Any]
    wide: Callable[[], Any] = contextlib.nullcontext
    """A context in which float64 arrays may be made."""
    compiles: bool = False
    """Whether it compiles each operation for each shape, which takes longer than the operation."""


def _torch() -> Framework:
    torch = pytest.importorskip("torch")
    pytest.importorskip("mgup_torch")
    return Framework(lambda x: torch.from_numpy(x.copy()), lambda x: x.numpy())


def _jax() -> Framework:
    jnp = pytest.importorskip("jax.numpy")
    pytest.importorskip("mgup_jax")
    from mgup_conformance.backends.jax import enable_x64

    return Framework(jnp.asarray, np.asarray, lambda: enable_x64(True), compiles=True)


def _mindspore() -> Framework:
    pytest.importorskip("mindspore")
    pytest.importorskip("mgup_mindspore")
    from mindspore import Tensor

    return Framework(lambda x: Tensor(x.copy()), lambda x: x.asnumpy())


FRAMEWORKS = {"torch": _torch, "jax": _jax, "mindspore": _mindspore}
# For what is composed of operations that are compared in each: the first runs them, and the others
# compile each for seconds.
COMPOSED = pytest.mark.parametrize(
    "framework",
    ["torch", *(pytest.param(name, marks=pytest.mark.slow) for name in ("jax", "mindspore"))],
    indirect=True,
)


@pytest.fixture(params=FRAMEWORKS)
def framework(request):
    made = FRAMEWORKS[request.param]()
    with made.wide():
        yield made


def arrays(key: object, dtype: str) -> list[np.ndarray]:
    rng = generator("any namespace", key)
    return [rng.standard_normal(shape).astype(dtype) for shape in SHAPES]


def follow(framework: Framework, optimizer: core.Optimizer, dtype: str, steps: int = 5) -> None:
    """Chaotic steps beside NumPy's; parameters and state after each."""
    ours = arrays("w", dtype)
    theirs = [framework.put(w) for w in ours]
    state, other = optimizer.init(ours), optimizer.init(theirs)
    for t in range(1, steps + 1):
        grads = [chaotic(noise, w) for noise, w in zip(arrays(t, dtype), ours, strict=True)]
        put = [framework.put(g) for g in grads]
        ours, state = optimizer.step(ours, grads, state)
        theirs, other = optimizer.step(theirs, put, other)
        for i, w in enumerate(ours):
            check_identical("parameter", w, framework.get(theirs[i]), step=t, parameter=i)
            for name, value in state.arrays[i].items():
                actual = framework.get(other.arrays[i][name])
                check_identical(name, value, actual, step=t, parameter=i)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n not in SPECIFIED)) for n in ELEMENTWISE]
)
def test_every_elementwise_rule(framework, name, dtype):
    optimizer = core.Optimizer(CLASSES[name](), POLICIES["rank"], lr=0.01, weight_decay=0.1)
    follow(framework, optimizer, dtype)


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy(framework, policy):
    follow(framework, core.Optimizer(core.AdamW(), POLICIES[policy], lr=0.01), "float32")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("policy", [name for name, made in POLICIES.items() if made])
def test_policies_and_their_parts(framework, policy, dtype):
    """Alone, with stacked slices, NaN and ties among what is ranked."""
    a, g = (x[1].round(1) for x in (arrays("a", dtype), arrays("g", dtype)))
    a[0, :3], g[2] = np.nan, 0.0
    put = framework.put
    for n in (0, 1):
        expected = POLICIES[policy].multiplier(a, g, stacked_dims=n)
        actual = POLICIES[policy].multiplier(put(a), put(g), stacked_dims=n)
        check_identical("multiplier", expected, framework.get(actual))
    check_identical("score", core.score(a, g), framework.get(core.score(put(a), put(g))))
    mask = core.rank(core.score(a, g), 0.29)
    there = core.rank(core.score(put(a), put(g)), 0.29)
    np.testing.assert_array_equal(framework.get(there), mask)
    phi = core.differentiate(there, 2.0, 0.3)
    check_identical("phi", core.differentiate(mask, 2.0, 0.3), framework.get(phi))


def test_statistics(framework):
    optimizer = core.Optimizer(core.Lion(), POLICIES["rank"], stacked_dims=1)
    ours = arrays("w", "float32")
    theirs = [framework.put(w) for w in ours]
    _, _, expected = optimizer.step_with_statistics(ours, ours, optimizer.init(ours))
    _, _, actual = optimizer.step_with_statistics(theirs, theirs, optimizer.init(theirs))
    for key, statistics in expected.items():
        for name in ("selected", "threshold", "ties", "positive"):
            assert float(getattr(actual[key], name)) == getattr(statistics, name)


@pytest.mark.parametrize(
    ("trigger", "dtype"),
    [
        ("mean", "float32"),
        ("any", "float64"),
        pytest.param("mean", "float64", marks=pytest.mark.slow),
        pytest.param("any", "float32", marks=pytest.mark.slow),
    ],
)
def test_sam_gs(framework, trigger, dtype):
    """Both of its branches, as the tasks' lengths move apart."""
    surgery = core.SAMGS(threshold=0.6, trigger=trigger)
    state = other = None
    for t in range(6):
        size = 1.0 + t  # alike at first, then further and further apart
        tasks = [
            [x * by for x in arrays((t, i), dtype)] for i, by in enumerate((1.0, size, 2 * size))
        ]
        put = [[framework.put(x) for x in task] for task in tasks]
        state, other = state or surgery.init(tasks), other or surgery.init(put)
        expected, state = surgery.aggregate(tasks, state)
        actual, other = surgery.aggregate(put, other)
        for ours, theirs in zip(expected, actual, strict=True):
            check_identical("gradient", ours, framework.get(theirs), step=t)
    assert float(state.deviation) == float(framework.get(other.deviation))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("t", [1, 7, 1000, 65_535, 2**31 - 1])
def test_a_step_as_an_array(framework, t, dtype):
    """N3: c(beta, t) of a 0-d integer array and of a Python int."""
    there = framework.put(np.asarray(t, np.int32))
    be = core.backend_for(framework.put(np.zeros(1, dtype)))
    host = core.backend_for(np.zeros(1, dtype))
    for beta in (0.0, 0.9, 0.999):
        expected = core.bias_correction(host, beta, t)
        assert float(framework.get(core.bias_correction(be, beta, there))) == float(expected)
        inverse = core.inverse_correction(be, beta, there)
        assert float(framework.get(inverse)) == float(core.inverse_correction(host, beta, t))


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_graph_serves_all_data(dtype):
    """P4: the counting search traces with values unknown, and the graph then ranks any data."""
    torch = pytest.importorskip("torch")
    from array_api_compat import torch as xp
    from torch.fx.experimental.proxy_tensor import make_fx

    kind = getattr(torch, dtype)
    graph = make_fx(lambda scores: core.counting_mask(xp, scores, 5), tracing_mode="fake")(
        torch.zeros(2, 12, dtype=kind)
    )
    for pattern in ("normal", "ties", "infinities", "mostly_nan", "all_nan"):
        rows = SCORES[pattern](generator("one graph"), 24, dtype == "float64").reshape(2, 12)
        scores = torch.from_numpy(rows).to(kind)
        expected = core.rank_mask(scores.numpy(), 5, stacked_dims=1, method="argsort")
        np.testing.assert_array_equal(graph(scores).numpy(), expected)


def test_integers_are_refused(framework):
    """R6, whatever the namespace calls its dtypes."""
    with pytest.raises(TypeError, match=r"params\[0\] has dtype .*nt32; only real floating"):
        core.Optimizer(core.SGD()).init([framework.put(np.ones(3, np.int32))])


def test_an_unknown_namespace_keeps_its_own_arithmetic():
    be = core.backend_for(array_api_strict.asarray([1.0]))
    assert type(be) is core.Backend
    assert be.xp.__name__ == "array_api_strict"


def test_whoever_registers_lends_the_backend(monkeypatch):
    class Mine(core.Backend):
        pass

    known = sys.modules[core.register.__module__]._makers
    monkeypatch.setitem(known, "array_api_strict", None)  # undone afterwards
    core.register("array_api_strict", lambda x: Mine(array_api_strict, array_api_strict.float64))
    x = array_api_strict.asarray([1.0])
    assert type(core.backend_for(x)) is Mine
    assert core.MGUP().multiplier(x, x).shape == (1,)


POINTS = {
    "torch": ("mgup_torch", "import torch; x = torch.tensor([2.0])"),
    "jax": ("mgup_jax", "import jax.numpy; x = jax.numpy.asarray([2.0])"),
    "mindspore": ("mgup_mindspore", "import mindspore; x = mindspore.Tensor([2.0])"),
}


@pytest.mark.parametrize("name", POINTS)
def test_an_adapter_need_not_be_imported(name, tmp_path):
    """Its entry point is found in what pyproject.toml declares, and only when an array comes."""
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 reads TOML")
    project = next(
        (p / "pyproject.toml" for p in pathlib.Path(__file__).parents
         if (p / "pyproject.toml").exists()),
    )  # fmt: skip
    pytest.importorskip(name)
    declared = tomllib.loads(project.read_text())["project"]["entry-points"]["mgup_core.backends"]
    assert set(declared) == set(POINTS)
    installed = tmp_path / "mgup_points-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: mgup-points\nVersion: 1.0\n")
    points = "".join(f"{key} = {value}\n" for key, value in declared.items())
    (installed / "entry_points.txt").write_text(f"[mgup_core.backends]\n{points}")
    adapter, make = POINTS[name]
    code = (
        f"import sys, mgup_core; {make}; before = {adapter!r} in sys.modules\n"
        "print(before, type(mgup_core.backend_for(x)).__module__)"
    )
    paths = [str(tmp_path), *(p for p in sys.path if p)]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "JAX_PLATFORMS": "cpu"},
    )  # fmt: skip
    assert done.stdout.split()[-2:] == ["False", declared[name].partition(":")[0]]
