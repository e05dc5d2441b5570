"""Which parameters take the fused step (:mod:`mgup_torch.kernels`), and which the reference's."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from torch import Tensor

from ..distributed import Part, is_partial
from ..groups import Group
from ..kernels import unavailable
from ..notices import warn
from ..parameter_step import Job
from .fused import FusedStep, refusal


@functools.cache
def _warn_unavailable(reason: str) -> None:
    warn(
        f"CUDA parameters take the reference step, which gives the same result more slowly: "
        f"{reason}. implementation='reference' says so without this warning."
    )


class Fusion:
    """What one optimizer fuses."""

    def __init__(self) -> None:
        self.step = FusedStep()

    def __deepcopy__(self, memo: object) -> Fusion:
        return Fusion()  # plans hold addresses

    def __reduce__(self) -> tuple[type[Fusion], tuple[()]]:
        return Fusion, ()

    @staticmethod
    def wanted(groups: Sequence[Group]) -> bool:
        """Whether any parameter may be fused: a compiled graph leaves its step out then."""
        return any(
            p.device.type == "cuda"
            for group in groups
            if group["implementation"] != "reference"
            for p in group["params"]
        )

    def divide(
        self, jobs: Sequence[Job], part_of: Callable[[Tensor, int], Part], *, measure: bool
    ) -> tuple[list[Job], list[Job]]:
        """(those to fuse, the others).

        Args:
            part_of: what lies here of a DTensor, given it and ``stacked_dims``.

        Raises:
            ValueError: for a parameter with ``implementation="fused"`` that cannot be.
        """
        fused: list[Job] = []
        others: list[Job] = []
        for job in jobs:
            how = job.group["implementation"]
            reason = "statistics are measured" if measure else None
            if how == "reference" or (how == "auto" and job.param.device.type != "cuda"):
                others.append(job)
                continue
            if is_partial(job.owner.param.grad):
                reason = reason or "its gradient is partial, and summed anew at every step"
            if job.whole is not None and job.group["scope"] == "global":
                part = part_of(job.whole.param, job.group["stacked_dims"])
                job = job._replace(team=part.slice_group, total=part.length)
                if part.slice_group is not None and not part.consecutive:
                    reason = reason or "its shards are no runs of consecutive coordinates"
            reason = reason or refusal(job)
            if how == "fused" and reason is not None:
                raise ValueError(
                    f"implementation='fused' cannot step parameter {job.name}: {reason}. "
                    "implementation='auto' steps it by the reference."
                )
            if reason is not None and (missing := unavailable(job.param.device)):
                _warn_unavailable(missing)
            (fused if reason is None else others).append(job)
        return fused, others
