"""Products of matrices that are the same bits in any order of summation (N9)."""

from __future__ import annotations

import os
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest

import mgup_core as core
from mgup_conformance.compare import check_identical
from mgup_conformance.data import chaotic, generator
from mgup_conformance.ports import CLASSES
from mgup_core.numerics import bases
from mgup_core.numerics.products import LONGEST, digits, exact_product
from mgup_core.rules.matrix import newton_schulz

from .test_any_namespace import COMPOSED, DTYPES, FRAMEWORKS, POLICIES, Framework, follow

FEWER = {"fismo": {"root_steps": 2}, "soap": {"precondition_frequency": 1}}
EXACT = {
    name: kind(**{word: "exact"}, **FEWER.get(name, {}))
    for name, kind in CLASSES.items()
    for word in ("ns_dtype", "product_dtype")
    if hasattr(kind, word)
}
"""Every rule with matrix products, with exact ones."""

SHAPES = ((7, 11, 5), (64, 256, 33), (3, 1000, 17), (1, 1, 1), (9, 1, 2), (1, 65, 1))
LONG = (3, 2 * LONGEST + 7, 2)
FEW = ((64, 256, 33), (9, 1, 2), LONG)
"""Shapes for a framework that compiles for each: of several slices of digits, of one, and cut."""


