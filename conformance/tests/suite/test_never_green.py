"""Nothing is green for nothing, and nothing that goes wrong takes the rest with it (issue 17).

No clause: the suite itself: a broken backend is never reported as one that passed.
"""

from __future__ import annotations

import io
import json
import os
import pathlib
import struct
import subprocess
import sys

import numpy as np
import pytest

from mgup_conformance import all_cases, run_case
from mgup_conformance.backends import load
from mgup_conformance.cli import FAILED, OK, USAGE, main
from mgup_conformance.remote import Remote
from mgup_conformance.runner import select
from mgup_conformance.wire import receive, send

OFF_AND_ON = ["--fast", "--case", "run/adamw/off/float32", "--case", "run/adamw/mgup/float32"]


def read(file):
    (backend,) = json.loads(file.read_text())["backends"]
    return {result["case"]: result for result in backend["results"]}


@pytest.fixture
def file(tmp_path, toys):
    yield tmp_path / "report.json"
    sys.modules.pop("stranger", None)


def test_a_crash_is_its_cases_and_the_rest_goes_on(file, capsys):
    arguments = ["run", "--backend", "stranger:Crashing", *OFF_AND_ON, "--json", str(file)]
    assert main(arguments) == FAILED
    results = read(file)
    assert results["run/adamw/mgup/float32"]["status"] == "passed"
    assert results["run/adamw/off/float32"]["status"] == "error"
    assert "ended with status 7" in results["run/adamw/off/float32"]["message"]


@pytest.mark.slow
def test_what_never_answers_is_ended(file, capsys):
    arguments = ["run", "--backend", "stranger:Hanging", *OFF_AND_ON, "--timeout", "15"]
    assert main([*arguments, "--json", str(file)]) == FAILED
    results = read(file)
    assert results["run/adamw/mgup/float32"]["status"] == "passed"
    assert "No answer after 15 seconds" in results["run/adamw/off/float32"]["message"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Dtype", "'float_32' is unknown; did you mean 'float32'?"),
        ("Kind", "'dtype' is unknown; did you mean 'dtypes'?"),
        ("Option", "'multipliers' is unknown; did you mean 'multiplier'?"),
        ("Word", "'rules' is 'adamw', not a collection"),
        ("Reason", "'lyon' is unknown; did you mean 'lion'?"),
    ],
)
def test_unknown_capabilities_are_errors_with_the_nearest(file, capsys, name, words):
    assert main(["run", "--backend", f"stranger:{name}", "--case", "P3"]) == USAGE
    assert words in capsys.readouterr().err


def test_a_state_of_another_name_is_no_zeros(toys):
    (case,) = select(all_cases(), ["run/adamw/mgup/float32"])
    result = run_case(load("stranger:Misnamed"), case, set_of="fast")
    assert result.status == "error"
    assert "has 'exp_average', which is not known; 'exp_avg' is missing" in result.message


def test_a_backend_of_which_nothing_was_checked_fails(file, capsys):
    assert main(["run", "--fast", "--backend", "stranger:Nothing"]) == FAILED
    assert "every case was skipped" in capsys.readouterr().out


def test_a_backend_without_a_case_fails(file, capsys):
    """The fast set has few cases for what compiles, and none of these."""
    arguments = ["run", "--fast", "--backend", "numpy", "--backend", "jax", "--case", "rank/ties/*"]
    pytest.importorskip("jax")
    assert main(arguments) == FAILED
    assert "jax: no case was run" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["Narrow", "Flat"])
def test_another_shape_or_dtype_is_said(toys, name):
    for pattern in ("rank/normal/float32", "limit/adamw/mgup"):
        (case,) = select(all_cases(), [pattern])
        result = run_case(load(f"stranger:{name}"), case, set_of="fast")
        if result.bad:
            assert result.verdict == "different"
            assert "instead of" in result.message
            return
    pytest.fail("it passed")


def test_printing_does_not_disturb_the_conversation(toys):
    (case,) = select(all_cases(), ["count/decimals"])
    backend = Remote("stranger:Printing", sys.executable)
    assert run_case(backend, case).status == "passed"


# -- rules of a user -------------------------------------------------------------------------------


def command(rule, *arguments):
    here = str(pathlib.Path(__file__).parent)
    paths = [here, *filter(None, sys.path)]
    environment = {**os.environ, "MGUP_CONFORMANCE_RULES": rule, "PYTHONPATH": ":".join(paths)}
    return subprocess.run(
        [sys.executable, "-m", *arguments], env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


def test_a_users_rule_runs_on_every_backend_and_fails_where_it_is_not_flushed():
    """-10 on NumPy and -inf on JAX: in every set, and the linter says it before."""
    pytest.importorskip("jax")
    done = command(
        "stranger:Unflushed", "mgup_conformance", "run", "--fast", "--jobs", "1",
        "--case", "port/unflushed/hard/tiny", "--case", "port/unflushed/mgup/*",
        "--backend", "numpy", "--backend", "jax_jit",
    )  # fmt: skip
    assert done.returncode == FAILED, done.stdout + done.stderr
    assert "numpy" in done.stdout
    assert "jax_jit" in done.stdout
    assert "2 passed" in done.stdout
    assert "1 passed, 1 failed" in done.stdout
    assert "-inf" in done.stdout


def test_two_rules_of_one_name():
    """Else one backend would run the user's and another the library's."""
    done = command("mgup_core:AdamW", "mgup_conformance", "list")
    assert done.returncode != OK
    assert "AdamW have one name in the suite" in done.stderr


def test_the_plugin_runs_a_users_rule_on_every_backend(tmp_path):
    pytest.importorskip("jax")
    done = command(
        "stranger:Unflushed", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path),
        "-p", "mgup_conformance.pytest_plugin", "--mgup-backend", "numpy", "--mgup-backend",
        "jax_jit", "--collect-only", "-k", "port/unflushed", str(tmp_path),
    )  # fmt: skip
    found = [line for line in done.stdout.splitlines() if line.startswith("mgup::")]
    counts = [sum(name in line for line in found) for name in ("::numpy::", "::jax_jit::")]
    assert counts[0] == counts[1] > 10, done.stdout + done.stderr


