"""pytest imports all modules for their doctests, so it leaves out those without their framework."""

from importlib.util import find_spec

_NEEDS = {
    "mgup_torch/*": "torch",
    "mgup_torch/kernels/*": "triton",
    "mgup_jax/*": "optax",
    "mgup_mindspore/*": "mindspore",
}

collect_ignore_glob = [files for files, package in _NEEDS.items() if find_spec(package) is None]
