"""The ``torch.optim.Optimizer`` that all rules share: groups, step, checkpoints, AMP."""
