"""Optimizers of others under the conformance suite: the table in docs/third_party.md.

    $ pip install --no-deps --target runs/third timm pytorch-optimizer
    $ PYTHONPATH=conformance/benchmarks:runs/third python conformance/benchmarks/third_party.py \
          docs/third_party.json docs/third_party.md

Each is a backend by one line. What is not installed is left out. None of them promises identity
with this specification: the level that they are asked for is rounding.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
import types
from importlib.metadata import version
from pathlib import Path

from mgup_conformance import all_cases, matrix, report, run_suite
from mgup_conformance.ready import Ready, mindspore_backend, optax_backend, torch_backend

INTRO = """Each became a backend by one line ([mgup_conformance.ready](guides/conformance.md)).
None of them promises the bits of this specification, so they are asked for its updates to rounding
(clause V). What is said to be different is a choice of the author's, which its source shows:

- torch's Muon multiplies in bfloat16; what was asked is the direction of float32 products (R4).
- optax forms `1 - beta**t` by a power in float32, which is some 60 units away at the first steps.
- timm's AdamW takes its mask from the momentum, not from the direction. Their signs are the same
  where all is finite, so that only the case of NaN and infinities tells.
- pytorch-optimizer's cautious mean counts one positive score more than there are, instead of a
  floor below the mean.
"""

CAUTIOUS = {"off": {}, "cautious": {"caution": True}}


def _torch() -> list[Ready]:
    from torch import optim

    adamw = torch_backend(optim.AdamW, "adamw", dtypes=("float32", "float64"),
                          only={"form": "standard"}, name="torch AdamW")  # fmt: skip
    sgd = torch_backend(
        optim.SGD, "sgd", only={"coupled_decay": True}, name="torch SGD",
        options=("large", "schedule", "absent", "nesterov", "dampening", "coupled_decay"),
    )  # fmt: skip
    muon = torch_backend(optim.Muon, "muon", arguments={"scale": "adjust_lr_fn"},
                         options=("muon_options",), name="torch Muon")  # fmt: skip
    return [adamw, sgd, muon]


def _optax() -> list[Ready]:
    import optax

    return [
        optax_backend(optax.adamw, "adamw", state={"exp_avg": "mu", "exp_avg_sq": "nu"},
                      only={"form": "standard"}, name="optax adamw"),
        optax_backend(optax.lion, "lion", state={"exp_avg": "mu"}, name="optax lion"),
    ]  # fmt: skip


def _timm() -> list[Ready]:
    # Its own __init__ imports torchvision; the optimizers need none of that.
    spec = importlib.util.find_spec("timm")
    if spec is None:
        raise ImportError("No module named 'timm'")
    folder = Path(next(iter(spec.submodule_search_locations or ())))
    for name in ("timm", "timm.optim"):
        package = types.ModuleType(name)
        package.__path__ = [str(folder.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = package
    own = {"timm": version("timm")}
    adamw = importlib.import_module("timm.optim.adamw").AdamWLegacy
    lion = importlib.import_module("timm.optim.lion").Lion
    sgdw = importlib.import_module("timm.optim.sgdw").SGDW
    return [
        torch_backend(adamw, "adamw", policies=CAUTIOUS, versions=own, only={"form": "standard"},
                      name="timm AdamW"),
        torch_backend(lion, "lion", policies=CAUTIOUS, versions=own, name="timm Lion"),
        torch_backend(sgdw, "sgd", policies=CAUTIOUS, versions=own, name="timm SGDW",
                      options=("large", "schedule", "absent", "nesterov", "dampening"),
                      only={"coupled_decay": False}),
    ]  # fmt: skip


def _pytorch_optimizer() -> list[Ready]:
    po = importlib.import_module("pytorch_optimizer")
    own = {"pytorch-optimizer": version("pytorch-optimizer")}
    chosen = {"off": {}, "cautious": {"cautious": True}}
    return [
        torch_backend(po.Lion, "lion", policies=chosen, versions=own, name="p-o Lion",
                      fixed={"weight_decouple": True}),
    ]  # fmt: skip


def _mindspore() -> list[Ready]:
    from mindspore import nn

    return [
        mindspore_backend(nn.SGD, "sgd", state={"momentum_buffer": "accum"},
                          only={"coupled_decay": True}, name="mindspore SGD",
                          options=("nesterov", "dampening", "coupled_decay")),
    ]  # fmt: skip


def backends() -> list[Ready]:
    """Those whose packages are installed."""
    made: list[Ready] = []
    for make in (_torch, _optax, _timm, _pytorch_optimizer, _mindspore):
        try:
            made += make()
        except ImportError as error:
            print(f"left out: {make.__name__[1:]} ({error})", file=sys.stderr)
    return made


def page(plain: report.Plain) -> str:
    """The table, and in words what came out."""
    title, _, table = matrix.markdown(plain, title="Optimizers of others").partition("\n\n")
    return f"{title}\n\n{INTRO}\n{table}"


def main(plain_file: str, page_file: str) -> None:
    found = backends()
    asked = [case for case in all_cases() if case.runs and not case.id.startswith("golden")]
    results = run_suite(found, asked, set_of="fast", level="rounding")
    command = f"python {sys.argv[0]} {plain_file} {page_file}"
    plain = report.brief(
        report.as_plain(results, found, set_of="standard, few steps", level="rounding",
                        command=command)
    )  # fmt: skip
    Path(plain_file).write_text(json.dumps(plain) + "\n")
    Path(page_file).write_text(page(plain))


if __name__ == "__main__":
    main(*sys.argv[1:3])
