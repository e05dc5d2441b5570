"""SOAP: the authors' loop in float64, its limits, and its bases of the same bits (R0, N9)."""

from __future__ import annotations

import numpy as np
import pytest

from mgup_core import MGUP, SOAP, AdamW, Optimizer, backend_for, check_rule
from mgup_core.numerics.bases import descending, householder, jacobi, permuted

from .textbook import assert_follows, data, follow

SHAPES = ((4, 4), (5,), (6, 6))


def soap(w, grads, lr, decay, *, every=10, b1=0.95, b2=0.95, b3=0.95, longest=10_000, eps=1e-8):
    """nikhilvyas/SOAP, which keeps the momentum turned and turns it again with the bases.

    The first gradient moves nothing. Decay is R0's, of the parameter before the step.
    """
    turned = [i for i in range(w.ndim) if w.ndim == 2 and w.shape[i] <= longest]
    factors = dict.fromkeys(turned, 0.0)
    m, v = np.zeros_like(w), np.zeros_like(w)

    def take_in(g):
        for i in turned:
            factors[i] = b3 * factors[i] + (1 - b3) * (g @ g.T if i == 0 else g.T @ g)

    def turn(x, back=False):
        for i in turned:
            q = bases[i] if back else bases[i].T
            x = q @ x if i == 0 else x @ q.T
        return x

    take_in(grads[0])
    bases = {i: np.linalg.eigh(factors[i])[1][:, ::-1] for i in turned}
    for s, g in enumerate(grads[1:], start=1):
        m = b1 * m + (1 - b1) * turn(g)
        v = b2 * v + (1 - b2) * turn(g) ** 2
        rate = lr * np.sqrt(1 - b2**s) / (1 - b1**s)
        w = w - rate * turn(m / (np.sqrt(v) + eps), back=True) - lr * decay * w
        take_in(g)
        if s % every == 0:
            m = turn(m, back=True)
            for i in turned:
                values = np.diag(bases[i].T @ factors[i] @ bases[i])
                order = np.argsort(-values)
                v = np.take(v, order, axis=i)
                bases[i] = np.linalg.qr(factors[i] @ bases[i][:, order])[0]
            m = turn(m)
    return w


@pytest.mark.parametrize(
    "options",
    [
        {"every": 1},
        {"every": 3, "b1": 0.9, "b2": 0.99, "b3": 0.8},
        {"every": 4, "longest": 5},
    ],
    ids=str,
)
@pytest.mark.parametrize("word", ["float32", "exact"])
def test_the_official_loop(word, options):
    """Where the first gradient has full rank: of what it leaves, no two libraries' bases agree."""
    params, grads = data(SHAPES, steps=11)
    expected = [
        soap(w, [one[i] for one in grads], 0.1, 0.3, **options) for i, w in enumerate(params)
    ]
    names = {
        "every": "precondition_frequency", "b3": "shampoo_beta", "longest": "max_precondition_dim",
        "b1": "b1", "b2": "b2",
    }  # fmt: skip
    rule = SOAP(**{names[key]: value for key, value in options.items()}, product_dtype=word)
    assert_follows(rule, expected, params, grads, weight_decay=0.3)


def test_without_bases_it_is_adam_from_the_second_step():
    """So it is for vectors, and for whatever is longer than max_precondition_dim."""
    params, grads = data(((4, 6), (5,)), steps=8)
    ours, _ = follow(SOAP(max_precondition_dim=0), params, grads, weight_decay=0.2)
    adam = AdamW(b1=0.95, b2=0.95, form="published")
    theirs, _ = follow(adam, params, grads[1:], weight_decay=0.2)
    for x, y in zip(ours, theirs, strict=True):
        # The correction of the step before comes of this step's, which costs some units.
        np.testing.assert_allclose(x, y, rtol=1e-13)
    vectors, _ = follow(SOAP(), params[1:], [one[1:] for one in grads], weight_decay=0.2)
    np.testing.assert_array_equal(vectors[0], ours[1])


