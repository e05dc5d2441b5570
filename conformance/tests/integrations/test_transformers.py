"""Trainer: what it makes of the arguments, statistics, and a resumed run bit for bit.

No clause: how a framework calls the optimizer.
"""

from __future__ import annotations

import pytest

from mgup_torch import MGUPAdamW, MGUPLion, MGUPMuon

from .support import assert_same_bits, matrices, tiny_llama, token_rows, weights

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")


def arguments(tmp_path, **more):
    given = {
        "output_dir": str(tmp_path), "max_steps": 4, "per_device_train_batch_size": 2,
        "learning_rate": 1e-2, "weight_decay": 0.1, "logging_steps": 1, "report_to": [],
        "use_cpu": True, "disable_tqdm": True, "save_strategy": "no", **more,
    }  # fmt: skip
    return transformers.TrainingArguments(**given)


def trainer(args, model=None, **more):
    return transformers.Trainer(model or tiny_llama(), args, train_dataset=token_rows(), **more)


def test_optimizers(tmp_path):
    model = tiny_llama()
    optimizer = MGUPAdamW.from_model(model, lr=1e-2, weight_decay=0.1)
    one = trainer(arguments(tmp_path), model, optimizers=(optimizer, None))
    one.train()
    other = trainer(arguments(tmp_path), optimizer_cls_and_kwargs=factory(arguments(tmp_path)))
    other.train()
    assert_same_bits(other.model, weights(model))


def factory(args, make=MGUPAdamW, **more):
    from mgup_torch.integrations.transformers import trainer_optimizer

    return trainer_optimizer(make, args, **more)


def test_a_class_and_its_arguments(tmp_path):
    """What the Trainer does with a class: unnamed parameters, its own groups, no learning rate."""
    one = trainer(arguments(tmp_path), optimizer_cls_and_kwargs=(MGUPAdamW, {"lr": 1e-3}))
    one.train()
    assert one.optimizer.optimizer.defaults["lr"] == 1e-3


def test_the_arguments_are_read(tmp_path):
    args = arguments(tmp_path, adam_beta2=0.95, optim_args="tau=0.3, mode=rank, gamma=0.1")
    one = trainer(args, optimizer_cls_and_kwargs=factory(args))
    args.learning_rate = 5e-3  # as a search sets it, after the Trainer was made
    group = one.create_optimizer().param_groups[0]
    expected = {
        "lr": 5e-3, "weight_decay": 0.1, "betas": (0.9, 0.95), "tau": 0.3, "gamma": 0.1,
    }  # fmt: skip
    assert {name: group[name] for name in expected} == expected
    assert one.optimizer.param_groups[1]["weight_decay"] == 0.0


def test_other_rules_keep_their_betas(tmp_path):
    args = arguments(tmp_path)
    optimizer = trainer(args, optimizer_cls_and_kwargs=factory(args, MGUPLion)).create_optimizer()
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.99)


def test_muon_by_modules(tmp_path):
    args = arguments(tmp_path)
    one = trainer(args, optimizer_cls_and_kwargs=factory(args, MGUPMuon, ns_dtype="float32"))
    one.train()
    _, adamw = matrices(one.optimizer.optimizer)
    assert adamw == {"model.embed_tokens.weight", "lm_head.weight"}


@pytest.mark.parametrize("text", ["tau", "tau=", "tau=0.3; mode=sign", "**x", "tau=open('x')"])
def test_arguments_that_are_none(tmp_path, text):
    args = arguments(tmp_path, optim_args=text)
    with pytest.raises(ValueError, match="optim_args="):
        trainer(args, optimizer_cls_and_kwargs=factory(args)).create_optimizer()


