"""All the cases: what is asked, of which data, for which clauses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

from .cases import SETS, Case, MeanCase, MultiplierCase, Question
from .corners import SMALL, bases, corners
from .data import SCORES, Shape
from .hard import hard_cases
from .ports import OWN_NAMES, PORTED, REPRODUCIBLE, compared, trains_vectors
from .protocol import RULES, Backend, RunSpec
from .runs import MatrixCase, RunCase
from .specs import (
    BASE,
    ELEMENTWISE,
    NUMBERS,
    POLICY_CASES,
    policy,
    rule,
    run_clauses,
    run_spec,
)

TURNS: tuple[tuple[Shape, ...], ...] = (
    ((64,),), ((8, 3, 5, 5),), ((7, 11), (0,)), ((3, 5, 7), (1,)),
)  # fmt: skip
LARGE: tuple[Shape, ...] = ((257, 129),)
MATRICES: tuple[Shape, ...] = ((16, 32), (32, 16), (12, 12))


def _exact(d: int) -> list[float]:
    """Ratios that select 0, 1, about half, all but one, and all of d."""
    return [0.0, 1 / d, 0.5, (d - 1) / d, 1.0]


def _selections() -> Iterator[Case]:
    """P2 to P4: hard scores, every K that matters, each dtype."""
    for dtype in ("float32", "float64", "bfloat16", "float16"):
        for pattern in SCORES:
            if dtype == "float16" and pattern in ("tiny", "huge", "mixed"):
                continue  # its range holds no such scores
            yield MultiplierCase(
                f"rank/{pattern}/{dtype}",
                ("P1", "P2", "P4", "P6", "P7", "N8"),
                dtype,
                tuple(
                    Question(pattern, policy("mgup", tau=tau, alpha=1.7, gamma=0.3), (d,))
                    for d in (1, 2, 8, 100, 1000)
                    for tau in _exact(d)
                ),
                fast=dtype == "float32" or pattern in ("nan", "tiny", "ties", "mixed"),
            )


def _signs() -> Iterator[Case]:
    """P8 to P11, on the same hard scores."""
    for dtype in ("float32", "float64", "bfloat16", "float16"):
        for name in ("sign", "sign_aligned", "adaptive", "cautious", "off"):
            clause, chosen = POLICY_CASES[name]
            variants = [chosen]
            if name == "adaptive":
                variants += [policy(name, tau_min=0.9), policy(name, tau_min=1.0)]
            yield MultiplierCase(
                f"{name}/scores/{dtype}",
                ("P1", "P2", clause, "P7", "N8"),
                dtype,
                tuple(
                    Question(pattern, one, shape)
                    for pattern in SCORES
                    if dtype != "float16" or pattern not in ("tiny", "huge", "mixed")
                    for one in variants
                    for shape in ((0,), (1,), (7, 11), (3000,))
                ),
                fast=dtype in ("float32", "bfloat16"),
            )


DECIMALS = [
    (0.29, 100), (0.57, 100), (0.58, 50), (0.07, 100), (0.7, 10), (0.1, 3), (0.35, 20),
    (1 / 3, 3), (2 / 3, 3), (0.5, 1), (0.9, 1), (0.999, 1000), (0.28, 25), (0.55, 1000),
    (0.29, 10), (0.3, 5), (0.99, 3),
]  # fmt: skip
"""Ratios whose product with d, in floating point or rounded, gives another K."""


def _counts() -> Iterator[Case]:
    """P3 and P5."""
    yield MultiplierCase(
        "count/decimals",
        ("P3", "P4"),
        "float32",
        tuple(Question("normal", policy("mgup", tau=tau), (d,)) for tau, d in DECIMALS),
        fast=True,
    )
    yield MeanCase(
        "count/mean",
        ("P12", "P4", "P6"),
        "float32",
        sizes=(1, 2, 10, 64, 1000),
        ratios=(0.0, 0.1, 0.29, 0.5, 1.0),
        fast=True,
    )
    stacks: list[tuple[Shape, int]] = [
        ((3, 5, 7), 1), ((3, 5, 7), 2), ((3, 5, 7), 3), ((4, 9), 1), ((1, 8), 1), ((3, 0), 1),
        ((0, 3), 1), ((2, 3, 4, 5), 2),
    ]  # fmt: skip
    for name in ("mgup", "mgup_mild", "sign", "adaptive", "cautious"):
        clause, chosen = POLICY_CASES[name]
        yield MultiplierCase(
            f"stacked/scores/{name}",
            ("P5", clause),
            "float32",
            tuple(
                Question(pattern, chosen, shape, n)
                for pattern in ("normal", "ties", "nan")
                for shape, n in stacks
            ),
            fast=True,
        )


def _trajectories() -> Iterator[Case]:
    """Every rule and form with every policy in float32, float64, and a low precision.

    The shapes and the low precisions take turns: each rule and each policy meets all of them. So
    do, for the variants of SGD, the three kinds of numbers.
    """
    low = [kind for kind in NUMBERS if kind not in ("float32", "float64")]
    for i, base in enumerate(BASE):
        for j, name in enumerate(POLICY_CASES):
            turn = (i + j) % 3
            chosen = (i + 2 * j) % 6 == 0 or (i, j) in ((1, 1), (2, 0), (7, 0), (6, 0), (5, 2))
            for n, numbers in enumerate(("float32", "float64", low[(i + j) % len(low)])):
                if base.startswith("sgd_") and n != turn:
                    continue
                clauses = run_clauses(base, name)
                clauses += ("R5",) if n == 2 else ()
                shapes = TURNS[(i + j + n) % len(TURNS)]
                yield RunCase(
                    f"run/{base}/{name}/{numbers}",
                    (*clauses, "R6") if (0,) in shapes else clauses,
                    run_spec(base, POLICY_CASES[name][1], numbers, shapes),
                    shapes,
                    steps=200,
                    standard_steps=50,
                    fast_steps=25,
                    fast=chosen and n == turn,
                )
    for i, (base, name) in enumerate(zip(BASE, (*POLICY_CASES, "mgup"), strict=True)):
        numbers = list(NUMBERS)[i % 2]
        yield RunCase(
            f"run/{base}/large/{numbers}",
            run_clauses(base, name),
            run_spec(base, POLICY_CASES[name][1], numbers, LARGE),
            LARGE,
            steps=200,
            standard_steps=20,
            fast_steps=3,
            fast=base in ("adamw", "lion"),
        )


def _compact() -> Iterator[Case]:
    """A few small graphs with changing learning rates, for backends that compile for long."""
    for base, name, numbers in (
        ("adamw", "mgup", "float32"),
        ("adamw_paper", "adaptive", "float64"),
        ("lion", "sign_aligned", "bfloat16_state32"),
    ):
        shapes = ((7, 11), (64,))
        yield RunCase(
            f"compact/{base}/{name}/{numbers}",
            run_clauses(base, name),
            run_spec(base, POLICY_CASES[name][1], numbers, shapes),
            shapes,
            steps=100,
            fast_steps=20,
            gradients="schedule",
            fast=True,
            compact=True,
        )


def _limits() -> Iterator[Case]:
    """P11: alpha = gamma = 1 is the base rule, whose reference runs without a policy."""
    for base in ("adamw", "lion", "sgd_nesterov"):
        for name in ("mgup", "sign"):
            yield RunCase(
                f"limit/{base}/{name}",
                ("P11", BASE[base][0]),
                run_spec(base, policy(name, alpha=1.0, gamma=1.0), "float32", SMALL),
                SMALL,
                steps=50,
                fast_steps=6,
                reference_policy=policy("off"),
                fast=base == "adamw",
            )


def _matrices() -> Iterator[Case]:
    """R4 and N7."""
    variants: dict[str, dict[str, Any]] = {
        "default": {},
        "plain_momentum": {"nesterov": False},
        "original_scale": {"scale": "original"},
    }
    for name, options in variants.items():
        for dtype in ("float32", "float64"):
            for chosen in ("mgup", "sign", "off"):
                spec: RunSpec = {
                    "rule": rule("muon", **options),
                    "policy": POLICY_CASES[chosen][1],
                    "lr": 0.1,
                    "weight_decay": 0.1,
                    "stacked_dims": [0] * len(MATRICES),
                    "dtype": dtype,
                    "state_dtype": dtype,
                }
                yield MatrixCase(
                    f"run/muon_{name}/{chosen}/{dtype}",
                    ("R4", "N7", POLICY_CASES[chosen][0]),
                    spec,
                    MATRICES,
                    steps=20,
                    fast_steps=3,
                    fast=chosen == "mgup" and dtype == "float32",
                )


PRODUCTS = {
    name: word
    for name, of in {**RULES, "muon": {"ns_dtype": "float32"}}.items()
    for word in ("ns_dtype", "product_dtype")
    if word in of
}
"""Rules with matrix products -> the hyperparameter that makes them exact."""
UNEVEN: tuple[Shape, ...] = ((16, 32), (13, 7), (9, 1))

MUONS = ("adamuon", "normuon")
"""Their products are Muon's, which are in the fast set."""


