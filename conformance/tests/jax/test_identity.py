"""The bits of the reference, eager and in every kind of compiled program (N1 to N6)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import lax

import mgup_core as core
from mgup_conformance.backends.jax import enable_x64
from mgup_conformance.compare import check_identical
from mgup_jax import mgup_adamw, mgup_muon, mgup_sgd, transformation
from mgup_jax.backend import JaxBackend

from .support import MAKERS, RATES, RULES, Reference, gradients, step_of, tiny, tree

SINGLE = {"w": (16, 9)}
MODES = {
    "rank": ({}, core.MGUP()),
    "mild": ({"tau": 0.29, "alpha": 1.5, "gamma": 0.8}, core.MGUP(0.29, 1.5, 0.8)),
    "sign": ({"mode": "sign"}, core.SignMGUP()),
    "aligned": ({"mode": "sign", "ties": "aligned"}, core.SignMGUP(ties="aligned")),
    "adaptive": ({"mode": "adaptive"}, core.AdaptiveSignMGUP()),
    "cautious": ({"mode": "cautious"}, core.Cautious()),
    "off": ({"mode": "off"}, None),
}
SLOW = pytest.mark.slow
SOME = ["adamw", *(pytest.param(name, marks=SLOW) for name in ("lion", "sgd"))]
"""Where the rule is no matter: each rule is compiled in test_rules.py, and seconds each time."""
WITH_MODES = [
    (name, mode)
    if name == "adamw" or (name, mode) in {("lion", "rank"), ("lion", "aligned"), ("sgd", "mild")}
    else pytest.param(name, mode, marks=SLOW)
    for name in MAKERS
    for mode in MODES
]


def follow(optimizer, reference, params, steps, jit):
    step, state = step_of(optimizer), optimizer.init(params)
    step = jax.jit(step, donate_argnums=(0, 1)) if jit else step
    for t in range(1, steps + 1):
        grads = gradients(reference.params, t)
        params, state = step(params, state, jax.tree.map(jnp.asarray, grads))
        reference.step(grads)
        reference.check(params, state.moments, step=t)
    return state


@pytest.mark.parametrize(("name", "mode"), WITH_MODES)
def test_jitted_trajectories(name, mode):
    """N1, R0 to R3, P6 to P11: 25 chaotic steps with donation."""
    start, (options, policy) = tree(), MODES[mode]
    optimizer = MAKERS[name](**RATES, **options)
    reference = Reference(start, RULES[name](), policy, lr=1e-2, weight_decay=0.1)
    state = follow(optimizer, reference, jax.tree.map(jnp.asarray, start), 25, jit=True)
    assert int(state.count) == 25


@pytest.mark.parametrize("selection", ["graph", "callback"])
def test_float32_where_float64_is_enabled(selection):
    """N1: the default integer is int64 then, which no count may become on its way."""
    start = tree(SINGLE)
    reference = Reference(start, RULES["adamw"](), core.MGUP(), lr=1e-2, weight_decay=0.1)
    with enable_x64(True):
        optimizer = MAKERS["adamw"](**RATES, selection=selection)
        follow(optimizer, reference, jax.tree.map(jnp.asarray, start), 5, jit=True)


@pytest.mark.parametrize("name", SOME)
def test_eager_trajectories(name):
    """N1: without a compiler around it."""
    start = tree(SINGLE)
    reference = Reference(start, RULES[name](), core.MGUP(), lr=1e-2, weight_decay=0.1)
    follow(MAKERS[name](**RATES), reference, jax.tree.map(jnp.asarray, start), 8, jit=False)


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_tiny_parameters(dtype, jit):
    """N1: XLA flushes what is subnormal, and no parameter that N1 tells apart may show it.

    The decay of one near the threshold is subnormal in both dtypes.
    """
    exponents = np.arange(-126, -70) if dtype == "float32" else np.arange(-1022, -930)
    start = {"w": np.ldexp(1.2345678, exponents).astype(dtype)}
    grads = {"w": np.zeros_like(start["w"])}
    rates = {"lr": 1e-5, "weight_decay": 1e-6}
    reference = Reference(start, core.SGD(), None, **rates)
    with enable_x64(dtype == "float64"):
        optimizer = mgup_sgd(rates["lr"], weight_decay=rates["weight_decay"], mode="off")
        step = step_of(optimizer)
        step = jax.jit(step) if jit else step
        params = jax.tree.map(jnp.asarray, start)
        state = optimizer.init(params)
        for t in range(1, 4):
            params, state = step(params, state, jax.tree.map(jnp.asarray, grads))
            reference.step(grads)
            reference.check(params, state.moments, step=t)


@pytest.mark.parametrize("form", ["paper", "published"])
def test_forms(form):
    """R1p."""
    start = tree(SINGLE)
    reference = Reference(start, core.AdamW(form=form), core.MGUP(), lr=1e-2, weight_decay=0.1)
    optimizer = mgup_adamw(**RATES, form=form)
    follow(optimizer, reference, jax.tree.map(jnp.asarray, start), 25, jit=True)


def test_eps_zero():
    """N4: without an eps, XLA would divide by a root by multiplying with a reciprocal root."""
    start = tree(SINGLE)
    reference = Reference(start, core.AdamW(eps=0.0), core.MGUP(), lr=1e-2, weight_decay=0.1)
    step, params = mgup_adamw(**RATES, eps=0.0), jax.tree.map(jnp.asarray, start)
    state = step.init(params)
    advance = jax.jit(step_of(step))
    for t in range(1, 9):
        grads = jax.tree.map(lambda g: g + np.float32(1e-3), gradients(reference.params, t))
        params, state = advance(params, state, grads)
        reference.step(grads)
        reference.check(params, state.moments, step=t)


@pytest.mark.parametrize(
    ("dtype", "state_dtype"),
    [("bfloat16", None), ("bfloat16", "float32"), ("float16", "float32"), ("float32", "bfloat16")],
)
@pytest.mark.parametrize("name", SOME)
def test_low_precision(name, dtype, state_dtype):
    """R5: computed in float32, rounded once, by optax.apply_updates."""
    start = tree(SINGLE, dtype=dtype)
    optimizer = MAKERS[name](**RATES, state_dtype=state_dtype, update_dtype="compute")
    reference = Reference(start, RULES[name](), core.MGUP(), lr=1e-2, weight_decay=0.1)
    for arrays in reference.state.arrays.values():
        arrays.update({n: v.astype(jnp.dtype(state_dtype or dtype)) for n, v in arrays.items()})
    follow(optimizer, reference, jax.tree.map(jnp.asarray, start), 10, jit=True)


@pytest.mark.parametrize("name", SOME)
def test_float64(name):
    """N1 in float64."""
    with enable_x64(True):
        start = tree(SINGLE, dtype="float64")
        reference = Reference(start, RULES[name](), core.MGUP(), lr=1e-2, weight_decay=0.1)
        follow(MAKERS[name](**RATES), reference, jax.tree.map(jnp.asarray, start), 10, jit=True)


@pytest.mark.parametrize(
    ("dtype", "threshold", "lr", "decay"),
    [("float32", -100, 1e-3, 0.1), ("float64", -967, 1e-5, 1e-6)],
)
def test_a_subnormal_decay(dtype, threshold, lr, decay):
    """N1 (issue 15, 17a): no bit of a parameter at the threshold or above; below it, identical."""
    with enable_x64(dtype == "float64"):
        exponents = np.arange(threshold - 23, threshold + 20)
        start = {"w": np.ldexp(np.ones((), dtype) * 1.2345678, exponents).astype(dtype)}
        grads = {"w": np.zeros_like(start["w"])}
        reference = Reference(start, core.SGD(), None, lr=lr, weight_decay=decay)
        reference.step(grads)
        optimizer = mgup_sgd(lr, weight_decay=decay, mode="off")
        params = jax.tree.map(jnp.asarray, start)
        params, state = jax.jit(step_of(optimizer))(params, optimizer.init(params), grads)
        reference.check(params, state.moments, step=1)
        found, wanted = np.asarray(params["w"]), reference.params["w"]
        np.testing.assert_array_equal(found[23:], wanted[23:])
        assert (wanted[23:] != start["w"][23:]).all(), "the decay is not seen"


def test_mu_dtype_is_that_of_the_first_moment():
    """As in optax.adamw."""
    state = mgup_adamw(1e-3, mu_dtype="bfloat16").init({"w": jnp.ones(3)})
    assert state.moments["exp_avg"]["w"].dtype == jnp.bfloat16
    assert state.moments["exp_avg_sq"]["w"].dtype == jnp.float32


# -- programs of the user -------------------------------------------------------------------------


def constant_gradients(shapes, steps):
    return [tree(shapes, seed=100 + t) for t in range(steps)]


def folded(optimizer, start, grads):
    """Parameters, state and gradients are all constants of the program."""

    def run():
        params, step = start, step_of(optimizer)
        state = optimizer.init(params)
        for g in grads:
            params, state = step(params, state, g)
        return params, state

    return jax.jit(run)()


def unrolled(optimizer, start, grads):
    def run(params, state, *grads):
        step = step_of(optimizer)
        for g in grads:
            params, state = step(params, state, g)
        return params, state

    return jax.jit(run)(start, optimizer.init(start), *grads)


def scanned(optimizer, start, grads):
    step = step_of(optimizer)
    stacked = jax.tree.map(lambda *g: jnp.stack(g), *grads)
    return jax.jit(
        lambda params, state: lax.scan(lambda c, g: (step(*c, g), None), (params, state), stacked)
    )(start, optimizer.init(start))[0]


@pytest.mark.parametrize("program", [folded, unrolled, scanned])
@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("adamw", "rank"),
        *(pytest.param(*pair, marks=SLOW) for pair in (("lion", "adaptive"), ("sgd", "mild"))),
    ],
)
def test_inside_a_program(program, name, mode):
    """N1, N5: where constants are folded, loops unrolled or scanned."""
    start, (options, policy) = tree(SINGLE), MODES[mode]
    grads = constant_gradients(SINGLE, 3)
    optimizer = MAKERS[name](**RATES, **options)
    params, state = program(optimizer, jax.tree.map(jnp.asarray, start), grads)
    reference = Reference(start, RULES[name](), policy, lr=1e-2, weight_decay=0.1)
    for g in grads:
        reference.step(g)
    reference.check(params, state.moments)


@pytest.mark.parametrize("name", SOME)
def test_tiny_gradients(name):
    """N6, P2: |g| from 1e-44 to 1e2, where JAX flushes and NumPy does not."""
    start = {"w": np.zeros((64, 65), np.float32)}
    reference = Reference(start, RULES[name](), core.MGUP(), lr=1.0, weight_decay=0.0)
    optimizer = MAKERS[name](1.0, weight_decay=0.0)
    params = jax.tree.map(jnp.asarray, start)
    step, state = jax.jit(step_of(optimizer)), optimizer.init(params)
    for t, (g,) in enumerate(tiny([(64, 65)], 8), start=1):
        params, state = step(params, state, {"w": g})
        reference.step({"w": g})
        reference.check(params, state.moments, step=t)


def test_the_fences_are_needed():
    """N5: without them this machine's bits differ, so the tests above can fail."""

    class Open(JaxBackend):
        def _fence(self, x):
            return x

    x = tree({"a": (4096,), "b": (4096,), "c": (4096,)})

    def of(kind):
        be = kind(jnp.float32)
        return jax.jit(lambda x: be.mul(x["a"], x["b"]) + x["c"])(x)

    expected = x["a"] * x["b"] + x["c"]
    check_identical("fenced", expected, np.asarray(of(JaxBackend)))
    if (np.asarray(of(Open)) == expected).all():
        pytest.skip("this processor, or this XLA, does not contract")


