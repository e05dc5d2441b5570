"""What a rule says of itself is checked where an optimizer is made of it, by every driver alike.

The names of its fields (issue 15, item 8): an adapter keeps them beside its own arguments, so that
a rule with a field ``tau`` received MGUP's, and NumPy's the rule's. And that it is elementwise
(item 17): a norm over each block of a parameter gave 0.1426 for 0.01166.

No clause: the operations of ``mgup_core.trace.ops``, docs/guides/porting.md.
"""

from __future__ import annotations

import importlib
import itertools
from dataclasses import dataclass, fields, make_dataclass
from inspect import signature
from typing import ClassVar

import numpy as np
import pytest

import mgup_core
from mgup_core import Direction, Optimizer, Rule, norm, rules
from mgup_core.frontend.reserved import RESERVED

RULES = [
    kind
    for kind in vars(rules).values()
    if isinstance(kind, type) and issubclass(kind, Rule) and kind is not Rule
]
DRIVERS = {
    "mgup_core": lambda rule_class: Optimizer(rule_class()),
    "mgup_torch": "optimizer",
    "mgup_jax": "transformation",
    "mgup_mindspore": "optimizer",
}


@pytest.fixture(params=DRIVERS)
def driver(request):
    """What makes an optimizer of a rule class."""
    made = DRIVERS[request.param]
    module = pytest.importorskip(request.param)
    return getattr(module, made) if isinstance(made, str) else made


def with_field(kind, name, default=0.5):
    return make_dataclass(
        f"My{kind.__name__}", [(name, float, default)], bases=(kind,), frozen=True
    )


def test_reserved_names_are_refused(driver):
    """Every name, and on every rule."""
    names = sorted(RESERVED)
    for kind, name in [
        *((RULES[0], name) for name in names),
        *zip(RULES, itertools.cycle(names), strict=False),
    ]:
        rule_class = with_field(kind, name)
        with pytest.raises(ValueError, match=f"My{kind.__name__} has a field '{name}'.*'{name}_'"):
            driver(rule_class)


@pytest.mark.parametrize("name", ["w", "g", "t", "d", "lr", "step", "count", "tau"])
@pytest.mark.parametrize("kind", [mgup_core.SGD, mgup_core.Muon])
def test_reserved_names_of_state_are_refused(driver, kind, name):
    """Where the class is made, and before a step could mix the array up with another."""

    class Keeps(kind):
        def init(self, be, w):
            return {**super().init(be, w), name: be.zeros_like(w)}

    with pytest.raises(ValueError, match=rf"Keeps keeps an array '{name}' .*such as '{name}_'"):
        driver(Keeps)


def test_no_rule_of_the_library_is_refused(driver):
    for kind in RULES:
        driver(kind)


def test_other_names_keep_their_value():
    """The remedy of the message."""
    torch = pytest.importorskip("torch")
    made = pytest.importorskip("mgup_torch").optimizer(with_field(mgup_core.SGD, "tau_", 0.125))
    optimizer = made([torch.nn.Parameter(torch.ones(2))], tau=0.25)
    assert optimizer._rule(optimizer.param_groups[0]).tau_ == 0.125


@pytest.mark.parametrize("name", ["betas", "beta1", "beta2"])
def test_betas_are_taken_where_b1_is(driver, name):
    """PyTorch calls b1 and b2 so together, MindSpore each."""
    with pytest.raises(ValueError, match=f"field '{name}', but b1, b2, … are called so"):
        driver(with_field(mgup_core.Lion, name))
    driver(with_field(mgup_core.Signum, name))


def test_a_flag_without_classvar_is_a_field(driver):
    """``elementwise: bool = False`` would be an argument of the optimizer."""
    with pytest.raises(ValueError, match=r"field 'elementwise'.*ClassVar"):
        driver(with_field(mgup_core.SGD, "elementwise", False))


@dataclass(frozen=True)
class Bare(Rule):
    """Without a field: what an optimizer takes then is the adapter's."""

    def init(self, be, w):
        return {}

    def direction(self, be, g, w, state, t):
        return Direction(g, a=g)


def own_arguments():
    """The arguments and group entries of each adapter."""
    torch = pytest.importorskip("torch")
    mgup_torch, mgup_jax, mgup_mindspore = map(importlib.import_module, list(DRIVERS)[1:])
    kind = mgup_torch.optimizer(Bare)
    optimizer = kind([("w", torch.nn.Parameter(torch.ones(2)))])
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1.0)
    yield {*signature(kind).parameters, *optimizer.param_groups[0]}
    yield set(signature(mgup_jax.transformation(Bare)).parameters)
    groups = importlib.import_module("mgup_mindspore.groups")
    yield {*signature(mgup_mindspore.optimizer(Bare)).parameters, *groups.OF_MINDSPORE}
    yield {field.name for field in fields(Optimizer)} - {"rule", "policy", "backend"}


