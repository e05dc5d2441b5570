"""What conformance/arm.py asks on the other processor: ANSWERS FOUND [BACKEND …]."""

from __future__ import annotations

import json
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np

CASES = (
    "compact/*", "count/*", "rank/mixed/float32", "rank/ties/bfloat16", "sign/scores/float32",
    "run/adamw/mgup/float32", "run/sgd/cautious/float32", "port/adan/mgup/float32",
    "exact/muon/mgup/float32", "golden/run/lion/*", "golden/multiplier/mgup/*",
)  # fmt: skip
"""Each kind of number, of policy and of elementwise rule, a matrix rule with exact products, and
vectors that another processor made."""
COMPILED = ("compact/*",)
"""What is asked of a backend that compiles a program for each case: under emulation, minutes."""
ANSWERS = (
    "run/adamw/mgup/float32", "run/lion/mgup/float16_state32", "run/sgd/cautious/float32",
    "port/adan/mgup/float32", "exact/muon/mgup/float32",
)  # fmt: skip
"""The last takes a compiler the longest."""
STEPS = 40
BACKENDS = ("numpy", "torch", "torch_llvm", "jax_jit")


def backend_of(name: str) -> Any:
    """A shipped backend, or PyTorch's whose steps are compiled at once."""
    from mgup_conformance.backends import load

    if name != "torch_llvm":
        return load(name)
    from mgup_conformance.backends.torch import Torch
    from mgup_torch.executors import host
    from mgup_torch.llvm import codegen, step

    taken = step.CompiledStep.run

    class Compiled(Torch):
        name = "torch_llvm"
        count = 0

        def versions(self) -> dict[str, str]:
            import llvmlite

            return {**super().versions(), "llvmlite": llvmlite.__version__}

        def run(self, spec: Any, params: Any) -> Any:
            codegen.WORTH, host.SMALL = 0, 0
            step.CompiledStep.run = count  # type: ignore[method-assign]
            return super().run(spec, params)

    def count(self: Any) -> Any:
        Compiled.count += 1
        return taken(self)

    return Compiled()


def crossed(file: Path, backend: Any) -> str:
    """Whether a backend takes the steps of a file to the answers of the file."""
    from mgup_conformance.compare import Mismatch, check_identical
    from mgup_conformance.data import dtype_of

    case = np.load(file)
    spec, n, steps = json.loads(str(case["spec"])), int(case["n"]), int(case["steps"])
    dtype, state_dtype = dtype_of(spec["dtype"]), dtype_of(spec["state_dtype"])
    run = backend.run(spec, [case[f"w{i}"].astype(dtype) for i in range(n)])
    for t in range(1, steps + 1):
        keys = (f"g{i}_{t}" for i in range(n))
        lr = float(case[f"lr_{t}"])
        run.step(
            [case[key].astype(dtype) if key in case else None for key in keys],
            None if np.isnan(lr) else lr,
        )
        try:
            for i, (w, state) in enumerate(zip(run.params(), run.state(), strict=True)):
                check_identical("parameter", case[f"w{i}_{t}"].astype(dtype), w, parameter=i)
                for name, x in state.items():
                    if f"{name}{i}_{t}" in case:
                        expected = case[f"{name}{i}_{t}"].astype(state_dtype)
                        check_identical(f"state {name}", expected, x, parameter=i)
        except Mismatch as mismatch:
            return f"step {t} of {steps}: {' '.join(str(mismatch).split())}"
    return "identical"


def main(answers: Path, found: Path, names: list[str]) -> None:
    """Ask everything, and write it down."""
    from mgup_conformance import all_cases, report, run_case
    from mgup_conformance.provenance import provenance
    from mgup_conformance.runner import select

    made = [backend_of(name) for name in names or BACKENDS]
    said: dict[str, dict[str, str]] = {case: {} for case in ANSWERS}
    results: list[Any] = []

    provenance()  # before anything is run

    def keep() -> None:  # as it grows: it may be broken off
        plain = report.as_plain(results, made, set_of="fast")
        found.write_text(json.dumps({"report": plain, "answers": said}))

    for backend in made:
        compiles = backend.capabilities().get("compiles")
        for asked in select(all_cases(), COMPILED if compiles else CASES):
            one = run_case(backend, asked, set_of="fast")
            results.append(one)
            print(f"{backend.name} {one.case}: {one.status}, {one.seconds:.0f} s", flush=True)
            keep()
        for case in ANSWERS:
            begun = time.perf_counter()
            try:
                words = crossed(answers / f"{case.replace('/', '_')}.npz", backend)
            except Exception:
                words = "error of " + traceback.format_exc(limit=-1)
            said[case][backend.name] = words
            took = time.perf_counter() - begun
            print(f"{backend.name} {case}: {words}, {took:.0f} s", flush=True)
            keep()
        if getattr(backend, "count", 1) == 0:
            raise RuntimeError(f"{backend.name}: no step was compiled, so nothing was shown.")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
