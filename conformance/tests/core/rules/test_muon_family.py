"""NorMuon and AdaMuon as published; Newton-Schulz by name and by Gram matrices (R0, R4, N9)."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mgup_core import AdaMuon, Muon, NorMuon, Optimizer, backend_for, check_rule
from mgup_core.rules.matrix import COEFFICIENTS, newton_schulz

from . import textbook
from .textbook import MATRICES, assert_follows, data, follow

BE = backend_for(np.zeros(1))


def each_matrix(function, x):
    """Of (rows, cols), or of each in a stack."""
    flat = [function(one) for one in x.reshape(-1, *x.shape[-2:])]
    return np.reshape(flat, x.shape)


def buffers(grads, momentum=0.95, nesterov=True):
    """The buffer before orthogonalisation, of each step."""
    m = 0.0
    for g in grads:
        m = momentum * m + (1 - momentum) * g
        yield (1 - momentum) * g + momentum * m if nesterov else m


def normuon(w, grads, lr, decay, *, scale="original", outputs=-2, beta2=0.95):
    """zichongli5/NorMuon, and the length of the paper's Algorithm 1."""
    v, inputs = 0.0, -1 if outputs == -2 else -2
    rows, cols = w.shape[outputs], w.shape[inputs]
    for b in buffers(grads):
        o = each_matrix(textbook.newton_schulz, b)
        v = beta2 * v + (1 - beta2) * (o * o).mean(axis=inputs, keepdims=True)
        n = o / (np.sqrt(v) + 1e-10)
        length = np.linalg.norm(o, axis=(-2, -1), keepdims=True) * math.sqrt(max(1, rows / cols))
        if scale != "original":
            length = 0.2 * math.sqrt(rows * cols)
        u = n * length / (np.linalg.norm(n, axis=(-2, -1), keepdims=True) + 1e-10)
        w = w * (1 - lr * decay) - lr * u
    return w


def adamuon(w, grads, lr, decay, *, signed=False, beta2=0.999, eps=1e-8):
    """Chongjie-Si/AdaMuon; with ``signed``, of the signs of the buffer."""
    v = 0.0
    for t, b in enumerate(buffers(grads), start=1):
        o = each_matrix(textbook.newton_schulz, np.sign(b) if signed else b)
        v = beta2 * v + (1 - beta2) * o * o
        n = o / (np.sqrt(v / (1 - beta2**t)) + eps)
        rows, cols = w.shape[-2:]
        n = n * math.sqrt(min(rows, cols))
        n = n / (np.linalg.norm(n, axis=(-2, -1), keepdims=True) / math.sqrt(min(rows, cols)) + eps)
        w = w * (1 - lr * decay) - lr * 0.2 * math.sqrt(max(rows, cols)) * n
    return w


@pytest.mark.parametrize("options", [{}, {"scale": "match_rms_adamw"}, {"out_axis": -1}], ids=str)
def test_normuon_as_published(options):
    params, grads = data(MATRICES, steps=10)
    form = {"outputs" if n == "out_axis" else n: x for n, x in options.items()}
    expected = [
        normuon(w, [one[i] for one in grads], 0.1, 0.3, **form) for i, w in enumerate(params)
    ]
    assert_follows(NorMuon(**options), expected, params, grads, weight_decay=0.3)


@pytest.mark.parametrize("signed", [False, True])
def test_adamuon_as_published(signed):
    params, grads = data(MATRICES, steps=10)
    expected = [
        adamuon(w, [one[i] for one in grads], 0.1, 0.3, signed=signed) for i, w in enumerate(params)
    ]
    assert_follows(AdaMuon(signed=signed), expected, params, grads, weight_decay=0.3)


def test_lengths_of_an_update():
    """0.2*sqrt(rows*cols) where AdamW's learning rates are to carry over; Muon's own otherwise."""
    params, grads = data(((4, 6),), steps=3)
    for rule in (AdaMuon(), NorMuon(scale="match_rms_adamw")):
        before, _ = follow(rule, params, grads[:2])
        after, _ = follow(rule, params, grads)
        assert np.linalg.norm(after[0] - before[0]) == pytest.approx(0.1 * 0.2 * math.sqrt(24))
    lengths = []
    for rule in (NorMuon(), Muon(scale="original")):
        before, _ = follow(rule, params, grads[:2])
        after, _ = follow(rule, params, grads)
        lengths.append(np.linalg.norm(after[0] - before[0]))
    assert lengths[0] == pytest.approx(lengths[1])


def test_normuon_brings_the_rows_of_a_first_step_to_one_length():
    params, grads = data(((4, 6),), steps=1)
    after, _ = follow(NorMuon(), params, grads)
    lengths = np.linalg.norm(after[0] - params[0], axis=1)
    # The lengths differ by what eps adds to each row's root mean square, some 1e-10 of it.
    np.testing.assert_allclose(lengths, np.full(4, lengths[0]), rtol=1e-7)


@pytest.mark.parametrize("kind", [NorMuon, AdaMuon])
def test_the_linter_finds_no_error(kind):
    assert check_rule(kind).ok, str(check_rule(kind))


# -- Newton-Schulz ---------------------------------------------------------------------------------