def factors(key: object, n: int, k: int, m: int, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of all sizes, with a row and a column of zeros where there are several."""
    rng = generator("products", key, n, k, m)
    a, b = rng.standard_normal((n, k)), rng.standard_normal((k, m))
    if key != "plain":
        a *= np.exp2(rng.integers(-120, 60, (n, 1)) + rng.integers(-30, 1, (n, k)))
        b *= np.exp2(rng.integers(-60, 60, (1, m)) + rng.integers(-30, 1, (k, m)))
        a[3::4], b[:, 3::4] = 0.0, 0.0
    return a.astype(dtype), b.astype(dtype)


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return core.backend_for(a).matmul(a, b, "exact")


@pytest.fixture(params=FRAMEWORKS)
def framework(request):
    made: Framework = FRAMEWORKS[request.param]()
    with made.wide():
        yield made


@pytest.mark.parametrize("dtype", [DTYPES[0], pytest.param(DTYPES[1], marks=pytest.mark.slow)])
@pytest.mark.parametrize("key", ["plain", "sizes"])
@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_every_framework(framework, every, key, dtype):
    """The bits of NumPy, signs of zeros included; stacked, they are those of each matrix."""
    for shape in FEW if framework.compiles and not every else (*SHAPES, LONG):
        a, b = factors(key, *shape, dtype)
        expected = product(a, b)
        x, y = framework.put(a), framework.put(b)
        actual = framework.get(core.backend_for(x).matmul(x, y, "exact"))
        np.testing.assert_array_equal(actual.view(np.uint8), expected.view(np.uint8))
    a, b = (np.stack([x, x[::-1]]) for x in factors(key, 6, 11, 4, dtype))
    x, y = framework.put(a), framework.put(b)
    actual = framework.get(core.backend_for(x).matmul(x, y, "exact"))
    np.testing.assert_array_equal(
        actual, np.stack([product(*pair) for pair in zip(a, b, strict=True)])
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_not_finite(framework, dtype):
    """NaN in the row and in the column of what is not finite, and nowhere else."""
    a, b = factors("plain", 6, 11, 5, dtype)
    a[0, 3], a[2, 0], b[1, 4] = np.nan, -np.inf, np.inf
    x, y = framework.put(a), framework.put(b)
    with np.errstate(invalid="ignore"):
        expected = product(a, b)
    actual = framework.get(core.backend_for(x).matmul(x, y, "exact"))
    bad = np.zeros((6, 5), bool)
    bad[[0, 2]] = bad[:, 4] = True
    np.testing.assert_array_equal(np.isnan(expected), bad)
    check_identical("product", expected, actual)
    np.testing.assert_array_equal(
        expected[~bad], product(np.delete(a, (0, 2), 0), b[:, :4]).ravel()
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("key", ["plain", "sizes"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_order_of_the_terms_is_nothing(shape, key, dtype):
    """Shuffled terms give the same bits; and those of a plain product would not."""
    a, b = factors(key, *shape, dtype)
    order = generator("order").permutation(shape[1])
    assert np.array_equal(product(a, b), product(a[:, order], b[order]))


def test_plain_products_depend_on_it():
    """Or the test above could not fail."""
    a, b = factors("plain", 64, 256, 33, "float32")
    order = generator("order").permutation(256)
    in_turn = [sum(x * y for x, y in zip(p, q, strict=True))
               for p, q in ((a[0], b[:, 0]), (a[0, order], b[order, 0]))]  # fmt: skip
    assert in_turn[0] != in_turn[1]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [*SHAPES, LONG])
def test_near_the_true_product(shape, dtype):
    """Held against fractions. What is left out of an entry, and its additions' rounding, are no
    more than 64 units of its terms' largest size, for each term."""
    for key in ("plain", "sizes"):
        a, b = factors(key, *shape, dtype)
        n, k, m = shape
        for i, j in {(0, 0), (n - 1, m - 1), (n // 2, 0)}:
            true = sum(
                Fraction(float(x)) * Fraction(float(y)) for x, y in zip(a[i], b[:, j], strict=True)
            )
            size = Fraction(float(abs(a[i]).max())) * Fraction(float(abs(b[:, j]).max()))
            unit = Fraction(2) ** (-53 if dtype == "float64" else -24)
            tiny = Fraction(2) ** (-967 if dtype == "float64" else -100)  # what is flushed (N6)
            flushed = tiny * (1 + k * Fraction(float(abs(b[:, j]).max())))
            error = abs(Fraction(float(product(a, b)[i, j])) - true)
            assert error <= 64 * k * unit * size + flushed


@pytest.mark.parametrize("dtype", DTYPES)
def test_whole_numbers_are_multiplied_exactly(dtype):
    rng = generator("whole numbers")
    a, b = rng.integers(-99, 100, (9, 300)), rng.integers(-99, 100, (300, 7))
    np.testing.assert_array_equal(product(a.astype(dtype), b.astype(dtype)), a @ b)


@pytest.mark.parametrize("wide", [False, True])
def test_digits(wide):
    """No sum of k products of two slices needs more digits than the dtype has."""
    for k in (1, 2, 3, 4, 5, 255, 256, 257, 1024, 1025, LONGEST):
        bits, count = digits(k, wide)
        precision = 53 if wide else 24
        assert k * 2 ** (2 * bits) <= 2**precision
        assert bits * count >= precision + 2
        assert wide or bits <= 8


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_size_of_a_row(dtype):
    """One row of each power of two and its neighbours: nothing is lost at either end."""
    low, high = (-100, 127) if dtype == "float32" else (-967, 1023)
    powers = np.exp2(np.arange(low, high + 1.0)).astype(dtype)
    rows = np.concatenate([powers, np.nextafter(powers, np.asarray(np.inf, dtype))])[:, None]
    one = np.ones((1, 1), dtype)
    np.testing.assert_array_equal(product(rows, one), rows)
    np.testing.assert_array_equal(product(one, rows.T), rows.T)


def test_tiny_entries_count_as_zeros():
    """N6, of the factors as of the product, so that nobody's subnormals enter."""
    tiny = np.asarray([[2.0**-101, 1e-40, -(2.0**-149), 0.0]], np.float32)
    one = np.ones((4, 1), np.float32)
    for a in (tiny, np.concatenate([tiny, [[2.0**-60, 0, 0, 0]]], dtype=np.float32)):
        assert (product(a, one)[0] == 0).all()
    small = np.full((1, 1), 2.0**-60, np.float32)
    assert product(small, small) == 0


def test_nothing_to_add():
    for n, k, m in ((0, 3, 2), (3, 0, 2), (3, 2, 0)):
        made = product(np.ones((n, k), np.float32), np.ones((k, m), np.float32))
        np.testing.assert_array_equal(made, np.zeros((n, m), np.float32))


class Narrow(core.NumPyBackend):
    """A device that takes the factors of a float32 product as bfloat16."""

    def matmul(self, a, b, dtype=None):
        if dtype == "exact":
            return super().matmul(a, b, dtype)
        a, b = (x.astype(ml_dtypes.bfloat16).astype(np.float32) for x in (a, b))
        return super().matmul(a, b)


@pytest.mark.parametrize("shape", [*SHAPES, LONG])
def test_short_factors_spoil_nothing(shape):
    """Whatever a device's switch for faster float32 products (TF32, bfloat16) is set to."""
    a, b = factors("sizes", *shape, "float32")
    be = Narrow(np, np.dtype(np.float32))
    assert np.array_equal(be.matmul(a, b, "exact"), product(a, b))
    assert shape[1] == 1 or not np.array_equal(be.matmul(a, b), a @ b)  # or this could not fail


def test_the_switch_of_torch_spoils_nothing():
    torch = pytest.importorskip("torch")
    a, b = factors("plain", 64, 256, 33, "float32")
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        x, y = torch.from_numpy(a), torch.from_numpy(b)
        made = core.backend_for(x).matmul(x, y, "exact").numpy()
    finally:
        torch.set_float32_matmul_precision(before)
    assert np.array_equal(made, product(a, b))


@pytest.mark.parametrize(
    ("way", "dtype"),
    [
        ("operation", "float32"),
        *(
            pytest.param(*pair, marks=pytest.mark.slow)  # inductor works for half a minute
            for pair in (("operation", "float64"), ("written out", "float32"))
        ),
    ],
)
def test_no_compiler_of_torch_simplifies_it(way, dtype):
    """Neither as one operation of the library nor written out and fused by inductor."""
    torch = pytest.importorskip("torch")
    if os.environ.get("ATEN_CPU_CAPABILITY") == "default":
        pytest.skip("inductor writes vectors then, whose header it leaves out (torch 2.13)")
    from mgup_torch.backend import backend_of

    multiply = {
        "operation": lambda x, y: backend_of(x).matmul(x, y, "exact"),
        "written out": lambda x, y: exact_product(backend_of(x), x, y),
    }[way]
    torch._dynamo.reset()
    compiled = torch.compile(multiply, fullgraph=True)
    for key in ("plain", "sizes"):
        a, b = factors(key, 13, 70, 6, dtype)
        made = compiled(torch.from_numpy(a), torch.from_numpy(b))
        assert np.array_equal(made.numpy(), product(a, b))


@pytest.mark.parametrize("dtype", [DTYPES[0], pytest.param(DTYPES[1], marks=pytest.mark.slow)])
def test_xla_does_not_simplify_it(dtype):
    """``(A + c) - c`` would be A, and so would what stands for it here: jitted, and in a scan."""
    jax = pytest.importorskip("jax")
    from mgup_conformance.backends.jax import enable_x64
    from mgup_jax.backend import backend_of

    def multiply(a, b):
        return backend_of(a).matmul(a, b, "exact")

    with enable_x64(True):
        for key in ("plain", "sizes"):
            a, b = factors(key, 13, 70, 6, dtype)
            expected = product(a, b)
            assert np.array_equal(jax.jit(multiply)(a, b), expected)
            constant = jax.jit(lambda b, a=a: multiply(jax.numpy.asarray(a), b))(b)
            assert np.array_equal(constant, expected)  # folded, not computed, in part
            mapped = jax.jit(jax.vmap(multiply))(a[None], b[None])
            assert np.array_equal(mapped[0], expected)
            _, scanned = jax.jit(
                lambda a, b: jax.lax.scan(lambda c, _: (c, multiply(c, b)), a, None, length=2)
            )(a, b)
            assert np.array_equal(scanned, np.stack([expected, expected]))


@pytest.mark.parametrize("dtype", DTYPES)
def test_no_graph_of_mindspore_simplifies_it(dtype):
    ms = pytest.importorskip("mindspore")
    from mgup_mindspore.backend import MindSporeBackend
    from mgup_mindspore.emitter import Recorder

    a, b = factors("sizes", 13, 70, 6, dtype)
    recorder, kind = Recorder(), getattr(ms, dtype)
    be = MindSporeBackend(recorder, kind)
    x, y = recorder.symbol("x", a.shape, kind), recorder.symbol("y", b.shape, kind)
    cell = recorder.cell("x, y", [be.matmul(x, y, "exact")])
    before = ms.get_context("mode")
    try:
        for mode in (ms.PYNATIVE_MODE, ms.GRAPH_MODE):
            ms.set_context(mode=mode)
            (made,) = cell(ms.Tensor(a), ms.Tensor(b))
            assert np.array_equal(made.asnumpy(), product(a, b))
    finally:
        ms.set_context(mode=before)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n != "muon")) for n in EXACT]
)
def test_every_matrix_rule(framework, name):
    """N1: parameters and state, three chaotic steps; the conformance suite takes fifty."""
    assert EXACT[name].identical
    assert not EXACT[name].bounded_state
    optimizer = core.Optimizer(EXACT[name], POLICIES["rank"], lr=0.1, weight_decay=0.1)
    follow(framework, optimizer, "float32", steps=3)