def _exact_products() -> Iterator[Case]:
    """N9: matrix rules with exact products are compared by identity, as elementwise ones are.

    Wide, tall and uneven shapes, a stack of matrices where a rule takes it, and gradients of every
    kind, rows and columns of zeros among them; once, more terms than are added as one.
    """

    def case(name: str, key: str, chosen: str, numbers: str, **options: Any) -> Case:
        given: Any = options.pop("shapes", UNEVEN if name == "muon" else (*UNEVEN, (3, 5, 7)))
        dtype, state_dtype = NUMBERS[numbers]
        spec: RunSpec = {
            "rule": rule(name, **{PRODUCTS[name]: "exact"}),
            "policy": POLICY_CASES[chosen][1],
            "lr": 0.1,
            "weight_decay": 0.1,
            "stacked_dims": [0] * len(given),
            "dtype": dtype,
            "state_dtype": state_dtype,
        }
        clauses: tuple[str, ...] = ("N9", POLICY_CASES[chosen][0], *ELEMENTWISE)
        clauses += ("R4",) if name == "muon" else ()
        return RunCase(f"exact/{name}/{key}", clauses, spec, given, fast_steps=5, **options)

    for name in PRODUCTS:
        for chosen, numbers in (
            ("mgup", "float32"), ("adaptive", "float64"), ("sign", "bfloat16_state32"),
        ):  # fmt: skip
            yield case(
                name, f"{chosen}/{numbers}", chosen, numbers,
                steps=50, fast=numbers == "float32" and name not in MUONS,
            )  # fmt: skip
    for gradients in ("tiny", "nonfinite", "absent", "schedule", "zero_rows"):
        yield case(
            "muon", gradients, "mgup", "float32", steps=12, gradients=gradients,
            zero_start=gradients == "tiny",
        )  # fmt: skip
    yield case("muon", "blocks", "mgup", "float32", steps=5, shapes=((2, 4200),))


