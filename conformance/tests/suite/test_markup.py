"""What a backend or a report says is text, whatever brackets, fences and tags it holds.

No clause: the suite's reports.
"""

from __future__ import annotations

import json

import pytest

from mgup_conformance.clauses import CLAUSES
from mgup_conformance.cli import FAILED, OK, USAGE, main
from mgup_conformance.report import FORMAT
from mgup_conformance.runner import STATUSES

NONE = dict.fromkeys(STATUSES, 0)


def report(name="numpy", message="", status="failed", **changes):
    """A report of one case on one backend."""
    counts = {**NONE, status: 1}
    one = {
        "name": name, "versions": {name: "1[.0]"}, "host": "h", "date": "2026-01-01", "set": "fast",
        "totals": counts,
        "clauses": {**dict.fromkeys(CLAUSES, NONE), "P3": counts},
        "results": [
            {"case": "x", "clauses": ["P3"], "status": status, "message": message, "seconds": 0.1}
        ],
    }  # fmt: skip
    return {"format": FORMAT, "golden": 1, "backends": [{**one, **changes}]}


def shown(plain, tmp_path, *arguments):
    file = tmp_path / "report.json"
    file.write_text(plain if isinstance(plain, str) else json.dumps(plain))
    return main(["report", str(file), *arguments])


@pytest.mark.parametrize("name", ["[/x]", "torch[cuda]", "[bold]", "[red]x[/red]", "[link=x]y"])
def test_names_are_shown_as_they_are(name, capsys, tmp_path):
    assert shown(report(name, message=f"says {name}"), tmp_path) == FAILED
    out = capsys.readouterr().out
    assert out.count(name) >= 4  # the failure twice, its versions, the total
    assert f"{name} 1[.0]" in out


@pytest.mark.parametrize("name", ["[/x].json", "torch[cuda].json"])
def test_so_are_paths(name, capsys, tmp_path):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    assert shown(report(status="passed"), tmp_path, "--json", str(path)) == OK
    assert name in "".join(capsys.readouterr().out.split())


MESSAGE = "a\n```\n# closes\n````\n<script>x</script>"


def test_no_message_closes_its_fence(tmp_path):
    page = tmp_path / "x.md"
    assert shown(report(message=MESSAGE), tmp_path, "--markdown", str(page)) == FAILED
    lines = page.read_text().splitlines()
    (start,) = (i for i, line in enumerate(lines) if line.endswith("`text"))
    fence = lines[start].removesuffix("text")
    end = lines.index(fence, start + 1)
    assert lines[start + 1 : end] == f"numpy: {MESSAGE}".splitlines()
    assert not any(line.startswith(fence) for line in lines[start + 1 : end])


def test_nothing_leaves_its_line_or_cell_in_markdown(tmp_path):
    page = tmp_path / "x.md"
    name, message = "a|b\\|c\n# d<br>", "no\n# heading <b>"
    plain = report(name, message=message, status="skipped")
    assert shown(plain, tmp_path, "--markdown", str(page)) == OK
    text = page.read_text()
    assert "| a\\|b\\\\\\|c # d&lt;br> |" in text
    assert "- no # heading &lt;b>: 1 skipped" in text
    assert not any(line.startswith("# ") for line in text.splitlines()[1:])


def test_stars_are_stars_but_for_what_failed(tmp_path):
    page = tmp_path / "x.md"
    plain = report(message="g*g, not a*g", status="skipped", versions={"x": "*1*"})
    plain["backends"] += report("b", message="c*d*e")["backends"]
    assert shown(plain, tmp_path, "--markdown", str(page)) == FAILED
    text = page.read_text()
    assert "- g&#42;g, not a&#42;g: 1 skipped" in text
    assert "| x &#42;1&#42; |" in text
    assert "**FAILED 1**" in text
    assert "c*d*e" in text  # in a code block


def test_html_is_escaped(tmp_path):
    page = tmp_path / "x.html"
    shown(report("<i>", message=MESSAGE), tmp_path, "--html", str(page))
    assert "<script>" not in page.read_text()
    assert "<i>" not in page.read_text()


@pytest.mark.parametrize("text", ["\udcff", "[" * 100_000, "1" * 10_000, '{"format": NaN}'])
def test_files_that_are_no_report(text, capsys, tmp_path):
    file = tmp_path / "x.json"
    file.write_bytes(text.encode(errors="surrogateescape"))
    assert main(["report", str(file)]) == USAGE
    assert "x.json is not" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (["backends"], 3, r"it['backends'] is not a list"),
        (["backends"], [], "it has no backends"),
        (["backends", 0], "x", "it['backends'][0] is not an object"),
        (["backends", 0, "name"], None, "['name'] is not a text"),
        (["backends", 0, "totals"], "absent", "it['backends'][0]['totals'] is missing"),
        (["backends", 0, "totals"], {}, "['totals']['passed'] is missing"),
        (["backends", 0, "totals", "passed"], True, "['totals']['passed'] is not a number"),
        (["backends", 0, "versions"], {"numpy": 2}, "['versions']['numpy'] is not a text"),
        (["backends", 0, "clauses", "P3"], [], "['clauses']['P3'] is not an object"),
        (["backends", 0, "verdicts"], {"P3": 3}, "['verdicts']['P3'] is not an object"),
        (["backends", 0, "results", 0, "status"], "fine", "['status'] is none of 'passed', 'fai"),
        (["backends", 0, "results", 0, "lacks"], [3], "['lacks'][0] is not a text"),
        (["backends", 0, "results", 0, "units"], "x", "['units'] is not a number"),
    ],
    ids=str,
)
def test_what_is_wrong_with_a_report(path, value, reason, capsys, tmp_path):
    plain = report()
    *before, last = path
    place = plain
    for key in before:
        place = place[key]
    if value == "absent":
        del place[last]
    else:
        place[last] = value
    assert shown(plain, tmp_path) == USAGE
    assert reason in capsys.readouterr().err


