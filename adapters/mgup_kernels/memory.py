"""What the step of some slices needs on a device: the arrays that describe them, and room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import layout, sizes, tuning
from .batches import Batch, MeshGroup, Slice, Workspace, most_coordinates, split_into_batches
from .codegen import Functions
from .device import Array, Device


class Memory:
    """All memory that the step of some slices of one kind needs on one device.

    Args:
        slices: at least one, and as many on each device of a mesh group.
        functions: of the slices' kind.
        addresses: how many arrays each slice has: w, g and those of its state.
        device: where the arrays are; of this memory alone.
        ranks: whether each slice has a threshold to find.
        aligned: whether all addresses are multiples of 16 and all lengths of 8.
        rules: how many rules the slices have, at most; all of one form.
        mesh_group: the devices that hold the rest of the slices, if these are parts.
    """

    def __init__(
        self,
        slices: Sequence[Slice],
        functions: Functions,
        addresses: int,
        device: Device,
        *,
        ranks: bool,
        aligned: bool,
        rules: int,
        mesh_group: MeshGroup | None = None,
    ) -> None:
        self.functions, self.ranks, self.mesh_group = functions, ranks, mesh_group
        self.device, self._launch = device, device.launch
        n = len(slices)
        local_lengths, lengths, k = np.array(slices, np.int64).T
        self.world_size = 1 if mesh_group is None else mesh_group.world_size
        sample_chunks = np.zeros(n, np.int64)
        if ranks and mesh_group is None and functions.both_updates is not None:
            sample_chunks = sizes.sample_chunks(local_lengths, k, functions.bytes_moved)
        self.one_pass = one_pass = bool(sample_chunks.any())
        self.sample, self.deviations = sizes.first_sample(self.world_size, one_pass=one_pass)
        share = k / np.maximum(lengths, 1)
        drawn = share, sample_chunks, self.sample, self.deviations, self.world_size
        capacity = sizes.capacities(local_lengths, *drawn) * ranks
        blocks, chunks = -(-local_lengths // tuning.BLOCK), -(-capacity // tuning.CANDIDATES)
        samplers = -(-sample_chunks // tuning.VERIFY_CHUNKS)
        self.rows = np.zeros((n, layout.ADDRESSES + addresses), np.int64)
        self.rows[:, layout.LOCAL_LENGTH] = local_lengths
        self.rows[:, layout.LENGTH] = lengths
        self.rows[:, layout.K] = k
        self.rows[:, layout.CAPACITY] = capacity
        self.rows[:, layout.FIRST_BLOCK] = np.cumsum(blocks) - blocks
        self.rows[:, layout.FIRST_CHUNK] = np.cumsum(chunks) - chunks
        self.rows[:, layout.SAMPLE_CHUNKS] = sample_chunks
        self.rows[:, layout.FIRST_SAMPLER] = np.cumsum(samplers) - samplers
        self.batches = self._split(lengths, blocks, chunks, samplers)
        candidates = 0
        for batch in self.batches:
            mine = slice(batch.first_slice, batch.first_slice + batch.slices)
            self.rows[mine, layout.FIRST_CANDIDATE] = np.cumsum(capacity[mine]) - capacity[mine]
            candidates = max(candidates, int(capacity[mine].sum()))

        def zeros(*shape: int, dtype: str = "int64") -> Array:
            return device.zeros(shape, dtype)

        def owners(counts: Any) -> Array:
            return device.array(np.repeat(np.arange(n, dtype=np.int32), counts))

        self.slice_table = zeros(*self.rows.shape)
        self.host_numbers = np.zeros((0, functions.numbers.length), np.float32)
        self.numbers = zeros(rules, functions.numbers.length, dtype="float32")
        self.search_records = zeros(n, layout.RECORD)
        self.positive_counts = zeros(n)
        self.slice_scalars = zeros(n, max(functions.scalar_count, 1), dtype="float32")
        self.block_slice, self.chunk_slice = owners(blocks), owners(chunks)
        self.sampler_slice = owners(samplers)
        self.sample_sums = zeros(n if one_pass else 0, 2, tuning.EDGES, dtype="int32")
        self.samples_drawn, self.misses = zeros(1), zeros(1, dtype="int32")
        self.host_misses = device.host_copy(self.misses) if one_pass else None
        most = max(batch.blocks for batch in self.batches) if ranks else 1
        count = tuning.ONE_PASS_WORKSPACES if one_pass else tuning.WORKSPACES
        count = min(count, len(self.batches)) if device.streams else 1
        self.bracket_stream = device.stream(urgent=True) if one_pass and count > 1 else None
        listed = functions.dtype if one_pass else None
        self.workspaces = [
            Workspace(most, candidates, device, streams=count > 1, parameter_dtype=listed)
            for _ in range(count)
        ]
        self.batch_flags = zeros(len(self.batches), layout.FLAGS, dtype="int32")
        if one_pass:  # the longest slices come first, since nothing hides the end of the last batch
            self.batches.sort(
                key=lambda b: -int(lengths[b.first_slice : b.first_slice + b.slices].max())
            )
        self.histograms = zeros(n if ranks else 0, 1 << layout.DIGIT_BITS, dtype="int32")
        if mesh_group is not None:
            self.bounds = zeros(2, n)
            self.shared_counts = {b: zeros(3, b.slices) for b in self.batches}
            self.ties_by_rank = {b: zeros(self.world_size, b.slices) for b in self.batches}
        self.strides = self.rows.shape[1], max(functions.scalar_count, 1)
        self.block_options = {
            "BLOCK": tuning.BLOCK,
            "DIVISOR": tuning.DIVISOR if aligned else 1,
            "num_warps": tuning.WARPS,
            "enable_fp_fusion": False,
        }

    def _split(self, lengths: Any, blocks: Any, chunks: Any, samplers: Any) -> list[Batch]:
        """The batches, the same on all devices of a mesh group."""
        if self.mesh_group is not None:
            lengths = -(-lengths // self.world_size)
        parts = tuning.PARTS if self.mesh_group is None else tuning.SHARED_PARTS
        least, parts = tuning.LEAST, parts if self.ranks else 1
        if self.one_pass:
            least, parts = tuning.ONE_PASS_LEAST, tuning.ONE_PASS_PARTS
        most = most_coordinates(lengths, max(least, self.device.least_batch), parts)
        return split_into_batches(lengths, blocks, chunks, samplers, most)

    def set_numbers(self, numbers: Any, owner: Any) -> None:
        """Set what the functions read of the rules' fields.

        Args:
            numbers: float32, (rules, numbers).
            owner: the rule of each slice, (slices,) int64.
        """
        self.host_numbers = numbers
        row = self.functions.numbers.length * np.dtype(np.float32).itemsize
        self.rows[:, layout.NUMBERS_ADDRESS] = self.numbers.data_ptr() + row * owner

    @property
    def _arrays(self) -> tuple[Any, ...]:
        """The first arguments of most kernels."""
        return self.slice_table, self.search_records, self.slice_scalars, *self.strides
