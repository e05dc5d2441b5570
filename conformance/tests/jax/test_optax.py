"""The contract of an optax transformation: whatever optax and JAX put around it.

It checks P1, R0, R5, R6, R7.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import export, lax

import mgup_core as core
import mgup_jax
from mgup_conformance.compare import check_identical
from mgup_jax import MGUPState, mgup, mgup_adamw, mgup_lion, mgup_muon, mgup_sgd

from .support import Reference, gradients, step_of, tree

SMALL = {"a": (6, 5), "b": (16,)}
SLOW = pytest.mark.slow
EVERY = [mgup_adamw, mgup_lion, mgup_sgd, mgup_muon]
SOME = [make if make in EVERY[::3] else pytest.param(make, marks=SLOW) for make in EVERY]
"""Rules that are no matter here are left to the slow tests: each compiles for seconds."""


def arrays(shapes=None, **options):
    return jax.tree.map(jnp.asarray, tree(shapes or SMALL, **options))


def same(expected, actual, what="leaf"):
    for x, y in zip(jax.tree.leaves(expected), jax.tree.leaves(actual), strict=True):
        check_identical(what, np.asarray(x), np.asarray(y))


def run(optimizer, steps=3, params=None):
    params = arrays() if params is None else params
    step, state = jax.jit(step_of(optimizer)), optimizer.init(params)
    for t in range(steps):
        params, state = step(params, state, gradients(tree(SMALL), t))
    return params, state


@pytest.mark.parametrize("make", EVERY)
def test_one_compilation(make):
    """One program for a structure, whatever the step, the schedules and the numbers."""
    traces = []
    schedules = {"alpha": optax.linear_schedule(2.0, 1.0, 9), "gamma": lambda count: 0.5}
    optimizer = make(optax.cosine_decay_schedule(1e-2, 9), **schedules)

    @jax.jit
    def step(params, state, grads):
        traces.append(1)
        return step_of(optimizer)(params, state, grads)

    params = arrays()
    state = optimizer.init(params)
    for t in range(4):
        params, state = step(params, state, gradients(tree(SMALL), t))
    assert len(traces) == 1
    assert step._cache_size() == 1


def test_state():
    """A pytree by the rule's names, found by optax's own helpers; abstract as it is concrete."""
    params, optimizer = arrays(), mgup_adamw(1e-3)
    state = optimizer.init(params)
    assert isinstance(state, MGUPState)
    assert list(state.moments) == ["exp_avg", "exp_avg_sq"]
    assert optax.tree_utils.tree_get(state, "count") == 0
    abstract = jax.eval_shape(optimizer.init, params)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), abstract) == jax.tree.map(
        lambda x: (x.shape, x.dtype), state
    )
    mapped = optax.tree_utils.tree_map_params(optimizer, lambda x: x + 1.0, state)
    same(jax.tree.map(jnp.ones_like, params), mapped.moments["exp_avg"])
    assert mapped.count == 0


def test_schedules():
    """P6, N2: learning rate, alpha and gamma by the count of steps, from 0."""
    start = tree(SMALL)
    optimizer = mgup_adamw(
        lambda count: 1e-2 / (1.0 + count),
        weight_decay=0.1,
        alpha=lambda count: 1.0 + 1.0 / (1.0 + count),
        gamma=lambda count: jnp.where(count < 2, 0.5, 1.0),
    )
    params, step = jax.tree.map(jnp.asarray, start), jax.jit(step_of(optimizer))
    state = optimizer.init(params)
    reference = Reference(start, core.AdamW(), None, lr=1e-2, weight_decay=0.1)
    for t in range(4):
        f32 = np.float32
        policy = core.MGUP(0.5, f32(1) + f32(1) / f32(1 + t), 0.5 if t < 2 else 1.0)
        reference.optimizer = core.Optimizer(core.AdamW(), policy, weight_decay=0.1)
        grads = gradients(reference.params, t)
        params, state = step(params, state, grads)
        reference.step(grads, lr=float(f32(1e-2) / f32(1 + t)))
        reference.check(params, step=t)


@pytest.mark.parametrize("make", SOME)
def test_inject_hyperparams(make):
    """Hyperparameters in the state give the bits of numbers, and may be changed there."""
    numbers = {"learning_rate": 1e-2, "weight_decay": 0.1, "alpha": 1.5, "gamma": 0.8}
    inject = optax.inject_hyperparams(make, static_args=make.static_args)
    params, state = run(inject(**numbers))
    same(run(make(**numbers))[0], params)
    state.hyperparams["learning_rate"] = jnp.zeros(())
    updates, _ = jax.jit(inject(**numbers).update)(gradients(tree(SMALL), 0), state, params)
    assert all(not np.any(u) for u in jax.tree.leaves(updates))


def test_inject_hyperparams_says_what_must_be_static():
    with pytest.raises(TypeError, match="static_args"):
        optax.inject_hyperparams(mgup_adamw)(learning_rate=1e-2).init(arrays())


@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=SLOW)])
def test_multi_steps(dtype):
    """Accumulation: the selection sees the mean gradient."""
    params = arrays(dtype=dtype)
    grads = [jax.tree.map(lambda g: g.astype(dtype), gradients(tree(SMALL), t)) for t in range(2)]
    inner = mgup_adamw(1e-2)
    multi = optax.MultiSteps(inner, every_k_schedule=2)
    step, state = jax.jit(step_of(multi)), multi.init(params)
    moved, state = step(params, state, grads[0])
    same(params, moved)
    moved, state = step(moved, state, grads[1])
    mean = jax.tree.map(
        lambda a, b: (a.astype("f4") + (b.astype("f4") - a.astype("f4")) / 2).astype(dtype), *grads
    )
    expected, _ = jax.jit(step_of(inner))(params, inner.init(params), mean)
    if dtype == "float32":
        same(expected, moved)
    assert all(x.dtype == jnp.dtype(dtype) for x in jax.tree.leaves(moved))


def test_masked_partition_and_chain():
    """Leaves that are masked out stay out; parts are what each is alone."""
    params, grads = arrays(), gradients(tree(SMALL), 0)
    parts = optax.multi_transform(
        {"mgup": mgup_adamw(1e-2), "frozen": optax.set_to_zero()}, {"a": "mgup", "b": "frozen"}
    )
    together, _ = jax.jit(step_of(parts))(params, parts.init(params), grads)
    alone, _ = jax.jit(step_of(mgup_adamw(1e-2)))(
        {"a": params["a"]}, mgup_adamw(1e-2).init({"a": params["a"]}), {"a": grads["a"]}
    )
    same(alone["a"], together["a"])
    same(params["b"], together["b"])
    masked = optax.masked(mgup_lion(1e-3), {"a": True, "b": False})
    updates, _ = jax.jit(masked.update)(grads, masked.init(params), params)
    same(grads["b"], updates["b"])
    chained = optax.chain(optax.clip_by_global_norm(1.0), mgup_sgd(1e-2), optax.scale(0.5))
    assert jax.tree.structure(run(chained)[0]) == jax.tree.structure(params)


def test_mask_of_the_decay():
    """As in optax.adamw: a tree or a function; the rest decays, this does not."""
    params, grads = arrays(), gradients(tree(SMALL), 0)

    def moved(**options):
        optimizer = mgup_adamw(1e-2, **options)
        return jax.jit(step_of(optimizer))(params, optimizer.init(params), grads)[0]

    decayed, plain = moved(weight_decay=0.1), moved(weight_decay=0.0)
    for mask in ({"a": True, "b": False}, lambda p: jax.tree.map(lambda w: w.ndim > 1, p)):
        some = moved(weight_decay=0.1, mask=mask)
        same(decayed["a"], some["a"])
        same(plain["b"], some["b"])


def test_vmap_over_replicas():
    """Each replica as if it were alone, by callback and by graph, and where it divides a count."""
    params = {"w": jnp.asarray(tree({"w": (3, 6, 5)})["w"])}
    for how in ({"selection": "callback"}, {"selection": "graph"}, {"mode": "adaptive"}):
        optimizer = mgup_sgd(1e-2, **how)
        step = step_of(optimizer)
        state = jax.vmap(optimizer.init)(params)
        together, _ = jax.jit(jax.vmap(step))(params, state, params)
        for i in range(3):
            one = {"w": params["w"][i]}
            same(jax.jit(step)(one, optimizer.init(one), one)[0]["w"], together["w"][i])


def test_scan_over_steps_and_donation():
    params, optimizer = arrays(), mgup_adamw(1e-2)
    grads = [gradients(tree(SMALL), t) for t in range(3)]
    expected, _ = run(optimizer)
    step = step_of(optimizer)

    def epoch(params, state, grads):
        return lax.scan(lambda carry, g: (step(*carry, g), None), (params, state), grads)[0]

    stacked = jax.tree.map(lambda *g: jnp.stack(g), *grads)
    scanned = jax.jit(epoch, donate_argnums=(0, 1))(params, optimizer.init(params), stacked)[0]
    same(expected, scanned)


def test_none_and_empty():
    """R6: no parameter, no gradient, no coordinate."""
    optimizer = mgup_adamw(1e-2)
    params = {"w": jnp.ones(3), "none": None, "empty": jnp.zeros((0, 2))}
    state = optimizer.init(params)
    moved, state = jax.jit(step_of(optimizer))(params, state, params)
    assert moved["none"] is None
    assert moved["empty"].shape == (0, 2)
    kept = state.moments["exp_avg"]["w"]
    moved, state = step_of(optimizer)(moved, state, {"w": None, "none": None, "empty": None})
    same(kept, state.moments["exp_avg"]["w"])
    assert optimizer.init({}) == optimizer.update({}, optimizer.init({}), {})[1]._replace(count=0)


def test_no_gradient_where_there_is_no_state():
    """R6: without a moment, the parameters say which leaves there are."""
    optimizer = mgup_jax.mgup_scale(1e-2)
    params = {"w": jnp.ones((3, 2)), "frozen": jnp.ones((2, 2))}
    grads = {"w": jnp.ones((3, 2)), "frozen": None}
    assert not optimizer.init(params).moments
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    assert (updates["w"] != 0).all()
    assert (updates["frozen"] == 0).all()


def test_export():
    """The graph needs nothing from the host."""
    optimizer = mgup_adamw(1e-2, selection="graph")
    params = arrays()
    state, step = optimizer.init(params), jax.jit(step_of(optimizer))
    exported = export.export(jax.jit(lambda w, g: step(w, state, g)[0]))(params, params)
    same(step(params, state, params)[0], exported.call(params, params))


def test_orbax(tmp_path):
    """Saved and restored, the next step has the same bits."""
    checkpoint = pytest.importorskip("orbax.checkpoint")
    optimizer = mgup_adamw(1e-2)
    params, state = run(optimizer)
    with checkpoint.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "step", (params, state))
        checkpointer.wait_until_finished()
        abstract = jax.eval_shape(lambda: (params, state))
        restored = checkpointer.restore(tmp_path / "step", abstract)
    same((params, state), restored)
    step, grads = jax.jit(step_of(optimizer)), gradients(tree(SMALL), 9)
    same(step(params, state, grads), step(*restored, grads))


@pytest.mark.parametrize("dtype", ["bfloat16", pytest.param("float16", marks=SLOW)])
@pytest.mark.parametrize("make", [*SOME, lambda lr: mgup(optax.sgd(lr))])
def test_dtype_of_updates(make, dtype):
    """R5: the parameter's, as optax has it; one rounding by name, and one more of it by default."""
    params = arrays(dtype=dtype)
    grads = jax.tree.map(lambda g: jnp.asarray(g, dtype), gradients(tree(SMALL), 0))
    found = {}
    for name in ("parameter", "compute"):
        inner = make(1e-2) if make in EVERY else mgup(optax.sgd(1e-2), update_dtype=name)
        if make in EVERY:
            inner = make(1e-2, update_dtype=name)
        found[name], _ = jax.jit(inner.update)(grads, inner.init(params), params)
    assert all(x.dtype == jnp.dtype(dtype) for x in jax.tree.leaves(found["parameter"]))
    assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(found["compute"]))
    same(jax.tree.map(lambda x: x.astype(dtype), found["compute"]), found["parameter"])


