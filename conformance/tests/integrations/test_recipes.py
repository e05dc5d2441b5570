"""The blocks of docs/recipes.md, each by itself.

No clause: a page.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from .support import tiny_llama, token_rows

PAGE = Path(__file__).parents[3] / "docs" / "recipes.md"
BLOCKS = re.compile(r"^## ([^\n]+)$(.*?)(?=^## |\Z)", re.DOTALL | re.MULTILINE)
NEEDS = {
    "Transformers: Trainer": "transformers", "PEFT": "peft", "Accelerate": "accelerate",
    "Lightning and Fabric": "lightning", "timm": "timm", "ignite": "ignite",
    "Hydra, OmegaConf, Optuna": "hydra", "Keras 3": "keras", "JAX: Flax NNX, optax chains": "flax",
}  # fmt: skip

if not PAGE.exists():
    pytest.skip("the documentation is not beside the tests", allow_module_level=True)

RECIPES = {
    title: code
    for title, text in BLOCKS.findall(PAGE.read_text(encoding="utf-8"))
    if (code := "\n".join(re.findall(r"^```py\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)))
}


def test_all_are_found():
    assert set(NEEDS) <= set(RECIPES)


@pytest.mark.parametrize("title", RECIPES)
def test_it_runs(title, tmp_path):
    for package in ("transformers", NEEDS.get(title, "torch")):
        pytest.importorskip(package)
    net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.GELU(), torch.nn.Linear(8, 2))
    rows = token_rows()
    batch = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
    given = {
        "model": tiny_llama(),
        "net": net,
        "dataset": rows,
        "loader": torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.ones(4, 4))),
        "folder": str(tmp_path),
        "loss_of": lambda model: model(**batch).loss,
        "__name__": "recipe",
    }
    exec(compile(RECIPES[title], f"{PAGE.name}: {title}", "exec"), given)
