"""A case by itself: its inputs and answers as arrays, and a script that runs a backend on them.

For the author of an implementation who has no suite: the script needs NumPy, and the backend.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .cases import REFERENCE, Case, MeanCase, MultiplierCase
from .compare import wide
from .golden import GoldenMultiplier, GoldenRun, recorded
from .protocol import Array, RunSpec
from .runs import RunCase
from .verdicts import state_of

STEPS = 5

RUN = """{said}
import importlib, json, sys
import numpy as np
case = np.load("{name}.npz")
spec, n = json.loads(str(case["spec"])), int(case["n"])
module, _, made = sys.argv[1].partition(":")
dtype = getattr(importlib.import_module("ml_dtypes"), spec["dtype"], spec["dtype"])
run = getattr(importlib.import_module(module), made)().run(
    spec, [case[f"w{{i}}"].astype(dtype) for i in range(n)])
for t in range(1, 1 + int(case["steps"])):
    given = [case[k].astype(dtype) if (k := f"g{{i}}_{{t}}") in case else None for i in range(n)]
    run.step(given, None if np.isnan(case[f"lr_{{t}}"]) else float(case[f"lr_{{t}}"]))
    for i, w in enumerate(run.params()):
        far = np.abs(w.astype("f8") - case[f"w{{i}}_{{t}}"])
        print(f"step {{t}}, parameter {{i}}: largest difference {{far.max(initial=0)}}")
"""

MULTIPLIER = """{said}
import importlib, json, sys
import numpy as np
case, (module, _, made) = np.load("{name}.npz"), sys.argv[1].partition(":")
backend = getattr(importlib.import_module(module), made)()
for i, (policy, stacked_dims, name) in enumerate(json.loads(str(case["questions"]))):
    dtype = getattr(importlib.import_module("ml_dtypes"), name, name)
    a, g = (case[f"{{x}}{{i}}"].astype(dtype) for x in "ag")
    phi = backend.multiplier(policy, a, g, stacked_dims)
    print(policy, int(np.sum(phi != case[f"phi{{i}}"])), "of", phi.size, "differ")
"""


def write(case: Case, folder: Path, *, steps: int | None = None) -> list[Path]:
    """The two files of a case.

    Args:
        case: of which the inputs, and the reference's answers, are written.
        folder: that exists.
        steps: of a run; by default :data:`STEPS`, or as many as it has.
    """
    name = re.sub(r"[^\w .,=+@()-]", "_", case.id)
    runs = isinstance(case, (RunCase, GoldenRun))
    arrays = _run(case, steps or STEPS) if runs else _multipliers(case)  # type: ignore[arg-type]
    script = script_of(RUN if runs else MULTIPLIER, case.id, case.clauses, name)
    data, program = folder / f"{name}.npz", folder / f"{name}.py"
    np.savez_compressed(data, **arrays)
    program.write_text(script)
    return [data, program]


def script_of(template: str, id: str, clauses: Sequence[str], name: str) -> str:
    """The script of a case. Whatever its id holds, such as the name of a rule, is text there."""
    said = f"{id}: {', '.join(clauses)}. Give your backend: python {name}.py package.module:Backend"
    return template.format(said=repr(said), name=name)


def _run(case: RunCase | GoldenRun, steps: int) -> dict[str, Any]:
    if isinstance(case, GoldenRun):
        spec: RunSpec = case.record["spec"]
        reference, start = spec, recorded(case.record, case.record["params"])
        feed: Any = [(recorded(case.record, rows), None) for rows in case.record["gradients"]]
    else:
        spec, reference, start = case.spec, case.reference_spec(), case.initial()
        feed = case.feed(min(steps, case.steps))
    run = REFERENCE.run(reference, start)
    arrays: dict[str, Any] = {f"w{i}": wide(w) for i, w in enumerate(start)}
    taken = 0
    for t, (grads, lr) in enumerate(list(feed)[:steps], 1):
        run.step(grads, lr)
        arrays |= {f"g{i}_{t}": wide(g) for i, g in enumerate(grads) if g is not None}
        arrays |= {f"w{i}_{t}": wide(w) for i, w in enumerate(run.params())}
        for i, state in enumerate(state_of(reference, run.params(), run.state())):
            arrays |= {f"{n}{i}_{t}": wide(x) for n, x in state.items()}
        arrays[f"lr_{t}"] = np.nan if lr is None else lr
        taken = t
    return arrays | {"spec": json.dumps(spec), "n": len(start), "steps": taken}


def _multipliers(case: Case) -> dict[str, Any]:
    asked: list[tuple[Any, Array, Array, int]]
    if isinstance(case, MultiplierCase):
        asked = [(q.policy, a, g, q.stacked_dims) for q, a, g in case.operands()]
    elif isinstance(case, MeanCase):
        asked = [(policy, a, g, 0) for _, _, policy, a, g in case.operands()]
    else:
        assert isinstance(case, GoldenMultiplier)
        asked = [(case.record["policy"], *case.operands(), case.record["stacked_dims"])]
    arrays: dict[str, Any] = {}
    for i, (policy, a, g, n) in enumerate(asked):
        arrays |= {f"a{i}": wide(a), f"g{i}": wide(g)}
        arrays[f"phi{i}"] = REFERENCE.multiplier(policy, a, g, n)
    questions = [(policy, n, a.dtype.name) for policy, a, _, n in asked]
    return arrays | {"questions": json.dumps(questions)}
