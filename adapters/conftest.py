"""Which modules the doctests leave out: those that need a framework that is not there."""

from importlib.util import find_spec

_NEEDS = {
    "mgup_torch/*": "torch",
    "mgup_kernels/*": "triton",
    "mgup_torch/kernels/*": "triton",
    "mgup_jax/kernels/fused.py": "triton",
    "mgup_jax/kernels/device.py": "triton",
    "mgup_jax/*": "optax",
    "mgup_mindspore/*": "mindspore",
    "mgup_torch/integrations/transformers.py": "transformers",
    "mgup_torch/integrations/lightning.py": "lightning",
    "mgup_keras/__init__.py": "keras",
    "mgup_keras/optimizers.py": "keras",
}
collect_ignore_glob = [files for files, package in _NEEDS.items() if find_spec(package) is None]
