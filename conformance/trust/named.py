"""Mutants that a first pass found to survive, by name: each must be killed by the test beside it.

    python conformance/trust/named.py [PART OF A NAME ...]

Of a first pass of 286 mutants these changed behaviour, and no test told (issue 20 of this project).
"""

from __future__ import annotations

import shutil
import sys

from mutants import ROOT, Tree

NAMED = [
    ("the condition on exact_state", "adapters/mgup_torch/executors/host.py",
     "exact_state=all(x.dtype == dtype for x in task.arrays.values())", "exact_state=True",
     "trust/test_torch.py::test_narrow_state_over_many_blocks"),
    ("the second pass reads rounded moments", "mgup_core/host/blocks.py",
     "accumulate=not exact_state", "accumulate=False",
     "trust/test_host.py::test_many_blocks_are_the_whole"),
    ("a leaf without gradient moves by 1", "adapters/mgup_jax/transformation.py",
     "jnp.full_like(w, -0.0)", "jnp.full_like(w, 1.0)",
     "trust/test_jax.py::test_a_leaf_without_gradient_stays"),
    ("a leaf without gradient loses the sign of its 0", "adapters/mgup_jax/transformation.py",
     "jnp.full_like(w, -0.0)", "jnp.full_like(w, 0.0)",
     "trust/test_jax.py::test_a_leaf_without_gradient_stays"),
    ("the wrapper's leaf without gradient moves by 1", "adapters/mgup_jax/wrapper.py",
     "jnp.full_like(w, -0.0)", "jnp.full_like(w, 1.0)",
     "trust/test_jax.py::test_the_wrapper_leaves_a_leaf_without_gradient"),
    ("decay without parameters", "adapters/mgup_jax/transformation.py",
     "(settings.decays and any(decayed))", "False",
     "trust/test_jax.py::test_decay_needs_the_parameters"),
    ("decay without parameters, wrapped", "adapters/mgup_jax/wrapper.py",
     "if params is None and settings.decays and any(decayed):", "if False:",
     "trust/test_jax.py::test_decay_needs_the_parameters"),
    ("an inner optimizer that cannot be probed", "adapters/mgup_jax/wrapper.py",
     "or one that needs more arguments\n        return False",
     "or one that needs more arguments\n        return True",
     "trust/test_jax.py::test_an_inner_optimizer_that_cannot_be_tried_is_taken"),
    ("int8 parameters are taken", "mgup_core/_checks.py", "for bits in (8, 16, 32, 64)",
     "for bits in (16, 32, 64)", "trust/test_core.py::test_only_real_floating_arrays_are_trained"),
    ("statistics of an empty array", "mgup_core/statistics.py", "zero = be.scalar(0.0)",
     "zero = be.scalar(1.0)", "trust/test_core.py::test_statistics_of_an_empty_array"),
    ("a stray b1 beside betas", "adapters/mgup_torch/groups.py",
     'if _BETA.fullmatch(str(key)) and "betas" in known:', "if False:",
     "trust/test_torch.py::test_a_beta_of_the_core_is_no_key_here"),
    ("a saved momentum_buffer of None", "adapters/mgup_torch/base/state_dict.py",
     "if value is not None}", "if True}",
     "trust/test_torch.py::test_a_saved_buffer_of_none_is_no_buffer"),
    ("a checkpoint at step 0", "adapters/mgup_torch/base/state_dict.py",
     "0 <= step <", "0 < step <",
     "trust/test_torch.py::test_a_checkpoint_at_step_0"),
    ("adamw_eps doubled", "adapters/mgup_torch/muon.py", "adamw_eps: float = 1e-8",
     "adamw_eps: float = 2e-8", "trust/test_torch.py::test_the_defaults_of_muons_adamw"),
    ("the warning of K = 0 repeated after loading", "adapters/mgup_torch/base/optimizer.py",
     'if "_fusion" not in self.__dict__:', "if True:",
     "trust/test_torch.py::test_none_selected_is_said_once_though_a_checkpoint_is_loaded"),
    ("exceptions hold a number", "mgup_core/frontend/muon_routing.py",
     "if not all(isinstance(word, str) for word in words):", "if False:",
     "trust/test_core.py::test_exceptions_are_words"),
]  # fmt: skip
"""(what it is, module, text, its mutation, the test that kills it)."""


def main() -> int:
    tree, survived = Tree(("torch",)), 0
    for what, path, before, after, test in NAMED:
        if not any(word in what for word in sys.argv[1:] or [""]):
            continue
        text = (ROOT / path).read_text()
        assert text.count(before) == 1, (
            f"{what}: {before!r} is in {path} {text.count(before)} times"
        )
        tree.put(path, text.replace(before, after))
        result, took = tree.passes([f"conformance/tests/{test}"], {})
        tree.put(path, text)
        survived += result == "passed"
        word = "SURVIVED" if result == "passed" else "killed"
        print(f"{word:9} {took:5.1f} s  {what}", flush=True)
    shutil.rmtree(tree.folder)
    return survived


if __name__ == "__main__":
    sys.exit(main())
