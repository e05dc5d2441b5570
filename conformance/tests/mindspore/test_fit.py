"""What a step refuses, what it leaves alone, and what it writes to (issue 15; R6, P3)."""

from __future__ import annotations

import os
import signal

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor, nn

import mgup_core as core
from mgup_conformance.compare import check_identical
from mgup_mindspore import MGUPSGD, MGUPAdamW, MGUPLion, MGUPMuon

from .support import Beside, arrays, parameters, tensors, to_numpy

MODES = pytest.mark.parametrize("compiled", [False, True], ids=["pynative", "graph"])


def held(optimizer) -> list[bytes]:
    """All that an optimizer may change."""
    return [to_numpy(p).tobytes() for p in optimizer.get_parameters()]


def other_shape(p):
    p.set_data(Tensor(np.ones((2, 3), np.float32)))


def other_length(p):
    p.set_data(Tensor(np.ones(9, np.float32)))


def other_dtype(p):
    p.set_dtype(ms.float16)


CHANGES = pytest.mark.parametrize(
    ("change", "message"),
    [
        (other_shape, r"it has shape \(2, 3\), but had \(6,?\)"),
        (other_length, r"it has shape \(9,?\), but had \(6,?\)"),
        (other_dtype, "it has dtype Float16, but had Float32"),
    ],
)


@pytest.mark.parametrize("cls", [MGUPAdamW, MGUPLion, MGUPSGD, MGUPMuon])
@CHANGES
def test_a_parameter_that_no_longer_fits_its_state(cls, change, message):
    """Refused by name in PyNative, before any parameter has moved (issue 15, item 3)."""
    values = arrays(((4, 5), (6,)))
    made = cls(parameters(values, ["fc.weight", "fc.bias"]))
    made(tensors(values))
    change(made.parameters[1])
    before = held(made)
    changed = tuple(Tensor(np.ones(p.shape, np.float32)).astype(p.dtype) for p in made.parameters)
    for gradients in (tensors(values), changed):
        with pytest.raises(ValueError, match=rf"parameter fc\.bias: {message}"):
            made(gradients)
    assert held(made) == before


@CHANGES
def test_a_graph_that_is_compiled_after_the_change(change, message):
    made = MGUPSGD(parameters(arrays(((4, 5), (6,)))))
    change(made.parameters[1])
    before = held(made)
    changed = tuple(Tensor(np.ones(p.shape, np.float32)).astype(p.dtype) for p in made.parameters)
    with pytest.raises(ValueError, match=rf"layer1\.weight: {message}"):
        ms.jit(made.construct)(changed)
    assert held(made) == before


def test_a_state_that_no_longer_fits():
    made = MGUPAdamW(parameters(arrays(((4, 5), (6,)))))
    made.exp_avg_sq[1].set_data(Tensor(np.ones(7, np.float32)))
    before = held(made)
    with pytest.raises(ValueError, match=r"layer1\.weight: its exp_avg_sq has shape \(7,\)"):
        made(tensors(arrays(((4, 5), (6,)))))
    assert held(made) == before


@pytest.mark.parametrize(
    ("cls", "compiled"),
    [
        pytest.param(MGUPAdamW, False, id="adamw-pynative"),
        # The graph leaves a parameter out in the same way, whatever the rule.
        pytest.param(MGUPAdamW, True, id="adamw-graph", marks=pytest.mark.slow),
        pytest.param(MGUPSGD, False, id="sgd-pynative"),
        pytest.param(MGUPSGD, True, id="sgd-graph"),
    ],
)
def test_absent_gradients(cls, compiled):
    """R6: the parameter and its state stay; the others step. MindSpore has one count of steps."""
    values = arrays(((4, 5), (6,)))
    made = cls(parameters(values), 1e-2, weight_decay=0.1)
    take = ms.jit(made.construct) if compiled else made
    alone = core.Optimizer(cls.rule_class(), core.MGUP(), lr=1e-2, weight_decay=0.1)
    expected = values[:1]
    state = alone.init(expected)
    untouched = [to_numpy(p).tobytes() for p in made.get_parameters() if "layer1" in p.name]
    for seed in range(3):
        (g,) = arrays(((4, 5),), seed=seed)
        take((Tensor(g), None))
        expected, state = alone.step(expected, [g], state)
        check_identical("parameter", expected[0], to_numpy(made.parameters[0]), step=seed)
    after = [to_numpy(p).tobytes() for p in made.get_parameters() if "layer1" in p.name]
    assert after == untouched
    assert int(made.global_step.asnumpy()[0]) == 3
    take(tensors(values))
    moved = to_numpy(made.parameters[1])
    assert np.isfinite(moved).all()
    assert (moved != values[1]).any()