def best_quintics(least, steps, cushion):
    """Amsel et al., 2025, Algorithm 2: the best odd quintic on [least, 1], and on what it leaves.

    A quintic whose error oscillates between four points (Remez), lengthened where the cushion has
    moved the interval's end.
    """
    most, found = 1.0, []
    for _ in range(steps):
        low, high = max(least, cushion * most), most
        points = np.array([low, (3 * low + high) / 4, (low + 3 * high) / 4, high])
        for _ in range(60):
            sign = np.array([1.0, -1.0, 1.0, -1.0])
            system = np.stack([points, points**3, points**5, sign], axis=1)
            a, b, c, _ = np.linalg.solve(system, np.ones(4))
            root = math.sqrt(9 * b * b - 20 * a * c)
            points[1:3] = np.sqrt((-3 * b + np.array([-root, root])) / (10 * c))
        value = np.polynomial.Polynomial([0, a, 0, b, 0, c])
        if cushion * most > least:
            factor = 2 / (value(least) + value(most))
            a, b, c = a * factor, b * factor, c * factor
            value = value * factor
        found.append((a, b, c))
        least = value(least)
        most = 2 - least
    return found


def test_the_coefficients_of_polar_express():
    """The paper's for the least singular value 1e-3, with the cushion of its Algorithm 1."""
    computed = best_quintics(1e-3, 5, 0.02407327424182761)
    # Systems of condition below 200, in float64: what is left is some units of rounding.
    np.testing.assert_allclose(COEFFICIENTS["polar_express"][:5], computed, rtol=1e-9)


@pytest.mark.parametrize("shape", [(5, 20), (20, 5), (7, 7), (3, 4, 9)], ids=str)
def test_polar_express_comes_to_the_orthogonal_factor(shape):
    x = np.random.default_rng(0).standard_normal(shape)
    u, _, v = np.linalg.svd(x, full_matrices=False)
    there = newton_schulz(BE, x, coefficients="polar_express", steps=9)
    # Both are orthogonal to float64's rounding, times the condition of x, below 10 here.
    np.testing.assert_allclose(there, u @ v, rtol=0, atol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "exact"])
@pytest.mark.parametrize("steps", [1, 2, 3, 5])
@pytest.mark.parametrize("name", ["classic", "polar_express"])
def test_the_gram_form_is_the_same(name, steps, dtype):
    """In float64, where the two round apart by little."""
    for shape in ((5, 20), (20, 5), (2, 4, 4)):
        x = np.random.default_rng(1).standard_normal(shape)
        options = {"coefficients": name, "steps": steps, "dtype": dtype}
        direct, gram = (newton_schulz(BE, x, form=form, **options) for form in ("direct", "gram"))
        # The Gram form squares the condition, below 10 here, of products in float64.
        np.testing.assert_allclose(gram, direct, rtol=0, atol=1e-11)


def test_classic_is_the_default():
    params, grads = data(MATRICES)
    named, _ = follow(Muon(ns_coefficients="classic"), params, grads)
    for x, y in zip(named, follow(Muon(), params, grads)[0], strict=True):
        np.testing.assert_array_equal(x, y)


def test_blocks_of_rows_are_matrices_of_their_own():
    """A fused QKV weight: each third as if it were a parameter, ranked with the others."""
    params, grads = data(((12, 5),))
    fused, _ = follow(Muon(row_blocks=3, scale="original"), params, grads)
    parts = [part for w in params for part in np.split(w, 3)]
    apart = [[part for g in one for part in np.split(g, 3)] for one in grads]
    single, _ = follow(Muon(scale="original"), parts, apart)
    np.testing.assert_allclose(fused[0], np.concatenate(single), rtol=1e-12, atol=1e-13)


def test_flat_takes_a_convolution_for_one_matrix():
    params, grads = data(((6, 3, 2, 2),))
    flat, _ = follow(Muon(flat=True), params, grads)
    matrix, _ = follow(
        Muon(), [params[0].reshape(6, -1)], [[one[0].reshape(6, -1)] for one in grads]
    )
    np.testing.assert_array_equal(flat[0].reshape(6, -1), matrix[0])


@pytest.mark.parametrize(
    ("rule", "bad"),
    [
        (Muon, {"ns_coefficients": "jordan"}),
        (Muon, {"ns_form": "cubic"}),
        (Muon, {"row_blocks": 0}),
        (NorMuon, {"mu2": 1.0}),
        (NorMuon, {"out_axis": 1}),
        (AdaMuon, {"ns_coefficients": (1.0, 2.0)}),
        (AdaMuon, {"mu2": -0.1}),
    ],
    ids=str,
)
def test_bad_input(rule, bad):
    with pytest.raises(ValueError, match=f"{next(iter(bad))}="):
        rule(**bad)


@pytest.mark.parametrize(
    ("rule", "shape", "stacked", "match"),
    [
        (Muon(row_blocks=3), (4, 5), 0, "does not divide its 4 rows"),
        (Muon(flat=True), (2, 4, 5), 1, "stacked_dims=1 must be 0"),
        (AdaMuon(), (4,), 0, "give that parameter to AdamW"),
    ],
)
def test_shapes_that_are_refused(rule, shape, stacked, match):
    with pytest.raises(ValueError, match=match):
        Optimizer(rule, None, stacked_dims=stacked).init([np.zeros(shape)])
