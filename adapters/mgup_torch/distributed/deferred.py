"""Results that need other ranks: requested for all tensors first, then computed together.

A rule and a policy run on this rank's shard. Where they need the rest of the tensor, they call
their backend as they would anywhere: for the mask of the K largest, for a count, for a function of
the whole tensor. In the first pass, a :class:`PartBackend` only records these requests. Then the
requests of all tensors share each collective. In the second pass, the backend returns the results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mgup_core import Policy, Rule, Split
from mgup_core._typing import Decider

from ..backend import TorchBackend
from .mesh_group import MeshGroup
from .radix_select import Rows, digit_bits, order_keys, select
from .shard import Part


@dataclass(eq=False)
class Request:
    """A result that is needed of one tensor, and that needs other ranks."""

    part: Part
    result: Any = None


@dataclass(eq=False)
class SelectRequest(Request):
    """The mask of the k largest of each slice, from the :func:`order_keys` here, (n, m)."""

    keys: Any = None
    k: int = 0


@dataclass(eq=False)
class CountRequest(Request):
    """The count of each whole slice, from the count here, (n, 1)."""

    here: Any = None


@dataclass(eq=False)
class WholeRequest(Request):
    """This rank's part of ``function(x)``, where ``x`` is the whole tensor."""

    function: Any = None
    x: Any = None


