"""Distributed checkpoints (``torch.distributed.checkpoint``) of other optimizers."""

from __future__ import annotations

from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.planner import LoadPlan


class OptimizerLoadPlanner(DefaultLoadPlanner):
    """Load a checkpoint whose parameter groups have fewer keys, as another optimizer's have.

    ``dcp.load`` asks a checkpoint for each key that the optimizer has, and refuses one that lacks
    any. With this planner it may lack hyperparameters, which stay as the optimizer has them: so a
    run begun with ``torch.optim.AdamW`` goes on with ``MGUPAdamW``, and back. Parameters and state
    must all be there::

        dcp.load(state, checkpoint_id=…, planner=OptimizerLoadPlanner())
    """

    def create_local_plan(self) -> LoadPlan:
        """Plan the reads of what the checkpoint has.

        Raises:
            RuntimeError: if it lacks anything but hyperparameters.
        """
        self.allow_partial_load = True
        plan = super().create_local_plan()
        assert self.metadata is not None
        missing = self.state_dict.keys() - self.metadata.state_dict_metadata.keys()
        if lost := sorted(key for key in missing if ".param_groups." not in f".{key}"):
            some = ", ".join(lost[:5]) + (", …" if len(lost) > 5 else "")
            raise RuntimeError(
                f"the checkpoint lacks {some}: it is of another model, or of an optimizer that "
                "keeps another state."
            )
        return plan
