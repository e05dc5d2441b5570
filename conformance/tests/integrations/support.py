"""What several of these tests need."""

from __future__ import annotations

import torch


def tiny_llama(**more):
    import transformers

    kind = more.pop("kind", transformers.LlamaForCausalLM)
    torch.manual_seed(0)
    return kind(
        transformers.LlamaConfig(
            vocab_size=40,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            pad_token_id=0,
            **more,
        )
    )


def token_rows(n=8, length=6):
    rows = torch.randint(1, 40, (n, length), generator=torch.Generator().manual_seed(1))
    return [{"input_ids": row, "labels": row.clone()} for row in rows]


def weights(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def assert_same_bits(model, expected):
    for name, p in model.named_parameters():
        assert torch.equal(p.detach(), expected[name]), name


def matrices(optimizer):
    """The names of the 2-D parameters that Muon trains, and of those that AdamW does."""
    found = {True: set(), False: set()}
    for group in optimizer.param_groups:
        for name, p in zip(group["param_names"], group["params"], strict=True):
            if p.ndim == 2:
                found[group["use_muon"]].add(name)
    return found[True], found[False]
