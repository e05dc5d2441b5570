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
import fcntl
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
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from mutate import Mutant, mutants
from reach import Chosen, Reach, Touched, fitting

ROOT = pathlib.Path(__file__).parents[2]
HERE = pathlib.Path(__file__).parent
RESULTS, EQUIVALENT = HERE / "mutants.json", HERE / "equivalent.json"
TESTS = "conformance/tests"
CACHE = pathlib.Path(tempfile.gettempdir(), "mgup-mutants")
TAKEN = ("mgup", "mgup_core", "adapters", "conformance", "docs", "examples", "pyproject.toml")
COMMON = ("numpy", "hypothesis", "pytest", "array_api_strict", "array_api_compat.numpy",
          "ml_dtypes")  # fmt: skip
NO_TESTS = 5  # pytest's
TIMEOUTS = (signal.SIGXCPU, signal.SIGVTALRM)
FRAMEWORKS = ("torch", "jax", "mindspore", "keras")


class Pool(NamedTuple):
    """The mutants of some modules, and the tests from which theirs are chosen."""

    modules: tuple[str, ...]
    tests: tuple[str, ...]
    preloaded: tuple[str, ...] = ()
    """What a process imports before it forks. Frameworks that are not among it are not there."""


POOLS = {
    "core": Pool(
        ("mgup_core/",),
        ("core", "arrays", "trust/test_core.py", "trust/test_passes.py", "trust/test_host.py",
         "trust/test_files.py", "trust/test_selection_edges.py", "trust/test_rules.py",
         "frontend/test_public.py"),
    ),
    # What PyTorch's adapter alone uses.
    "host": Pool(
        ("mgup_core/host/signals.py", "mgup_core/trace/tracer.py", "mgup_core/frontend/",
         "mgup_core/_notices.py"),
        ("trust/test_core.py", "trust/test_torch.py", "frontend/test_public.py",
         "torch/test_interruption.py", "torch/test_failures.py", "torch/test_warnings.py",
         "torch/test_compiled.py", "torch/test_dropin.py", "torch/test_muon.py"),
        ("torch",),
    ),
    "torch": Pool(
        ("adapters/mgup_torch/",),
        ("torch", "trust/test_torch.py", "fuzz/test_past.py"), ("torch",),
    ),
    "jax": Pool(("adapters/mgup_jax/",), ("jax", "trust/test_jax.py"), ("jax", "optax")),
    "suite": Pool(("conformance/mgup_conformance/",), ("suite",)),
}  # fmt: skip


def modules(pool: Pool, only: str) -> Iterator[pathlib.Path]:
    """A pool's modules, but those of which another pool names a folder within."""
    others = [f for other in POOLS.values() for f in other.modules if f not in pool.modules]
    for folder in pool.modules:
        for path in sorted((ROOT / folder).rglob("*.py")) or [ROOT / folder]:
            name = str(path.relative_to(ROOT))
            inner = any(name.startswith(f) and f.startswith(folder) for f in others)
            if name.startswith(only) and path.name != "__init__.py" and not inner:
                yield path


