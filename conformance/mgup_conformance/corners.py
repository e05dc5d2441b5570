"""Runs for what a plain trajectory does not reach."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from .cases import Case
from .data import Shape
from .runs import RunCase
from .specs import BASE, POLICY_CASES, policy, run_spec

SMALL: tuple[Shape, ...] = ((64,), (1,), (8, 3, 5, 5), (0,), (7, 11))


HYPER: dict[str, dict[str, float]] = {
    "adamw": {"b1": 0.8, "b2": 0.95, "eps": 1e-2},
    "lion": {"b1": 0.95, "b2": 0.8},
    "sgd": {"momentum": 0.5},
}
"""Hyperparameters other than the defaults: those of AdamW show where eps stands."""


def special(
    name: str,
    clauses: tuple[str, ...],
    bases: Sequence[str],
    numbers: Sequence[str],
    **options: Any,
) -> Iterator[Case]:
    """One kind of run for several rules and dtypes."""
    chosen = options.pop("policy", policy("mgup"))
    changes = options.pop("spec", {})
    fast_numbers = options.pop("fast_numbers", numbers[:1])
    shapes = options.pop("shapes", SMALL)
    for base in bases:
        for kind in numbers:
            yield RunCase(
                f"{name}/{base}/{kind}",
                (BASE[base][0], *clauses),
                {**run_spec(base, chosen, kind, shapes), **changes},
                shapes,
                fast=kind in fast_numbers,
                **options,
            )


def corners() -> Iterator[Case]:
    """What a plain trajectory does not reach."""
    plain, wide = ["float32"], ["float32", "float64"]
    yield from special(
        "tiny_gradients", ("N6", "P2", "N1"), ["adamw", "adamw_paper", "lion", "sgd"],
        ["float32", "float64", "bfloat16_state32", "float16_state32"],
        gradients="tiny", zero_start=True, steps=60, standard_steps=30, fast_steps=12,
        spec={"weight_decay": 0.0, "lr": 1.0},
    )  # fmt: skip
    yield from special(
        "nonfinite", ("P7", "P2", "N1"), ["adamw", "lion", "sgd_nesterov"],
        [*wide, "bfloat16_state32"], gradients="nonfinite", steps=6, fast_steps=6,
    )  # fmt: skip
    for name in ("sign_aligned", "cautious"):
        yield from special(
            f"nonfinite_{name}", ("P7", "P2", "N1"), ["adamw", "sgd"], plain,
            gradients="nonfinite", steps=6, fast_steps=6, policy=POLICY_CASES[name][1],
        )  # fmt: skip
    yield from special(
        "overflow", ("P7", "R0"), ["sgd", "sgd_dampened"], wide, gradients="huge",
        zero_start=True, steps=2, fast_steps=2, policy=policy("mgup", alpha=4.0),
        spec={"weight_decay": 0.0, "lr": 1.0},
    )  # fmt: skip
    yield from special(
        "no_decay", ("R0",), ["adamw", "lion", "sgd_coupled"], plain, steps=40, fast_steps=5,
        spec={"weight_decay": 0.0},
    )  # fmt: skip
    for base in ("adamw", "adamw_paper", "lion", "sgd_nesterov"):
        yield from special(
            "aligned_decay", ("R0c", "R0"), [base], [*wide, "bfloat16_state32"], steps=50,
            standard_steps=25, fast_steps=10, fast_numbers=wide[:1],
            spec={"rule": BASE[base][1] | {"decay": "aligned"}},
        )  # fmt: skip
    yield from special(
        "schedule", ("N2", "P6", "R0"), ["adamw", "adamw_published", "lion", "sgd"], wide,
        gradients="schedule", steps=50, fast_steps=12,
        policy=policy("mgup", alpha=1.3, gamma=0.7),
    )  # fmt: skip
    yield from special(
        "absent", ("R6",), ["adamw", "lion", "sgd_dampened"], wide,
        gradients="absent", steps=30, fast_steps=10,
    )  # fmt: skip
    yield from special(
        "stacked", ("P5",), ["adamw", "sgd"], wide, steps=50, fast_steps=6,
        shapes=((4, 9), (3, 5, 7), (3, 5, 7), (64,)), spec={"stacked_dims": [1, 1, 2, 0]},
    )  # fmt: skip
    for i, name in enumerate(POLICY_CASES):
        yield from special(
            f"stacked_{name}", ("P5", POLICY_CASES[name][0]), [("adamw", "lion", "sgd")[i % 3]],
            wide, steps=50, fast_steps=6, fast_numbers=(), policy=POLICY_CASES[name][1],
            shapes=((3, 5, 7), (4, 9)), spec={"stacked_dims": [2, 1]},
        )  # fmt: skip
    # What stage one asks of the multiplier, asked of training: K, ties, and the mean of P12.
    for base, tau, shapes in (
        ("adamw", 0.29, ((100,), (10,), (5, 20))), ("sgd", 0.7, ((10,), (2, 5), (1,))),
    ):  # fmt: skip
        yield from special(
            "count", ("P3", "P12", "P4"), [base], plain, steps=20, fast_steps=6, shapes=shapes,
            fast_numbers=(), policy=policy("mgup", tau=tau, alpha=1.7, gamma=0.3),
        )  # fmt: skip
    yield from special(
        "ties", ("P4", "P2"), ["lion", "sgd"], wide, gradients="ties", zero_start=True, steps=20,
        fast_steps=6, spec={"weight_decay": 0.0},
    )  # fmt: skip
    for base, changed in HYPER.items():
        yield from special(
            "hyper", (), [base], plain, steps=40, fast_steps=10,
            spec={"rule": BASE[base][1] | changed},
        )  # fmt: skip
    # Past 2^10: t has had each of ten bits set, and all of them at once.
    for base, numbers in (("adamw", "float32"), ("adamw_paper", "float64")):
        yield from special(
            "long", ("N3",), [base], [numbers], steps=1100, fast_steps=300,
            shapes=((3,),), spec={"weight_decay": 0.0, "lr": 1e-3},
        )  # fmt: skip


def bases() -> Iterator[Case]:
    """The same for rules without MGUP, and with the cautious baseline: what others implement."""
    rules = ["adamw", "lion", "sgd", "sgd_coupled"]
    for name in ("off", "cautious"):
        for what, options in (
            ("hyper", {}),
            ("no_decay", {"spec": {"weight_decay": 0.0}}),
            ("schedule", {"gradients": "schedule"}),
            ("absent", {"gradients": "absent"}),
            ("tiny_gradients", {"gradients": "tiny", "zero_start": True,
                                "spec": {"weight_decay": 0.0, "lr": 1.0}}),
        ):  # fmt: skip
            if (name, what) == ("cautious", "tiny_gradients"):
                continue  # its factor counts scores that flushing decides: stage one asks that
            for base in rules:
                changed = HYPER[BASE[base][1]["name"]] if what == "hyper" else {}
                given: dict[str, Any] = {"spec": {}, **options}
                given["spec"] = given["spec"] | {"rule": BASE[base][1] | changed}
                clauses: tuple[str, ...] = ("R0", POLICY_CASES[name][0])
                clauses += ("P1",) if name == "cautious" and what == "hyper" else ()
                yield from special(
                    f"{what}_{name}", clauses, [base], ["float32"], steps=30, fast_steps=10,
                    shapes=SMALL[:1] + SMALL[2:3] + SMALL[4:], fast_numbers=(),
                    policy=POLICY_CASES[name][1], **given,
                )  # fmt: skip
