"""What Muon leaves to AdamW, in models of Transformers (R4, routing)."""

from __future__ import annotations

import pytest

from mgup_torch import MGUPAdamW, MGUPMuon

from .support import matrices

transformers = pytest.importorskip("transformers")

SMALL = {"vocab_size": 40}
ENCODER = {
    **SMALL, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
    "num_attention_heads": 2, "max_position_embeddings": 16,
}  # fmt: skip
LLAMA = {**ENCODER, "num_key_value_heads": 2}
SEQ2SEQ = {
    **SMALL, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16,
    "max_position_embeddings": 16,
}  # fmt: skip
T5 = {**SMALL, "d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
BERT = {f"bert.embeddings.{kind}_embeddings.weight" for kind in ("word", "position", "token_type")}
ROBERTA = {name.replace("bert", "roberta", 1) for name in BERT}
BIAS = "block.0.layer.0.SelfAttention.relative_attention_bias.weight"

MODELS = {
    "T5ForConditionalGeneration": (
        T5,
        {"shared.weight", f"encoder.{BIAS}", f"decoder.{BIAS}"},
        16,
    ),
    "BartForConditionalGeneration": (
        SEQ2SEQ,
        {"model.shared.weight"}
        | {f"model.{part}.embed_positions.weight" for part in ("encoder", "decoder")},
        16,
    ),
    "LlamaForCausalLM": (LLAMA, {"model.embed_tokens.weight", "lm_head.weight"}, 7),
    "LlamaForSequenceClassification": (LLAMA, {"model.embed_tokens.weight", "score.weight"}, 7),
    "BertForSequenceClassification": (ENCODER, BERT | {"classifier.weight"}, 7),
    "BertForQuestionAnswering": (ENCODER, BERT | {"qa_outputs.weight"}, 6),
    "RobertaForSequenceClassification": (
        ENCODER,
        ROBERTA | {"classifier.dense.weight", "classifier.out_proj.weight"},
        6,
    ),
    "GPT2LMHeadModel": (
        {**SMALL, "n_embd": 16, "n_layer": 1, "n_head": 2, "bos_token_id": 1, "eos_token_id": 1},
        {"transformer.wte.weight", "transformer.wpe.weight"},
        4,
    ),
    "MambaForCausalLM": (
        {**SMALL, "hidden_size": 16, "num_hidden_layers": 1},
        {"backbone.embeddings.weight", "backbone.layers.0.mixer.A_log"},
        4,
    ),
}
CONFIGS = {"T5": "T5", "Bart": "Bart", "Llama": "Llama", "Bert": "Bert", "GPT2": "GPT2"}


def made(title):
    settings, *_ = MODELS[title]
    config = getattr(transformers, title.split("For")[0].split("LMHead")[0] + "Config")
    return getattr(transformers, title)(config(**settings))


@pytest.mark.parametrize("title", MODELS)
def test_embeddings_and_heads_go_to_adamw(title):
    model = made(title)
    _, adamw, hidden = MODELS[title]
    for optimizer in (MGUPMuon.from_model(model), MGUPMuon(model.named_parameters())):
        to_muon, to_adamw = matrices(optimizer)
        assert to_adamw == adamw
        assert len(to_muon) == hidden


def test_modules_decide_where_words_would_not():
    """A head that no word names, and a table called like a hidden matrix."""
    model = made("LlamaForCausalLM")
    model.lm_head, model.to_words = None, model.lm_head
    model.get_output_embeddings = lambda: model.to_words
    model.model.embed_tokens, model.model.up = None, model.model.embed_tokens
    model.get_input_embeddings = lambda: model.model.up
    assert matrices(MGUPMuon.from_model(model))[1] == {"model.up.weight", "to_words.weight"}


def test_decay_on_matrices_only():
    groups = MGUPAdamW.from_model(made("BertForQuestionAnswering"), weight_decay=0.1).param_groups
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    assert {p.ndim for p in groups[0]["params"]} == {2}
    assert {p.ndim for p in groups[1]["params"]} == {1}
    assert all(len(group["param_names"]) == len(group["params"]) for group in groups)


def test_lora():
    peft = pytest.importorskip("peft")
    model = peft.get_peft_model(
        made("LlamaForCausalLM"), peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"])
    )
    optimizer = MGUPMuon.from_model(model)
    to_muon, to_adamw = matrices(optimizer)
    assert len(to_muon) == 4
    assert not to_adamw
    assert all("lora_" in name for name in to_muon)
