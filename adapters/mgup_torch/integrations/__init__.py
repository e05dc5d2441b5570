"""MGUP in training frameworks: a few lines for each, which import it only where they are used.

``mgup_torch.integrations.timm`` registers the optimizers with timm, ``.transformers`` makes them
for a Trainer, ``.lightning`` and ``.transformers`` log statistics, ``.checkpoint`` reads the
distributed checkpoints of other optimizers. The recipes of the documentation show each.
"""