def test_the_bases_of_the_first_step_turn_adam():
    """Never turned again: Adam's steps of the turned gradients, turned back."""
    params, grads = data(((4, 4),), steps=9)
    ours, state = follow(SOAP(precondition_frequency=100), params, grads)
    p, q = (state.arrays[0][f"{side}_basis"] for side in ("left", "right"))
    turned = [[p.T @ one[0] @ q] for one in grads[1:]]
    adam = AdamW(b1=0.95, b2=0.95, form="published")
    theirs, _ = follow(adam, [p.T @ params[0] @ q], turned)
    # The gradients are turned by other products, which sum in another order.
    np.testing.assert_allclose(ours[0], p @ theirs[0] @ q.T, rtol=1e-12, atol=1e-13)


def test_the_first_step_moves_nothing():
    """Nor does it decay."""
    params, grads = data(steps=1)
    moved, _ = follow(SOAP(), params, grads, weight_decay=0.5)
    for x, y in zip(moved, params, strict=True):
        np.testing.assert_array_equal(x, y)


def test_the_order_of_coordinates_is_nothing():
    """Permuted rows and columns of all gradients permute the parameters."""
    params, grads = data(((5, 5),), steps=6)
    rows, columns = (np.random.default_rng(i).permutation(5) for i in (1, 2))
    ours, _ = follow(SOAP(precondition_frequency=2), params, grads, MGUP())
    mixed, _ = follow(
        SOAP(precondition_frequency=2),
        [params[0][rows][:, columns]],
        [[one[0][rows][:, columns]] for one in grads],
        MGUP(),
    )
    # All sums are in another order, those of the bases too, which pass it on from step to step.
    np.testing.assert_allclose(mixed[0], ours[0][rows][:, columns], rtol=1e-10, atol=1e-12)


def test_it_ranks_by_the_momentum():
    """P1: by M, which is elementwise, not by u."""
    params, grads = data(((6, 6),), steps=5)
    before, state = follow(SOAP(), params, grads[:4])
    plain, _ = Optimizer(SOAP(), None, lr=0.1, weight_decay=0.0).step(before, grads[4], state)
    ours, after = Optimizer(SOAP(), MGUP(), lr=0.1, weight_decay=0.0).step(before, grads[4], state)
    score = (after.arrays[0]["exp_avg"] * grads[4][0]).ravel()
    chosen = np.zeros(36, bool)
    chosen[np.argsort(-score)[:18]] = True
    share = ((before[0] - ours[0]) / (before[0] - plain[0])).ravel()
    np.testing.assert_allclose(share, np.where(chosen, 2.0, 0.5), rtol=1e-9)


@pytest.mark.parametrize("word", ["float32", "exact"])
def test_a_stack_is_its_matrices(word):
    params, grads = data(((3, 4, 5),), steps=6)
    rule = SOAP(precondition_frequency=2, product_dtype=word)
    stacked, _ = follow(rule, params, grads)
    apart, _ = follow(rule, list(params[0]), [list(one[0]) for one in grads])
    np.testing.assert_array_equal(stacked[0], np.stack(apart))


@pytest.mark.parametrize("word", ["float32", "exact"])
def test_what_is_not_finite_stops_no_training(word):
    """LAPACK raises an error for it; the parameters become NaN, as Adam's do."""
    params, grads = data(((4, 4), (3, 3)), steps=4)
    grads[0][0][1, 2], grads[2][0][0, 0] = np.nan, np.inf
    with np.errstate(invalid="ignore"):
        moved, _ = follow(SOAP(precondition_frequency=1, product_dtype=word), params, grads)
    assert np.isnan(moved[0]).any()
    assert np.isfinite(moved[1]).all()


@pytest.mark.parametrize("shape", [(1, 4), (4, 1), (1, 1), (0, 3), (2, 0, 3)], ids=str)
def test_thin_and_empty_matrices(shape):
    """A side of one coordinate has no basis."""
    params, grads = [np.ones(shape)], [[np.ones(shape)]] * 4
    for word in ("float32", "exact"):
        moved, _ = follow(SOAP(precondition_frequency=1, product_dtype=word), params, grads, MGUP())
        assert np.isfinite(moved[0]).all()


