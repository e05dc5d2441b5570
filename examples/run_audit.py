"""Run the experiments of the audit: does MGUP help, and what of it is alignment?

    python examples/run_audit.py run examples/audit/configs/signals-mlp-tuned.json
    python examples/run_audit.py run examples/audit/configs/gpt-3m-2.json --jobs 3 --until 400
    python examples/run_audit.py check examples/audit/configs/gpt-3m-2.json
    python examples/run_audit.py time examples/audit/configs/gpt-3m-2.json

Every run appends a line to runs.csv in the folder; what is there is not run again, so that a
command that was broken off goes on where it was. ``check`` compares the fused step of every arm
with the reference on this device, and ``time`` measures steps.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console

from audit import config, driver, measure
from audit.tasks import Where

ROOT = Path(__file__).parents[1]


def main(arguments: Sequence[str] | None = None) -> int:
    args = parse(arguments)
    console = Console(stderr=True, soft_wrap=True)
    try:
        experiments = [config.load(path) for path in args.configs]
        where = Where(str(args.out), str(args.cache), args.device, args.commit or commit())
        if args.device == "cpu" and any(one.reads for one in experiments):
            console.print("No GPU: text experiments run on the CPU with the share cpu_share of "
                          "their tokens; their lines say how many.")  # fmt: skip
        act = {"run": driver.run, "check": measure.check, "time": measure.steps}[args.action]
        return act(experiments, where, console, jobs=args.jobs, until=args.until)
    except (ValueError, OSError) as error:
        console.print(f"run_audit.py: {error}", markup=False)
        return 2


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=("run", "check", "time"))
    parser.add_argument("configs", nargs="+", type=Path, metavar="CONFIG", help="in this order")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "evidence", metavar="FOLDER")
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help="of tokens",
                        default=Path(tempfile.gettempdir()) / "mgup-audit")  # fmt: skip
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--jobs", type=int, default=0,
                        help="processes, dealt over the GPUs (default 0: this one)")  # fmt: skip
    parser.add_argument("--until", type=float, default=float("inf"), metavar="SECONDS",
                        help="start no run that would end later")  # fmt: skip
    parser.add_argument("--commit", help="of this checkout, where git does not know")
    return parser.parse_args(arguments)


def commit() -> str:
    """The checkout's commit; with a + where files have been changed."""
    try:
        said = [
            subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True,
                           check=True).stdout.strip()
            for words in (("rev-parse", "--short=10", "HEAD"),
                          ("status", "--porcelain", "--untracked-files=no", "--", "mgup_core",
                           "adapters", "examples"))
        ]  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return said[0] + "+" * bool(said[1])


if __name__ == "__main__":
    started = time.perf_counter()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    status = main()
    print(f"{time.perf_counter() - started:.0f} s in all", file=sys.stderr)
    sys.exit(status)