class Absent:
    """Frameworks that are not to be found: what is not imported costs no time."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names

    def find_spec(self, name: str, *_: Any) -> None:
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"{name} is left out", name=name)


class Quick:
    """A plugin of pytest: no time for a small example of what fails, and the same each time."""

    def pytest_configure(self) -> None:  # after conftest.py
        from hypothesis import Phase, settings

        settings.register_profile(
            "mutants", deadline=None, phases=[Phase.explicit, Phase.generate], database=None,
            derandomize=True,
        )  # fmt: skip
        settings.load_profile("mutants")


class Tree:
    """A copy of what the tests need, in which one module at a time is a mutant."""

    def __init__(self, preloaded: tuple[str, ...] = (), absent: tuple[str, ...] = ()) -> None:
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="mgup-mutants-"))
        self.absent = absent
        for name in TAKEN:
            source = ROOT / name
            ignore = shutil.ignore_patterns("__pycache__", "*.pyi")
            (shutil.copytree if source.is_dir() else shutil.copy)(
                source, self.folder / name, **({"ignore": ignore} if source.is_dir() else {})
            )
        for name in (*COMMON, *preloaded):
            __import__(name)

    def __enter__(self) -> Tree:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder)

    def put(self, path: str, source: str) -> None:
        """Write a module, whose compiled form must not be taken for the new one's."""
        place = self.folder / path
        place.write_text(source)
        for cached in (place.parent / "__pycache__").glob(f"{place.stem}.*"):
            cached.unlink()

    def forked(self, work: Callable[[], int], limit: float) -> tuple[str, float]:
        """(``"passed"``, ``"failed"`` or ``"timeout"``; the processor's seconds) of a child."""
        began = resource.getrusage(resource.RUSAGE_CHILDREN)
        child = os.fork()
        if not child:
            self._run(work, limit)
        _, status = os.waitpid(child, 0)
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        took = ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime
        if os.WIFSIGNALED(status):
            return ("timeout" if os.WTERMSIG(status) in TIMEOUTS else "failed"), took
        if os.WEXITSTATUS(status) == NO_TESTS:
            raise RuntimeError("no test ran")
        return ("failed" if os.WEXITSTATUS(status) else "passed"), took

    def passes(self, tests: list[str], reached: Touched) -> tuple[str, float]:
        """What becomes of some tests, given by their ids, until the first that fails."""
        files = list(dict.fromkeys(test.partition("::")[0] for test in tests))
        seconds = {test: reached[test]["seconds"] for test in tests if test in reached}
        limit = 60 + 3 * sum(seconds.values())
        plugins = [Chosen(tests, seconds)]
        return self.forked(lambda: self.pytest(["-x", "--tb=no", *files], plugins), limit)

    def pytest(self, arguments: list[str], plugins: list[Any]) -> int:
        import pytest

        # Assertions of what is imported already, as array_api_strict's, cannot be rewritten.
        common = ["-q", "-n0", "-p", "no:cacheprovider", "-W",
                  "ignore::pytest.PytestAssertRewriteWarning"]  # fmt: skip
        return int(pytest.main([*common, *arguments], [Quick(), *plugins]))

    def _run(self, work: Callable[[], int], limit: float) -> None:
        try:
            os.setsid()
            # Of the processor's time, since a machine may be busy; and an end to what sleeps.
            resource.setrlimit(resource.RLIMIT_CPU, (int(limit) + 1, int(limit) + 5))
            signal.signal(signal.SIGALRM, lambda *_: os._exit(1))
            signal.alarm(int(limit) * 30)
            os.chdir(self.folder)
            paths = [self.folder, self.folder / "adapters", self.folder / "conformance"]
            sys.path[:0] = map(str, paths)
            sys.meta_path.insert(0, Absent(self.absent))  # type: ignore[arg-type]
            os.environ["PYTHONPATH"] = os.pathsep.join(map(str, paths))
            os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
            null = os.open(os.devnull, os.O_WRONLY)
            for stream in () if os.environ.get("MUTANTS_LOUD") else (1, 2):
                os.dup2(null, stream)
            os._exit(work())
        except BaseException:
            traceback.print_exc()
            os._exit(1)


def touched(tree: Tree, pool: Pool) -> Touched:
    """What each of a pool's tests reaches, asked once for each text of a file of tests.

    Where the library has changed since, some lines are others. A mutant there meets the tests of
    its module in another order, and no fewer.
    """

    def place(file: str) -> pathlib.Path:
        said = f"{pool.modules} {file}".encode() + (ROOT / file).read_bytes()
        return CACHE / f"{hashlib.sha256(said).hexdigest()[:24]}.json"

    files = [
        str(path.relative_to(ROOT))
        for test in pool.tests
        for path in (sorted((ROOT / TESTS / test).rglob("test_*.py")) or [ROOT / TESTS / test])
    ]
    new = [file for file in files if not place(file).exists()]
    reach = Reach(str(tree.folder), pool.modules)

    def work() -> int:
        tree.pytest(["--tb=short", *new], [reach])
        for file in new:
            found = {t: x for t, x in reach.found.items() if t.partition("::")[0] == file}
            place(file).write_text(json.dumps(found))
        return 0

    CACHE.mkdir(exist_ok=True)
    if new:
        print(f"what the tests of {len(new)} files reach ...", flush=True)
        result, took = tree.forked(work, 7200)
        if result != "passed":
            raise RuntimeError("pytest broke off: run with MUTANTS_LOUD=1")
        print(f"known after {took:.0f} s of the processor", flush=True)
    return {t: x for file in files for t, x in json.loads(place(file).read_text()).items()}


