"""Modules that can only be imported where their compiler is installed have no doctests to run."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("triton") else ["mgup_torch/kernels/*"]
