"""Mutants of the library, each against the tests that fit: ``make mutants``.

    python conformance/trust/mutants.py [--minutes M] [--only PREFIX] [--report]

A mutant is a module with one change (:mod:`mutate`). It runs in a copy of the tree, in a process
forked from one that has imported what is not mutated. Results are appended to a file, and what is
there is not tried again as long as its line is the same; so the command goes on where it was
stopped. Mutants come in an order that a fixed seed draws, so that any beginning is a fair sample.

What survives is either missed by the tests, or listed in ``equivalent.json`` with the reason why no
test can tell it.
"""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import json
import os
import pathlib
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from mutate import Mutant, mutants

ROOT = pathlib.Path(__file__).parents[2]
HERE = pathlib.Path(__file__).parent
RESULTS, EQUIVALENT = HERE / "mutants.json", HERE / "equivalent.json"
TESTS = "conformance/tests"
BASELINE = pathlib.Path(tempfile.gettempdir(), "mgup-mutants-baseline.json")

SELECTION = ["core/test_selection.py", "core/test_threshold.py", "core/test_sharded.py"]
RULES = ["core/test_optimizer.py", "core/test_decay.py", "core/test_bad_input.py"]
FIT: list[tuple[str, list[str]]] = [
    ("mgup_core/selection/bisection.py", ["trust/test_passes.py", *SELECTION]),
    ("mgup_core/selection/*.py", ["trust/test_passes.py", *SELECTION]),
    ("mgup_core/policy.py", ["trust/test_core.py", "core/test_policies.py",
                              "core/test_bad_input.py"]),
    ("mgup_core/ranking.py", [*SELECTION, "core/test_policies.py"]),
    ("mgup_core/_checks.py", ["trust/test_core.py", "core/test_bad_input.py"]),
    ("mgup_core/statistics.py", ["trust/test_core.py", "trust/test_host.py"]),
    ("mgup_core/optimizer.py", ["trust/test_core.py", *RULES]),
    ("mgup_core/step.py", ["trust/test_core.py", *RULES]),
    ("mgup_core/transforms/*.py", ["core/test_sam_gs.py", "trust/test_core.py"]),
    ("mgup_core/host/signals.py", ["trust/test_host.py", "torch/test_interruption.py"]),
    ("mgup_core/host/*.py", ["trust/test_host.py", "core/test_replay.py", "trust/test_files.py"]),
    ("mgup_core/numerics/*.py", ["core/test_scalars.py", "core/test_special.py", "core/test_ops.py",
                                 "core/test_forms.py", "arrays/test_exact_products.py"]),
    ("mgup_core/rules/base.py", [*RULES, "core/test_check_rule.py", "trust/test_core.py"]),
    ("mgup_core/rules/ad*.py", ["core/rules/test_adam_family.py", "trust/test_core.py"]),
    ("mgup_core/rules/*.py", ["trust/test_core.py"]),
    ("mgup_core/trace/*.py", ["core/test_forms.py", "core/test_replay.py", "core/test_ops.py"]),
    ("mgup_core/check_rule.py", ["core/test_check_rule.py"]),
    ("mgup_core/frontend/*.py", ["frontend/test_public.py", "frontend/test_stubs.py"]),
    ("adapters/mgup_torch/*.py", ["torch/test_reference.py", "torch/test_dropin.py",
                                  "torch/test_bad_input.py", "torch/test_state_dict.py",
                                  "torch/test_twins.py", "torch/test_wrapper.py",
                                  "torch/test_muon.py", "fuzz/test_past.py"]),
    ("adapters/mgup_jax/*.py", ["trust/test_jax.py", "jax/test_optax.py", "jax/test_identity.py",
                                "jax/test_bad_input.py"]),
    ("conformance/mgup_conformance/*.py", ["suite/test_compare.py", "suite/test_cases.py",
                                           "suite/test_protocol.py", "suite/test_verdicts.py"]),
]  # fmt: skip
"""Which tests fit which modules, those that kill most first; the first pattern that matches, and
for a rule also the test of its own name."""

TAKEN = ("mgup", "mgup_core", "adapters", "conformance", "pyproject.toml")
PRELOADED = ("numpy", "hypothesis", "pytest", "array_api_strict", "ml_dtypes")


