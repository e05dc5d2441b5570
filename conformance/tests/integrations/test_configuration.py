"""Hydra, OmegaConf and Optuna; builders like torchtitan's; ignite.

No clause: how frameworks call the optimizer.
"""

from __future__ import annotations

import io

import pytest
import torch

from mgup_torch import MGUPAdamW, MGUPMuon

from .support import matrices


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.GELU(), torch.nn.Linear(8, 2))


def loaded_safely(optimizer):
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


CONFIG = {
    "_target_": "mgup_torch.MGUPAdamW", "lr": 0.01, "betas": [0.9, 0.95], "tau": 0.3,
}  # fmt: skip


def test_hydra():
    hydra = pytest.importorskip("hydra")
    omegaconf = pytest.importorskip("omegaconf")
    config = omegaconf.OmegaConf.create(CONFIG)
    optimizer = hydra.utils.instantiate(config, network().named_parameters())
    group = optimizer.param_groups[0]
    assert (group["betas"], type(group["betas"]), group["tau"]) == ((0.9, 0.95), tuple, 0.3)
    optimizer.load_state_dict(loaded_safely(optimizer))


@pytest.mark.parametrize("make", [MGUPAdamW, MGUPMuon])
def test_lists_of_omegaconf_in_groups_and_arguments(make):
    """No checkpoint holds one, the caller's own keys included: weights_only loads it."""
    omegaconf = pytest.importorskip("omegaconf")
    betas = omegaconf.OmegaConf.create({"betas": [0.9, 0.95], "tags": ["a", "b"]})
    name = "betas" if make is MGUPAdamW else "adamw_betas"
    optimizer = make(
        [{"params": list(network().named_parameters()), name: betas.betas, "tags": betas.tags}],
        **{name: betas.betas},
    )
    group = optimizer.param_groups[0]
    assert type(group[name]) is tuple
    loaded_safely(optimizer)
    group[name] = betas.betas  # as a schedule writes
    optimizer.step()
    kept = loaded_safely(optimizer)["param_groups"][0]
    assert (kept[name], kept["tags"]) == ((0.9, 0.95), ("a", "b"))


def test_hydra_from_model():
    hydra = pytest.importorskip("hydra")
    config = {"_target_": "mgup_torch.MGUPMuon.from_model", "weight_decay": 0.1}
    optimizer = hydra.utils.instantiate(config, model=network())
    assert matrices(optimizer) == ({"0.weight"}, {"2.weight"})


def test_optuna():
    optuna = pytest.importorskip("optuna")

    def objective(trial):
        model = network()
        optimizer = MGUPAdamW.from_model(
            model,
            lr=trial.suggest_float("lr", 1e-3, 1e-1, log=True),
            tau=trial.suggest_float("tau", 0.1, 0.9),
            mode=trial.suggest_categorical("mode", ["rank", "sign"]),
        )
        for _ in range(3):
            optimizer.zero_grad()
            loss = model(torch.ones(2, 4)).square().mean()
            loss.backward()
            optimizer.step()
        return loss.item()

    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(objective, n_trials=3)
    assert len({trial.value for trial in study.trials}) == 3


def test_a_container_that_builds_one_optimizer_for_each_model_part():
    """As torchtitan's: ``cls(params, **kwargs)`` with plain tensors."""
    parts, arguments = [network(), network()], {"lr": 1e-2, "betas": (0.9, 0.95), "fused": True}
    made = [
        MGUPAdamW([p for p in part.parameters() if p.requires_grad], **arguments) for part in parts
    ]
    for part, optimizer in zip(parts, made, strict=True):
        part(torch.ones(2, 4)).square().mean().backward()
        optimizer.step()
    with pytest.warns(UserWarning, match="without names"):
        MGUPMuon([p for p in parts[0].parameters() if p.requires_grad], lr=1e-2)


def test_ignite(tmp_path):
    pytest.importorskip("ignite")
    from ignite.engine import Events, create_supervised_trainer
    from ignite.handlers import Checkpoint, DiskSaver, LRScheduler

    data = [(torch.ones(2, 4), torch.ones(2, 2))] * 4
    found = []
    for epochs in (2, 1):
        model = network()
        optimizer = MGUPAdamW.from_model(model, lr=1e-2)
        trainer = create_supervised_trainer(model, optimizer, torch.nn.functional.mse_loss)
        schedule = LRScheduler(torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9))
        trainer.add_event_handler(Events.ITERATION_STARTED, schedule)
        state = {"model": model, "optimizer": optimizer, "trainer": trainer, "schedule": schedule}
        keep = Checkpoint(state, DiskSaver(str(tmp_path), require_empty=False))
        if epochs == 1:
            trainer.add_event_handler(Events.EPOCH_COMPLETED, keep)
        trainer.run(data, max_epochs=epochs)
        if epochs == 1:
            saved = torch.load(next(tmp_path.glob("*.pt")), weights_only=True)
            Checkpoint.load_objects(state, saved)
            trainer.run(data, max_epochs=2)
        found.append([p.detach().clone() for p in model.parameters()])
    assert all(map(torch.equal, *found))