def test_a_report_from_before_a_clause(capsys, tmp_path):
    plain = report(status="passed")
    del plain["backends"][0]["clauses"]["N1"]
    assert shown(plain, tmp_path, "--markdown", str(tmp_path / "x.md")) == OK
    assert "not run" in capsys.readouterr().out


def test_makers_of_processors(capsys, tmp_path):
    """One matrix of several processors; of whose nothing was run, it says so."""
    files = []
    for processor in ("Intel: Xeon", "ARM: aarch64, emulated"):
        files.append(tmp_path / f"{len(files)}.json")
        files[-1].write_text(json.dumps(report(status="passed", processor=processor)))
    page = tmp_path / "x.md"
    assert main(["report", *map(str, files), "--markdown", str(page)]) == OK
    text = page.read_text()
    for place, name in (("Intel", "numpy"), ("ARM", "numpy on ARM")):
        assert f"### {place}\n\n| clause | what it says | {name} |\n" in text
    assert "| AMD | not run |  |  |  |" in text
    assert "| ARM | aarch64, emulated | 2026-01-01 |  | numpy on ARM: 1 passed |" in text
    assert "| Intel | Xeon | 2026-01-01 |  | numpy: 1 passed |" in text


def test_what_other_processors_gave_is_kept(tmp_path):
    """A run on one maker's takes the place of that maker's alone, as often as it is repeated."""
    matrix, new, page = (tmp_path / name for name in ("matrix.json", "new.json", "x.md"))
    old = report(status="passed", processor="Intel: Xeon") | {"suite": {"commit": "a" * 40}}
    old["backends"] += report("numpy on AMD", status="failed", processor="AMD: old")["backends"]
    old["backends"] += report("of no place", status="failed")["backends"]
    matrix.write_text(json.dumps(old))
    new.write_text(
        json.dumps(
            report(status="passed", processor="AMD: EPYC", date="2026-02-02")
            | {"suite": {"commit": "b" * 40}}
        )
    )
    for _ in range(2):
        files = ("--keep", str(matrix), "--json", str(matrix), "--markdown", str(page))
        assert main(["report", str(new), *files]) == OK
    text = page.read_text()
    assert "| AMD | EPYC | 2026-02-02 | bbbbbbbbb | numpy: 1 passed |" in text
    assert "| Intel | Xeon | 2026-01-01 | aaaaaaaaa | numpy on Intel: 1 passed |" in text
    assert "Suite of numpy: commit bbbb" in text
    assert "Suite of numpy on Intel: commit aaaa" in text
    assert len(json.loads(matrix.read_text())["backends"]) == 2


def test_backends_of_one_name_in_several_reports(capsys, tmp_path):
    """Each column has a name of its own: of its accelerator, of its processor, or a number."""
    files = []
    for versions in ({}, {"device": "NVIDIA H100"}, {"device": "CPU"}, {}):
        files.append(tmp_path / f"{len(files)}.json")
        plain = report(status="passed", processor="Intel: Xeon", versions=versions)
        files[-1].write_text(json.dumps(plain))
    page = tmp_path / "x.md"
    assert main(["report", *map(str, files), "--markdown", str(page)]) == OK
    for names in ("numpy | numpy on Intel | numpy on Intel (2)", "numpy on NVIDIA H100"):
        assert f"| clause | what it says | {names} |\n" in page.read_text()


def test_reports_of_several_suites(tmp_path):
    """A matrix of several commits says which judged what."""
    files = []
    for name, commit in (("numpy", "abc"), ("torch", "abc"), ("jax", "def")):
        files.append(tmp_path / f"{name}.json")
        files[-1].write_text(
            json.dumps(report(name, status="passed") | {"suite": {"commit": commit}})
        )
    page, merged = tmp_path / "x.md", tmp_path / "y.json"
    assert main(["report", *map(str, files), "--json", str(merged)]) == OK
    for sources in (files, [merged]):
        assert main(["report", *map(str, sources), "--markdown", str(page)]) == OK
        assert "Suite of numpy, torch: commit abc." in page.read_text()
        assert "Suite of jax: commit def." in page.read_text()
    assert main(["report", *map(str, files[:2]), "--markdown", str(page)]) == OK
    assert "Suite: commit abc." in page.read_text()