@pytest.mark.parametrize("divisor", [0.9, 693.0, 3.0])
@pytest.mark.parametrize("known", ["traced", "constant", "eager"])
def test_quotients_by_one_number(divisor, known):
    """N4: P9, P10 and N3 divide by a number, which XLA would replace by its reciprocal."""
    a, b = tree({"a": (4096,)})["a"], np.float32(divisor)
    be = JaxBackend(jnp.float32)
    divide = {
        "traced": lambda: jax.jit(be.div)(a, b),
        "constant": lambda: jax.jit(lambda a: be.div(a, b))(a),
        "eager": lambda: be.div(jnp.asarray(a), jnp.asarray(b)),
    }[known]
    check_identical("quotient", a / b, np.asarray(divide()))


@pytest.mark.parametrize("beta", [0.9, 0.999, 0.99999])
def test_traced_corrections(beta):
    """N3: a traced step gives the bits of a known one."""
    steps = np.array([1, 2, 3, 7, 100, 12345, 10**7, 2**31 - 2], np.int32)
    be = JaxBackend(jnp.float32)
    traced = jax.jit(lambda t: JaxBackend(jnp.float32).correction(beta, t))
    for t in steps:
        expected = core.bias_correction(be, beta, int(t))
        check_identical("correction", np.asarray(expected), np.asarray(traced(t)))


