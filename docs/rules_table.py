"""Write the table of docs/optimizers/index.md, from the rules and the times of a benchmark.

    python docs/rules_table.py

The table is in the page itself, so that it is there wherever the page is read; a test compares.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from mgup_core import Backend, Rule, rules

PAGE = Path(__file__).parent / "optimizers" / "index.md"
START, END = "<!-- docs/rules_table.py writes from here -->\n\n", "\n\n<!-- to here -->"
PAGES = {
    "Adafactor": "adafactor",
    "Prodigy": "prodigy",
    "AdaMuon": "muon_family",
    "NorMuon": "muon_family",
    "ScheduleFreeRAdam": "schedule_free",
    "ScheduleFreeSGD": "schedule_free",
    "SOAP": "soap",
    "ScheduleFreeAdamW": "schedule_free",
    "ADOPT": "adopt", "AMSGrad": "amsgrad", "Grams": "grams", "LaProp": "laprop",
    "MARSAdamW": "mars", "MARSLion": "mars", "NAdamW": "nadamw", "RAdam": "radam",
    "StableAdamW": "stable_adamw",
    "AMAdamW": "adaptive_memory", "AMSGD": "adaptive_memory", "AdaBelief": "adabelief",
    "AdamP": "adamp", "Adan": "adan", "AdEMAMix": "ademamix", "AnchoredSGD": "anchored_sgd",
    "AuON": "auon", "DeltaMomentum": "delta_momentum", "FISMO": "fismo",
    "HybridAuON": "hybrid_auon", "LionK": "lion_k", "M3": "m3", "NAMO": "namo", "NAMOD": "namo",
    "SCALE": "scale", "SGDP": "adamp", "SGDSaI": "sgd_sai", "Signum": "signum",
    "AdamW": "adamw", "Lion": "lion", "SGD": "sgd", "Muon": "muon",
}  # fmt: skip


def page(text: str) -> str:
    """The page with the table as it is to be."""
    before, _, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(
            f"{PAGE.name} has no place for the table: {START.strip()} ... {END.strip()}"
        )
    return before + START + table() + END + after


def table() -> str:
    """A Markdown table with one line for each rule."""
    speed = json.loads(
        (Path(__file__).parent / "optimizers/speed.json").read_text(encoding="utf-8")
    )
    head = (
        "| rule | works on | state of an m × n parameter | across frameworks | confirmed "
        "| time of a step |\n| --- | --- | --- | --- | --- | ---: |\n"
    )
    return (
        head + "\n".join(_line(kind, speed["ratios"]) for kind in rules.ALL) + f"\n\n{_note(speed)}"
    )


def _line(kind: type[Rule], ratios: dict[str, float]) -> str:
    name = kind.__name__
    cells = (
        f"[{name}]({PAGES[name]}.md)",
        _kind(kind),
        _state(kind()),
        "identical" if kind().identical else "bounded",
        "experimental" if kind.experimental else "yes",
        f"{ratios[name]:.1f}" if name in ratios else "",
    )
    return f"| {' | '.join(cells)} |"


def _kind(kind: type[Rule]) -> str:
    if kind.elementwise:
        return "single coordinates"
    return "rows or whole tensors" if kind().identical else "matrices"


def _state(rule: Rule) -> str:
    """What is kept, in words of m and n, from the state of a 2 x 3 parameter."""
    words = {(2, 3): "mn", (2, 2): "m²", (3, 3): "n²", (2, 1): "m", (2,): "m", (1, 3): "n",
             (3,): "n", (): "1", (1, 1): "1"}  # fmt: skip
    state = rule.init(Backend(np, np.dtype(np.float32)), np.zeros((2, 3), np.float32))
    counts: dict[str, int] = {}
    for x in state.values():
        counts[words[x.shape]] = counts.get(words[x.shape], 0) + 1
    return " + ".join(f"{n if n > 1 else ''}{word}" for word, n in counts.items()) or "none"


def _note(speed: dict[str, Any]) -> str:
    return (
        f"Processor time of an MGUP step beside MGUP-AdamW's, PyTorch, {speed['shapes']}, "
        f"{speed['date']}, {speed['versions']}, {speed['load']}: medians of turns in one process "
        "(`python conformance/benchmarks/rules_cpu.py`). Rules of single coordinates go block by "
        "block through the cache; the others work on whole tensors, operation by operation."
    )


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
