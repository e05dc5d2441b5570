"""The tables of the measurements' pages are those of the JSON beside them.

No clause: CONTRIBUTING.md, "Claims are measured".
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

DATA = Path(__file__).parents[3] / "docs" / "benchmarks"

if not DATA.is_dir():
    pytest.skip("the documentation is not beside the tests", allow_module_level=True)


def data(name: str) -> dict:
    return json.loads((DATA / name).read_text(encoding="utf-8"))


def same(written: list[str], wanted: list[float]) -> None:
    """To as many digits as are written."""
    digits = [len(one.partition(".")[2]) for one in written]
    assert written == [f"{x:.{n}f}" for x, n in zip(wanted, digits, strict=True)]


CUDA_PAGE = max(p for p in DATA.iterdir() if re.fullmatch(r"[\d-]{10}-cuda\.md", p.name))
"""The newest; it keeps the table of JAX, which has a JSON of its own."""

CUDA = {
    "MGUP-AdamW, rank": "MGUP-AdamW rank",
    "MGUP-AdamW, sign (Cautious-MGUP)": "MGUP-AdamW sign",
    "MGUP-AdamW, adaptive": "MGUP-AdamW adaptive",
    "MGUP-Lion, rank": "MGUP-Lion rank",
    "MGUP-SGD, rank": "MGUP-SGD rank",
}
SLOW = {
    "the published algorithm, written plainly": "MGUP-AdamW naive",
    '`implementation="reference"`': "MGUP-AdamW rank, reference",
    "timm NAdamW, `caution=True`": "timm NAdamW caution",
}


def rows(page: str, first: str) -> list[list[str]]:
    """The cells after ``first``, without bold, of each row that begins with it."""
    text = (DATA / page).read_text(encoding="utf-8")
    found = re.findall(rf"^\| {re.escape(first)} \|(.*)\|$", text, re.MULTILINE)
    return [[cell.strip(" *") for cell in row.split("|")] for row in found]


@pytest.mark.parametrize("first", [*CUDA, *SLOW])
def test_cuda(first):
    """float32: milliseconds and ratios at both sizes; bfloat16, the next table: ratios."""
    name = (CUDA | SLOW)[first]
    table = {
        (row["dtype"], row["size"]): row
        for row in data(CUDA_PAGE.with_suffix(".json").name)["rows"] if row["name"] == name
    }  # fmt: skip
    written = rows(CUDA_PAGE.name, first)
    sizes = [table["float32", size] for size in ("134M", "1.34B")]
    same(written[0][:4], [row[key] for row in sizes for key in ("milliseconds", "ratio")])
    if first in CUDA:
        same(written[1][:2], [table["bfloat16", size]["ratio"] for size in ("134M", "1.34B")])


@pytest.mark.parametrize(
    ("page", "figures"),
    [
        ("2026-11-22-fsdp.md", "2026-11-22-fsdp.json"),
        ("2026-11-28-two-gpus.md", "2026-11-28-fsdp.json"),
    ],
)
@pytest.mark.parametrize(
    ("first", "name"),
    [
        ("MGUP-AdamW, rank", "MGUP-AdamW rank"),
        ("MGUP-AdamW, sign (Cautious-MGUP)", "MGUP-AdamW sign"),
        ("MGUP-AdamW, adaptive", "MGUP-AdamW adaptive"),
        ('MGUP-AdamW, rank, `scope="local"`', "MGUP-AdamW rank, each shard alone"),
    ],
)
def test_two_gpus(first, name, page, figures):
    found = [row for row in data(figures)["rows"] if row["name"] == name]
    assert [row["dtype"] for row in found] == ["float32", "bfloat16"]
    (written,) = rows(page, first)
    wanted = [row[key] for row in found for key in ("milliseconds", "ratio")]
    same([written[i] for i in (0, 1, 3, 4)], wanted)


@pytest.mark.parametrize(("first", "size"), [("2²⁰", 2**20), ("2²⁴", 2**24), ("67 M", 2**26),
                                             ("134 M", 2**27)])  # fmt: skip
def test_jax_on_cuda(first, size):
    (row,) = [row for row in data("2026-11-22-jax-cuda.json")["rows"] if row["size"] == size]
    (written,) = [one for one in rows(CUDA_PAGE.name, first) if one[0].endswith(" ms")]
    same([written[0].removesuffix(" ms"), *written[1:]],
         [row["optax.adamw"],
          *(row[mode] for mode in ("rank", "sign", "adaptive", "off"))])  # fmt: skip


def test_jax_by_kernels():
    found = data("2026-11-28-jax-cuda.json")
    sizes = "2²⁰ at once", "67 M at once", "134 M at once", "134 M in 111 arrays"
    for row, size in zip(found["rows"], sizes, strict=True):
        ((peer, *written),) = rows(CUDA_PAGE.name, size)
        assert peer == f"{row['optax.adamw']:.2f} ms"
        names = [n for n in ("rank", "sign", "adaptive", "off", "update") if n in row]
        same([cell for cell in written if cell], [row[name] for name in names])
    page = (DATA / CUDA_PAGE.name).read_text(encoding="utf-8")
    (cold, warm) = found["torch_first_step_seconds"].values()
    assert f"takes {cold} s where nothing is compiled yet" in page
    assert f"and {warm} s with the cache" in page


@pytest.mark.parametrize(
    ("first", "name"),
    [
        ("`MGUPAdamW`, rank mode", "MGUPAdamW"),
        ("the same without llvmlite", "MGUPAdamW, not compiled"),
        ('`mode="sign"`', "MGUPAdamW, sign"),
        ('`mode="adaptive"`', "MGUPAdamW, adaptive"),
        ('`mode="off"`', "MGUPAdamW, off"),
        ("`MGUPLion`", "MGUPLion"),
        ("`MGUPSGD`", "MGUPSGD"),
    ],
)
def test_the_cpu(first, name):
    """The lowest and the highest of three runs, in both cases."""
    cases = data("2026-11-22-torch-cpu.json")["runs"].values()
    wanted = []
    for runs in cases:
        for key in ("ms", "x_foreach"):
            values = [run["rows"][name][key] for run in runs if name in run["rows"]]
            wanted.append((min(values), max(values)))
    written = rows("2026-11-22-torch-cpu.md", first)[0]
    for text, (low, high) in zip(written, wanted, strict=True):
        numbers = text.removesuffix(" ms").split(" to ")
        same(numbers if len(numbers) == 2 else numbers * 2, [low, high])


TRUST = data("2026-11-28-trust.json")
TRUST_PAGE = "2026-11-28-trust.md"


@pytest.mark.parametrize(
    "row", [row for name in ("mutants", "fuzz", "faults", "soak") for row in TRUST[name]], ids=str
)
def test_trust(row):
    """Each row that a command wrote stands in its table."""
    if "warm" in row:  # what a soak held at its warm-up's end, and at its own
        ends = row["warm"], row["end"]
        memory = " -> ".join(f"{x['memory'] / 2**20:.1f}" for x in ends)
        held = [" -> ".join(str(x[what]) for x in ends) for what in ("files", "threads")]
        grew = ", ".join(row["grew"]) or "nothing"
        row = dict(enumerate([row["framework"], row["minutes"], row["steps"], memory, *held, grew]))
    first, *cells = row.values()
    assert [str(cell) for cell in cells] in rows(TRUST_PAGE, str(first))


def test_mutants_are_those_of_the_results():
    """``python conformance/trust/mutants.py --report`` counts them."""
    folder = DATA.parents[1] / "conformance" / "trust"
    results, equivalent = (
        json.loads((folder / f"{name}.json").read_text()) for name in ("mutants", "equivalent")
    )
    assert equivalent.keys() <= results.keys()
    (total,) = [row for row in TRUST["mutants"] if row["modules"] == "all"]
    assert total["tried"] == len(results)
    assert total["equivalent"] == len(equivalent)
    survived = {key for key, one in results.items() if one["result"] == "survived"}
    assert total["survived"] == len(survived - equivalent.keys())
    assert total["killed"] == len(results) - len(survived)