def test_muon_routes_and_agrees():
    """R4, N7: matrices by Newton-Schulz; the rest has the bits of the reference's AdamW."""
    start = tree({"embed": {"table": (12, 8)}, "hidden": {"kernel": (16, 24), "bias": (24,)}})
    optimizer = mgup_muon(1e-2, weight_decay=0.1)
    params = jax.tree.map(jnp.asarray, start)
    step, state = jax.jit(step_of(optimizer)), optimizer.init(params)
    rest = {"embed": start["embed"], "bias": start["hidden"]["bias"]}
    adam = Reference(rest, core.AdamW(b1=0.95, b2=0.95), core.MGUP(), lr=1e-2, weight_decay=0.1)
    muon = Reference(
        {"kernel": start["hidden"]["kernel"]}, core.Muon(), core.MGUP(), lr=1e-2, weight_decay=0.1
    )
    for t in range(1, 6):
        g = gradients(start, t)
        params, state = step(params, state, g)
        adam.step({"embed": g["embed"], "bias": g["hidden"]["bias"]})
        muon.step({"kernel": g["hidden"]["kernel"]})
        adam.check({"embed": params["embed"], "bias": params["hidden"]["bias"]}, step=t)
    buffer = optax.tree_utils.tree_get(state, "momentum_buffer")["hidden"]["kernel"]
    check_identical("momentum_buffer", muon.state.arrays[0]["momentum_buffer"], np.asarray(buffer))
    np.testing.assert_allclose(params["hidden"]["kernel"], muon.leaves[0], atol=1e-5)


