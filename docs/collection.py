"""Write the table of docs/optimizers/collection.md: every rule, plain, in three frameworks.

    python docs/collection.py               from the data
    python docs/collection.py all           counts all rules anew
    python docs/collection.py SOAP Lion     counts these again, the others as they were

Each rule takes ten steps in float32 without MGUP; counted are the coordinates of the parameters
whose bits are not NumPy's. The counts are kept beside the page, in collection.json; the times come
from speed.json, which conformance/benchmarks/rules_cpu.py writes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mgup_core import Optimizer, Rule, rules

PAGE = Path(__file__).parent / "optimizers" / "collection.md"
DATA, SPEED = PAGE.with_suffix(".json"), PAGE.with_name("speed.json")
START, END = "<!-- docs/collection.py writes from here -->\n\n", "\n\n<!-- to here -->"
SHAPES, STEPS, LR, DECAY = ((12, 20), (20, 9), (17,)), 10, 1e-2, 0.1

Arrays = list[np.ndarray]


def problem(rule: Rule) -> tuple[Arrays, list[Arrays]]:
    """Parameters of the shapes that the rule trains, and their gradients."""
    shapes = [shape for shape in SHAPES if rule.accepts(shape) is None]
    rng = np.random.default_rng(0)

    def drawn() -> Arrays:
        return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]

    return drawn(), [drawn() for _ in range(STEPS)]


def in_numpy(kind: type[Rule], params: Arrays, grads: list[Arrays]) -> Arrays:
    """The reference."""
    optimizer = Optimizer(kind(), None, lr=LR, weight_decay=DECAY)
    state = optimizer.init(params)
    for one in grads:
        params, state = optimizer.step(params, one, state)
    return params


def in_torch(kind: type[Rule], params: Arrays, grads: list[Arrays]) -> Arrays:
    """PyTorch."""
    import torch

    import mgup_torch

    made = [torch.nn.Parameter(torch.from_numpy(w.copy())) for w in params]
    optimizer = mgup_torch.optimizer(kind)(made, lr=LR, weight_decay=DECAY, mode="off")
    for one in grads:
        for p, g in zip(made, one, strict=True):
            p.grad = torch.from_numpy(g.copy())
        optimizer.step()
    return [p.detach().numpy() for p in made]


def in_jax(kind: type[Rule], params: Arrays, grads: list[Arrays]) -> Arrays:
    """JAX, compiled."""
    import jax
    import optax

    import mgup_jax

    layout = {"out_axis": 0} if hasattr(kind(), "out_axis") else {}
    made = mgup_jax.transformation(kind)(LR, weight_decay=DECAY, mode="off", **layout)
    state, step, moved = made.init(params), jax.jit(made.update), params
    for one in grads:
        updates, state = step(one, state, moved)
        moved = optax.apply_updates(moved, updates)
    return [np.asarray(w) for w in moved]


def in_mindspore(kind: type[Rule], params: Arrays, grads: list[Arrays]) -> Arrays:
    """MindSpore, PyNative."""
    import mgup_mindspore  # isort: skip  (before any operation of MindSpore: see its startup)
    from mindspore import Parameter, Tensor

    made = [Parameter(Tensor(w.copy()), name=f"w{i}") for i, w in enumerate(params)]
    optimizer = mgup_mindspore.optimizer(kind)(made, LR, weight_decay=DECAY, mode="off")
    for one in grads:
        optimizer(tuple(Tensor(g.copy()) for g in one))
    return [p.asnumpy() for p in made]


FRAMEWORKS: dict[str, Callable[..., Arrays]] = {
    "PyTorch": in_torch,
    "JAX": in_jax,
    "MindSpore": in_mindspore,
}


def measure(names: Sequence[str], known: dict[str, Any]) -> dict[str, Any]:
    """For each rule: how many coordinates there are, and how many differ in each framework.

    Args:
        names: of the rules to measure, or "all".
        known: what was found of the others.
    """
    found: dict[str, Any] = {}
    for kind in rules.ALL:
        if not {"all", kind.__name__} & set(names):
            found[kind.__name__] = known[kind.__name__]
            continue
        params, grads = problem(kind())
        expected = in_numpy(kind, params, grads)
        row = {"coordinates": sum(w.size for w in params), "differ": {}, "relative": {}}
        for name, run in FRAMEWORKS.items():
            moved = run(kind, params, grads)
            unlike = [
                x.view(np.int32) != y.view(np.int32) for x, y in zip(moved, expected, strict=True)
            ]
            row["differ"][name] = int(sum(one.sum() for one in unlike))
            far = [
                np.abs(x - y).max() / np.abs(y).max() for x, y in zip(moved, expected, strict=True)
            ]
            row["relative"][name] = float(max(far))
        found[kind.__name__] = row
        print(kind.__name__, row["differ"], flush=True)
    return found


def table(found: dict[str, Any], speed: dict[str, Any]) -> str:
    """A Markdown table with one line for each rule, and what its last column is."""
    head = (
        f"| rule | coordinates | {' | '.join(FRAMEWORKS)} | time of a step |\n"
        f"|---|---:|{'---|' * len(FRAMEWORKS)}---:|\n"
    )
    lines = []
    for name, row in found.items():
        cells = [
            "identical"
            if not row["differ"][f]
            else f"{row['differ'][f]} differ, by {row['relative'][f]:.0e}"
            for f in FRAMEWORKS
        ]
        lines.append(
            f"| {name} | {row['coordinates']} | {' | '.join(cells)} | {speed['plain'][name]:.1f} |"
        )
    note = (
        "Processor time of a plain step beside that of `torch.optim.AdamW`, PyTorch, "
        f"{speed['shapes']}, {speed['date']}, {speed['versions']}: medians of turns in one process "
        f"(`python conformance/benchmarks/rules_cpu.py`), {speed['load']}. Beside itself, torch's "
        f"AdamW took {speed['itself']} times as long; on a busy machine matrices vary more."
    )
    return head + "\n".join(lines) + "\n\n" + note


def page(text: str) -> str:
    """The page with the table as it is to be."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    found, speed = (json.loads(data.read_text(encoding="utf-8")) for data in (DATA, SPEED))
    return before + START + table(found, speed) + END + after


def main() -> None:
    """Measure what is asked for, and write the data and the page."""
    if names := sys.argv[1:]:
        found = measure(names, json.loads(DATA.read_text(encoding="utf-8")))
        DATA.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
