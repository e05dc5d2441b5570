"""Bad input: a clear error that names the argument, and nothing changed (P3, P7, R3, R6)."""

from __future__ import annotations

import warnings

import pytest
import torch

import mgup_torch
from mgup_torch import MGUP, MGUPSGD, MGUPAdamW, MGUPLion, MGUPMuon

from .support import advance, frozen, give, gradients, parameters

NAN, INF = float("nan"), float("inf")
EVERY = [MGUPAdamW, MGUPLion, MGUPSGD, MGUPMuon]

COMMON = [
    ("tau", 1.5), ("tau", -0.1), ("tau", NAN), ("tau", INF), ("tau", "0.5"), ("tau", None),
    ("alpha", 0.5), ("alpha", NAN), ("alpha", INF), ("alpha", "2"), ("alpha", -2.0),
    ("gamma", 0.0), ("gamma", -0.5), ("gamma", 1.5), ("gamma", NAN), ("gamma", "0.5"),
    ("lr", -0.1), ("lr", NAN), ("lr", INF), ("lr", "0.1"), ("lr", None), ("lr", 1 + 0j),
    ("lr", torch.tensor(-1.0)), ("lr", torch.tensor(NAN)), ("lr", torch.tensor([0.1, 0.2])),
    ("weight_decay", -0.1), ("weight_decay", NAN), ("weight_decay", INF), ("weight_decay", "1"),
    ("mode", "best"), ("mode", None), ("mode", "Rank"),
    ("stacked_dims", -1), ("stacked_dims", 1.0), ("stacked_dims", 3),
    ("state_dtype", "float32"), ("state_dtype", torch.int64), ("state_dtype", torch.complex64),
    ("differentiable", True),
]  # fmt: skip
IN_THEIR_MODE = [
    ({"mode": "sign"}, "alpha", 0.5), ({"mode": "sign"}, "gamma", 0.0),
    ({"mode": "sign"}, "ties", "up"), ({"mode": "adaptive"}, "tau_min", 0.0),
    ({"mode": "adaptive"}, "tau_min", NAN), ({"mode": "adaptive"}, "tau_min", 2.0),
    ({"mode": "off"}, "alpha", 0.5), ({"mode": "off"}, "gamma", 2.0),
    ({"mode": "cautious"}, "gamma", 0.0), ({"mode": "adaptive"}, "tau", 1.5),
]  # fmt: skip
OWN = [
    (MGUPAdamW, "betas", (1.0, 0.9)), (MGUPAdamW, "betas", (0.9, 1.0)),
    (MGUPAdamW, "betas", (-0.1, 0.9)), (MGUPAdamW, "betas", (NAN, 0.9)),
    (MGUPAdamW, "betas", (0.9,)), (MGUPAdamW, "betas", (0.9, 0.9, 0.9)),
    (MGUPAdamW, "betas", 0.9), (MGUPAdamW, "betas", ("a", "b")), (MGUPAdamW, "betas", None),
    (MGUPAdamW, "eps", -1e-8), (MGUPAdamW, "eps", NAN), (MGUPAdamW, "eps", "1"),
    (MGUPAdamW, "form", "mine"), (MGUPAdamW, "amsgrad", True),
    (MGUPLion, "betas", (0.9, 1.5)),
    (MGUPSGD, "momentum", 1.0), (MGUPSGD, "momentum", -0.1), (MGUPSGD, "momentum", NAN),
    (MGUPSGD, "dampening", -0.1), (MGUPSGD, "dampening", 1.5), (MGUPSGD, "dampening", NAN),
    (MGUPMuon, "momentum", 1.0), (MGUPMuon, "eps", -1.0), (MGUPMuon, "ns_steps", 0),
    (MGUPMuon, "ns_steps", 2.5), (MGUPMuon, "ns_dtype", "float16"),
    (MGUPMuon, "adjust_lr_fn", "mine"), (MGUPMuon, "ns_coefficients", (1.0, 2.0)),
    (MGUPMuon, "adamw_betas", (0.9, 1.0)), (MGUPMuon, "adamw_eps", -1.0),
    (MGUPMuon, "adamw_lr", -1.0), (MGUPMuon, "adamw_lr", NAN), (MGUPMuon, "exceptions", (1, 2)),
]  # fmt: skip
ARGUMENTS = (
    [(cls, {}, name, value) for cls in EVERY for name, value in COMMON]
    + [(MGUPAdamW, mode, name, value) for mode, name, value in IN_THEIR_MODE]
    + [(cls, {}, name, value) for cls, name, value in OWN]
)
SHAPES = ((3, 4), (5,))


