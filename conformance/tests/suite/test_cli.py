"""The command: list, run, report, golden; what it prints, writes and returns.

No clause: the suite's command, docs/guides/conformance.md.
"""

from __future__ import annotations

import json
import pathlib
import shlex
import subprocess
import sys

import pytest

from mgup_conformance import golden
from mgup_conformance.backends import load
from mgup_conformance.catalogue import all_cases
from mgup_conformance.cli import EXAMPLES, FAILED, OK, USAGE, _parser, main

QUICK = ["--fast", "--case", "rank/ties/*", "--case", "P3"]


def test_list(capsys):
    assert main(["list", "--case", "P9"]) == OK
    out = capsys.readouterr().out
    assert "adaptive/scores/float32" in out
    assert "rank/ties" not in out
    assert "torch_compiled" in out


def test_run_and_report(capsys, tmp_path):
    file = tmp_path / "report.json"
    assert main(["run", "--backend", "numpy", *QUICK, "--json", str(file)]) == OK
    said = capsys.readouterr().out
    assert "passed" in said
    assert "1[s > 0]" in said  # not swallowed as markup
    plain = json.loads(file.read_text())
    (backend,) = plain["backends"]
    assert backend["name"] == "numpy"
    assert set(backend["versions"]) >= {"numpy", "mgup"}
    assert backend["clauses"]["P3"] == {"passed": 1, "failed": 0, "error": 0, "skipped": 0}
    assert backend["clauses"]["R1"] == dict.fromkeys(("passed", "failed", "error", "skipped"), 0)
    assert {r["status"] for r in backend["results"]} == {"passed"}
    assert backend["totals"]["passed"] == len(backend["results"])
    assert main(["report", str(file)]) == OK
    assert "numpy" in capsys.readouterr().out


def test_failures_are_shown_stored_and_returned(capsys, tmp_path, toys):
    file = tmp_path / "report.json"
    arguments = ["run", "--backend", "toy_port:WrongPort", "--case", "run/adamw/mgup/*"]
    assert main([*arguments, "--json", str(file)]) == FAILED
    assert "expected" in capsys.readouterr().out
    assert main(["report", str(file)]) == FAILED
    out = capsys.readouterr().out
    for part in ("FAILED", "wrong_toy", "step 1", "FAILED 1 of 1"):
        assert part in out


def test_skipped_is_neither_passed_nor_failed(capsys, toys):
    assert main(["run", "--backend", "toy_port:Port", "--case", "run/lion/large/*"]) == OK
    out = capsys.readouterr().out
    assert "skipped 1" in out
    assert "not yet ported" in out
    assert "passed" not in out


def test_several_backends_beside_each_other(capsys):
    assert main(["run", "--backend", "numpy", "--backend", "array_api_strict", *QUICK]) == OK
    out = capsys.readouterr().out
    assert "numpy" in out
    assert "array_api_strict" in out
    assert "not in the array API standard" in " ".join(out.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--backend", "numpyy"], "did you mean 'numpy'"),
        (
            ["run", "--case", "rnak/*"],
            "matches 'rnak/*'; the nearest is 'rank/*'",
        ),
        (["run", "--json", "/no/such/folder/x.json"], "there is no such directory"),
        (["run", "--json", "/"], "--json / is a directory"),
        (["report", "/no/such/file.json"], "No such file"),
        (["run", "--backend", "numpy@"], "names no interpreter"),
        (["run", "--backend", "no_such_module:X"], "No module named 'no_such_module'"),
        (["run", "--python", "/no/such/python"], "--python /no/such/python: "),
        (["run", "--jobs", "0"], "--jobs 0 is below 1"),
        (["run", "--case", "p12"], "matches 'p12'; the nearest is 'P12'"),
    ],
)
def test_usage(capsys, arguments, message):
    assert main(arguments) == USAGE
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 99}'])
def test_a_file_that_is_no_report(capsys, tmp_path, text):
    file = tmp_path / "x.json"
    file.write_text(text)
    assert main(["report", str(file)]) == USAGE
    assert "x.json" in capsys.readouterr().err


def test_several_processes_find_the_same(capsys, tmp_path, toys):
    reports = []
    for jobs in ("1", "2"):
        file = tmp_path / f"{jobs}.json"
        arguments = ["--backend", "toy_port:WrongPort", "--backend", "numpy", *QUICK]
        run = ["run", *arguments, "--case", "run/adamw/mgup/*", "--jobs", jobs]
        assert main([*run, "--json", str(file)]) == FAILED
        reports.append(json.loads(file.read_text()))
    for plain in reports:
        for backend in plain["backends"]:
            backend["results"].sort(key=lambda result: result["case"])
            for result in backend["results"]:
                del result["seconds"]
    assert reports[0] == reports[1]


def test_another_python(capsys, tmp_path):
    """--python is for the backends that name none of their own."""
    file = tmp_path / "report.json"
    backends = ["--backend", "numpy", "--backend", f"array_api_strict@{sys.executable}"]
    arguments = ["run", *backends, "--python", sys.executable, *QUICK, "--json", str(file)]
    assert main(arguments) == OK
    environment = pathlib.Path(sys.executable).parent.parent.name
    names = [backend["name"] for backend in json.loads(file.read_text())["backends"]]
    assert names == [f"numpy@{environment}", f"array_api_strict@{environment}"]


