"""The compact suite on aarch64, emulated: ``python conformance/arm.py`` (``make arm``).

QEMU runs an aarch64 Python in user mode, with the aarch64 wheels of NumPy, PyTorch, JAX and
llvmlite. Two questions are asked there (conformance/arm_there.py): whether the backends pass the
cases of :data:`~arm_there.CASES`, and whether each takes every step to the bits that *this*
processor gave, from inputs that this one wrote to files, since ``np.exp`` differs between
processors. MindSpore has no aarch64 wheel on the index.

Needs Debian or a relative (apt-get and dpkg, no rights of an administrator), its aarch64 packages,
and the package index; all goes to runs/arm, 1.5 GB. Emulated code takes ten to a hundred times as
long.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from arm_there import ANSWERS, CASES, COMPILED, STEPS
from mgup_conformance import all_cases, matrix, report, reproduce
from mgup_conformance.runner import select

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "runs" / "arm"
DEBIAN = ("python3", "libgomp1", "libstdc++6")
WHEELS = (
    "numpy", "torch", "jax", "jaxlib", "optax", "llvmlite", "ml-dtypes", "array-api-compat",
    "rich", "absl-py", "scipy", "opt-einsum", "typing-extensions", "sympy", "mpmath", "networkx",
    "jinja2", "markupsafe", "filelock", "fsspec", "pygments", "markdown-it-py", "mdurl",
)  # fmt: skip
"""All that these import: dependencies would be resolved for this processor, with its CUDA."""
PINNED = {"torch": "2.9.0"}
"""The last PyTorch whose aarch64 wheel on the index is for the CPU alone."""


def call(*command: object, **options: Any) -> str:
    """What a command prints; it must succeed."""
    words = list(map(str, command))
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, **options).stdout


def emulator() -> str:
    """QEMU for aarch64 programs: the installed one, or Debian's, unpacked here."""
    for name in ("qemu-aarch64-static", "qemu-aarch64"):
        if found := shutil.which(name):
            return found
    here = FOLDER / "qemu"
    if not (here / "usr").is_dir():
        here.mkdir(parents=True)
        call("apt-get", "download", "qemu-user-static", cwd=here)
        call("dpkg", "-x", *here.glob("*.deb"), here)
    return str(here / "usr" / "bin" / "qemu-aarch64-static")


def system() -> Path:
    """A folder with Debian's aarch64 Python and what it links to; returns the interpreter."""
    root, apt = FOLDER / "root", FOLDER / "apt"
    if not root.is_dir():
        for part in ("state/lists/partial", "cache/archives/partial"):
            (apt / part).mkdir(parents=True, exist_ok=True)
        (apt / "status").touch()
        (apt / "conf").write_text(  # its own lists and status: the system's stay as they are
            f'Dir::State "{apt}/state";\nDir::State::status "{apt}/status";\n'
            f'Dir::Cache "{apt}/cache";\nAPT::Architecture "arm64";\n'
            'APT::Architectures { "arm64"; };\nAPT::Install-Recommends "false";\n'
        )
        environment = {**os.environ, "APT_CONFIG": str(apt / "conf")}
        call("apt-get", "update", env=environment)
        call("apt-get", "-y", "--download-only", "install", *DEBIAN, env=environment)
        unpacked = FOLDER / "unpacking"
        for package in sorted((apt / "cache" / "archives").glob("*.deb")):
            call("dpkg", "-x", package, unpacked)
        unpacked.rename(root)
    (python,) = (p for p in (root / "usr/bin").glob("python3.*") if re.search(r"\.\d+$", p.name))
    return python


def wheels(python: Path) -> Path:
    """A folder with the aarch64 wheels, in the versions of constraints.txt where they exist."""
    site = FOLDER / "site"
    if site.is_dir():
        return site
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    kept = [line for line in lines if re.split("[=;]", line)[0] not in PINNED]
    (FOLDER / "constraints.txt").write_text("\n".join(kept) + "\n")
    wanted = [f"{name}=={PINNED[name]}" if name in PINNED else name for name in WHEELS]
    platforms = [f"manylinux_2_{minor}_aarch64" for minor in (17, 26, 27, 28)]
    platforms += ["manylinux2014_aarch64"]
    unpacked = FOLDER / "installing"
    call(
        sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:",
        "--implementation", "cp", "--python-version", python.name.removeprefix("python"),
        *(word for name in platforms for word in ("--platform", name)),
        "--constraint", FOLDER / "constraints.txt", "--target", unpacked, *wanted,
    )  # fmt: skip
    unpacked.rename(site)
    return site


def write_answers() -> Path:
    """Inputs, and the answers of this processor, step by step."""
    answers = FOLDER / "answers"
    shutil.rmtree(answers, ignore_errors=True)
    answers.mkdir(parents=True)
    for case in select(all_cases(), ANSWERS):
        reproduce.write(case, answers, steps=STEPS)
    return answers