# What is wrong with a narrow dtype would be wrong with the other.
@pytest.mark.parametrize(
    "dtype", ["bfloat16", *(pytest.param(name, marks=SLOW) for name in ("float32", "float16"))]
)
def test_what_optax_puts_around_keeps_its_dtypes(dtype):
    """optax's own wrappers select or average updates, and a scan carries them."""
    params = arrays(dtype=dtype)
    grads = jax.tree.map(lambda g: jnp.asarray(g, dtype), gradients(tree(SMALL), 0))
    inner = mgup_adamw(1e-2)
    around = [
        optax.apply_if_finite(inner, 3),
        optax.conditionally_mask(inner, lambda step: step < 2),
        optax.chain(inner, optax.ema(0.9)),
        optax.MultiSteps(inner, 2),
    ]
    for optimizer in around:
        state = optimizer.init(params)

        def step(carry, _, optimizer=optimizer):
            updates, state = optimizer.update(grads, carry[1], carry[0])
            return (jax.tree.map(lambda w, u: w + u, carry[0], updates), state), None

        (moved, _), _ = jax.jit(lambda c, step=step: lax.scan(step, c, length=3))((params, state))
        assert all(x.dtype == jnp.dtype(dtype) for x in jax.tree.leaves(moved))


# -- the wrapper ----------------------------------------------------------------------------------