def test_entry_points(capsys, tmp_path, monkeypatch, toys):
    """An installed package names backends of its own; a name of ours stays ours."""
    installed = tmp_path / "stranger-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    points = "[mgup_conformance.backends]\nstranger = toy_port:Port\nnumpy = toy_port:Port\n"
    (installed / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(tmp_path)
    assert load("stranger").name == "toy"
    assert load("numpy").name == "numpy"
    assert main(["list", "--case", "P3"]) == OK
    assert "stranger" in capsys.readouterr().out


def test_reports_become_one_matrix(capsys, tmp_path, toys):
    """Merged from several runs; skipped with reasons; failed in bold; nothing is markup."""
    files = []
    for name in ("numpy", "toy_port:WrongPort"):
        files.append(tmp_path / f"{len(files)}.json")
        cases = ["--case", "run/adamw/mgup/*", "--case", "run/lion/large/*", "--case", "P3"]
        main(["run", "--fast", "--backend", name, *cases, "--json", str(files[-1])])
    markdown, html, merged = (tmp_path / name for name in ("x.md", "x.html", "x.json"))
    outputs = ["--markdown", str(markdown), "--html", str(html), "--json", str(merged)]
    assert main(["report", *map(str, files), *outputs]) == FAILED
    text = markdown.read_text()
    assert "| clause | what it says | numpy | wrong_toy |" in text
    assert "| P3 | K = floor(tau * d) in exact decimal arithmetic | 1 | 1 |" in text
    assert "**FAILED 1**" in text
    assert "lion (not yet ported)" in text
    assert "  at step 1, parameter 0" in text
    page = html.read_text()
    assert page.startswith("<!doctype html>")
    assert "<strong>FAILED 1</strong>" in page
    assert "1[s &gt; 0]" in page
    plain = json.loads(merged.read_text())
    assert [backend["name"] for backend in plain["backends"]] == ["numpy", "wrong_toy"]
    assert {r["status"] for b in plain["backends"] for r in b["results"]} == {"failed", "skipped"}
    assert main(["report", str(merged), "--markdown", str(tmp_path / "again.md")]) == FAILED
    assert (tmp_path / "again.md").read_text() == text


def test_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "mgup_conformance", "list", "--case", "count/decimals"],
        capture_output=True, text=True, timeout=600, check=True,
    )  # fmt: skip
    assert "count/decimals" in done.stdout


def test_golden_vectors_are_as_the_reference_makes_them(capsys):
    """Nobody changes an answer without noticing."""
    assert main(["golden", "--check"]) == OK
    assert golden.PATH.stat().st_size < 300_000


def test_golden_differences_are_named(capsys, tmp_path, monkeypatch):
    file = tmp_path / "v1.json"
    text = golden.PATH.read_text()
    changed = text.replace('"multiplier":["0x1p+1"', '"multiplier":["0x1p+2"', 1)
    assert changed != text
    file.write_text(changed)
    monkeypatch.setattr(golden, "PATH", file)
    assert main(["golden"]) == FAILED
    assert capsys.readouterr().out.count("differs golden/multiplier/") == 1
    run = next(r for r in json.loads(text)["records"] if "N7" in r["clauses"])
    first = run["after"]["1"]["parameter 0"]
    moved = [first[0].replace("0x1.", "0x1.8"), *first[1:]]
    assert moved != first
    file.write_text(text.replace(json.dumps(first, separators=(",", ":")),
                                 json.dumps(moved, separators=(",", ":")), 1))  # fmt: skip
    assert golden.differences() == [run["id"]]
    assert main(["golden", "--write"]) == OK
    written, known = (json.loads(one)["records"] for one in (file.read_text(), text))
    assert [r["id"] for r in written] == [r["id"] for r in known]
    for new, old in zip(written, known, strict=True):  # matrix products are the processor's (N7)
        assert new == old or "N7" in old["clauses"], old["id"]
    file.unlink()
    assert main(["golden", "--check"]) == FAILED
    assert "missing" in capsys.readouterr().out


def test_golden_numbers_come_back():
    """Hex floats without trailing zeros are the same numbers."""
    import numpy as np

    x = np.array([0.0, -0.0, 1.0, 1 / 3, 16.0, 5e-324, np.inf, np.nan])
    again = golden.decode(golden.encode(x), "float64", [8])
    assert again.tobytes() == x.tobytes()


def test_the_examples_of_help_are_commands():
    """Each names a command and options that there are, and the case of ``show`` exists."""
    parsed = [_parser().parse_args(shlex.split(line)[1:]) for line in EXAMPLES.splitlines()[1:]]
    assert {one.command for one in parsed} == {"run", "show", "report"}
    (shown,) = (one.id for one in parsed if one.command == "show")
    assert shown in {case.id for case in all_cases()}
