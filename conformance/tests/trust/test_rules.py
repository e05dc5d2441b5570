"""What mutants of rules, products and the linter showed to be untested: each kills one.

It checks N3, N7, N9, P1, P13 and R4.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, fields
from fractions import Fraction

import numpy as np
import pytest

import mgup_core as core
from mgup_core.numerics import elementary, products
from mgup_core.numerics.rectification import _BERNOULLI
from mgup_core.numerics.scalars import host_correction, traced_correction
from mgup_core.rules import matrix
from mgup_core.rules.matrix import COEFFICIENTS, SAFETY, newton_schulz


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("beta", [0.0, 0.9, 1 - 2.0**-20, 1 - 2.0**-40, 1 - 2.0**-53])
def test_a_correction_of_an_unknown_step(beta, dtype):
    """N3: also where beta is so near to 1 that no complement reaches it."""
    be = core.backend_for(np.zeros(1, dtype))
    for t in (1, 2, 3, 1000, 2**20 + 1, 2**31 - 1):
        found = traced_correction(be, beta, np.asarray(t, np.int64))
        assert found == be.scalar(host_correction(dtype, beta, t))
        assert found.dtype == dtype


def test_lamberts_fraction():
    """N1: ``1 / (1 + s / 3)``, ``1 / (1 + s / (3 + s / 5))``, as quotients of polynomials."""
    assert elementary._fraction(1) == ([1.0], [1.0])
    assert elementary._fraction(2) == ([1.0], [1.0, 1 / 3])
    assert elementary._fraction(3) == ([1.0, 1 / 15], [1.0, 6 / 15])


@pytest.mark.parametrize(("dtype", "start"), [(np.float32, 9.1), (np.float64, 19.1)])
def test_the_hyperbolic_tangent_is_1_from_where_it_rounds_to_it(dtype, start):
    x = np.linspace(start + 1e-3, start + 2, 5000).astype(dtype)
    be = core.backend_for(x)
    assert (elementary.tanh(be, x) == 1).all()
    assert (elementary.tanh(be, -x) == -1).all()


def test_bernoullis_numbers():
    """Of RAdam's rectification: B_2, B_4, … by their recurrence."""
    b = [Fraction(1)]
    for n in range(1, 15):
        b.append(-sum((math.comb(n + 1, k) * b[k] for k in range(n)), Fraction()) / (n + 1))
    assert list(_BERNOULLI) == [float(b[n]) for n in range(2, 15, 2)]


EXACT = [
    (kind, f.name)
    for kind in core.rules.ALL
    for f in fields(kind)
    if f.name in ("ns_dtype", "product_dtype")
]


@pytest.mark.parametrize(("kind", "name"), EXACT, ids=lambda x: getattr(x, "__name__", x))
def test_exact_products_make_a_rule_identical(kind, name):
    """N9 in place of N7; a rule of rounded products says so, and which state it bounds."""
    assert kind(**{name: "exact"}).identical is True
    assert kind(**{name: "exact"}).bounded_state == ()
    assert kind(**{name: "float32"}).identical is False


def test_newton_schulz_works_on_the_side_with_fewer_rows():
    """R4: the products of a tall matrix are those of its transpose, in size too."""
    x = np.random.default_rng(0).standard_normal((12, 5)).astype(np.float32)
    sizes = []

    class Seen(core.NumPyBackend):
        def matmul(self, a, b, dtype=None):
            sizes.append(a.shape)
            return super().matmul(a, b, dtype)

    be = Seen(core.backend_for(x).xp, np.float32)
    newton_schulz(be, x)
    assert sizes[0] == (5, 12)
    exact = newton_schulz(be, x, dtype="exact")
    assert np.array_equal(exact, newton_schulz(be, x.T.copy(), dtype="exact").T)


