"""What a backend, a report or a message may do wrong, and what becomes of it (issue 17).

No clause: the suite itself: what a broken or hostile backend may do.
"""

from __future__ import annotations

import io
import json
import os
import random
import struct
import sys
import time
from dataclasses import dataclass, field

import numpy as np
import pytest

import mgup_core
from mgup_conformance import CLAUSES, all_cases, ports, run_case, run_suite
from mgup_conformance.backends import load
from mgup_conformance.catalogue import cases_for
from mgup_conformance.cli import FAILED, OK, USAGE, main
from mgup_conformance.report import FORMAT
from mgup_conformance.runner import STATUSES, select
from mgup_conformance.verdicts import LEVELS
from mgup_conformance.visible import visible
from mgup_conformance.wire import receive, send

RUN, MULTIPLIER = "run/adamw/mgup/float32", "rank/normal/float32"


@pytest.fixture
def hostile(toys):
    yield
    sys.modules.pop("hostile", None)


@pytest.mark.parametrize(
    ("name", "case", "status", "words"),
    [
        ("Reshaped", RUN, "failed", "float32 (1, 64) instead of float32 (64,)"),
        ("Wider", RUN, "failed", "float64 (64,) instead of float32 (64,)"),
        ("Named", RUN, "failed", "object (64,) instead of float32 (64,)"),
        ("Elsewhere", RUN, "error", "can't convert cuda:0 device type tensor"),
        ("Fewer", "hyper_off/adamw/float32", "error", "of 3 parameters gives 1"),
        ("Scores", MULTIPLIER, "failed", "not to be changed"),
        ("Overwriting", RUN, "failed", "not to be changed"),
    ],
)
@pytest.mark.parametrize("there", [False, True])
def test_what_it_gives_back(hostile, name, case, status, words, there):
    """Said the same of another interpreter's, but that objects do not cross; none is rounding."""
    backend = load(f"hostile:{name}" + f"@{sys.executable}" * there)
    (case,) = select(all_cases(), [case])
    if there and name in ("Named", "Elsewhere"):
        status, words = "error", "is neither plain data nor an array"
    result = run_case(backend, case, set_of="fast", level="rounding")
    assert result.status == status, result.message
    assert words in result.message
    assert result.verdict == ("different" if status == "failed" else "")


def test_one_that_steps_in_place_is_none_of_them(toys):
    """What it gives out are its own arrays, which the next step changes: the suite keeps none."""

    class InPlace:
        def __init__(self, inner):
            self.inner, self.kept = inner, [w.copy() for w in inner.params()]

        def step(self, grads, lr=None):
            self.inner.step(grads, lr)
            for w, new in zip(self.kept, self.inner.params(), strict=True):
                w[...] = new

        def params(self):
            return self.kept

        def state(self):
            return self.inner.state()

    backend = load("numpy")
    begin = backend.run
    backend.run = lambda spec, params: InPlace(begin(spec, params))
    for name in (RUN, "run/muon_default/mgup/float32"):
        (case,) = select(all_cases(), [name])
        result = run_case(backend, case, set_of="fast")
        assert result.status == "passed", result.message


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "killpg"), reason="no groups of processes")
def test_what_a_hung_backend_started_ends_with_it(hostile, monkeypatch, tmp_path, capsys):
    """In the process of its case, and in another interpreter: nothing goes on computing."""
    file = tmp_path / "pid"
    monkeypatch.setenv("HOSTILE_PID", str(file))
    for backend in ("hostile:Parent", f"hostile:Parent@{sys.executable}"):
        arguments = ["run", "--fast", "--backend", backend, "--case", RUN, "--timeout", "20"]
        assert main(arguments) == FAILED
        assert "No answer after 20 seconds" in capsys.readouterr().out
        for pid in map(int, file.read_text().split()):
            for _ in range(100):
                if not alive(pid):
                    break
                time.sleep(0.1)
            assert not alive(pid)
        file.unlink()


