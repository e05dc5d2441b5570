"""The tests as other processors would run them: ``python conformance/processors.py [PYTEST …]``.

Libraries choose their kernels by the processor, and kernels differ in the order of their sums and
the rounding of their roots. Here they are told to choose as on an older one, or on another make's;
whatever fails in one setting and not in another is a test, or an operation, that one processor only
satisfies. Arguments are pytest's; without a path, the tests of the core, PyTorch and JAX run.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import tempfile

from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

TESTS = pathlib.Path(__file__).parent / "tests"
DEFAULT = [str(TESTS / name) for name in ("core", "arrays", "torch", "jax")]
NEW = ("X86_V4", "AVX512")  # NumPy's names for what came after AVX2


def numpy_without(*prefixes: str) -> str:
    """Those of NumPy's dispatched features that this processor has, by the beginning of a name."""
    present = (name for name in __cpu_dispatch__ if __cpu_features__[name])
    return " ".join(name for name in present if name.startswith(prefixes))


SETTINGS = {
    "generic": {
        "ATEN_CPU_CAPABILITY": "default",
        "MKL_CBWR": "COMPATIBLE",
        "NPY_DISABLE_CPU_FEATURES": numpy_without(""),
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "OPENBLAS_CORETYPE": "Prescott",
        # Below AVX, XLA finds no conversion of float16 to link with.
        "XLA_FLAGS": "--xla_cpu_max_isa=AVX",
    },
    "AVX2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_CBWR": "AVX2",
        "NPY_DISABLE_CPU_FEATURES": numpy_without(*NEW),
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
        "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
    },
    "AMD": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_CBWR": "COMPATIBLE",
        "OPENBLAS_CORETYPE": "Zen",
    },
    "AVX-512": {"OPENBLAS_CORETYPE": "SkylakeX"},
}
"""What the libraries read at their start, by the processor that it makes them work for."""


def main(arguments: list[str]) -> int:
    """Run pytest once in each setting; returns how many of them failed."""
    paths = [] if any(pathlib.Path(a).exists() for a in arguments) else DEFAULT
    failed = []
    for name, setting in SETTINGS.items():
        chosen = {key: value for key, value in setting.items() if value}
        print(f"== {name}: {' '.join(f'{k}={v!r}' for k, v in chosen.items())}", flush=True)
        command = [sys.executable, "-m", "pytest", *arguments, *paths]
        with tempfile.TemporaryDirectory() as cache:
            # Shared, torch's cache of compiled code would give one setting's to another.
            given = {**os.environ, **chosen, "TORCHINDUCTOR_CACHE_DIR": cache}
            if subprocess.run(command, env=given).returncode:
                failed.append(name)
    print(f"== failed: {', '.join(failed) or 'none'}")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
