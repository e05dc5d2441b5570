"""Which suite this is: its version, its specification and, in a checkout, its commit."""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
from functools import lru_cache
from pathlib import Path

import mgup_core


@lru_cache(maxsize=1)
def provenance() -> dict[str, str]:
    """What says exactly which suite and specification a report is about.

    As they were when it was first asked: a checkout may go on while a run takes its time.
    """
    from . import SUITE

    root = Path(__file__).parents[2]
    found = {"version": SUITE, "mgup": mgup_core.__version__}
    for spec in (Path(__file__).with_name("spec.md"), root / "docs" / "spec.md"):  # a wheel's first
        if spec.exists():
            found["spec_sha256"] = hashlib.sha256(spec.read_bytes()).hexdigest()
            break
    if (root / ".git").exists():
        asked = ["git", "-C", str(root), "rev-parse", "HEAD"]
        with contextlib.suppress(OSError):
            done = subprocess.run(asked, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                found["commit"] = done.stdout.strip()
    return found
