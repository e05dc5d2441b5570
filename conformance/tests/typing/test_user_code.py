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
CHECKED = ("torch", "jax", "mindspore")
"""The frameworks, each with a file."""


Errors = dict[str, dict[int, str]]
"""By file and line."""


def mypy(files: list[str], scratch: Path) -> Errors:
    """What mypy --strict says, with the settings and the cache of ``make lint``."""
    command = [sys.executable, "-m", "mypy", "--follow-imports=silent", *files]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    told: Errors = {}
    for path, line, text in re.findall(r"^(.*?):(\d+): error: (.*)$", done.stdout, re.MULTILINE):
        told.setdefault(Path(path).name, {})[int(line)] = text
    return told


def basedpyright(files: list[str], scratch: Path) -> Errors:
    """What pyright says in its standard mode."""
    settings = scratch / "pyrightconfig.json"
    settings.write_text(
        json.dumps(
            {
                "include": files,
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
    said = json.loads(done.stdout)
    assert said["summary"]["filesAnalyzed"] == len(files)
    told: Errors = {}
    for one in said["generalDiagnostics"]:
        if one["severity"] == "error":
            line = one["range"]["start"]["line"] + 1
            told.setdefault(Path(one["file"]).name, {})[line] = one["message"]
    return told


# One process for all files: nearly all of its time goes into the frameworks that they import.
@pytest.mark.parametrize("checker", [mypy, basedpyright], ids=lambda one: one.__name__)
def test_user_code(checker, tmp_path):
    """No good line is refused, and no slip is passed over."""
    if importlib.util.find_spec(checker.__name__) is None:
        pytest.skip(f"{checker.__name__} is not installed")
    names = [name for name in CHECKED if importlib.util.find_spec(name) is not None]
    files = [HERE / f"user_{name}.py" for name in names]
    told = checker([str(path) for path in files], tmp_path)
    wrong = []
    for path in files:
        lines = path.read_text(encoding="utf-8").splitlines()
        slips = {i for i, line in enumerate(lines, 1) if line.endswith("# slip")}
        assert len(slips) > len(lines) / 10
        found = told.get(path.name, {})
        for i in sorted(found.keys() ^ slips):
            wrong.append(f"{path.name}:{i}: {lines[i - 1]}  # {found.get(i)}")
    assert files, "no framework is installed"
    assert not wrong, "\n".join(wrong)