def modules(only: str) -> Iterator[pathlib.Path]:
    for folder in ("mgup_core", "adapters", "conformance/mgup_conformance"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = str(path.relative_to(ROOT))
            if name.startswith(only) and path.name != "__init__.py":
                yield path


def fitting(path: str) -> list[str]:
    """The tests of a module, in the order in which they run."""
    tests = next((tests for pattern, tests in FIT if fnmatch.fnmatch(path, pattern)), [])
    stem = pathlib.Path(path).stem
    own = [f"core/rules/test_{stem}.py"] if "/rules/" in path else []
    return [t for t in dict.fromkeys([*own, *tests]) if (ROOT / TESTS / t).exists()]


class Tree:
    """A copy of what the tests need, in which one module at a time is a mutant."""

    def __init__(self) -> None:
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="mgup-mutants-"))
        for name in TAKEN:
            source = ROOT / name
            ignore = shutil.ignore_patterns("__pycache__", "*.pyi")
            (shutil.copytree if source.is_dir() else shutil.copy)(
                source, self.folder / name, **({"ignore": ignore} if source.is_dir() else {})
            )

    def passes(self, tests: list[str], limit: float) -> tuple[str, float]:
        """(``"passed"``, ``"failed"`` or ``"timeout"``; the processor's seconds) of some tests."""
        began = resource.getrusage(resource.RUSAGE_CHILDREN)
        child = os.fork()
        if not child:
            self._run(tests, limit)
        _, status = os.waitpid(child, 0)
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        took = ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime
        if os.WIFSIGNALED(status):
            return ("timeout" if os.WTERMSIG(status) == signal.SIGXCPU else "failed"), took
        return ("failed" if os.WEXITSTATUS(status) else "passed"), took

    def _run(self, tests: list[str], limit: float) -> None:
        try:
            os.setsid()
            # Of the processor's time, since a machine may be busy; and an end to what sleeps.
            resource.setrlimit(resource.RLIMIT_CPU, (int(limit) + 1, int(limit) + 5))
            signal.signal(signal.SIGALRM, lambda *_: os._exit(1))
            signal.alarm(int(limit) * 30)
            os.chdir(self.folder)
            paths = [self.folder, self.folder / "adapters", self.folder / "conformance"]
            sys.path[:0] = map(str, paths)
            os.environ["PYTHONPATH"] = os.pathsep.join(map(str, paths))
            os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
            sys.dont_write_bytecode = True
            null = os.open(os.devnull, os.O_WRONLY)
            for stream in () if os.environ.get("MUTANTS_LOUD") else (1, 2):
                os.dup2(null, stream)
            import pytest

            where = [f"{TESTS}/{t}" for t in tests]
            quiet = ["-q", "-x", "-n0", "-p", "no:cacheprovider", "--tb=no"]
            rewritten = [
                "-W",
                "ignore::pytest.PytestAssertRewriteWarning",
            ]  # it is imported already
            code = pytest.main([*quiet, *rewritten, *where])
            os._exit(0 if code == 0 else 1)
        except BaseException:
            traceback.print_exc()
            os._exit(1)


def baseline(tree: Tree, test: str) -> float | None:
    """The seconds that a file of tests takes without a mutant, asked once for each text of it."""
    known = json.loads(BASELINE.read_text()) if BASELINE.exists() else {}
    key = hashlib.sha256((ROOT / TESTS / test).read_bytes()).hexdigest()
    if key not in known:
        result, took = tree.passes([test], 600)
        known[key] = took if result == "passed" else None
        BASELINE.write_text(json.dumps(known))
        if known[key] is None:
            print(f"{test} fails without a mutant")
    return known[key]


def load() -> dict[str, dict[str, Any]]:
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def save(results: dict[str, dict[str, Any]]) -> None:
    new = RESULTS.with_suffix(".new")
    rows = (f"{json.dumps(k)}: {json.dumps(results[k])}" for k in sorted(results))
    new.write_text("{\n" + ",\n".join(rows) + "\n}\n")
    os.replace(new, RESULTS)


def listed(only: str) -> list[Mutant]:
    """All mutants, in a fixed random order."""
    found = [
        mutant
        for path in modules(only)
        for mutant in mutants(str(path.relative_to(ROOT)), path.read_text())
    ]
    random.Random(0).shuffle(found)
    return found


def run(arguments: argparse.Namespace) -> None:
    for name in PRELOADED:
        __import__(name)
    tree, results = Tree(), load()
    until = time.monotonic() + 60 * arguments.minutes
    for mutant in listed(arguments.only):
        known = results.get(mutant.key)
        again = arguments.survivors and known is not None and known["result"] == "survived"
        tests = fitting(mutant.path)
        if (known is not None and not again) or not tests or (arguments.survivors and not again):
            continue
        if time.monotonic() > until:
            break
        seconds = [baseline(tree, test) for test in tests]
        if None in seconds:
            continue
        limit = 10 + 3 * sum(seconds)
        place = tree.folder / mutant.path
        place.write_text(mutant.source)
        try:
            result, took = tree.passes(tests, limit)
        finally:
            shutil.copy(ROOT / mutant.path, place)
        word = {"passed": "survived", "failed": "killed"}.get(result, result)
        print(f"{word:9} {took:6.1f} s {mutant.path}:{mutant.line} {mutant.before!r} -> "
              f"{mutant.after!r}", flush=True)  # fmt: skip
        results[mutant.key] = {
            "path": mutant.path, "line": mutant.line, "kind": mutant.kind,
            "before": mutant.before, "after": mutant.after, "result": word,
        }  # fmt: skip
        save(results)
    shutil.rmtree(tree.folder)


def report() -> None:
    """The table of what was tried, as Markdown."""
    results = load()
    equivalent = json.loads(EQUIVALENT.read_text()) if EQUIVALENT.exists() else {}
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for key, one in results.items():
        parts = pathlib.PurePath(one["path"]).parts
        word = "equivalent" if key in equivalent and one["result"] == "survived" else one["result"]
        counts["/".join(parts[:2])][word] += 1
        counts["all"][word] += 1
    print("| module | tried | killed | timed out | equivalent | survived | killed of the others |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name in sorted(counts, key=lambda n: (n == "all", n)):
        c = counts[name]
        tried = sum(c.values())
        dead = c["killed"] + c["timeout"]
        share = dead / max(tried - c["equivalent"], 1)
        print(f"| {name} | {tried} | {c['killed']} | {c['timeout']} | {c['equivalent']} | "
              f"{c['survived']} | {share:.1%} |")  # fmt: skip
    for key, one in sorted(results.items(), key=lambda x: (x[1]["path"], x[1]["line"])):
        if one["result"] == "survived" and key not in equivalent:
            print(f"\nsurvived {key}: {one['path']}:{one['line']} `{one['before']}` -> "
                  f"`{one['after']}`", end="")  # fmt: skip
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--only", default="", help="the beginning of the modules' paths")
    parser.add_argument("--survivors", action="store_true", help="try those again that survived")
    parser.add_argument("--report", action="store_true", help="only print the table")
    arguments = parser.parse_args()
    if not arguments.report:
        run(arguments)
    report()


if __name__ == "__main__":
    main()