def name_of(value) -> str:
    return getattr(value, "__name__", None) or str(value)


@pytest.mark.parametrize(("cls", "others", "name", "value"), ARGUMENTS, ids=name_of)
def test_constructor(cls, others, name, value):
    with pytest.raises((ValueError, TypeError), match=name.removeprefix("adamw_")):
        cls(parameters(SHAPES), **others, **{name: value})


@pytest.mark.parametrize(("cls", "others", "name", "value"), ARGUMENTS, ids=name_of)
def test_add_param_group(cls, others, name, value):
    params = parameters(SHAPES)
    optimizer = cls(params)
    advance(optimizer, params, 1)
    before = frozen(optimizer)
    with pytest.raises((ValueError, TypeError), match=name.removeprefix("adamw_")):
        optimizer.add_param_group({"params": parameters(SHAPES), **others, name: value})
    assert frozen(optimizer) == before


@pytest.mark.parametrize("name", ["momentun", "lrr", "nesterov_momentum", "rho"])
@pytest.mark.parametrize("cls", EVERY)
def test_unexpected_keyword(cls, name):
    with pytest.raises(TypeError, match=name):
        cls(parameters(SHAPES), **{name: 1.0})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda p: mgup_torch.MGUPAdan(p, nesterov=True),
            "'nesterov'. It takes .*betas",
        ),
        (lambda p: mgup_torch.MGUPAdan(p, betas=(0.9, 0.99)), "Adan has 3, b1, b2, b3"),
        (lambda p: mgup_torch.MGUPSCALE(p, role="lst"), "role='lst' is none of SCALE's: 'matrix'"),
        (lambda p: mgup_torch.MGUPSCALE(p, out_axis=7), r"SCALE's out_axis=7 .* give one from -2"),
    ],
)
def test_hyperparameters_of_another_rule(make, message):
    """Issue of ports: the rule and the remedy are named."""
    with pytest.raises((TypeError, ValueError), match=message):
        make([torch.nn.Parameter(torch.ones(4, 3))])


@pytest.mark.parametrize(
    ("cls", "key", "message"),
    [
        ("MGUPAdan", "momentum", "'momentum', which Adan does not have. Its own: betas, eps"),
        ("MGUPLion", "eps", "'eps', which Lion does not have. Its own: betas"),
        ("MGUPSCALE", "roles", "'roles', which SCALE does not have; did you mean 'role'"),
        ("MGUPAdamW", "weight_decays", "did you mean 'weight_decay'"),
    ],
)
def test_group_keys_of_another_rule(cls, key, message):
    """Issue of ports: the rule and the remedy are named, and the optimizer is as it was."""
    group = {"params": [torch.nn.Parameter(torch.ones(4, 3))], key: 0.5}
    with pytest.raises(ValueError, match=message):
        getattr(mgup_torch, cls)([group])
    optimizer = getattr(mgup_torch, cls)([torch.nn.Parameter(torch.ones(2, 2))])
    with pytest.raises(ValueError, match=message):
        optimizer.add_param_group(group)
    assert len(optimizer.param_groups) == 1


def test_a_caller_s_own_group_keys_are_kept():
    """As in torch.optim, whose groups hold what schedulers and frameworks put there."""
    group = {"params": [torch.nn.Parameter(torch.ones(2))], "lr_scale": 0.5, "name": "head"}
    assert MGUPAdamW([group]).param_groups[0]["lr_scale"] == 0.5


def test_nesterov_needs_momentum():
    for kwargs in ({"momentum": 0.0}, {"dampening": 0.1}):
        with pytest.raises(ValueError, match="nesterov"):
            MGUPSGD(parameters(SHAPES), nesterov=True, **kwargs)


@pytest.mark.parametrize("cls", EVERY)
@pytest.mark.parametrize(
    ("params", "message"),
    [
        ([], "empty parameter list"),
        ((), "empty parameter list"),
        ({}, "empty parameter list"),
        (torch.zeros(3), "iterable of Tensors"),
        ("weights", "str"),
        ([1.0], "float"),
        ([torch.zeros(3, dtype=torch.int64)], "int64"),
        ([torch.zeros(3, dtype=torch.bool)], "bool"),
        ([torch.zeros(3, 3, dtype=torch.complex64, requires_grad=True)], "complex64"),
        ([torch.ones(3, requires_grad=True) * 2], "non-leaf"),
        ([{"lr": 0.1}], "params"),
    ],
    ids=str,
)
def test_parameters(cls, params, message):
    with pytest.raises((ValueError, TypeError, KeyError), match=message):
        cls(params)