@pytest.mark.parametrize(
    ("gradients", "error", "message"),
    [
        (lambda gs: gs[:1], ValueError, "1 gradients were given for 2.*None for a parameter"),
        (lambda gs: gs[0], TypeError, "must be a tuple with one for each parameter"),
        (lambda gs: None, TypeError, "must be a tuple with one for each parameter"),
        (
            lambda gs: (gs[0], 1.0),
            TypeError,
            r"layer1\.weight is no dense Tensor.*sparse=False",
        ),
    ],
    ids=["fewer", "tensor", "none", "number"],
)
def test_what_is_no_tuple_of_gradients(gradients, error, message):
    values = arrays(((2, 5), (6,)))
    made = MGUPAdamW(parameters(values))
    before = held(made)
    with pytest.raises(error, match=message):
        made(gradients(tensors(values)))
    assert held(made) == before


@pytest.mark.parametrize("rate", [-1.0, float("nan"), float("inf")])
def test_a_learning_rate_assigned_out_of_range(rate):
    """Known on the host in PyNative: refused before anything changes."""
    values = arrays(((4, 5), (6,)))
    made = MGUPAdamW(parameters(values))
    made.learning_rate.set_data(Tensor(rate, ms.float32))
    before = held(made)
    with pytest.raises(ValueError, match=f"learning_rate={rate}"):
        made(tensors(values))
    assert held(made) == before


def strided(w):
    return Tensor(np.ascontiguousarray(w.T)).T


def offset(w):
    return Tensor(np.stack([w, w]))[1]


@pytest.mark.parametrize("assigned", [strided, offset])
def test_a_parameter_that_is_a_part_of_another_tensor(assigned):
    """What NumPy sees of it is a copy, and the step reaches the parameter all the same."""
    run = Beside(MGUPAdamW(parameters(arrays(((4, 5),))), 1e-2), core.AdamW(), core.MGUP(), lr=1e-2)
    run.params[0].set_data(assigned(run.expected[0]))
    run.run(3)


def test_what_waits_in_the_queue_reads_the_parameter_as_it_was():
    """PyNative is asynchronous, and the step writes where earlier operations may yet read."""
    weight = np.ones(2_000_000, np.float32)
    made = MGUPSGD([Parameter(weight, name="w")], 0.5, weight_decay=0.0)
    p, g = made.parameters[0], Tensor(weight)
    busy = g
    for _ in range(5):
        busy = busy * 1.5 + busy / 3.0
    before = p * 1.0
    made((g,))
    after = p * 1.0
    assert (before.asnumpy() == 1.0).all()
    assert (after.asnumpy() != 1.0).all()
    assert np.isfinite(busy.asnumpy()).all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_step_is_whole_though_it_is_interrupted(dtype):
    """Views are written in place, so KeyboardInterrupt waits: all have moved, with their state."""
    from mgup_mindspore import optimizer

    sent = []

    class Interrupted(core.SGD):
        elementwise = False  # so that it is called at each step

        def direction(self, be, g, w, state, t):
            if isinstance(g, np.ndarray) and not sent:
                sent.append(True)
                os.kill(os.getpid(), signal.SIGINT)
            return super().direction(be, g, w, state, t)

    values = arrays(((4, 5), (6,), (7,)), dtype)
    made = optimizer(Interrupted)(parameters(values), 1e-1)
    whole = MGUPSGD(parameters(values), 1e-1)
    whole(tensors(values))
    # MindSpore's own handler, below Python's, ends the process; a program may set Python's again.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(KeyboardInterrupt):
        made(tensors(values))
    assert held(made) == held(whole)