def load() -> dict[str, dict[str, Any]]:
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def add(mutant: Mutant, result: str, tests: int) -> None:
    """Write what became of a mutant; other processes may write theirs."""
    with open(CACHE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        results = load()
        results[mutant.key] = {
            "path": mutant.path, "line": mutant.line, "kind": mutant.kind,
            "before": mutant.before, "after": mutant.after, "tests": tests, "result": result,
        }  # fmt: skip
        write(results)


def write(results: dict[str, dict[str, Any]]) -> None:
    new = RESULTS.with_suffix(".new")
    rows = (f"{json.dumps(k)}: {json.dumps(results[k])}" for k in sorted(results))
    new.write_text("{\n" + ",\n".join(rows) + "\n}\n")
    os.replace(new, RESULTS)


def listed(pool: Pool, only: str) -> list[Mutant]:
    """All mutants of a pool, in a fixed random order."""
    found = [
        mutant
        for path in modules(pool, only)
        for mutant in mutants(str(path.relative_to(ROOT)), path.read_text())
    ]
    random.Random(0).shuffle(found)
    return found


def run(arguments: argparse.Namespace) -> None:
    """Some processes, each with a copy of the tree, share the mutants of a pool."""
    pool = POOLS[arguments.pool]
    absent = tuple(name for name in FRAMEWORKS if name not in pool.preloaded)
    with Tree(pool.preloaded, absent) as tree:
        reached = touched(tree, pool)
    results, until = load(), time.monotonic() + 60 * arguments.minutes
    equivalent = json.loads(EQUIVALENT.read_text())
    again = "survived" if arguments.survivors else None
    wanted = [
        mutant
        for mutant in listed(pool, arguments.only)
        if results.get(mutant.key, {}).get("result") == again and mutant.key not in equivalent
    ]
    workers = []
    for i in range(arguments.jobs):
        child = os.fork()
        if not child:
            try:
                with Tree(pool.preloaded, absent) as tree:
                    work(tree, reached, wanted[i :: arguments.jobs], until, arguments.budget)
            except BaseException:
                traceback.print_exc()
            os._exit(0)
        workers.append(child)
    for child in workers:
        os.waitpid(child, 0)


def work(tree: Tree, reached: Touched, some: list[Mutant], until: float, budget: float) -> None:
    """Try mutants one after the other, until the time is over."""
    files = list(dict.fromkeys(test.partition("::")[0] for test in reached))
    tree.forked(lambda: tree.pytest(["--collect-only", *files], []), 600)  # compiles them once
    sys.dont_write_bytecode = True  # of a mutant
    for mutant in some:
        if time.monotonic() > until:
            break
        original = (tree.folder / mutant.path).read_text()
        tests = fitting(reached, mutant.path, mutant.line, original, budget)
        result, took = "passed", 0.0
        if tests:
            tree.put(mutant.path, mutant.source)
            result, took = tree.passes(tests, reached)
            tree.put(mutant.path, original)
        word = {"passed": "survived", "failed": "killed"}.get(result, result)
        print(f"{word:9} {took:6.1f} s {mutant.path}:{mutant.line} {mutant.before!r} -> "
              f"{mutant.after!r} ({len(tests)} tests)", flush=True)  # fmt: skip
        add(mutant, word, len(tests))


def package(path: str) -> str:
    """Where a module is counted."""
    return "/".join(pathlib.PurePath(path).parent.parts[:2])


def counts(
    results: dict[str, dict[str, Any]], equivalent: dict[str, str]
) -> list[dict[str, str | int]]:
    """By package and together; a mutant whose tests have no end counts as killed."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for key, one in results.items():
        word = "killed" if one["result"] == "timeout" else one["result"]
        word = "equivalent" if word == "survived" and key in equivalent else word
        for name in (package(one["path"]), "all"):
            found[name].update([word, "tried"])
    words = ("tried", "killed", "equivalent", "survived")
    return [
        {"modules": name, **{word: found[name][word] for word in words}}
        for name in sorted(found, key=lambda n: (n == "all", n))
    ]


def report() -> None:
    """Drop what was tried of older sources, and print the table, as Markdown."""
    results = load()
    texts = {path: (ROOT / path).read_text() for path in {x["path"] for x in results.values()}
             if (ROOT / path).exists()}  # fmt: skip
    today = {mutant.key for path, text in texts.items() for mutant in mutants(path, text)}
    results = {key: one for key, one in results.items() if key in today}
    write(results)
    equivalent = json.loads(EQUIVALENT.read_text())
    print("| modules | tried | killed | equivalent | survived |\n|---|---:|---:|---:|---:|")
    for row in counts(results, equivalent):
        print("|", " | ".join(map(str, row.values())), "|")
    for key, one in sorted(results.items(), key=lambda x: (x[1]["path"], x[1]["line"])):
        if one["result"] == "survived" and key not in equivalent:
            print(f"\nsurvived {key}: {one['path']}:{one['line']} `{one['before']}` -> "
                  f"`{one['after']}`", end="")  # fmt: skip
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pool", choices=POOLS, default="core", help="whose mutants")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--jobs", type=int, default=2, help="how many are tried at a time")
    parser.add_argument("--budget", type=float, default=20, help="seconds of tests for a mutant")
    parser.add_argument("--only", default="", help="the beginning of the modules' paths")
    parser.add_argument("--survivors", action="store_true", help="try those again that survived")
    parser.add_argument("--report", action="store_true", help="only print the table")
    arguments = parser.parse_args()
    if not arguments.report:
        run(arguments)
    report()


if __name__ == "__main__":
    main()