def test_a_rule_that_cannot_be_made_says_so():
    done = command("stranger:Unmakeable", "mgup_conformance", "list")
    assert done.returncode != OK
    assert "Every hyperparameter of a rule needs a default" in done.stderr


# -- bad input -------------------------------------------------------------------------------------

GOOD = {
    "format": 2, "golden": 1,
    "backends": [{
        "name": "x", "versions": {}, "date": "", "host": "", "set": "fast",
        "totals": dict.fromkeys(("passed", "failed", "error", "skipped"), 0),
        "clauses": {}, "results": [],
    }],
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": 3}, "['name'] is not a text"),
        ({"results": {}}, "['results']"),
        ({"totals": {"passed": "many"}}, "['totals']"),
        ({"clauses": {"P99": GOOD["backends"][0]["totals"]}}, "P99"),
        ({"results": [{"case": "x", "message": "", "status": "good"}]}, "['status']"),
        ({"results": [{"status": "passed", "case": 1}]}, "['case']"),
        ({"date": None}, "['date']"),
    ],
)
def test_a_malformed_report_is_refused(tmp_path, capsys, changes, words):
    file = tmp_path / "x.json"
    totals = GOOD["backends"][0]["totals"]
    one = GOOD["backends"][0] | {"clauses": {"P1": totals}} | changes
    file.write_text(json.dumps(GOOD | {"backends": [one]}))
    assert main(["report", str(file)]) == USAGE
    assert words in capsys.readouterr().err


def test_an_older_report_is_still_read(tmp_path, capsys):
    """Without verdicts, levels and what else was added since, and with fewer clauses."""
    file = tmp_path / "x.json"
    totals = GOOD["backends"][0]["totals"] | {"passed": 1}
    one = GOOD["backends"][0] | {"clauses": {"P1": totals}, "totals": totals}
    file.write_text(json.dumps(GOOD | {"backends": [one]}))
    assert main(["report", str(file), "--markdown", str(tmp_path / "x.md")]) == OK
    assert "passed 1" in capsys.readouterr().out


def test_a_report_is_no_markup_and_no_page(tmp_path, capsys):
    """What a report says is shown, and never carried out."""
    plain = json.loads(json.dumps(GOOD))
    (one,) = plain["backends"]
    totals = one["totals"] | {"failed": 1}
    evil = "[/x]<script>alert(1)</script>"
    from mgup_conformance import CLAUSES

    one |= {
        "name": evil, "versions": {evil: evil}, "totals": totals,
        "clauses": dict.fromkeys(CLAUSES, totals),
        "results": [{"status": "failed", "case": evil, "message": evil, "judged": evil,
                     "verdict": "different", "diagnosis": evil, "clauses": []}],
    }  # fmt: skip
    file, page = tmp_path / "x.json", tmp_path / "x.html"
    file.write_text(json.dumps(plain))
    assert main(["report", str(file), "--html", str(page)]) == FAILED
    assert "[/x]" in capsys.readouterr().out
    assert "<script>" not in page.read_text()


def message(text, body=b"", lengths=None):
    lengths = lengths or (len(text), len(body))
    return io.BytesIO(struct.pack("<QQ", *lengths) + text + body)


@pytest.mark.parametrize(
    "text",
    [
        b'{"__array__": ["float32", [4]]}',
        b'{"__array__": ["float32", [-1]]}',
        b'{"__array__": ["object", [1]]}',
        b'{"__array__": ["float32", [4294967296, 4294967296]]}',
        b'{"__array__": 3}',
        b"[]",
        b"{",
    ],
)
def test_a_malformed_message_is_refused(text):
    with pytest.raises(ValueError):
        receive(message(text, b"abc"))


def test_a_message_of_any_length_is_not_read():
    with pytest.raises(ValueError, match="none of this suite"):
        receive(message(b"", lengths=(2**63, 0)))
    with pytest.raises(EOFError):
        receive(message(b"{}", lengths=(5, 0)))
    pipe = io.BytesIO()
    send(pipe, [np.zeros((0, 3), np.float32)])
    pipe.seek(0)
    assert receive(pipe)[0].shape == (0, 3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "--timeout", "0"], "--timeout 0 is not above 0"),
        (["show", "rank/*"], "show takes the id of one"),
        (["show", "rank/nan/float33"], "the nearest is"),
        (["show", "count/mean", "--to", "/no/such/folder"], "there is no such directory"),
    ],
)
def test_usage(capsys, arguments, words):
    assert main(arguments) == USAGE
    assert words in capsys.readouterr().err


def test_an_unknown_level_is_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["run", "--level", "close"])
    assert ended.value.code == USAGE