def test_positions_mean_what_they_mean_in_the_twins():
    """nn.Momentum's fourth argument is its decay, nn.SGD's its dampening: neither is guessed."""
    values = arrays(((4, 5),))
    made = MGUPSGD(parameters(values), 0.1, 0.8)
    Beside(made, core.SGD(momentum=0.8), core.MGUP(), lr=0.1, weight_decay=0.0).run(3)
    with pytest.raises(TypeError, match="only params, learning_rate, momentum may be: give the"):
        MGUPSGD(parameters(values), 0.1, 0.8, 0.01)
    with pytest.raises(TypeError, match="weight_decay=False is a bool"):
        MGUPAdamW(parameters(values), 1e-3, 0.9, 0.999, 1e-8, False)  # nn.Adam's use_locking


@pytest.mark.parametrize("cls", [MGUPAdamW, MGUPMuon])
def test_what_holds_parameters(cls):
    """Iterators and generators are read once; what has no order is refused (issue 15, item 22)."""
    values = arrays(((4, 5), (6,)))

    def fresh():
        return parameters(values, ["fc.weight", "fc.bias"])

    params = fresh()
    for given in (
        (p for p in params),
        [{"params": (p for p in params)}],
        [{"params": iter(params)}, {"order_params": (p for p in params)}],
        ({"params": filter(lambda one: one.ndim, [p])} for p in params),
    ):
        assert [p.name for p in cls(given).parameters] == ["fc.weight", "fc.bias"]
    assert [p.name for p in cls(params[0]).parameters] == ["fc.weight"]
    for given, message in (
        (set(params), "as a set, but gradients are matched with them by position"),
        ([{"params": set(params)}], "as a set"),
        ({p.name: p for p in params}, "as a dict"),
        (nn.Dense(2, 2), r"a Dense, which is a network: give it net\.trainable_params\(\)"),
    ):
        with pytest.raises(TypeError, match=message):
            cls(given)


def test_numbers_of_configuration_files():
    """NumPy's numbers, and sequences that are no tuples."""

    class Listed(list):
        pass

    values = arrays(((4, 5),))
    made = MGUPAdamW(parameters(values), np.float32(0.5), beta1=np.float64(0.8))
    Beside(made, core.AdamW(0.8), core.MGUP(), lr=0.5).run(2)
    MGUPMuon(parameters(values), ns_coefficients=Listed([3.0, -4.0, 2.0]))
    MGUPMuon([{"params": parameters(values), "ns_coefficients": Listed([3.0, -4.0, 2.0])}])


@pytest.mark.parametrize("cls", [MGUPAdamW, MGUPMuon])
def test_one_warning_at_the_callers_line(cls):
    """P3: forty scalars give one warning, which names them and the line that made the optimizer."""
    with pytest.warns(UserWarning, match="40 parameter.*s0.*s39.*mode='off'") as caught:
        cls(parameters([np.zeros(1, np.float32)] * 40, [f"s{i}" for i in range(40)]))
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_a_state_with_a_name_of_the_optimizer():
    """A rule's state never takes the place of what nn.Optimizer keeps under that name."""
    from mgup_mindspore import optimizer

    class Clash(core.SGD):
        def init(self, be, w):
            return {"cls_name": be.zeros_like(w)}

    with pytest.raises(ValueError, match="Clash calls a state 'cls_name'"):
        optimizer(Clash)(parameters(arrays()))