LEARNING_RATES = {"sgdsai": 1e-3}
"""Of the ports that blow up at 1e-2, at which the others neither do that nor settle. A matrix rule
takes 0.1: its steps must show above the rounding of the parameter."""


def _ports() -> Iterator[Case]:
    """The rules beyond the specification, each in three kinds of numbers."""
    for name in PORTED:
        kind = compared(name)
        shapes = ((7, 11), (64,), (3, 5, 7)) if trains_vectors(name) else MATRICES
        for chosen, numbers in (
            ("mgup", "float32"), ("adaptive", "float64"), ("sign", "bfloat16_state32"),
        ):  # fmt: skip
            dtype, state_dtype = NUMBERS[numbers]
            spec: RunSpec = {
                "rule": rule(name, **REPRODUCIBLE.get(name, {})),
                "policy": POLICY_CASES[chosen][1],
                "lr": LEARNING_RATES.get(name, 1e-2 if kind.identical else 0.1),
                "weight_decay": 0.1,
                "stacked_dims": [0] * len(shapes),
                "dtype": dtype,
                "state_dtype": state_dtype,
            }
            case = f"port/{name}/{chosen}/{numbers}"
            clauses: tuple[str, ...] = (POLICY_CASES[chosen][0], "R0", "N8")
            fast, own = numbers == "float32" or name in OWN_NAMES, name in OWN_NAMES
            if kind.identical:
                clauses = (*clauses, *ELEMENTWISE[:4])
                yield RunCase(
                    case, clauses, spec, shapes, steps=50, standard_steps=20, fast_steps=10,
                    fast=fast, own=own,
                )  # fmt: skip
            elif numbers != "bfloat16_state32":  # a rounded parameter shows no norm of a step
                yield MatrixCase(
                    case, (*clauses, "N7"), spec, shapes, steps=12, fast_steps=3, fast=fast,
                    bounded_state=kind.bounded_state, own=own,
                )  # fmt: skip
        if name in OWN_NAMES:
            yield from hard_cases(name, LEARNING_RATES.get(name, 1e-2 if kind.identical else 0.1))


