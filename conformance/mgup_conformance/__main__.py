"""``python -m mgup_conformance``, and the command ``mgup-conformance``."""

import sys

# A rule or a backend in the working directory is found, as by `python -m`.
if "" not in sys.path:
    sys.path.insert(0, "")

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