GRAMS = [("classic", 5, (9, 20)), ("polar_express", 3, (20, 9))]


@COMPOSED
@pytest.mark.parametrize(
    ("name", "steps", "shape"), [GRAMS[0], pytest.param(*GRAMS[1], marks=pytest.mark.slow)]
)
def test_the_gram_form(framework, name, steps, shape):
    """Newton-Schulz by Gram matrices: NumPy's bits, in a stack too (R4)."""
    x = generator("gram", name).standard_normal((2, *shape)).astype(np.float32)
    options = {"coefficients": name, "steps": steps, "form": "gram", "dtype": "exact"}
    expected = newton_schulz(core.backend_for(x), x, **options)
    assert not np.array_equal(
        expected, newton_schulz(core.backend_for(x), x, **{**options, "form": "direct"})
    )
    there = framework.put(x)
    check_identical(
        "direction",
        expected,
        framework.get(newton_schulz(core.backend_for(there), there, **options)),
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["householder", "jacobi"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_bases(framework, name, dtype):
    """NumPy's bits, of every rank and in a stack, each side's coordinates odd or even."""
    function = getattr(bases, name)
    for shape, rank in (((7, 7), 7), ((6, 6), 2), ((2, 5, 5), 5)):
        low = generator("bases", *shape).standard_normal((*shape[:-1], rank)).astype(dtype)
        x = low @ np.swapaxes(low, -1, -2)
        expected, there = function(core.backend_for(x), x), framework.put(x)
        actual = framework.get(function(core.backend_for(there), there))
        np.testing.assert_array_equal(actual.view(np.uint8), expected.view(np.uint8))


def test_all_rules_with_products_are_here():
    assert {n for n, kind in CLASSES.items() if not kind().identical} == EXACT.keys()


def test_one_wrong_bit_would_spread():
    """The steps are chaotic, or nothing would have been shown by them."""
    ends = []
    for wrong in (0.0, 2.0**-22):
        w = generator("chaos").standard_normal((12, 20)).astype(np.float32)
        w[0, 0] += np.float32(wrong)
        optimizer = core.Optimizer(EXACT["muon"], POLICIES["rank"], lr=0.1)
        ws, state = [w], optimizer.init([w])
        for t in range(50):
            noise = generator("chaos", t).standard_normal(w.shape).astype(np.float32)
            ws, state = optimizer.step(ws, [chaotic(noise, ws[0])], state)
        ends.append(ws[0])
    assert np.mean(ends[0] != ends[1]) > 0.9


@COMPOSED
def test_rows_of_zeros_stay_where_they_are(framework):
    x = generator("zeros").standard_normal((6, 9)).astype(np.float32)
    x[[1, 4]] = 0.0
    x[:, 2] = 0.0
    expected = newton_schulz(core.backend_for(x), x, dtype="exact")
    there = framework.put(x)
    actual = framework.get(newton_schulz(core.backend_for(there), there, dtype="exact"))
    check_identical("direction", expected, actual)
    assert (expected[[1, 4]] == 0).all()
    assert (expected[:, 2] == 0).all()
    assert np.isfinite(expected).all()


def test_the_linter_lets_exact_rules_pass():
    for rule in EXACT.values():
        report = core.check_rule(rule)
        assert report.ok, str(report)