@lru_cache(maxsize=1)
def _all() -> tuple[Case, ...]:
    from .golden import golden_cases

    made = (
        _selections, _signs, _counts, _trajectories, corners, bases, _compact, _limits, _matrices,
        _exact_products, _ports,
    )  # fmt: skip
    return tuple(case for make in made for case in make()) + tuple(golden_cases())


def all_cases(*, fast: bool = False) -> list[Case]:
    """Every case, or the fast set."""
    return [case for case in _all() if case.fast or not fast]


MAIN = (
    "rank/*/float32", "*/scores/float32", "count/*", "stacked/scores/*", "compact/*",
    "run/adamw_paper/sign_aligned/float64", "run/sgd/cautious/float32",
    "run/adamw_published/off/bfloat16_state32", "run/lion/sign/float16",
    "run/sgd_nesterov/mgup_mild/float32", "run/sgd_dampened/adaptive/float64",
    "run/sgd_coupled/mgup/float64", "run/adamw/large/float32", "run/muon_default/mgup/float32",
    "tiny_gradients/adamw/float32", "nonfinite/adamw/float32", "overflow/sgd/float32",
    "absent/adamw/float32", "stacked/adamw/float32", "limit/lion/mgup",
    "port/adan/mgup/float32", "port/namo/mgup/float32", "exact/muon/mgup/float32",
    "exact/namod/mgup/float32", "aligned_decay/adamw/float32",
)  # fmt: skip
"""What a backend that is slow is asked unless all is asked for: each rule and form of the
specification, two ports, each policy, each kind of numbers, and each shape, but not each with
each."""


def cases_for(backend: Backend, cases: Sequence[Case], *, set_of: str) -> list[Case]:
    """The cases to run on a backend, few if it takes long.

    Args:
        backend: as it says itself, by ``"compiles"`` or ``"slow"`` among its capabilities.
        cases: to choose from.
        set_of: one of :data:`~.cases.SETS`; ``"exhaustive"`` is all for every backend.
    """
    if set_of not in SETS:
        raise ValueError(f"set_of={set_of!r} is none of {', '.join(map(repr, SETS))}.")
    offered = backend.capabilities()
    if set_of == "fast" and offered.get("compiles"):
        return [case for case in cases if case.compact or case.own]
    if set_of == "standard" and (offered.get("compiles") or offered.get("slow")):
        main = [case for case in cases if any(fnmatchcase(case.id, glob) for glob in MAIN)]
        return [case for case in cases if case.own or case in main]
    return list(cases)