def test_the_list_is_that_of_the_adapters():
    """No argument is missing, and none is there in vain."""
    for module in DRIVERS:
        pytest.importorskip(module)
    taken = set().union(*own_arguments()) | {n for n in vars(Rule) if not n.startswith("_")}
    assert taken == RESERVED


# -- elementwise ---------------------------------------------------------------------------------


def summed(be, x):
    return be.xp.sum(x)


BEYOND = {
    "be.total": lambda be, x: be.total(x),
    "be.total ": lambda be, x: norm(be, x),
    "xp.sum": summed,
    "xp.mean": lambda be, x: be.xp.mean(x, axis=-1, keepdims=True),
    "xp.max": lambda be, x: be.xp.max(be.xp.abs(x)),
    "xp.sort": lambda be, x: be.xp.sort(x),
    "xp.cumulative_sum": lambda be, x: be.xp.cumulative_sum(x),
    "xp.linalg": lambda be, x: be.xp.linalg.vector_norm(x),
    "be.matmul": lambda be, x: be.matmul(x, x),
    "x @ y": lambda be, x: x @ x,
    r"x\[…\]": lambda be, x: x[0],
    "x.sum": lambda be, x: x.sum(),
    "the shape of an array": lambda be, x: be.scalar(1.0 / x.shape[-1]),
    "the shape of an array ": lambda be, x: be.scalar(x.ndim),
    "the shape of an array  ": lambda be, x: be.scalar(float(np.prod(x.shape))),
}


def rule_that(reaches, where="direction"):
    @dataclass(frozen=True)
    class Normed(Bare):
        def direction(self, be, g, w, state, t):
            scale = reaches(be, g) if where == "direction" else be.scalar(1.0)
            return Direction(be.mul(g, scale), a=g)

        def constrain(self, be, delta, w, rate, direction):
            return be.mul(delta, reaches(be, delta)) if where == "constrain" else delta

    return Normed


@pytest.mark.parametrize("where", ["direction", "constrain"])
@pytest.mark.parametrize("operation", BEYOND)
def test_a_rule_that_forgot_to_say_that_it_is_not(driver, operation, where):
    """The rule, the operation and the remedy are named."""
    message = f"Normed says elementwise = True.*needs (be.)?{operation.strip()}.*ClassVar.* = False"
    with pytest.raises(ValueError, match=message):
        driver(rule_that(BEYOND[operation], where))


@pytest.mark.parametrize("operation", ["be.total", "xp.max", "x.sum"])
def test_one_that_says_so_is_taken(driver, operation):
    class Said(rule_that(BEYOND[operation])):
        elementwise: ClassVar[bool] = False

    driver(Said)


def test_state_of_another_shape(driver):
    """A number for each parameter would be one for each block."""

    class Counting(Bare):
        def init(self, be, w):
            return {"sum": be.scalar(0.0)}

    with pytest.raises(ValueError, match=r"Counting says elementwise.*state 'sum' of shape \(\)"):
        driver(Counting)


def test_by_a_hyperparameter(driver):
    """The default is elementwise: another value is refused where it is given, before a step."""

    @dataclass(frozen=True)
    class Sometimes(Bare):
        normed: bool = False

        def direction(self, be, g, w, state, t):
            return Direction(be.mul(g, norm(be, g)) if self.normed else g, a=g)

    made = driver(Sometimes)
    if isinstance(made, Optimizer):

        def again():
            Optimizer(Sometimes(normed=True))

    else:

        def again():
            classes = isinstance(made, type)  # JAX has functions
            made([_parameter(made)], normed=True) if classes else made(normed=True)

    with pytest.raises(ValueError, match=r"Sometimes says elementwise.*be\.total"):
        again()


def _parameter(made):
    if any(base.__module__.startswith("torch.") for base in made.__mro__):
        torch = pytest.importorskip("torch")
        return torch.nn.Parameter(torch.ones(3))
    mindspore = pytest.importorskip("mindspore")
    return mindspore.Parameter(mindspore.Tensor(np.ones(3, np.float32)), name="w")


def test_elementwise_functions_are_recorded(driver):
    """What NumPy does coordinate by coordinate is no reduction."""

    class Smooth(Bare):
        def direction(self, be, g, w, state, t):
            xp = be.xp
            u = xp.where(xp.abs(g) > be.scalar(1.0), xp.sign(g), xp.tanh(g))
            return Direction(xp.maximum(u, be.scalar(-0.5)), a=g)

    driver(Smooth)
