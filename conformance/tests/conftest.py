"""For all tests: no failure for being slow on a busy machine, and no compiler tried in vain."""

import os

from hypothesis import settings

# Whether the compiler knows the processor's instructions: else inductor tries it anew in every
# process, which takes ten seconds. An empty value lets it.
os.environ.setdefault("TORCHINDUCTOR_VEC_ISA_OK", "1")

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