def run_there(backends: list[str]) -> dict[str, Any]:
    """What arm_there.py finds."""
    qemu, python = emulator(), system()
    site, answers = wheels(python), write_answers()
    paths = (site, ROOT, ROOT / "adapters", ROOT / "conformance")
    environment = {**os.environ, "PYTHONPATH": ":".join(map(str, paths)), "OMP_NUM_THREADS": "1"}
    environment.pop("LD_LIBRARY_PATH", None)
    found = FOLDER / "found.json"
    found.unlink(missing_ok=True)
    command = [qemu, "-L", FOLDER / "root", python, ROOT / "conformance" / "arm_there.py"]
    try:
        subprocess.run(
            [*map(str, command), str(answers), str(found), *backends], check=True, env=environment
        )
    except KeyboardInterrupt:
        if not found.exists():
            raise
        print("Interrupted; this is what was done so far.", file=sys.stderr)
    version = call(qemu, "--version").splitlines()[0]
    emulated = f"ARM: aarch64, emulated by {version.partition(' (')[0]}"
    plain: dict[str, Any] = json.loads(found.read_text())
    for one in plain["report"]["backends"]:
        one["seconds"] = sum(result["seconds"] for result in one["results"])
        one["processor"] = emulated
        one["set"] = "compact"
        one["command"] = "make arm"
    return plain


def page(plain: dict[str, Any]) -> str:
    """The dated report."""
    one, *_ = plain["report"]["backends"]
    rows = [["backend", "versions", "cases", "seconds"]] + [
        [b["name"], report.versions(b), report.totals(b), f"{b['seconds']:.0f}"]
        for b in plain["report"]["backends"]
    ]
    names = [b["name"] for b in plain["report"]["backends"]]
    crossed = [["case", *names]] + [
        [case, *(by.get(name, "not run") for name in names)]
        for case, by in plain["answers"].items()
    ]
    return "\n".join(
        [
            f"# aarch64, emulated: {one['date']}", "",
            "```console", "$ make arm", "```", "",
            f"{one['processor']}, on {report.processor()} ({platform.system()} "
            f"{platform.machine()}); {one['host']}. Emulation keeps the instruction set's "
            "arithmetic, which is what is asked; it says nothing of a processor's own faults, of "
            "kernels that a library chooses on newer cores (SVE), or of time. MindSpore has no "
            "aarch64 wheel on the index and was not run.", "",
            "## The suite", "",
            f"The cases {', '.join(f'`{c}`' for c in CASES)} (of a backend that compiles a "
            f"program for each case, {', '.join(f'`{c}`' for c in COMPILED)}), in the fast set's "
            "steps, against the reference on the same emulated processor; the golden vectors are "
            "of x86-64. `torch_llvm` is PyTorch's adapter with its steps "
            "compiled by LLVM from the first one on; that they were is checked.", "",
            matrix.markdown_table(rows),
            "## The bits of another processor", "",
            f"{STEPS} chaotic steps from inputs and gradients that x86-64 wrote to a file, "
            "compared with the parameters and states that x86-64 got, after each step (N1).", "",
            matrix.markdown_table(crossed),
        ]
    )  # fmt: skip


def joined(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Two runs as one: of a backend that is in both, the new one stands."""
    names = {one["name"] for one in new["report"]["backends"]}
    kept = [one for one in old["report"]["backends"] if one["name"] not in names]
    whole = [{**old["report"], "backends": kept}, new["report"]]
    answers = {
        case: {k: v for k, v in old["answers"].get(case, {}).items() if k not in names} | by
        for case, by in new["answers"].items()
    }
    return {"report": report.merge([one for one in whole if one["backends"]]), "answers": answers}


def main() -> int:
    """Run all of it; returns how many cases failed or differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--backend", action="append",
        help="by default all of arm_there.py; today's report in --out keeps the others",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, help="folder of the dated report and its JSON")
    arguments = parser.parse_args()
    plain = run_there(arguments.backend or [])
    today = datetime.now(timezone.utc).date().isoformat()
    out = arguments.out or FOLDER
    file = out / f"{today}-arm.json"
    if arguments.backend and file.exists():
        old = json.loads(file.read_text())
        plain = joined({"report": old, "answers": old["answers"]}, plain)
    file.write_text(
        json.dumps(report.brief(plain["report"]) | {"answers": plain["answers"]}) + "\n"
    )
    (out / f"{today}-arm.md").write_text(page(plain))
    print(page(plain))
    said = [words for by in plain["answers"].values() for words in by.values()]
    wrong = [words for words in said if words != "identical"]
    return len(report.failures(plain["report"])) + len(wrong)


if __name__ == "__main__":
    sys.exit(bool(main()))
