"""For all tests: no failure for being slow on a busy machine, and no compiler tried in vain."""

import os

from hypothesis import settings

# Whether the compiler knows the processor's instructions: else inductor tries it anew in every
# process, which takes ten seconds. An empty value lets it.
os.environ.setdefault("TORCHINDUCTOR_VEC_ISA_OK", "1")

# XLA cuts each program into modules that LLVM compiles side by side, and the cuts cost a sixth of a
# compilation's time. The workers of the tests are side by side already.
flags = os.environ.get("XLA_FLAGS", "")
os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_parallel_codegen_split_count=1".strip()

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