def test_muon_dimension_numbers():
    """R4: stacked and oriented matrices give what each gives alone; names decide no more."""
    from mgup_jax import MuonDimensionNumbers

    w = tree({"w": (3, 5, 7)})["w"]
    numbers = {"head": MuonDimensionNumbers(2, 0)}
    optimizer = mgup_muon(1e-2, mode="off", scale="original", muon_weight_dimension_numbers=numbers)
    state = optimizer.init({"head": jnp.asarray(w)})
    head = {"head": jnp.asarray(w)}
    together, _ = jax.jit(optimizer.update)(head, state, head)
    alone = mgup_muon(1e-2, mode="off", scale="original")
    update_alone = jax.jit(alone.update)
    for i in range(5):
        one = {"w": jnp.asarray(w[:, i].T)}  # (inputs, outputs)
        update, _ = update_alone(one, alone.init(one), one)
        np.testing.assert_allclose(together["head"][:, i], update["w"].T, atol=1e-6)


def test_any_rule():
    """A rule that the package never saw becomes a function with the rule's arguments."""

    class Heavy(core.SGD):
        pass

    make = transformation(Heavy, positional=("learning_rate", "momentum"))
    assert make.__name__ == "mgup_heavy"
    start = tree(SINGLE)
    reference = Reference(start, Heavy(momentum=0.7), core.MGUP(), lr=0.05, weight_decay=0.0)
    follow(make(0.05, 0.7), reference, jax.tree.map(jnp.asarray, start), 4, jit=True)


def test_off_equals_alpha_and_gamma_one():
    """P11, bit for bit."""
    ends = []
    for options in ({"mode": "off"}, {"alpha": 1.0, "gamma": 1.0}):
        params = jax.tree.map(jnp.asarray, tree())
        optimizer = mgup_adamw(**RATES, **options)
        step, state = jax.jit(step_of(optimizer)), optimizer.init(params)
        for t in range(5):
            params, state = step(params, state, gradients(tree(), t))
        ends.append([np.asarray(w).tobytes() for w in jax.tree.leaves(params)])
    assert ends[0] == ends[1]


@pytest.mark.parametrize("stacked", [1, {"w": 1}, lambda tree: jax.tree.map(lambda w: 1, tree)])
def test_stacked_layers(stacked):
    """P5: each layer of a stack as if it were alone."""
    start = tree({"w": (3, 8, 5)})
    optimizer = mgup_adamw(**RATES, stacked_dims=stacked)
    reference = Reference(
        start, core.AdamW(), core.MGUP(), lr=1e-2, weight_decay=0.1, stacked_dims=1
    )
    follow(optimizer, reference, jax.tree.map(jnp.asarray, start), 4, jit=True)


@pytest.mark.parametrize("shape", [(300_000,)])
@pytest.mark.parametrize("selection", ["callback", "graph"])
def test_selections_agree(shape, selection):
    """P4: by callback and by graph, beyond the sample's size."""
    start = tree({"w": shape})
    reference = Reference(start, core.AdamW(), core.MGUP(), lr=1e-2, weight_decay=0.1)
    optimizer = mgup_adamw(**RATES, selection=selection)
    follow(optimizer, reference, jax.tree.map(jnp.asarray, start), 2, jit=True)