class PartBackend(TorchBackend):
    """The backend of one tensor of which this rank holds a part.

    Args:
        part: the part of the tensor that this rank holds.
        alone: whether the policy ranks each part as if it were the whole tensor.
        scalars: the cache of 0-d arrays that backends of this dtype and device share.
    """

    def __init__(
        self,
        part: Part,
        dtype: torch.dtype,
        device: torch.device,
        *,
        alone: bool = False,
        scalars: dict[float, Tensor] | None = None,
    ) -> None:
        super().__init__(dtype, device)
        self._scalars = {} if scalars is None else scalars
        self.part = part
        self.slice_group = None if alone else part.slice_group
        self.requests: list[Request] = []
        self.decision: tuple[Tensor, Split] | None = None
        """The last decision, if it is watched: canonical scores (n, m) and their split."""
        self._results: Iterator[Any] | None = None
        self._watch = False

    def asks(self, rule: Rule | None, policy: Policy | None, *, measure: bool) -> bool:
        """Whether a step needs other ranks."""
        whole = rule is not None and not rule.elementwise
        if self.part.tensor_group is not None and (whole or (policy is not None and measure)):
            return True
        return (
            self.slice_group is not None and policy is not None and (policy.ranks or policy.counts)
        )

    def again(self, *, watch: bool = False) -> PartBackend:
        """Return this backend, ready for the second pass: it answers each request with its result.

        Args:
            watch: whether to keep the decision in :attr:`decision`.
        """
        self._results = iter([request.result for request in self.requests])
        self._watch = watch
        return self

    def decide(self, policy: Decider, scores: Tensor, stacked_dims: int = 0) -> Split:
        split = super().decide(policy, scores, stacked_dims)
        if self._watch:
            self.decision = scores.reshape(split.mask.shape), split
        return split

    def _request(self, make: Callable[[], Request], placeholder: Tensor) -> Tensor:
        if self._results is not None:
            result: Tensor = next(self._results)
            return result
        self.requests.append(make())
        return placeholder

    def length(self, rows: Tensor) -> int:
        return int(rows.shape[-1]) if self.slice_group is None else self.part.length

    def rank_mask(self, scores: Tensor, k: int) -> Tensor:
        if self.slice_group is None:
            return super().rank_mask(scores, k)
        return self._request(
            lambda: SelectRequest(self.part, keys=order_keys(scores), k=k),
            torch.zeros_like(scores, dtype=torch.bool),
        )

    def count(self, mask: Tensor) -> Tensor:
        if self.slice_group is None:
            counted: Tensor = super().count(mask)
            return counted
        here: Tensor = mask.sum(-1, keepdim=True)  # int64, whatever the length of a part
        return self._request(lambda: CountRequest(self.part, here=here), here)

    def whole(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        if self.part.tensor_group is None:
            return function(x)
        return self._request(lambda: WholeRequest(self.part, function=function, x=x), x)


def resolve(requests: Iterable[Request]) -> None:
    """Compute the results of all requests, which every rank must pass in the same order."""
    pending = list(requests)
    for mesh_group, counts in _by_mesh_group(CountRequest, pending):
        found = mesh_group.all_reduce_sum(torch.cat([r.here for r in counts]))
        for r, part in zip(counts, found.split([len(r.here) for r in counts]), strict=True):
            r.result = part
    for mesh_group, selections in _by_mesh_group(SelectRequest, pending):
        for search in _searches(mesh_group, selections):
            rows = [_rows(r) for r in search]
            masks = select(rows, mesh_group.all_reduce_sum, bits=_bits(mesh_group, search[0]))
            for r, mask in zip(search, masks, strict=True):
                r.result, r.keys = mask, None
    for mesh_group, wholes in _by_mesh_group(WholeRequest, pending):
        _resolve_wholes(mesh_group, wholes)


def _by_mesh_group(
    kind: type[Request], pending: list[Request]
) -> list[tuple[MeshGroup, list[Any]]]:
    mesh_groups: dict[tuple[str, ...], tuple[MeshGroup, list[Any]]] = {}
    for r in pending:
        if type(r) is kind:
            mesh_group = r.part.tensor_group if kind is WholeRequest else r.part.slice_group
            assert mesh_group is not None
            mesh_groups.setdefault(mesh_group.key, (mesh_group, []))[1].append(r)
    return list(mesh_groups.values())


def _searches(mesh_group: MeshGroup, selections: list[SelectRequest]) -> list[list[SelectRequest]]:
    """The requests that share a search: keys of one dtype on one device, digits of one width."""
    searches: dict[Any, list[SelectRequest]] = {}
    for r in selections:
        searches.setdefault((r.keys.dtype, r.keys.device, _bits(mesh_group, r)), []).append(r)
    return list(searches.values())


def _bits(mesh_group: MeshGroup, r: SelectRequest) -> int:
    return digit_bits(r.keys.shape[0], torch.iinfo(r.keys.dtype).bits, len(mesh_group.groups))


def _rows(r: SelectRequest) -> Rows:
    device = r.keys.device
    return Rows(r.keys, r.k, r.part.length, lambda dtype: r.part.index(device, dtype))


def _resolve_wholes(mesh_group: MeshGroup, requests: list[WholeRequest]) -> None:
    """Compute each tensor's function on one rank, its owner, and as many tensors at once as ranks.

    All ranks gather a tensor, and its owner broadcasts the result, so that every rank receives each
    coordinate twice. No rank holds more than two whole tensors at a time.
    """
    largest_first = sorted(requests, key=lambda r: -torch.Size(r.part.shape).numel())
    for start in range(0, len(requests), mesh_group.world_size):
        batch = largest_first[start : start + mesh_group.world_size]
        results: list[Tensor] = []
        for owner, r in enumerate(batch):
            whole = r.part.whole(r.x)
            mesh_group.traffic.add(r.x)
            results.append(whole if owner == mesh_group.rank else whole.new_empty(0))
            del whole
        if mesh_group.rank < len(batch):
            results[mesh_group.rank] = batch[mesh_group.rank].function(results[mesh_group.rank])
        for owner, (r, result) in enumerate(zip(batch, results, strict=True)):
            if owner != mesh_group.rank:
                result = torch.empty(r.part.shape, dtype=r.x.dtype, device=r.x.device)
            r.result, r.x = r.part.part(mesh_group.broadcast(result, owner)), None
            results[owner] = None  # type: ignore[call-overload]