def test_the_linter_finds_no_error():
    assert check_rule(SOAP).ok, str(check_rule(SOAP))


@pytest.mark.parametrize(
    "bad",
    [
        {"b1": 1.0}, {"b2": -0.1}, {"shampoo_beta": 1.0}, {"eps": 0.0},
        {"precondition_frequency": 0}, {"precondition_frequency": 2.0},
        {"max_precondition_dim": -1}, {"product_dtype": "bfloat16"},
    ],
    ids=str,
)  # fmt: skip
def test_bad_input(bad):
    with pytest.raises(ValueError, match=f"{next(iter(bad))}="):
        SOAP(**bad)


# -- bases -----------------------------------------------------------------------------------------

DTYPES = [np.float32, np.float64]
UNITS = {np.float32: 2.0**-23, np.float64: 2.0**-52}


def matrices(shape, rank, dtype):
    """Of normal numbers, of a rank."""
    rng = np.random.default_rng([*shape, rank])
    low = rng.standard_normal((*shape[:-1], rank)) @ rng.standard_normal((rank, shape[-1]))
    return low.astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (7, 7), (20, 20), (3, 5, 5)], ids=str)
def test_householder_is_lapacks_factor(shape, dtype):
    """The same signs; each reflection adds some units of rounding (n of them, n terms each)."""
    n = shape[-1]
    x = matrices(shape, n, dtype)
    q = householder(backend_for(x), x)
    exact = np.swapaxes(q, -1, -2).astype(np.float64) @ q
    assert np.abs(exact - np.eye(n)).max() <= n * n * UNITS[dtype] + UNITS[dtype]
    wide = np.linalg.qr(x.astype(np.float64))[0]
    condition = np.linalg.cond(x.astype(np.float64)).max()
    assert np.abs(q - wide).max() <= 4 * n * condition * UNITS[dtype]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("rank", [0, 1, 4])
def test_householder_is_orthogonal_whatever_the_rank(rank, dtype):
    x = matrices((9, 9), rank, dtype) if rank else np.zeros((9, 9), dtype)
    for scale in (1.0, 1e-30):
        q = householder(backend_for(x), (x * scale).astype(dtype)).astype(np.float64)
        assert np.abs(q.T @ q - np.eye(9)).max() <= 81 * UNITS[dtype]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("rank", [1, 5, 33])
@pytest.mark.parametrize("n", [2, 5, 33])
def test_jacobi_diagonalises(n, rank, dtype):
    """Orthogonal to rounding, and what is left beside the diagonal is rounding."""
    low = matrices((n, n), min(rank, n), dtype)
    x = low @ low.T
    q = jacobi(backend_for(x), x).astype(np.float64)
    assert np.abs(q.T @ q - np.eye(n)).max() <= 32 * n * UNITS[dtype]
    rest = (q.T @ x @ q) * (1 - np.eye(n))
    # Null spaces are slow: their eigenvalues are a rounding of the others.
    left = 1e-9 if dtype == np.float64 and rank < n else 32 * n * UNITS[dtype]
    assert np.abs(rest).max() <= left * np.abs(x).max()


def test_jacobi_of_what_is_diagonal_is_the_identity():
    x = np.diag([3.0, 1.0, 2.0, 2.0, 0.0])
    np.testing.assert_array_equal(jacobi(backend_for(x), x), np.eye(5))


def test_an_order_that_falls():
    values = np.array([[1.0, 3.0, 3.0, 2.0], [5.0, 5.0, 9.0, -1.0]])
    be, rows = backend_for(values), np.arange(24.0).reshape(2, 4, 3)
    order = descending(be, values)
    np.testing.assert_array_equal(order, [[1, 2, 3, 0], [2, 0, 1, 3]])
    expected = np.take_along_axis(rows, order[..., None], -2)
    np.testing.assert_array_equal(permuted(be, rows, order), expected)