@pytest.mark.parametrize("wide", [False, True])
def test_slices_of_every_length_of_a_sum(wide):
    """N9: w and S as the clause has them, at powers of two and on both sides of them."""
    for k in range(1, 4097):
        least = math.ceil(math.log2(k))
        w = (53 - least) // 2 if wide else min((24 - least) // 2, 8)
        assert products.digits(k, wide) == (w, math.ceil((55 if wide else 26) / w))


def test_as_many_slices_as_are_asked_for():
    """N9: each is a whole number of its unit, and what is left is below the last one's."""
    be = core.backend_for(np.zeros(1, np.float32))
    x = np.random.default_rng(0).uniform(-2, 2, 1000).astype(np.float32)
    parts = products._slices(be, x, 8, 3)
    assert len(parts) == 3
    for i, part in enumerate(parts):
        assert (part % 1 == 0).all()
        assert np.abs(part).max() <= (2.0**7 if i else 2.0**8)
    units = [2.0 ** (1 - 8 * i) for i in (1, 2, 3)]
    total = sum(unit * np.float64(part) for unit, part in zip(units, parts, strict=True))
    assert np.abs(x - total).max() <= 2.0**-24


def test_the_coefficients_of_polar_express_are_made_safe():
    """R4: all but the last, which the further steps repeat; other names are as they are."""
    named = COEFFICIENTS["polar_express"]
    found = matrix._each_step("polar_express", len(named) + 2)
    assert found[len(named) - 1 :] == [named[-1]] * 3
    for (a, b, c), (x, y, z) in zip(named[:-1], found, strict=False):
        assert (x, y, z) == (a / SAFETY, b / SAFETY**3, c / SAFETY**5)
    for name in COEFFICIENTS.keys() - {"polar_express"}:
        first = list(COEFFICIENTS[name])
        assert matrix._each_step(name, 2) == (first + first[-1:])[:2]


def test_the_key_of_a_name():
    """P13: CRC-32 of the name in UTF-8."""
    assert core.parameter_key("blocks.0.weight") == 1710541706
    assert core.parameter_key("α") == zlib.crc32("α".encode())
    assert core.parameter_key(3) == zlib.crc32(b"3")


def test_adafactor_of_one_row_is_that_of_one_column():
    g = np.array([[1.0, -2.0, 0.5, 3.0]], np.float32)
    ends = []
    for x in (g, g.T.copy()):
        optimizer = core.Optimizer(core.Adafactor(), None, lr=0.1)
        (w,), _ = optimizer.step([np.ones_like(x)], [x], optimizer.init([np.ones_like(x)]))
        ends.append(w.reshape(-1))
    np.testing.assert_allclose(*ends, rtol=1e-6)  # roundings of two means; the mutant is 40 % off


@pytest.mark.parametrize("many", [1, 2])
def test_tasks_of_few_arrays(many):
    """P1: SAM-GS of one array each."""
    tasks = [[np.full(3, float(i), np.float32)] * many for i in (1, 2)]
    transform = core.SAMGS()
    mixed, state = transform.aggregate(tasks, transform.init(tasks))
    assert [x.shape for x in mixed] == [(3,)] * many
    assert state.step == 1


@dataclass(frozen=True)
class Odd(core.SGD):
    """A rule with a field that no schedule can change."""

    table: tuple[float, ...] = (1.0, 2.0)


class Failing(core.SGD):
    def init(self, be, w):
        raise KeyError("nothing")


def test_what_the_linter_says_of_a_field_and_of_an_exception():
    said = [str(f) for f in core.check_rule(Odd).findings]
    assert any("table is no number or word: checked as it is only." in one for one in said)
    said = [str(f) for f in core.check_rule(Failing).findings]
    assert any("state: KeyError: 'nothing'" in one and "_state" not in one for one in said)


def test_the_linter_tells_where_a_rule_runs():
    said = [f.text for f in core.check_rule(core.AdamW).findings]
    assert any(one.startswith("elementwise: blocks and LLVM on the CPU") for one in said)