def test_wrapper_equals_the_rule():
    """P1, R0: optax.sgd with its learning rate out of the score; the decay outside phi."""
    wrapped = mgup(optax.sgd(1.0, momentum=0.0), weight_decay=0.125, learning_rate=1.0)
    ours = mgup_sgd(1.0, momentum=0.0, weight_decay=0.125)
    same(run(ours)[0], run(wrapped)[0])


def test_wrapper_selects_by_the_raw_gradient():
    """The score is -update * gradient, and a positive factor changes no mask."""
    params, grads = {"w": jnp.zeros(4)}, {"w": jnp.array([4.0, -3.0, 2.0, -1.0])}
    for rate in (1.0, 1e-3):
        optimizer = mgup(optax.sgd(rate), alpha=2.0, gamma=0.5)
        updates, _ = optimizer.update(grads, optimizer.init(params), params)
        np.testing.assert_allclose(updates["w"], -rate * grads["w"] * np.array([2, 2, 0.5, 0.5]))


@pytest.mark.parametrize(
    "inner",
    [
        lambda: optax.adamw(1e-3),
        lambda: optax.lion(optax.linear_schedule(0.0, 1e-3, 10)),
        lambda: optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.1)),
    ],
)
def test_wrapper_refuses_decay(inner):
    for init in (mgup(inner()).init, jax.jit(mgup(inner()).init)):
        with pytest.raises(ValueError, match=r"decays weights.*weight_decay=0\.0"):
            init(arrays())


