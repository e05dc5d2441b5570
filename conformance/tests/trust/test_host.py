"""Steps in host memory block by block, against whole arrays: what only many blocks can show.

It checks N1, P3, P4, P8, P9, R5 and R6.
"""

from __future__ import annotations

import threading

import numpy as np
import pytest

import mgup_core as core
from mgup_conformance.compare import check_identical
from mgup_core.host import blocks
from mgup_core.host.blocks import BlockStep
from mgup_core.host.threads import each
from mgup_core.optimizer import OptimizerState

RULES = [
    core.AdamW(), core.Adan(), core.Adan(no_prox=True), core.Lion(), core.SGD(nesterov=True),
    core.SGD(coupled_decay=True), core.AdEMAMix(), core.ADOPT(), core.AnchoredSGD(),
]  # fmt: skip
POLICIES = [
    core.MGUP(0.3), core.SignMGUP(), core.SignMGUP(ties="aligned"), core.AdaptiveSignMGUP(),
    core.Cautious(), None,
]  # fmt: skip
SIZE = 1000


class Narrow:
    """Cells that round to float16 as they are written, and convert as they are read."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, span: slice) -> np.ndarray:
        return self.values[span].astype(np.float32)

    def __setitem__(self, span: slice, value: np.ndarray) -> None:
        self.values[span] = value.astype(np.float16)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(blocks, "LEAST_BLOCK", 64)
    monkeypatch.setattr(blocks, "_LARGEST", 64)


@pytest.mark.parametrize("spare", [0, 1 << 24])
@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("policy", POLICIES, ids=str)
@pytest.mark.parametrize("rule", RULES, ids=str)
def test_many_blocks_are_the_whole(rule, policy, narrow, spare):
    """N1, P4, R5: state that is stored in fewer digits, and blocks that are not kept, too."""
    rng = np.random.default_rng(0)
    dtype = np.float16 if narrow else np.float32
    w = rng.standard_normal(SIZE).astype(dtype)
    optimizer = core.Optimizer(rule, policy, lr=0.02, weight_decay=0.1)
    whole, state = [w], optimizer.init([w])
    mine = w.copy()
    own = {name: x.copy() for name, x in state.arrays[0].items()}
    be = core.backend_for(np.zeros(1, np.float32))
    for t in range(1, 5):
        g = (rng.standard_normal(SIZE) * 10.0 ** rng.integers(-3, 1, SIZE)).astype(dtype)
        g[rng.random(SIZE) < 0.3] = 0
        whole, state = optimizer.step(whole, [g], state)
        cells = Narrow if narrow else np.asarray
        tally = BlockStep(
            be, rule, policy, cells(mine), cells(g), {n: cells(x) for n, x in own.items()}, t,
            lr=0.02, weight_decay=0.1, exact_state=not narrow, spare=spare, measure=True,
        ).run()  # fmt: skip
        check_identical("parameter", whole[0], mine, step=t)
        for name, x in own.items():
            check_identical(name, state.arrays[0][name], x, step=t)
        assert tally.size == SIZE
        if policy is None:
            assert (tally.selected, tally.positive, tally.high, tally.low) == (0, 0, 1.0, 1.0)
        elif policy.ranks:
            assert tally.selected == 300


@pytest.mark.parametrize("policy", POLICIES, ids=str)
@pytest.mark.parametrize("measure", [False, True])
def test_a_tally_is_what_whole_arrays_measure(policy, measure):
    """P3, P8, P9: selected, positive, ties and factors, summed over blocks."""
    if policy is None:
        return
    rng = np.random.default_rng(1)
    w, g = rng.standard_normal(SIZE).astype("f4"), rng.integers(-2, 3, SIZE).astype("f4")
    optimizer = core.Optimizer(core.SGD(), policy, lr=0.1)
    *_, told = optimizer.step_with_statistics([w], [g], optimizer.init([w]))
    be = core.backend_for(w)
    tally = BlockStep(
        be, core.SGD(), policy, w.copy(), g, {"momentum_buffer": np.zeros_like(w)}, 1,
        lr=0.1, measure=measure, spare=0,
    ).run()  # fmt: skip
    if not measure:
        assert (tally.selected, tally.positive) == (0, 0)
        return
    assert tally.selected == round(float(told[0].selected) * SIZE)
    assert tally.positive == round(float(told[0].positive) * SIZE)
    high, low = np.float64(tally.high), np.float64(tally.low)
    mean = (tally.selected * high + (SIZE - tally.selected) * low) / SIZE
    assert mean == pytest.approx(float(told[0].multiplier), rel=1e-5)  # a mean in another order
    if policy.ranks:
        assert tally.threshold == float(told[0].threshold)
        assert tally.ties == int(told[0].ties)


@pytest.mark.parametrize("spare", [0, 1 << 24])
@pytest.mark.parametrize("kept", [0, 1, 50, 63, 64, 65, 300, 500, 999, 1000])
def test_ties_in_many_blocks(kept, spare):
    """P4: whichever block the last selected tie lies in, at its ends too."""
    rng = np.random.default_rng(kept)
    policy = core.MGUP(kept / SIZE, 2.0, 0.5)
    be, rule = core.backend_for(np.zeros(1, np.float32)), core.SGD(momentum=0.0)
    for values in (1, 2, 5):
        w = rng.standard_normal(SIZE).astype("f4")
        g = rng.integers(1, 1 + values, SIZE).astype("f4")
        optimizer = core.Optimizer(rule, policy, lr=0.1)
        (whole,), _ = optimizer.step([w], [g], optimizer.init([w]))
        state = {n: x.copy() for n, x in optimizer.init([w]).arrays[0].items()}
        tally = BlockStep(
            be, rule, policy, w, g, state, 1, lr=0.1, spare=spare, measure=True
        ).run()  # fmt: skip
        check_identical("parameter", whole, w)
        assert tally.selected == kept


@pytest.mark.parametrize("lr", [0.02, 3.0, 1e38])
@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_large_rates_in_many_blocks(policy, lr):
    """P7: what overflows by alpha alone takes gamma; the rest of the selected keeps alpha."""
    rng = np.random.default_rng(2)
    w = np.zeros(SIZE, np.float32)
    g = (rng.standard_normal(SIZE) * 10.0 ** rng.integers(-3, 1, SIZE)).astype("f4")
    optimizer = core.Optimizer(core.SGD(momentum=0.0), policy, lr=lr)
    (whole,), _ = optimizer.step([w], [g], optimizer.init([w]))
    state = {n: x.copy() for n, x in optimizer.init([w]).arrays[0].items()}
    be = core.backend_for(w)
    BlockStep(be, core.SGD(momentum=0.0), policy, w, g, state, 1, lr=lr).run()
    check_identical("parameter", whole, w)


@pytest.mark.parametrize("policy", [p for p in POLICIES if p], ids=str)
@pytest.mark.parametrize("kind", ["normal", "ties", "special"])
def test_slices_in_blocks(policy, kind):
    """P5, P4: rows ranked each by itself, several in a block."""
    rng = np.random.default_rng(3)
    shape = (40, 25)
    w = rng.standard_normal(shape).astype("f4")
    g = rng.standard_normal(shape).astype("f4")
    if kind == "ties":
        g = rng.integers(-2, 3, shape).astype("f4")
    elif kind == "special":
        g[rng.random(shape) < 0.4] = np.nan
        g[rng.random(shape) < 0.4] = -np.inf
    optimizer = core.Optimizer(core.SGD(), policy, lr=0.1, stacked_dims=1)
    with np.errstate(all="ignore"):
        (whole,), after = optimizer.step([w], [g], optimizer.init([w]))
    m, flat = np.zeros(w.size, np.float32), w.reshape(-1).copy()
    tally = BlockStep(
        core.backend_for(w), core.SGD(), policy, flat, g.reshape(-1), {"momentum_buffer": m}, 1,
        lr=0.1, length=shape[1], spare=0,
    ).run()  # fmt: skip
    assert tally == (w.size, 0, np.inf, 0, 0, 1.0, 1.0)
    check_identical("parameter", whole, flat.reshape(shape))
    check_identical("momentum", after.arrays[0]["momentum_buffer"], m.reshape(shape))


@pytest.mark.parametrize("policy", [*POLICIES], ids=str)
def test_a_tally_of_nothing(policy):
    """R6: no cells, no counts; the threshold is above every score."""
    empty = np.zeros(0, np.float32)
    be = core.backend_for(np.zeros(1, np.float32))
    tally = BlockStep(
        be, core.SGD(), policy, empty, empty, {"momentum_buffer": empty}, 1, lr=0.1, measure=True
    ).run()  # fmt: skip
    assert tally == (0, 0, np.inf, 0, 0, 1.0, 1.0)


def test_no_more_buffers_than_are_used():
    """Each is as long as a block, and every thread has its own."""
    w = np.zeros(SIZE, np.float32)
    be = core.backend_for(w)
    step = BlockStep(be, core.SGD(), None, w, w, {"momentum_buffer": w.copy()}, 1, lr=0.1)
    for n in (2, 3, 3, 1):
        held = step._buffers(n)
    assert [len(x) for x in held] == [step.block] * 3


def test_cells_of_other_lengths_are_refused():
    w, be = np.zeros(5, np.float32), core.backend_for(np.zeros(1, np.float32))
    for g, m in ((4, 5), (5, 4)):
        with pytest.raises(ValueError, match="has 4 cells, but the parameter has 5"):
            BlockStep(
                be, core.SGD(), None, w, np.zeros(g, np.float32),
                {"momentum_buffer": np.zeros(m, np.float32)}, 1, lr=0.1,
            )  # fmt: skip


def test_spans_cover_and_fit():
    """Every cell once, in order; no longer than what may be used, nor shorter than a multiple."""
    for size, each_cell, spare, multiple in [(1000, 8, 0, 1), (1000, 8, 10**9, 7), (3, 8, 0, 5)]:
        spans = blocks.spans_of(size, each_cell, spare, multiple)
        assert [i for s in spans for i in range(s.start, s.stop)] == list(range(size))
        assert all((s.stop - s.start) % multiple == 0 for s in spans[:-1])
        assert all(s.stop - s.start <= max(64, multiple) for s in spans)
    assert blocks.spans_of(0, 8, 0) == []


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_each_piece_once_and_in_order(threads):
    assert each(lambda i: i * i, 20, threads) == [i * i for i in range(20)]
    assert each(lambda i: i, 0, threads) == []
    done = []

    def work(i):
        done.append(i)
        if i == 3:
            raise KeyError(i)

    with pytest.raises(KeyError):
        each(work, 200, threads)
    assert len(done) <= 3 + 2 * threads + 60  # pieces that ran already end; no other begins
    assert sorted(done) == sorted(set(done))


def test_two_pieces_run_side_by_side():
    """Each waits for the other; one thread would wait for ever."""
    together = threading.Barrier(2)
    each(lambda _: together.wait(timeout=60), 2, 2)


def test_a_state_of_another_step_count():
    """R6: what OptimizerState holds is what the next step reads."""
    optimizer = core.Optimizer(core.AdamW(), None, lr=0.1)
    w, g = np.ones(3, np.float32), np.ones(3, np.float32)
    params, state = optimizer.step([w], [g], optimizer.init([w]))
    assert state.steps == {0: 1}
    other = OptimizerState({0: 41}, state.arrays)
    _, after = optimizer.step(params, [g], other)
    assert after.steps == {0: 42}