@pytest.mark.parametrize("cls", EVERY)
def test_a_parameter_twice(cls):
    params = parameters(SHAPES)
    optimizer = cls(params)
    before = frozen(optimizer)
    with pytest.raises(ValueError, match="more than one parameter group"):
        optimizer.add_param_group({"params": params[:1]})
    assert frozen(optimizer) == before


# -- gradients -----------------------------------------------------------------------------------


def forced(p, grad) -> None:
    """Past the check that torch makes when ``.grad`` is assigned."""
    p.grad = torch.zeros_like(p)
    p.grad.data = grad


class _Elsewhere(torch.Tensor):
    """A parameter whose gradient is on another device, which torch itself lets nobody assign."""

    grad = property(
        lambda self: torch.zeros(self.shape, device="meta"),
        lambda self, _: setattr(self, "__class__", torch.Tensor),
    )


BAD_GRADIENTS = {
    "shape": (lambda p: forced(p, torch.zeros(4, 3)), r"\(4, 3\)"),
    "fewer entries": (lambda p: forced(p, torch.zeros(3)), r"\(3,\)"),
    "broadcastable": (lambda p: forced(p, torch.zeros(1, 4)), r"\(1, 4\)"),
    "dtype": (lambda p: forced(p, torch.zeros(3, 4, dtype=torch.float64)), "float64"),
    "half": (lambda p: forced(p, torch.zeros(3, 4, dtype=torch.bfloat16)), "bfloat16"),
    "device": (lambda p: setattr(p, "__class__", _Elsewhere), "meta"),
    "sparse": (lambda p: setattr(p, "grad", torch.eye(3, 4).to_sparse()), "sparse"),
    "complex": (lambda p: forced(p, torch.zeros(3, 4, dtype=torch.complex64)), "complex"),
}


@pytest.mark.parametrize("kind", BAD_GRADIENTS)
@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("cls", [*EVERY, "wrapper"])
def test_gradients(cls, kind, started):
    """The last parameter's gradient is bad: the first ones must not have moved."""
    params = parameters(((2, 6), (5,), (3, 4)))
    optimizer = MGUP(torch.optim.AdamW(params)) if cls == "wrapper" else cls(params)
    if started:
        advance(optimizer, params, 2)
    give(params, gradients(params, 2))
    spoil, message = BAD_GRADIENTS[kind]
    spoil(params[-1])
    before = frozen(optimizer)
    with pytest.raises((ValueError, RuntimeError, TypeError), match=message):
        optimizer.step()
    assert frozen(optimizer) == before
    give(params, gradients(params, 2))
    optimizer.step()
    assert frozen(optimizer) != before


@pytest.mark.parametrize("cls", EVERY)
def test_sparse_embedding(cls):
    """The remedy is in the message."""
    table = torch.nn.Embedding(10, 4, sparse=True)
    optimizer = cls(table.parameters())
    table(torch.tensor([1, 2])).sum().backward()
    before = frozen(optimizer)
    with pytest.raises(RuntimeError, match="sparse=False"):
        optimizer.step()
    assert frozen(optimizer) == before


@pytest.mark.parametrize("named", [False, True])
def test_the_message_names_the_parameter(named):
    model = torch.nn.Linear(4, 3)
    optimizer = MGUPAdamW(model.named_parameters() if named else model.parameters())
    give(model.parameters(), gradients(list(model.parameters()), 0))
    forced(model.bias, torch.zeros(4))
    with pytest.raises(ValueError, match="'bias'" if named else "number 1"):
        optimizer.step()


@pytest.mark.parametrize(("name", "value"), [c for c in COMMON if c[0] in ("alpha", "gamma")])
def test_bad_values_written_to_a_group_are_refused_at_the_step(name, value):
    params = parameters(SHAPES)
    optimizer = MGUPAdamW(params)
    advance(optimizer, params, 1)
    optimizer.param_groups[0][name] = value
    before = frozen(optimizer)
    with warnings.catch_warnings(), pytest.raises((ValueError, TypeError), match=name):
        optimizer.step()
    assert frozen(optimizer) == before


def test_a_failing_closure_changes_nothing():
    params = parameters(SHAPES)
    optimizer = MGUPAdamW(params)
    advance(optimizer, params, 1)
    before = frozen(optimizer)

    def closure():
        raise ArithmeticError("the loss")

    with pytest.raises(ArithmeticError, match="the loss"):
        optimizer.step(closure)
    assert frozen(optimizer) == before