def test_a_search_trains_each_trial_with_its_own_rate(tmp_path):
    pytest.importorskip("optuna")
    args = arguments(tmp_path, max_steps=1)
    seen = []

    class Kept(transformers.TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            seen.append(kwargs["optimizer"].param_groups[0]["initial_lr"])

    one = transformers.Trainer(
        None, args, train_dataset=token_rows(), eval_dataset=token_rows(),
        model_init=lambda: tiny_llama(), optimizer_cls_and_kwargs=factory(args),
        callbacks=[Kept()],
    )  # fmt: skip
    one.hyperparameter_search(
        hp_space=lambda trial: {"learning_rate": 1e-3 * (1 + trial.number)}, n_trials=2
    )
    assert seen == [1e-3, 2e-3]


@pytest.mark.parametrize("make", [MGUPAdamW, MGUPMuon])
def test_a_resumed_run_has_the_bits_of_one_that_was_not_interrupted(tmp_path, make):
    more = {"ns_dtype": "float32"} if make is MGUPMuon else {}

    def run(folder, steps, resume=None):
        args = arguments(folder, save_strategy="steps", save_steps=2, lr_scheduler_type="constant")
        args.max_steps = steps
        one = trainer(args, optimizer_cls_and_kwargs=factory(args, make, **more))
        one.train(resume_from_checkpoint=resume)
        return one.model

    whole = weights(run(tmp_path / "whole", 4))
    run(tmp_path / "halves", 2)
    assert_same_bits(run(tmp_path / "halves", 4, str(tmp_path / "halves/checkpoint-2")), whole)


@pytest.mark.parametrize("by_layer", [False, True])
def test_statistics(tmp_path, by_layer):
    from mgup_torch.integrations.transformers import StatisticsCallback

    args = arguments(tmp_path)
    one = trainer(args, optimizer_cls_and_kwargs=factory(args, statistics=True))
    callback = StatisticsCallback(one.log, by_layer=by_layer)
    one.add_callback(callback)
    one.train()
    assert [row["step"] for row in callback.history] == [1, 2, 3, 4]
    key = "mgup/model.layers.0/selected" if by_layer else "mgup/selected"
    assert all(row[key] == 0.5 for row in callback.history)
    assert sum(key in row for row in one.state.log_history) == 4


def test_trl(tmp_path):
    trl = pytest.importorskip("trl")
    datasets = pytest.importorskip("datasets")
    args = trl.SFTConfig(
        output_dir=str(tmp_path), max_steps=2, per_device_train_batch_size=2, report_to=[],
        use_cpu=True, bf16=False, disable_tqdm=True, save_strategy="no", learning_rate=1e-2,
        dataset_kwargs={"skip_prepare_dataset": True},
    )  # fmt: skip
    rows = [{"input_ids": row["input_ids"].tolist()} for row in token_rows()]
    model = tiny_llama()
    before = weights(model)
    one = trl.SFTTrainer(
        model, args, train_dataset=datasets.Dataset.from_list(rows), processing_class=words(),
        optimizer_cls_and_kwargs=factory(args),
    )  # fmt: skip
    one.train()
    group = one.optimizer.param_groups[0]
    assert group["initial_lr"] == 1e-2
    assert any(not p.equal(before[name]) for name, p in one.model.named_parameters())


def words():
    tokenizers = pytest.importorskip("tokenizers")
    known = {f"w{i}": i for i in range(40)}
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(known, unk_token="w1"))
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="w0", eos_token="w2", unk_token="w1"
    )


def test_sentence_transformers(tmp_path):
    sentence = pytest.importorskip("sentence_transformers")
    losses = pytest.importorskip("sentence_transformers.sentence_transformer.losses")
    datasets = pytest.importorskip("datasets")
    torch = pytest.importorskip("torch")

    class Bag(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.table = torch.nn.Embedding(40, 8)

        def tokenize(self, texts, **kwargs):
            rows = [[int(word) for word in text.split()] for text in texts]
            return {"input_ids": torch.tensor(rows)}

        def forward(self, features):
            features["sentence_embedding"] = self.table(features["input_ids"]).mean(1)
            return features

        def save(self, *args, **kwargs): ...

    model = sentence.SentenceTransformer(modules=[Bag()], device="cpu")
    rows = datasets.Dataset.from_dict(
        {"anchor": ["1 2", "3 4", "5 6", "7 8"], "positive": ["2 1", "4 3", "6 5", "8 7"]}
    )
    args = sentence.SentenceTransformerTrainingArguments(
        str(tmp_path), max_steps=2, per_device_train_batch_size=2, report_to=[], use_cpu=True,
        save_strategy="no", disable_tqdm=True, learning_rate=1e-2,
    )  # fmt: skip
    before = weights(model)
    one = sentence.SentenceTransformerTrainer(
        model, args, train_dataset=rows, optimizer_cls_and_kwargs=factory(args),
        loss=losses.MultipleNegativesRankingLoss(model),
    )  # fmt: skip
    one.train()
    assert any(not p.equal(before[name]) for name, p in model.named_parameters())