def alive(pid):
    """Whether a process runs; one that has ended and is not yet waited for does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_cases_chosen_by_name_and_not_run_are_told_of(hostile, capsys):
    assert main(["run", "--backend", "hostile:Slow", "--case", "rank/normal/*"]) == OK
    said = " ".join(capsys.readouterr().out.split())
    assert "slow: 1 of the 4 cases chosen were run, since it says that it is slow" in said


def test_an_unknown_device(monkeypatch, capsys):
    pytest.importorskip("torch")
    monkeypatch.setenv("MGUP_TORCH_DEVICE", "nowhere")
    assert main(["run", "--backend", "torch", "--case", "P3"]) == USAGE
    assert "MGUP_TORCH_DEVICE='nowhere'" in capsys.readouterr().err


def test_an_unknown_set(toys):
    (case,) = select(all_cases(), [RUN])
    with pytest.raises(ValueError, match="set_of='quick' is none of 'fast'"):
        run_suite([load("numpy")], [case], set_of="quick")
    with pytest.raises(ValueError, match="set_of='quick'"):
        cases_for(load("numpy"), [case], set_of="quick")
    with pytest.raises(ValueError, match="level='close' is none of 'identical'"):
        run_case(load("numpy"), case, level="close")


def ranged(given):
    return dataclass(frozen=True)(
        type("Ranged", (mgup_core.Lion,), {
            "__annotations__": {"b1": float}, "b1": field(default=0.9, metadata={"range": given}),
        })
    )  # fmt: skip


@dataclass(frozen=True)
class Picky(mgup_core.Lion):
    """Takes its defaults and nothing else."""

    def __post_init__(self):
        if (self.b1, self.b2) != (0.9, 0.99):
            raise ValueError("no")


@pytest.mark.parametrize("given", [("a", "b"), (1, 0), (0.1,), 3, (0, float("inf")), "ab"], ids=str)
def test_a_range_that_is_none(monkeypatch, given):
    monkeypatch.setitem(ports.CLASSES, "ranged", ranged(given))
    with pytest.raises(ValueError, match=r"ranged: the field 'b1' declares the range .*two finite"):
        ports.samples("ranged", 3)


def test_a_rule_whose_hyperparameters_cannot_be_drawn(monkeypatch):
    """It would be tested with its defaults alone, and nobody would know."""
    monkeypatch.setitem(ports.CLASSES, "picky", Picky)
    with pytest.raises(ValueError, match=r"picky: no hyperparameters .*refused.* 'no'. Declare"):
        ports.samples("picky", 3)
    monkeypatch.setitem(ports.CLASSES, "ranged", ranged((0.2, 0.4)))
    assert all(0.2 <= drawn["b1"] <= 0.4 for drawn in ports.samples("ranged", 3))


# -- what is shown ---------------------------------------------------------------------------------


def obeyed(text):
    """What of a text a terminal or a page would obey."""
    return [
        character for character in text if character != "\n" and visible(character) != character
    ]


def test_visible():
    assert visible("\x1b[31m\x9b\x07\u202e\ud800\u2028\r") == (
        "\\x1b[31m\\x9b\\x07\\u202e\\ud800\\u2028\\r"
    )
    assert visible("τ = 0.5\n\té – 数\\n") == "τ = 0.5\n    é – 数\\n"
    assert visible({"a\0": [1, None, True, {"b": "\0"}]}) == {
        "a\\x00": [1, None, True, {"b": "\\x00"}]
    }


def test_nothing_that_a_backend_says_is_obeyed(hostile, capsys, tmp_path):
    """On the terminal, in the pages, and in the reports made of its report; JSON stays data."""
    file, html, page = (tmp_path / name for name in ("x.json", "x.html", "x.md"))
    arguments = ["--fast", "--case", MULTIPLIER, "--case", "run/lion/large/*"]
    out = ["--json", str(file), "--html", str(html)]
    assert main(["run", "--backend", "hostile:Shouting", *arguments, *out]) == FAILED
    assert main(["report", str(file), "--markdown", str(page)]) == FAILED
    said = capsys.readouterr()
    texts = [said.out, said.err, html.read_text(), page.read_text()]
    assert [obeyed(text) for text in texts] == [[]] * 4
    assert all("\\x1b[2J" in text for text in (said.out, *texts[2:]))
    (one,) = json.loads(file.read_text())["backends"]
    from hostile import ESCAPES

    assert one["name"] == "toy" + ESCAPES  # as it is
    assert main(["run", "--backend", "hostile:Speechless"]) == USAGE
    said = capsys.readouterr()
    assert obeyed(said.err) == []
    assert "\\x1b[2J" in said.err


def test_nor_by_the_plugin(hostile, tmp_path):
    import subprocess

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "--color", "no",
         "-p", "mgup_conformance.pytest_plugin", "--mgup-backend", "hostile:Shouting",
         "-k", "rank/normal/float32 or run/lion/large", "--rootdir", str(tmp_path), str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "1 failed" in done.stdout, done.stdout + done.stderr
    assert obeyed(done.stdout + done.stderr) == []
    assert "\\x1b[2J" in done.stdout


# -- fuzz ------------------------------------------------------------------------------------------

WEIRD = [
    None, True, -1, 1.5, float("nan"), float("inf"), 10**40, "", "x", "\x1b[2J", "[/x]", [], {},
    [[]], {"": ""}, "passed", ["\ud800"], {"__array__": 3},
]  # fmt: skip


def places(x, path=()):
    """Every place in plain data."""
    yield path
    for key, value in (
        x.items() if isinstance(x, dict) else enumerate(x) if isinstance(x, list) else ()
    ):
        yield from places(value, (*path, key))


def spoiled(plain, rng):
    """A copy in which one to three places hold something else, or nothing."""
    plain = json.loads(json.dumps(plain))
    for _ in range(rng.randint(1, 3)):
        *before, last = rng.choice([path for path in places(plain) if path])
        place = plain
        for key in before:
            place = place[key]
        if rng.random() < 0.2:
            del place[last]
        else:
            place[last] = rng.choice(WEIRD)
    return plain


def report():
    counts = dict.fromkeys(STATUSES, 1)
    verdicts = {"level": "rounding", **dict.fromkeys((*LEVELS, "not judged"), 1), "units": 0.5,
                "run_cases": 1}  # fmt: skip
    return {
        "format": FORMAT, "golden": 1, "suite": {"version": "1", "mgup": "0"},
        "backends": [{
            "name": "x", "versions": {"numpy": "2"}, "host": "h", "date": "d", "set": "fast",
            "level": "rounding", "command": "c", "totals": counts,
            "levels": dict.fromkeys((*LEVELS, "units"), 1.0),
            "clauses": dict.fromkeys(("P1", "N1"), counts),
            "verdicts": dict.fromkeys(("P1", "N1"), verdicts),
            "results": [
                {"case": "c", "clauses": ["P1"], "status": status, "message": "m", "seconds": 0.1,
                 "verdict": "different", "units": 0.5, "judged": "different", "diagnosis": "as if",
                 "charged": ["P1"], "lacks": ["dtypes: float16 (why)"], "runs": True}
                for status in STATUSES
            ],
        }],
    }  # fmt: skip


def test_reports_with_anything_in_any_place(tmp_path, capsys):
    """Shown as they are or refused in a line: never a traceback, never an escape."""
    file = tmp_path / "x.json"
    pages = ["--markdown", str(tmp_path / "x.md"), "--html", str(tmp_path / "x.html"),
             "--json", str(tmp_path / "y.json")]  # fmt: skip
    seen = set()
    for seed in range(60):
        plain = spoiled(report(), random.Random(seed))
        file.write_text(json.dumps(plain))
        seen.add(main(["report", str(file), *pages]))
        said = capsys.readouterr()
        assert obeyed(said.out + said.err) == [], plain
    assert seen == {FAILED, USAGE}
    file.write_text(json.dumps(report()))
    assert main(["report", str(file)]) == FAILED


def message():
    pipe = io.BytesIO()
    arrays = [np.arange(6, dtype=np.float32).reshape(2, 3), np.zeros((0, 2), np.float64)]
    send(pipe, {"value": [arrays, {"a": None, "b": 0.5}]})
    return pipe.getvalue()


def test_messages_with_any_bytes_in_any_place():
    """Read or refused, and in no other way."""
    good = message()
    for seed in range(2000):
        rng = random.Random(seed)
        spoiled = bytearray(good[: rng.choice([len(good), rng.randrange(len(good))])])
        for _ in range(rng.randint(1, 4) if spoiled else 0):
            spoiled[rng.randrange(len(spoiled))] = rng.choice([0, 1, 44, 45, 48, 57, 91, 93, 255])
        try:
            receive(io.BytesIO(bytes(spoiled)))
        except (ValueError, EOFError):
            continue


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 100_000,
        b'{"__array__": ["float32", [' + b"1," * 70 + b"1]]}",
        b'{"__array__": ["float32", [100000000000000000000000000000, 0]]}',
        b'{"__array__": ["float32", [true]]}',
        b'{"__array__": ["int64", [1]]}',
        b'{"__array__": ["float32", {"__array__": ["float32", [0]]}]}',
        b"\xff\xfe",
        b"1" * 10_000,
    ],
)
def test_messages_that_are_none(text):
    with pytest.raises(ValueError):
        receive(io.BytesIO(struct.pack("<QQ", len(text), 4) + text + b"abcd"))


@pytest.mark.parametrize(
    "said",
    [
        [], {"value": ["x", {}, {}]}, {"value": {"name": "x", "versions": {"a": 1}, "offers": {}}},
        {"value": {"name": "x", "versions": {}}},
        {"value": {"name": "x", "versions": {}, "offers": {"dtypes": [[1]]}}},
        {"error": "\x1b[2J"},
    ],
    ids=str,
)  # fmt: skip
def test_an_interpreter_that_says_anything(said, tmp_path, capsys):
    """A program that answers in this suite's own format, and not what it is asked."""
    program = tmp_path / "python"
    here = os.pathsep.join(filter(None, sys.path))
    program.write_text(
        f"#!{sys.executable}\n"
        f"import sys; sys.path[:0] = {here.split(os.pathsep)!r}\n"
        "from mgup_conformance.wire import receive, send\n"
        f"receive(sys.stdin.buffer); send(sys.stdout.buffer, {said!r})\n"
    )
    program.chmod(0o755)
    assert main(["run", "--python", str(program), "--case", "P3"]) == USAGE
    assert obeyed(capsys.readouterr().err) == []


def test_the_good_ones_are_read():
    """Or the fuzz above would show nothing."""
    arrays, rest = receive(io.BytesIO(message()))["value"]
    assert [x.shape for x in arrays] == [(2, 3), (0, 2)]
    assert rest == {"a": None, "b": 0.5}
    assert main(["list", "--case", "P3"]) == OK
    assert set(report()["backends"][0]["clauses"]) <= set(CLAUSES)
