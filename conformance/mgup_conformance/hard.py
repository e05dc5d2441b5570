"""What is asked of a rule that the user names, beyond the cases that the library's own ports get.

Nobody has looked at such a rule before: its hyperparameters are moved, its gradients are tiny,
huge, not finite and absent, its state is narrow and wide, its steps are many, and its run is broken
off and resumed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .backends.core import make_rule
from .cases import Case
from .data import Shape
from .ports import CLASSES, samples, trains_vectors
from .protocol import RunSpec
from .runs import MatrixCase, RunCase
from .specs import ELEMENTWISE, NUMBERS, policy, rule

SAMPLES = 3
"""Sets of hyperparameters."""


def hard_cases(name: str, lr: float, *, own: bool = True) -> Iterator[Case]:
    """The cases of one rule.

    Args:
        name: as the suite calls it.
        lr: at which it neither settles nor blows up.
        own: see :attr:`~.cases.Case.own`.
    """
    kind = CLASSES[name]()
    shapes: tuple[Shape, ...] = ((7, 11), (64,), (3, 5, 7)) if trains_vectors(name) else (
        (16, 32), (12, 12),
    )  # fmt: skip

    def spec(numbers: str = "float32", **changes: Any) -> RunSpec:
        dtype, state_dtype = NUMBERS[numbers]
        made: dict[str, Any] = {
            "rule": rule(name), "policy": policy("mgup"), "lr": lr, "weight_decay": 0.1,
            "stacked_dims": [0] * len(shapes), "dtype": dtype, "state_dtype": state_dtype,
        }  # fmt: skip
        return made | changes  # type: ignore[return-value]

    def case(what: str, clauses: tuple[str, ...], of: RunSpec, steps: int, **options: Any) -> Case:
        common: dict[str, Any] = {
            "steps": steps, "fast_steps": min(steps, 12), "fast": own, "own": own,
        }  # fmt: skip
        given: Any = options.pop("shapes", shapes)
        key = f"port/{name}/hard/{what}"
        made = make_rule(of["rule"])
        if made.identical:
            clauses = tuple(dict.fromkeys(("P6", "R0", *clauses, *ELEMENTWISE[:4])))
            return RunCase(key, clauses, of, given, **common, **options)
        options.pop("gradients", None)
        common["bounded_state"] = made.bounded_state
        return MatrixCase(key, ("P6", "R0", "N7", *clauses), of, given, **common)

    for i, drawn in enumerate(samples(name, SAMPLES)):
        yield case(f"hyperparameters_{i}", (), spec(rule=rule(name) | drawn), 30)
    if kind.stacks and trains_vectors(name):
        stacked = spec(stacked_dims=[1, 1])
        yield case("stacked", ("P5",), stacked, 12, shapes=((4, 9), (3, 5, 7)))
    if not kind.identical:  # by norm there is no more to see
        return
    for numbers in ("bfloat16", "float16", "float16_state32"):
        yield case(numbers, ("R5",), spec(numbers), 12)
    hard: tuple[tuple[str, int, tuple[str, ...], dict[str, Any]], ...] = (
        ("tiny", 30, ("N6", "P2"), {"weight_decay": 0.0}),
        ("huge", 3, ("P7",), {"weight_decay": 0.0}),
        ("nonfinite", 6, ("P7", "P2"), {}),
        ("absent", 12, ("R6",), {}),
        ("schedule", 12, ("N2",), {}),
    )
    for gradients, steps, clauses, changes in hard:
        yield case(gradients, clauses, spec(**changes), steps, gradients=gradients,
                   zero_start=gradients in ("tiny", "huge"))  # fmt: skip
    late = spec(weight_decay=0.0, stacked_dims=[0])
    yield case("late", ("N3",), late, 1100, shapes=((3,),))
    yield case("resumed", ("N1",), spec(), 12, resume_every=3)
