"""What README.md says in numbers is what the committed measurements say.

No clause: CONTRIBUTING.md, "Claims are measured".
"""

from __future__ import annotations

import csv
import json
import re
import statistics
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DATA = ROOT / "docs" / "benchmarks"

if not DATA.is_dir():
    pytest.skip("the documentation is not beside the tests", allow_module_level=True)

README = (ROOT / "README.md").read_text(encoding="utf-8")


def data(name: str) -> dict:
    return json.loads((DATA / name).read_text(encoding="utf-8"))


def span(values: list[float], digits: int = 1) -> str:
    """The least and the greatest, as they are written; one number where they are the same."""
    low, high = (f"{f(values):.{digits}f}" for f in (min, max))
    return low if low == high else f"{low} to {high}"


def said(pattern: str) -> list[str]:
    """All spans of numbers that a sentence of README has in the place of ``N``."""
    number = r"(\d+(?:\.\d+)?(?: to \d+(?:\.\d+)?)?)"
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", README)
    found = re.findall(pattern.replace("N", number), text)
    assert found, pattern
    return found


def cuda(name: str) -> list[float]:
    return [row["ratio"] for row in data("2026-11-22-cuda.json")["rows"] if row["name"] == name]


def cpu(name: str) -> list[float]:
    cases = data("2026-11-22-torch-cpu.json")["runs"].values()
    return [run["rows"][name]["x_foreach"] for runs in cases for run in runs if name in run["rows"]]


def test_cuda():
    rank = span(cuda("MGUP-AdamW rank"))
    assert set(said("N times as long as (?:that of )?fused AdamW on an H100")) == {rank}
    assert set(said("in rank mode takes N times as long as fused AdamW")) == {rank}
    float32 = [row["ratio"] for row in data("2026-11-22-cuda.json")["rows"]
               if (row["name"], row["dtype"]) == ("MGUP-AdamW sign", "float32")]  # fmt: skip
    assert {*said("Cautious-MGUP N times"), *said("N times fused AdamW's")} == {span(float32)}
    published = span(cuda("MGUP-AdamW naive"), 0)
    assert set(said("the published algorithm takes N times")) == {published}


def test_sharded():
    rows = data("2026-11-22-fsdp.json")["rows"]
    ratio = [r["ratio"] for r in rows if (r["name"], r["dtype"]) == ("MGUP-AdamW rank", "float32")]
    assert set(said("over two H200, rank mode takes N times")) == {span(ratio, 2)}


def test_cpu():
    assert set(said("a step takes N times as long as foreach AdamW")) == {span(cpu("MGUPAdamW"))}
    assert set(said("and N times without")) == {span(cpu("MGUPAdamW, not compiled"))}


def test_losses():
    """Mean and standard deviation over the seeds, at the rate whose mean is least."""
    runs: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    with (DATA / "2026-11-22-rules.csv").open(encoding="utf-8") as lines:
        for row in csv.DictReader(lines):
            runs[row["rule"], row["mode"], row["lr"]].append(float(row["held_out_loss"]))

    def best(rule: str, off: bool) -> list[float]:
        return min((x for (r, mode, _), x in runs.items() if r == rule and (mode == "off") == off),
                   key=statistics.mean)  # fmt: skip

    rows = re.findall(r"^\| (\w+) \| ([\d.]+) ± ([\d.]+) \| ([\d.]+) ± ([\d.]+) \| (\S+) \|$",
                      README, re.MULTILINE)  # fmt: skip
    assert len(rows) == 4
    for rule, *cells, difference in rows:
        alone, with_mgup = best(rule, off=True), best(rule, off=False)
        wanted = [f"{f(x):.3f}" for x in (alone, with_mgup)
                  for f in (statistics.mean, statistics.stdev)]  # fmt: skip
        assert cells == wanted, rule
        gap = statistics.mean(with_mgup) - statistics.mean(alone)
        assert difference == f"{gap:+.3f}".replace("-", "−"), rule
        if rule == "AdamW":
            assert said("ended N nats below AdamW") == [f"{-gap:.2f}"]


def test_what_only_a_page_has():
    """Tokens a second of the GPT, and JAX on the CPU, of which there is no JSON."""
    page = (DATA / "2026-11-22-cuda.md").read_text(encoding="utf-8")
    relative = float(re.search(r"^\| `MGUPAdamW` .* \*\*([\d.]+)\*\* \|$", page, re.MULTILINE)[1])
    shares = re.findall(r"is (\d+) % of the tokens per second", README)
    assert set(shares) == {f"{100 * (1 - relative):.0f}"}
    page = (DATA / "2026-11-22-jax-cpu.md").read_text(encoding="utf-8")
    ratios = re.findall(r"^\| `mgup_adamw`, by graph .* \*\*([\d.]+)\*\* \| \*\*([\d.]+)\*\*", page,
                        re.MULTILINE)  # fmt: skip
    assert set(said("with JAX N times")) == {span([float(x) for x in ratios[0]], 0)}
