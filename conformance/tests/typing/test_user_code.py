"""Type checkers accept what users write, and tell them their slips where they stand.

No clause: the stubs of the adapters.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mgup_core

HERE = Path(__file__).parent
ROOT = Path(mgup_core.__file__).parents[1]
if not (ROOT / "pyproject.toml").exists():
    pytest.skip("the settings of mypy are not beside the tests", allow_module_level=True)
SOURCES = [str(path) for path in (ROOT, ROOT / "adapters", ROOT / "conformance") if path.is_dir()]
CHECKED = {"torch": "torch", "jax": "jax", "mindspore": "mindspore"}
"""The framework of each file."""


def mypy(path: Path, scratch: Path) -> dict[int, str]:
    """What mypy --strict says, by line; with the settings and the cache of ``make lint``."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--follow-imports=silent", str(path)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = re.findall(r"^.*?:(\d+): error: (.*)$", done.stdout, re.MULTILINE)
    return {int(line): text for line, text in found}


def basedpyright(path: Path, scratch: Path) -> dict[int, str]:
    """What pyright says in its standard mode, by line."""
    settings = scratch / "pyrightconfig.json"
    settings.write_text(
        json.dumps(
            {
                "include": [str(path)],
                "extraPaths": SOURCES,
                "typeCheckingMode": "standard",
                "pythonVersion": ".".join(map(str, sys.version_info[:2])),
            }
        )
    )
    command = ["-m", "basedpyright", "--outputjson", "--project", settings]
    done = subprocess.run(
        [sys.executable, *map(str, command), "--pythonpath", sys.executable],
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["summary"]["filesAnalyzed"] == 1
    return {
        one["range"]["start"]["line"] + 1: one["message"]
        for one in told["generalDiagnostics"]
        if one["severity"] == "error"
    }


CHECKERS = {"mypy": mypy, "basedpyright": basedpyright}


@pytest.mark.parametrize("checker", CHECKERS)
@pytest.mark.parametrize("name", CHECKED)
def test_user_code(name, checker, tmp_path):
    """No good line is refused, and no slip is passed over."""
    for module in (checker, CHECKED[name]):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    path = HERE / f"user_{name}.py"
    lines = path.read_text(encoding="utf-8").splitlines()
    slips = {i for i, line in enumerate(lines, 1) if line.endswith("# slip")}
    assert len(slips) > len(lines) / 10
    found = CHECKERS[checker](path, tmp_path)
    told = {i: found.get(i) for i in sorted(found.keys() ^ slips)}
    assert not told, "\n".join(f"{i}: {lines[i - 1]}  # {text}" for i, text in told.items())