CLEAN = [
    "adabelief", "adadelta", "adagrad", "adam", "adamax", "amsgrad", "nadam", "noisy_sgd",
    "novograd", "optimistic_adam_v2", "optimistic_gradient_descent", "radam", "rmsprop", "rprop",
    "sgd", "sign_sgd", "sm3", "yogi", "acprop", "ademamix", "adopt", "cocob", "dadapt_adamw",
    "momo", "momo_adam", "prodigy", "sophia",
]  # fmt: skip


@pytest.mark.parametrize(
    "dtype", ["float32", *(pytest.param(name, marks=SLOW) for name in ("bfloat16", "float16"))]
)
def test_wrapper_gives_no_false_reason(dtype):
    """What does not decay is taken, though its update at a gradient of 0 be NaN on both sides."""
    small = jax.tree.map(lambda w: w.astype(dtype), arrays({"w": (2, 2)}))
    for name in CLEAN:
        make = getattr(optax, name, None) or getattr(optax.contrib, name, None)
        if make is None:
            continue  # another version of optax
        options = {"key": 0} if name == "noisy_sgd" else {}
        rate = {} if name in ("cocob", "prodigy", "dadapt_adamw") else {"learning_rate": 1e-2}
        mgup(make(**rate, **options)).init(small)


def test_wrapper_takes_what_cannot_be_tried():
    """An optimizer made for the real shapes is taken at its word, not refused."""

    def init(params):
        assert params["a"].shape == SMALL["a"]

    inner = optax.GradientTransformation(
        init, lambda g, s, p=None: (jax.tree.map(lambda x: -x, g), s)
    )
    run(mgup(inner), steps=1)


def test_wrapper_takes_what_does_not_decay():
    for inner in (optax.adamw(1e-2, weight_decay=0.0), optax.adafactor(1e-2)):
        run(mgup(inner), steps=1)


def test_wrapper_refuses_itself():
    with pytest.raises(ValueError, match="already"):
        mgup(optax.chain(optax.clip(1.0), mgup_adamw(1e-3))).init(arrays())
    with pytest.raises(ValueError, match="learning_rate"):
        mgup(optax.sgd(1e-3), weight_decay=0.1)
    with pytest.raises(TypeError, match="GradientTransformation"):
        mgup(1e-3)
